//! `[reboot]`, `[reboot.etcd]` and `[reboot.fleet_lock]`: when a host may reboot, and whom
//! it asks. Locksmith acts on them; whatever checks policy knows them.

mod window;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{BadValue, Grace, Length, Policy, Problem, Schema, Section, Severity};
use crate::checked_text;

pub use window::{Day, LONGEST, TimeOfDay, Window, Zone};

/// `[reboot]`: when this host may reboot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reboot {
    /// Whom it asks.
    pub strategy: Strategy,
    /// When it may. Without the key: at night. With an empty list: at any time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<Vec<Window>>,
    /// How long whoever is logged in has to get ready.
    pub login_grace: Grace,
    /// How long all of the operator's programs before a reboot may take together.
    pub drain_deadline: Length,
}

impl Default for Reboot {
    fn default() -> Self {
        Self {
            strategy: Strategy::Reboot,
            windows: None,
            login_grace: Length::from_secs(300).into(),
            drain_deadline: Length::from_secs(600),
        }
    }
}

impl Section for Reboot {
    const NAME: &'static str = "reboot";
}

/// Whom a host asks before it reboots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Strategy {
    /// Nobody.
    Reboot,
    /// Its group, through a lock in etcd.
    EtcdLock,
    /// A server that speaks FleetLock.
    FleetLock,
    /// It does not reboot by policy.
    Off,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Reboot, Self::EtcdLock, Self::FleetLock, Self::Off];

    /// Its name in policy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::EtcdLock => "etcd-lock",
            Self::FleetLock => "fleet-lock",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Strategy {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let found = Self::ALL.into_iter().find(|of| of.as_str() == text);
        found.ok_or_else(|| BadValue::new(text, "a strategy: reboot, etcd-lock, fleet-lock or off"))
    }
}

impl TryFrom<String> for Strategy {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        text.parse()
    }
}

impl From<Strategy> for String {
    fn from(strategy: Strategy) -> Self {
        strategy.as_str().into()
    }
}

/// `[reboot.etcd]`: where the lock is, how to get there, and what this host makes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Etcd {
    /// etcd's members.
    pub endpoints: Vec<Endpoint>,
    /// Whom this host shares the lock with.
    pub group: Group,
    /// Certificates (PEM) of the authorities that etcd's certificates are from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<FilePath>,
    /// This host's certificate (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<FilePath>,
    /// The key of that (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<FilePath>,
    /// As whom it logs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The file with the password of that; its first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<FilePath>,
    /// How many hosts of the group must have left a release before this one does not
    /// reboot into it.
    pub brake_threshold: Threshold,
    /// How long a holder of the lock may go without a sign of life before this host, if
    /// it is next, takes it for gone. Never, without the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_after: Option<Patience>,
}

impl Default for Etcd {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            group: Group("default".into()),
            ca: None,
            certificate: None,
            key: None,
            user: None,
            password_file: None,
            brake_threshold: Threshold(1),
            expire_after: None,
        }
    }
}

impl Section for Etcd {
    const NAME: &'static str = "reboot.etcd";
}

/// `[reboot.fleet_lock]`: the server to ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetLock {
    /// Its address; `/v1/pre-reboot` and `/v1/steady-state` are below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<ServerAddress>,
    /// Whom this host shares the lock with.
    pub group: Group,
    /// Certificates (PEM) of authorities that are trusted beside the host's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<FilePath>,
}

impl Default for FleetLock {
    fn default() -> Self {
        Self {
            url: None,
            group: Group("default".into()),
            ca: None,
        }
    }
}

impl Section for FleetLock {
    const NAME: &'static str = "reboot.fleet_lock";
}

checked_text! {
    /// The address of one of etcd's members.
    Endpoint, "an address such as https://10.0.0.1:2379",
    |text| is_address(text, |url| matches!(url.path(), "" | "/"))
}

checked_text! {
    /// The address of a server.
    ServerAddress, "an address of http or https without user, query or fragment",
    |text| is_address(text, |_| true)
}

checked_text! {
    /// The name of a group, as the FleetLock protocol has them.
    Group, "the name of a group (letters, digits, \".\" and \"-\")",
    |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-".contains(&b);
        (1..=128).contains(&text.len()) && text.bytes().all(allowed)
    }
}

checked_text! {
    /// A file of the host. Secrets are named by files: policy is for everybody to read.
    FilePath, "an absolute path on the host",
    |text| text.starts_with('/')
}

checked_text! {
    /// As whom somebody logs in.
    UserName, "the name of a user",
    |text| (1..=128).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Secrets do not belong into policy, so neither does a password in an address.
fn is_address(text: &str, check: fn(&Url) -> bool) -> bool {
    Url::parse(text).is_ok_and(|url| {
        let plain = url.query().is_none() && url.fragment().is_none();
        let anonymous = url.username().is_empty() && url.password().is_none();
        let http = matches!(url.scheme(), "http" | "https") && url.has_host();
        http && plain && anonymous && check(&url)
    })
}

/// How many hosts it takes, from 1 to 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Threshold(u32);

impl Threshold {
    /// The highest: no more reports are kept of one release.
    pub const MAX: u32 = 16;

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u64> for Threshold {
    type Error = BadValue;

    fn try_from(value: u64) -> Result<Self, BadValue> {
        match u32::try_from(value) {
            Ok(number @ 1..=Self::MAX) => Ok(Self(number)),
            _ => Err(BadValue::new(value.to_string(), "a number from 1 to 16")),
        }
    }
}

impl From<Threshold> for u64 {
    fn from(threshold: Threshold) -> Self {
        u64::from(threshold.0)
    }
}

impl FromStr for Threshold {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.parse::<u64>() {
            Ok(number) => Self::try_from(number),
            Err(_) => Err(BadValue::new(text, "a number from 1 to 16")),
        }
    }
}

/// How long somebody may be silent before being taken for gone: at least ten minutes,
/// since a host that reboots is silent while its firmware starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Length", into = "Length")]
pub struct Patience(Length);

impl Patience {
    const SHORTEST: Length = Length::from_secs(600);

    /// The length.
    pub const fn length(self) -> Length {
        self.0
    }
}

impl TryFrom<Length> for Patience {
    type Error = BadValue;

    fn try_from(length: Length) -> Result<Self, BadValue> {
        match length >= Self::SHORTEST {
            true => Ok(Self(length)),
            false => Err(BadValue::new(
                length.to_string(),
                "long enough: a host that reboots is silent for a while, give it 10min at least",
            )),
        }
    }
}

impl From<Patience> for Length {
    fn from(patience: Patience) -> Self {
        patience.0
    }
}

/// What a strategy cannot do without: the section below `[reboot]`, and its key.
pub const NEEDS: [(Strategy, &str, &str); 2] = [
    (Strategy::EtcdLock, "etcd", "endpoints"),
    (Strategy::FleetLock, "fleet_lock", "url"),
];

/// Keys of `[reboot.etcd]` that go together.
pub const PAIRS: [(&str, &str); 2] = [("certificate", "key"), ("user", "password_file")];

/// `schema` with these sections as well.
#[must_use]
pub fn schema(schema: Schema) -> Schema {
    schema.with::<Reboot>().with::<Etcd>().with::<FleetLock>()
}

/// What cannot be said of one key alone: keys that need others.
pub fn complaints(policy: &Policy) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut complain = |section: &str, key: &str, message: String| {
        if let Some(origin) = policy.origin(section, key).cloned() {
            let path = format!("{section}.{key}");
            problems.push(Problem::key(Severity::Error, origin, &path, message));
        }
    };
    if let Ok(reboot) = policy.section::<Reboot>() {
        for (strategy, section, key) in NEEDS {
            if reboot.strategy == strategy && !is_filled(policy, strategy) {
                let message = format!("the strategy {strategy} needs reboot.{section}.{key}");
                complain(Reboot::NAME, "strategy", message);
            }
        }
    }
    for (one, other) in PAIRS {
        for (has, lacks) in [(one, other), (other, one)] {
            if policy.origin(Etcd::NAME, lacks).is_none() {
                complain(Etcd::NAME, has, format!("{has} needs {lacks} beside it"));
            }
        }
    }
    problems
}

/// The policy has what `strategy` cannot do without.
fn is_filled(policy: &Policy, strategy: Strategy) -> bool {
    match strategy {
        Strategy::EtcdLock => {
            let etcd = policy.section::<Etcd>();
            etcd.is_ok_and(|etcd| !etcd.endpoints.is_empty())
        }
        Strategy::FleetLock => {
            let fleet_lock = policy.section::<FleetLock>();
            fleet_lock.is_ok_and(|fleet_lock| fleet_lock.url.is_some())
        }
        Strategy::Reboot | Strategy::Off => true,
    }
}

#[cfg(test)]
mod tests;
