//! Sizes and shares of processors.

use std::str::FromStr;

use super::ValueError;

/// A number of bytes, written with or without a unit: `4096`, `512M`, `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ValueError::new("expected a size such as 512M, 2G or a number of bytes");
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let shift = match text[digits..].to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kib" => 10,
            "m" | "mib" => 20,
            "g" | "gib" => 30,
            "t" | "tib" => 40,
            _ => return Err(wrong()),
        };
        number.checked_mul(1 << shift).map(Self).ok_or_else(wrong)
    }
}

/// Processor time per time, in thousandths of a processor: `1.5` is 1500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpus(pub u32);

impl FromStr for Cpus {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ValueError::new("expected a number of processors such as 2 or 0.5");
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(whole) || !is_digits(part) || part.is_empty() || part.len() > 3 {
            return Err(wrong());
        }
        let whole: u32 = whole.parse().map_err(|_| wrong())?;
        let thousandths: u32 = format!("{part:0<3}").parse().map_err(|_| wrong())?;
        let cpus = whole
            .checked_mul(1000)
            .and_then(|w| w.checked_add(thousandths));
        match cpus {
            Some(cpus) if cpus >= 10 => Ok(Self(cpus)),
            Some(_) => Err(ValueError::new("at least 0.01 of a processor is needed")),
            None => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!("4096".parse(), Ok(Bytes(4096)));
        assert_eq!("1k".parse(), Ok(Bytes(1024)));
        assert_eq!("2GiB".parse(), Ok(Bytes(2 << 30)));
        for bad in ["", "M", "1.5G", "-1", "1X", "99999999999T"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn processors_have_thousandths() {
        assert_eq!("2".parse(), Ok(Cpus(2000)));
        assert_eq!("0.5".parse(), Ok(Cpus(500)));
        assert_eq!("1.25".parse(), Ok(Cpus(1250)));
        for bad in ["", ".", "1.", "0", "0.001", "1.2345", "-1", "a"] {
            assert!(bad.parse::<Cpus>().is_err(), "{bad}");
        }
    }
}
