//! Windows as policy has them.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::policy::{BadValue, Length};

/// Longest window: one that begins every week is open all the time then.
pub const LONGEST: Length = Length::from_secs(7 * 24 * 3600);

/// A time that comes again, in which a host may reboot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Window {
    /// On which days it begins; on all of them, if none is named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Day>,
    /// When it begins.
    pub start: TimeOfDay,
    /// How long it is open.
    pub length: Length,
    /// Whose days and times these are; the host's own time zone, if none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<Zone>,
}

/// A window as it is written.
#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    days: Vec<Day>,
    start: TimeOfDay,
    length: Length,
    #[serde(default)]
    time_zone: Option<Zone>,
}

impl TryFrom<Raw> for Window {
    type Error = BadValue;

    fn try_from(raw: Raw) -> Result<Self, BadValue> {
        let Raw {
            days,
            start,
            length,
            time_zone,
        } = raw;
        if length > LONGEST {
            let wanted = "the length of a window: a week at most";
            return Err(BadValue::new(length.to_string(), wanted));
        }
        Ok(Self {
            days,
            start,
            length,
            time_zone,
        })
    }
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(Weekday);

impl Day {
    const NAMES: [(Weekday, &str); 7] = [
        (Weekday::Monday, "Monday"),
        (Weekday::Tuesday, "Tuesday"),
        (Weekday::Wednesday, "Wednesday"),
        (Weekday::Thursday, "Thursday"),
        (Weekday::Friday, "Friday"),
        (Weekday::Saturday, "Saturday"),
        (Weekday::Sunday, "Sunday"),
    ];

    /// The day.
    pub const fn weekday(self) -> Weekday {
        self.0
    }

    /// Its first three letters.
    fn short(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(day, _)| *day == self.0);
        found.map_or("", |(_, name)| &name[..3])
    }
}

impl FromStr for Day {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let is = |name: &str| text.eq_ignore_ascii_case(name);
        let mut names = Self::NAMES.iter();
        let found = names.find(|(_, name)| is(name) || is(&name[..3]));
        match found {
            Some((day, _)) => Ok(Self(*day)),
            None => Err(BadValue::new(text, "a day such as Mon or Monday")),
        }
    }
}

/// A time of day, to the minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay {
    hour: i8,
    minute: i8,
}

impl TimeOfDay {
    /// `minute` minutes after midnight; a day has 1440 of them.
    pub fn from_minutes(minute: u16) -> Self {
        let minute = minute % 1440;
        // Both fit.
        Self {
            hour: (minute / 60) as i8,
            minute: (minute % 60) as i8,
        }
    }

    /// The same for the calendar.
    pub fn time(self) -> Time {
        Time::new(self.hour, self.minute, 0, 0).unwrap_or(Time::MIN)
    }
}

impl FromStr for TimeOfDay {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let below = |text: &str, limit: u16| match text.len() {
            2 if text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse::<u16>().ok().filter(|number| *number < limit)
            }
            _ => None,
        };
        let parts = text.split_once(':');
        let parts = parts.map(|(hour, minute)| (below(hour, 24), below(minute, 60)));
        match parts {
            Some((Some(hour), Some(minute))) => Ok(Self::from_minutes(hour * 60 + minute)),
            _ => Err(BadValue::new(text, "a time of day such as 02:30")),
        }
    }
}

/// A time zone by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// Its rules.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }
}

impl FromStr for Zone {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let wanted = "a time zone such as Europe/Paris or UTC";
        match TimeZone::get(text) {
            Ok(zone) if !text.is_empty() => Ok(Self {
                name: text.into(),
                zone,
            }),
            _ => Err(BadValue::new(text, wanted)),
        }
    }
}

/// Text in policy.
macro_rules! text {
    ($($name:ident, |$self:ident, $f:ident| $show:expr;)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, $f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $self = self;
                $show
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadValue;

            fn try_from(text: String) -> Result<Self, BadValue> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}

text! {
    Day, |day, f| f.write_str(day.short());
    TimeOfDay, |time, f| write!(f, "{:02}:{:02}", time.hour, time.minute);
    Zone, |zone, f| f.write_str(&zone.name);
}
