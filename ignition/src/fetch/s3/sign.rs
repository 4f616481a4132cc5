//! Signature version 4 of AWS, for requests without a body.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::hmac;
use sha2::{Digest as _, Sha256};

use crate::fetch::cloud::Keys;
use crate::fetch::digest::hex;

/// SHA-256 of nothing.
const NO_BODY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// As the header `Host` has it.
    pub host: &'a str,
    /// Percent-encoded.
    pub path: &'a str,
    /// Percent-encoded, in the order of names.
    pub query: &'a str,
    /// Of the service.
    pub region: &'a str,
    /// `20130524T000000Z`
    pub time: &'a str,
}

/// The headers that sign a GET.
pub fn sign(request: Request<'_>, keys: &Keys) -> Vec<(String, String)> {
    let Request {
        host,
        path,
        query,
        region,
        time,
    } = request;
    let mut headers = vec![
        ("host", host),
        ("x-amz-content-sha256", NO_BODY),
        ("x-amz-date", time),
    ];
    headers.extend(
        keys.session
            .as_deref()
            .map(|token| ("x-amz-security-token", token)),
    );
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let canonical = format!("GET\n{path}\n{query}\n{lines}\n{names}\n{NO_BODY}");
    let day = time.get(..8).unwrap_or_default();
    let scope = format!("{day}/{region}/s3/aws4_request");
    let hash = hex(&Sha256::digest(canonical));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
    let first = format!("AWS4{}", keys.secret).into_bytes();
    let key = [day, region, "s3", "aws4_request"]
        .into_iter()
        .fold(first, |key, part| mac(&key, part));
    let signature = hex(&mac(&key, &text));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        keys.id
    );
    let signed = headers.into_iter().skip(1);
    let mut all: Vec<_> = signed.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    all.push(("authorization".to_owned(), authorization));
    all
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// `now` as signatures write it.
pub fn time_of(now: SystemTime) -> String {
    let seconds = now
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// The date `days` after 1970-01-01. Counted in years that start in March,
/// whose leap day is their last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// The time in a header `Date` (RFC 9110, section 5.6.7), as signatures write
/// it: `Fri, 24 May 2013 00:00:00 GMT`.
pub fn time_in(header: &str) -> Option<String> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let digits = |text: &str, length| {
        (text.len() == length && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.to_owned())
    };
    let (_, rest) = header.split_once(", ")?;
    let mut words = rest.split(' ');
    let day = digits(words.next()?, 2)?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let year = digits(words.next()?, 4)?;
    let time = digits(&words.next()?.replace(':', ""), 6)?;
    (words.next() == Some("GMT")).then(|| format!("{year}{month:02}{day}T{time}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Amazon's examples ("Examples: Signature Calculations", S3's API
    /// reference).
    #[test]
    fn signatures_are_those_of_the_documentation() {
        let keys = Keys {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session: None,
        };
        for (query, signature) in [
            (
                "lifecycle=",
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                "max-keys=2&prefix=J",
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let request = Request {
                host: "examplebucket.s3.amazonaws.com",
                path: "/",
                query,
                region: "us-east-1",
                time: "20130524T000000Z",
            };
            let headers = sign(request, &keys);
            let (_, authorization) = headers.last().unwrap();
            assert!(authorization.ends_with(signature), "{authorization}");
            let session = Keys {
                session: Some("t".to_owned()),
                ..keys.clone()
            };
            let headers = sign(request, &session);
            assert!(headers.contains(&("x-amz-security-token".to_owned(), "t".to_owned())));
            let (_, authorization) = headers.last().unwrap();
            assert!(authorization.contains("x-amz-date;x-amz-security-token,"));
            assert!(!authorization.contains("EXAMPLEKEY"));
        }
    }

    #[test]
    fn times_are_written_as_aws_wants_them() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (1_369_353_600, "20130524T000000Z"),
            (4_107_542_399, "21000228T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(time_of(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        let time = time_in("Fri, 24 May 2013 12:34:56 GMT");
        assert_eq!(time.as_deref(), Some("20130524T123456Z"));
        for bad in [
            "",
            "Fri, 24 May 2013",
            "24 May 2013 12:34:56 GMT",
            "Fri, 24 Mai 2013 12:34:56 GMT",
        ] {
            assert_eq!(time_in(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_date_is_judged_without_panic(text in "[ -~é]{0,40}", seconds in 0_u64..1 << 40) {
            let _ = time_in(&text);
            prop_assert!(time_of(UNIX_EPOCH + Duration::from_secs(seconds)).ends_with('Z'));
        }
    }
}
