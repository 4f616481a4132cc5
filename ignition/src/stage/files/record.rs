//! The record of provisioning, in upstream's format. A host that has it is
//! provisioned.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::durable::Attributes;
use crate::log;
use crate::root::Root;
use crate::state::State;

use super::FilesError;

/// Path of the record.
pub const PATH: &str = "/etc/.ignition-result.json";

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    #[serde(rename = "provisioningBootID")]
    provisioning_boot_id: String,
    provisioning_date: String,
    user_config_provided: bool,
}

/// Writes the record durably. Everything it vouches for must be on the disk.
pub fn write(root: &Root, state: &State) -> Result<(), FilesError> {
    let boot_id = std::fs::read_to_string(BOOT_ID).map_err(|source| FilesError::Identity {
        path: BOOT_ID,
        source,
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let record = Record {
        provisioning_boot_id: boot_id.trim().to_owned(),
        provisioning_date: rfc3339(now.map_or(0, |now| now.as_secs())),
        user_config_provided: state.user_config_provided(),
    };
    let mut text = serde_json::to_vec_pretty(&record).map_err(|source| FilesError::Journal {
        path: PATH.to_owned(),
        source,
    })?;
    text.push(b'\n');
    root.write_bytes(PATH, &text, Attributes::own(0o600))?;
    log::info(&format!(
        "provisioned path={PATH} userConfigProvided={}",
        record.user_config_provided
    ));
    Ok(())
}

/// `seconds` since 1970 as RFC 3339, in UTC. The calendar computation is
/// H. Hinnant's "days to civil" for the proleptic Gregorian calendar.
pub(crate) fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01; an era is 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn dates_are_right() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
