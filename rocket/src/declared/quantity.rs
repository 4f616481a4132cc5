//! Quantities as Kubernetes writes them: `500m`, `1.5`, `128Mi`, `1e3`.

/// A quantity in thousandths, rounded up; nothing if it is none, negative or too large.
pub fn thousandths(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && part.is_empty() || part.contains('.') || part.len() > 9 {
        return None;
    }
    let number: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let billionths: u128 = format!("{part:0<9}").parse().ok()?;
    let billionths = number.checked_mul(1_000_000_000)?.checked_add(billionths)?;
    let (times, over) = factor(suffix)?;
    // Thousandths of what was given in billionths.
    let over = over.checked_mul(1_000_000)?;
    let all = billionths.checked_mul(times)?;
    u64::try_from(all.div_ceil(over)).ok()
}

/// A whole quantity, rounded up.
pub fn whole(text: &str) -> Option<u64> {
    thousandths(text).map(|thousandths| thousandths.div_ceil(1000))
}

/// What a suffix multiplies by, and divides by.
fn factor(suffix: &str) -> Option<(u128, u128)> {
    let exponent = suffix
        .strip_prefix(['e', 'E'])
        .filter(|rest| !rest.is_empty());
    if let Some(exponent) = exponent {
        let exponent: i32 = exponent.parse().ok()?;
        let power = 10_u128
            .checked_pow(exponent.unsigned_abs())
            .filter(|_| exponent.abs() <= 18)?;
        return Some(if exponent < 0 { (1, power) } else { (power, 1) });
    }
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("1", 1000),
            ("500m", 500),
            ("0.5", 500),
            (".25", 250),
            ("1.0001", 1001),
            ("2k", 2_000_000),
            ("1e3", 1_000_000),
            ("15E-1", 1500),
        ] {
            assert_eq!(thousandths(text), Some(expected), "{text}");
        }
        assert_eq!(whole("128Mi"), Some(128 << 20));
        assert_eq!(whole("1.5Gi"), Some(3 << 29));
        for wrong in [
            "",
            "-1",
            "1.2.3",
            "x",
            "1X",
            "Mi",
            ".",
            "1e",
            "1e99",
            "99999999999999999999Pi",
        ] {
            assert_eq!(thousandths(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[0-9.eEmkMGi+-]{0,40}") {
            let _ = thousandths(&text);
        }

        #[test]
        fn whole_numbers_are_themselves(number in 0_u64..1 << 50) {
            prop_assert_eq!(whole(&number.to_string()), Some(number));
        }
    }
}
