//! S3 by plain requests: signed with keys of the environment or, on EC2, of
//! the machine's role; else anonymous.

mod sign;

use std::time::SystemTime;

use ureq::http::{HeaderMap, Method};

use crate::log;

use super::cloud::{Ec2, Keys};
use super::sink::Sink;
use super::source::{UrlError, decoded};
use super::{Call, FetchError, Fetcher, Pipe, http};

/// An object, perhaps one version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    place: Place,
    /// `aws`, `aws-cn`, `aws-us-gov`
    partition: String,
    key: Vec<u8>,
    version: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Bucket(String),
    AccessPoint {
        name: String,
        account: String,
        region: String,
    },
}

impl Address {
    /// Reads what follows `s3:`, e.g. `//bucket/key?versionId=x`.
    pub fn parse_s3(after: &str) -> Result<Self, UrlError> {
        let rest = after.strip_prefix("//").ok_or(UrlError::NoHost)?;
        let (object, version) = versioned(rest)?;
        let (bucket, key) = object.split_once('/').unwrap_or((object, ""));
        Self::new(Place::Bucket(bucket.to_owned()), "aws", key, version)
    }

    /// Reads what follows `arn:`: `aws:s3:::bucket/key`, or
    /// `aws:s3:region:account:accesspoint/name/object/key`.
    pub fn parse_arn(after: &str) -> Result<Self, UrlError> {
        const FORMS: &str = "expected arn:aws:s3:::bucket/key or \
                             arn:aws:s3:region:account:accesspoint/name/object/key";
        let malformed = || UrlError::Malformed(FORMS.to_owned());
        let (object, version) = versioned(after)?;
        let parts: Vec<&str> = object.splitn(5, ':').collect();
        let [partition, "s3", region, account, resource] = parts[..] else {
            return Err(malformed());
        };
        if !matches!(partition, "aws" | "aws-cn" | "aws-us-gov") {
            return Err(malformed());
        }
        if let Some(point) = resource.strip_prefix("accesspoint/") {
            let (name, object) = point.split_once('/').ok_or_else(malformed)?;
            let key = object.strip_prefix("object/").unwrap_or(object);
            let words = [name, region, account];
            if !words.into_iter().all(is_name) {
                return Err(malformed());
            }
            let [name, region, account] = words.map(str::to_owned);
            let place = Place::AccessPoint {
                name,
                account,
                region,
            };
            return Self::new(place, partition, key, version);
        }
        let (bucket, key) = resource.split_once('/').ok_or_else(malformed)?;
        Self::new(Place::Bucket(bucket.to_owned()), partition, key, version)
    }

    fn new(
        place: Place,
        partition: &str,
        key: &str,
        version: Option<Vec<u8>>,
    ) -> Result<Self, UrlError> {
        if let Place::Bucket(bucket) = &place
            && !is_name(bucket)
        {
            return Err(UrlError::Malformed(format!(
                "{bucket:?} is not the name of a bucket"
            )));
        }
        if key.is_empty() {
            return Err(UrlError::Malformed(
                "the URL names no object of the bucket".to_owned(),
            ));
        }
        Ok(Self {
            place,
            partition: partition.to_owned(),
            key: decoded(key)?,
            version,
        })
    }

    fn suffix(&self) -> &'static str {
        match self.partition.as_str() {
            "aws-cn" => "amazonaws.com.cn",
            _ => "amazonaws.com",
        }
    }

    fn usual_region(&self) -> &'static str {
        match self.partition.as_str() {
            "aws-cn" => "cn-north-1",
            "aws-us-gov" => "us-gov-west-1",
            _ => "us-east-1",
        }
    }

    /// Scheme and host of the object in `region`, and its path.
    fn location(&self, region: &str, own: Option<&str>) -> (String, String) {
        let (suffix, key) = (self.suffix(), encode(&self.key, b"/"));
        match (&self.place, own) {
            (Place::Bucket(bucket), Some(own)) => (
                own.trim_end_matches('/').to_owned(),
                format!("/{bucket}/{key}"),
            ),
            // A certificate for *.s3 does not cover names with dots.
            (Place::Bucket(bucket), None) if bucket.contains('.') => (
                format!("https://s3.{region}.{suffix}"),
                format!("/{bucket}/{key}"),
            ),
            (Place::Bucket(bucket), None) => (
                format!("https://{bucket}.s3.{region}.{suffix}"),
                format!("/{key}"),
            ),
            (
                Place::AccessPoint {
                    name,
                    account,
                    region,
                },
                _,
            ) => (
                format!("https://{name}-{account}.s3-accesspoint.{region}.{suffix}"),
                format!("/{key}"),
            ),
        }
    }
}

/// The text before the query, and the version that the query names.
fn versioned(text: &str) -> Result<(&str, Option<Vec<u8>>), UrlError> {
    let text = text.split('#').next().unwrap_or_default();
    let Some((object, query)) = text.split_once('?') else {
        return Ok((text, None));
    };
    let version = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("versionId="));
    match version.map(decoded).transpose()? {
        Some(version) if version.is_empty() => {
            Err(UrlError::Malformed("versionId is empty".to_owned()))
        }
        version => Ok((object, version)),
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=255).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with(['.', '-'])
}

/// Percent-encodes all but unreserved characters and those of `also`.
pub fn encode(bytes: &[u8], also: &[u8]) -> String {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.contains(&byte);
    let each = bytes.iter().map(|&byte| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    });
    each.collect()
}

/// Fetches an object through `pipe` into `sink`.
pub(super) fn fetch(
    address: &Address,
    fetcher: &Fetcher,
    pipe: &Pipe,
    sink: &mut dyn Sink,
) -> Result<(), FetchError> {
    let (keys, hint) = credentials(fetcher)?;
    let hint = hint.unwrap_or_else(|| address.usual_region().to_owned());
    let own = fetcher.clouds.s3.as_deref();
    let Place::Bucket(bucket) = &address.place else {
        let time = sign::time_of(SystemTime::now());
        let call = call(address, &hint, own, keys.as_ref(), &time);
        return http::fetch(&call, fetcher, pipe, sink);
    };
    // Every answer of S3 about a bucket names its region.
    let usual = format!("https://s3.{hint}.{}", address.suffix());
    let base = own.unwrap_or(&usual).trim_end_matches('/');
    let probe = Call {
        method: Method::HEAD,
        ..Call::get(format!("{base}/{bucket}"))
    };
    let headers = http::probe(&probe, fetcher, &pipe.name)?;
    let word = |name| text(&headers, name);
    let region = word("x-amz-bucket-region").filter(|region| is_name(region));
    let region = region.map_or(hint, str::to_owned);
    // First boots come before the clock is set; the server's is.
    let time = word("date").and_then(sign::time_in);
    let time = time.unwrap_or_else(|| sign::time_of(SystemTime::now()));
    let call = call(address, &region, own, keys.as_ref(), &time);
    http::fetch(&call, fetcher, pipe, sink)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Keys to sign with, and the region to ask first.
fn credentials(fetcher: &Fetcher) -> Result<(Option<Keys>, Option<String>), FetchError> {
    let clouds = &fetcher.clouds;
    if clouds.keys.is_some() || clouds.platform != "aws" {
        return Ok((clouds.keys.clone(), clouds.region.clone()));
    }
    let ec2 = Ec2::session(&clouds.ec2, fetcher)?;
    let keys = ec2.keys(fetcher)?;
    if keys.is_none() {
        log::info("this machine has no role; S3 is asked anonymously");
    }
    let region = match &clouds.region {
        Some(region) => Some(region.clone()),
        None => ec2.region(fetcher)?.filter(|region| is_name(region)),
    };
    Ok((keys, region))
}

fn call(
    address: &Address,
    region: &str,
    own: Option<&str>,
    keys: Option<&Keys>,
    time: &str,
) -> Call {
    let region = match &address.place {
        Place::AccessPoint { region, .. } => region.as_str(),
        Place::Bucket(_) => region,
    };
    let (base, path) = address.location(region, own);
    let version = address.version.as_deref();
    let query = version.map(|version| format!("versionId={}", encode(version, b"")));
    let host = base
        .split_once("://")
        .map_or(base.as_str(), |(_, host)| host);
    let headers = keys.map(|keys| {
        let request = sign::Request {
            host,
            path: &path,
            query: query.as_deref().unwrap_or_default(),
            region,
            time,
        };
        sign::sign(request, keys)
    });
    let query = query
        .as_deref()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    Call {
        headers: headers.unwrap_or_default(),
        ..Call::get(format!("{base}{path}{query}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn url(text: &str, region: &str) -> String {
        let address = match text.split_once(':').unwrap() {
            ("s3", rest) => Address::parse_s3(rest),
            (_, rest) => Address::parse_arn(rest),
        };
        call(&address.unwrap(), region, None, None, "").url
    }

    #[test]
    fn objects_have_upstreams_addresses() {
        for (source, expected) in [
            (
                "s3://bucket/a/b%20c+",
                "https://bucket.s3.eu-west-1.amazonaws.com/a/b%20c%2B",
            ),
            (
                "s3://dotted.name/a",
                "https://s3.eu-west-1.amazonaws.com/dotted.name/a",
            ),
            (
                "s3://bucket/a?versionId=x%2Fy",
                "https://bucket.s3.eu-west-1.amazonaws.com/a?versionId=x%2Fy",
            ),
            (
                "arn:aws:s3:::bucket/a",
                "https://bucket.s3.eu-west-1.amazonaws.com/a",
            ),
            (
                "arn:aws-cn:s3:::bucket/a",
                "https://bucket.s3.eu-west-1.amazonaws.com.cn/a",
            ),
            (
                "arn:aws:s3:us-west-2:123456789012:accesspoint/test/object/a/b",
                "https://test-123456789012.s3-accesspoint.us-west-2.amazonaws.com/a/b",
            ),
        ] {
            assert_eq!(url(source, "eu-west-1"), expected);
        }
    }

    #[test]
    fn what_names_no_object_is_refused() {
        for bad in [
            "bucket/a",
            "//bucket",
            "//bucket/",
            "//b@h/a",
            "///a",
            "//b/a?versionId=",
        ] {
            assert!(Address::parse_s3(bad).is_err(), "{bad}");
        }
        for bad in [
            "aws:s3:::bucket",
            "aws:iam:::bucket/a",
            "evil:s3:::bucket/a",
            "aws:s3::bucket/a",
            "aws:s3:::accesspoint/x",
            "aws:s3:r/x:1:accesspoint/n/object/k",
        ] {
            assert!(Address::parse_arn(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic(text in "(//|aws:s3:::)?[ -~é]{0,40}") {
            for address in [Address::parse_s3(&text), Address::parse_arn(&text)].into_iter().flatten() {
                let url = call(&address, "r", None, None, "").url;
                let uri: ureq::http::Uri = url.parse().unwrap();
                prop_assert!(uri.host().unwrap().contains("amazonaws.com"));
            }
        }
    }
}
