//! By what a host is known to FleetLock servers.

use aws_lc_rs::hmac;

/// Zincati's ID as an application. Servers that look up a cluster's node by its machine ID
/// know this one.
const APPLICATION: [u8; 16] = [
    0xde, 0x35, 0x10, 0x6b, 0x6e, 0xc2, 0x46, 0x88, 0xb6, 0x3a, 0xfd, 0xda, 0xa1, 0x56, 0x67, 0x9b,
];

/// What is derived from a machine ID (`/etc/machine-id`), as `sd_id128_get_machine_app_specific`
/// does it: 32 hex digits, from which nobody finds the machine ID. None if it is not one.
pub fn identity(machine_id: &str) -> Option<String> {
    let machine = u128::from_str_radix(machine_id.trim(), 16).ok()?;
    if machine_id.trim().len() != 32 {
        return None;
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, &machine.to_be_bytes());
    let tag = hmac::sign(&key, &APPLICATION);
    let half = tag.as_ref().first_chunk::<16>()?;
    let mut id = *half;
    // The bits that make it a random UUID.
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    Some(format!("{:032x}", u128::from_be_bytes(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_derived_as_systemd_does_it() {
        // As `systemd-id128 machine-id --app-specific=de35106b6ec24688b63afddaa156679b` says.
        let machine = "dc62f5ae9a3a4d8a8cd0b2a1fbbd1d43\n";
        assert_eq!(
            identity(machine).unwrap(),
            "91207b7f20d74871ba8488f22b80258e"
        );
        assert_eq!(identity("uninitialized"), None);
        assert_eq!(identity(""), None);
        assert_eq!(identity("+c62f5ae9a3a4d8a8cd0b2a1fbbd1d4"), None);
    }
}
