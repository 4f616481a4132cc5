//! The engine's part of the policy: `[update]` and `[health]`.

use std::path::PathBuf;

use daemon::checked_text;
use daemon::policy::{BadValue, Length, Schema, Section};
use serde::{Deserialize, Serialize};
use url::Url;

/// The sections that the engine knows.
pub fn schema() -> Schema {
    Schema::default().with::<Update>().with::<Health>()
}

/// `[update]`: which releases this host takes, from where and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Update {
    /// Look for releases and take them without being asked.
    pub enabled: bool,
    /// Where the repository is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Address>,
    /// The stream of releases that this host follows.
    pub channel: ChannelName,
    /// How often the server is asked; every time up to a tenth earlier or later.
    pub poll: Length,
    /// This host's position in the waves, instead of the one that its machine ID gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave: Option<Percent>,
    /// Follow the channel also to an older release.
    pub allow_downgrade: bool,
    /// HTTP proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyAddress>,
    /// Certificates (PEM) of authorities that are trusted beside the host's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Whether the engine itself reboots into a release that it armed.
    pub reboot: Reboot,
}

impl Default for Update {
    fn default() -> Self {
        Self {
            enabled: true,
            server: None,
            channel: ChannelName("stable".into()),
            poll: Length::from_secs(3600),
            wave: None,
            allow_downgrade: false,
            proxy: None,
            ca: None,
            reboot: Reboot::Off,
        }
    }
}

impl Section for Update {
    const NAME: &'static str = "update";
}

/// Whether the engine reboots into a release that it armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reboot {
    /// Somebody else decides when.
    Off,
    /// At once, whatever the host does. For hosts that stand alone.
    Immediately,
}

/// `[health]`: what a release on trial has to show before it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Units of which none may have failed; patterns as for `systemctl`.
    pub units: Vec<UnitPattern>,
    /// How long all checks together may take.
    pub deadline: Length,
    /// How long a release on trial may take from the start of the kernel until it is
    /// blessed.
    pub boot_deadline: Length,
}

impl Default for Health {
    fn default() -> Self {
        let units = [
            "dbus-broker.service",
            "sshd-keygen.service",
            "sshd.socket",
            "systemd-networkd.service",
            "systemd-resolved.service",
            "update-engine.service",
        ];
        Self {
            units: units.map(|unit| UnitPattern(unit.into())).to_vec(),
            deadline: Length::from_secs(300),
            boot_deadline: Length::from_secs(600),
        }
    }
}

impl Section for Health {
    const NAME: &'static str = "health";
}

checked_text! {
    /// Where a repository is: an address of `http`, `https` or `file`, or an absolute
    /// path of a directory or a tar file.
    Address, "an address of http, https or file, or an absolute path",
    |text| text.starts_with('/') || has_scheme(text, &["http", "https", "file"])
}

checked_text! {
    /// Where a proxy is.
    ProxyAddress, "an address of http, https or socks5",
    |text| has_scheme(text, &["http", "https", "socks5", "socks5h"])
}

checked_text! {
    /// Name of a channel.
    ChannelName, "the name of a channel (letters, digits, \".\", \"_\" and \"-\")",
    |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        (1..=64).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(allowed)
    }
}

checked_text! {
    /// Name of a unit, or a pattern of names.
    UnitPattern, "the name of a unit or a pattern of names",
    |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@*?[]!".contains(&b);
        (1..=255).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(allowed)
    }
}

fn has_scheme(text: &str, schemes: &[&str]) -> bool {
    Url::parse(text).is_ok_and(|url| schemes.contains(&url.scheme()))
}

/// A part of a fleet, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Percent(u8);

impl Percent {
    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u64> for Percent {
    type Error = BadValue;

    fn try_from(value: u64) -> Result<Self, BadValue> {
        match u8::try_from(value) {
            Ok(percent @ 0..=100) => Ok(Self(percent)),
            _ => Err(BadValue::new(value.to_string(), "a number from 0 to 100")),
        }
    }
}

impl From<Percent> for u64 {
    fn from(percent: Percent) -> Self {
        u64::from(percent.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daemon::policy::{self, Roots};
    use std::fs;

    fn problems(text: &str) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.toml"), text).unwrap();
        let roots = Roots::new(vec![root.path().to_path_buf()]);
        let (_, problems) = policy::load(&roots, &schema());
        let prefix = format!("{}/", root.path().display());
        let shown = |p: &policy::Problem| p.to_string().replace(&prefix, "");
        problems.iter().map(shown).collect()
    }

    #[test]
    fn every_key_takes_what_it_is_for() {
        let text = "[update]\nenabled = false\nserver = \"https://updates.example/ballast\"\n\
             channel = \"beta\"\npoll = \"30min\"\nwave = 0\nallow_downgrade = true\n\
             proxy = \"socks5://proxy.example:1080\"\nca = \"/etc/ssl/own.pem\"\n\
             reboot = \"immediately\"\n[health]\nunits = [\"sshd.socket\", \"*\"]\n\
             deadline = \"1min\"\nboot_deadline = \"1h\"\n";
        assert_eq!(problems(text), Vec::<String>::new());
        let empty = "[health]\nunits = []\n[update]\nserver = \"/media/repository.tar\"\n";
        assert_eq!(problems(empty), Vec::<String>::new());
    }

    #[test]
    fn every_wrong_value_is_refused_on_its_line() {
        for (line, wanted) in [
            ("server = \"ftp://x\"", "an address of http"),
            ("server = \"updates.example\"", "an address of http"),
            ("channel = \"../x\"", "the name of a channel"),
            ("channel = \"\"", "the name of a channel"),
            ("wave = 101", "a number from 0 to 100"),
            ("wave = -1", "invalid value"),
            ("poll = \"0s\"", "a length of time"),
            ("proxy = \"x\"", "an address of http"),
            ("reboot = true", "reboot"),
            ("reboot = \"now\"", "unknown variant"),
        ] {
            let found = problems(&format!("[update]\n{line}\n"));
            assert_eq!(found.len(), 1, "{line}");
            assert!(found[0].starts_with("a.toml:2: update."), "{found:?}");
            assert!(found[0].contains(wanted), "{found:?}");
        }
        let found = problems("[health]\nunits = [\"--all\"]\n");
        assert!(found[0].contains("name of a unit"), "{found:?}");
    }
}
