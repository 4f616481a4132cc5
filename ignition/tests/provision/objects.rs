//! Objects of S3 and Google Cloud Storage, from imitations of both.

use std::time::Duration;

use ignition::config::Resource;
use ignition::fetch::{Clouds, FetchError, Fetcher, Keys, Network};

use super::server::{Answer, Request, Server};

/// Clouds of which only the given services are there.
fn clouds(platform: &str, s3: &Server, metadata: &Server) -> Clouds {
    Clouds {
        platform: platform.to_owned(),
        keys: None,
        region: None,
        s3: Some(s3.url("")),
        ec2: metadata.url(""),
        gce: metadata.url(""),
        gcs: s3.url("/"),
    }
}

fn read(clouds: Clouds, source: &str) -> Result<Vec<u8>, FetchError> {
    let fetcher = Fetcher::new(Network::Present, Duration::from_secs(60)).with_clouds(clouds);
    fetcher.read(&Resource {
        source: Some(source.to_owned()),
        ..Resource::default()
    })
}

/// S3 with one bucket in Frankfurt, whose clock stands still. `allowed` says
/// who gets the object.
fn s3(allowed: impl Fn(&Request) -> bool + Send + 'static) -> Server {
    Server::start(
        move |request, count| match (request.method.as_str(), request.path.as_str()) {
            ("HEAD", "/bucket") if count == 1 => Answer::status(503),
            ("HEAD", "/bucket") => Answer::status(403)
                .with_header("x-amz-bucket-region", "eu-central-1")
                .with_header("Date", "Thu, 02 Jan 2020 03:04:05 GMT"),
            ("GET", "/bucket/a%20b" | "/bucket/a%20b?versionId=v%2F1") if allowed(request) => {
                Answer::ok(b"object")
            }
            ("GET", "/bucket/a%20b") => Answer::status(403),
            _ => Answer::status(404),
        },
    )
}

fn nobody() -> Server {
    Server::start(|_, _| Answer::status(404))
}

#[test]
fn objects_of_anybody_are_fetched_unsigned() {
    let s3 = s3(|request| request.header("authorization").is_none());
    let metadata = nobody();
    for source in [
        "s3://bucket/a%20b",
        "arn:aws:s3:::bucket/a%20b?versionId=v%2F1",
    ] {
        let object = read(clouds("qemu", &s3, &metadata), source);
        assert_eq!(object.unwrap(), b"object");
    }
    // Machines elsewhere have no metadata service of Amazon's to ask.
    assert_eq!(metadata.count("/latest/api/token"), 0);
}

#[test]
fn given_keys_sign_for_the_buckets_region_at_the_servers_time() {
    let s3 = s3(|request| {
        let authorization = request.header("authorization").unwrap_or_default();
        let scope = "Credential=AKID/20200102/eu-central-1/s3/aws4_request, \
                     SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=";
        authorization.starts_with(&format!("AWS4-HMAC-SHA256 {scope}"))
            && request.header("x-amz-date") == Some("20200102T030405Z")
            && request.header("x-amz-security-token").is_none()
    });
    let keys = Keys {
        id: "AKID".to_owned(),
        secret: "hidden".to_owned(),
        session: None,
    };
    let clouds = Clouds {
        keys: Some(keys),
        ..clouds("qemu", &s3, &nobody())
    };
    assert_eq!(read(clouds, "s3://bucket/a%20b").unwrap(), b"object");
}

/// EC2's metadata service of a machine that may have a role.
fn ec2(role: &'static [u8]) -> Server {
    const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
    Server::start(move |request, _| {
        let path = request.path.as_str();
        if request.method == "PUT" && path == "/latest/api/token" {
            return Answer::ok(b"session");
        }
        if request.header("x-aws-ec2-metadata-token") != Some("session") {
            return Answer::status(401);
        }
        match path.strip_prefix(ROLES) {
            Some("") if role.is_empty() => Answer::status(404),
            Some("") => Answer::ok(role),
            Some("reader") => Answer::ok(
                br#"{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIA",
                    "SecretAccessKey": "hidden", "Token": "temporary"}"#,
            ),
            None if path == "/latest/meta-data/placement/region" => Answer::ok(b"eu-west-3"),
            _ => Answer::status(404),
        }
    })
}

#[test]
fn on_ec2_the_machines_role_signs() {
    let s3 = s3(|request| {
        let authorization = request.header("authorization").unwrap_or_default();
        authorization.contains("Credential=ASIA/20200102/eu-central-1/")
            && request.header("x-amz-security-token") == Some("temporary")
    });
    let object = read(clouds("aws", &s3, &ec2(b"reader\n")), "s3://bucket/a%20b");
    assert_eq!(object.unwrap(), b"object");
}

#[test]
fn on_ec2_without_a_role_nothing_is_signed() {
    let s3 = s3(|request| request.header("authorization").is_none());
    let object = read(clouds("aws", &s3, &ec2(b"")), "s3://bucket/a%20b");
    assert_eq!(object.unwrap(), b"object");
}

#[test]
fn an_object_that_is_kept_back_is_final_and_named() {
    let s3 = s3(|_| false);
    let error = read(clouds("qemu", &s3, &nobody()), "s3://bucket/a%20b").unwrap_err();
    assert_eq!(
        error.to_string(),
        "fetching s3://bucket/a%20b: the server answered 403; neither everybody \
         nor the role of this machine, if it has one, may read it"
    );
    assert!(error.is_final());
    let error = read(clouds("qemu", &s3, &nobody()), "s3://other/x").unwrap_err();
    assert_eq!(
        error.to_string(),
        "fetching s3://other/x: the server answered 404; there is nothing at this address: \
         check its spelling"
    );
}

/// Google's metadata service of a machine that may have a service account.
fn google(account: &'static [u8]) -> Server {
    Server::start(move |request, count| {
        let path = "/computeMetadata/v1/instance/service-accounts/default/token";
        match request.header("metadata-flavor") {
            Some("Google") if request.path == path && count == 1 => Answer::status(503),
            Some("Google") if request.path == path && !account.is_empty() => Answer::ok(account),
            Some("Google") => Answer::status(404),
            _ => Answer::status(403),
        }
    })
}

#[test]
fn google_storage_gets_the_service_accounts_token() {
    let account = br#"{"access_token": "ya29.x", "expires_in": 3599, "token_type": "Bearer"}"#;
    for (platform, account, expected) in [
        ("gcp", &account[..], Some("Bearer ya29.x")),
        ("gcp", &b""[..], None),
        ("qemu", &account[..], None),
    ] {
        let storage = Server::start(move |request, _| match request.path.as_str() {
            "/bucket/a/b%20c%2B" if request.header("authorization") == expected => {
                Answer::ok(b"object")
            }
            _ => Answer::status(403),
        });
        let object = read(
            clouds(platform, &storage, &google(account)),
            "gs://bucket/a/b%20c+",
        );
        assert_eq!(object.unwrap(), b"object", "{platform}");
    }
}

#[test]
fn objects_need_the_network() {
    let fetcher = Fetcher::new(Network::Absent, Duration::from_secs(1));
    for source in ["s3://b/k", "arn:aws:s3:::b/k", "gs://b/k", "tftp://h/f"] {
        let error = fetcher.read(&Resource {
            source: Some(source.to_owned()),
            ..Resource::default()
        });
        let error = error.unwrap_err();
        assert!(matches!(error, FetchError::NeedsNetwork { .. }), "{error}");
        assert!(error.to_string().contains(source), "{error}");
    }
}
