//! What configs in YAML become.
#![cfg(feature = "tools")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that fails is a failed test"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use ignition::config::{self, Config};
use ignition::fetch::Source;
use ignition::tools::butane::{Files, Translation, translate};
use proptest::prelude::*;
use serde_json::{Value, json};

fn with_files(text: &str, directory: Option<&Path>) -> Translation {
    translate(
        "t.yaml",
        text.as_bytes(),
        &mut Files::new(directory).unwrap(),
    )
}

/// The JSON of a config that is right.
fn right(text: &str) -> Value {
    let Translation { json, found, .. } = with_files(text, None);
    assert_eq!(found.errors, [], "{text}");
    assert_eq!(found.warnings, [], "{text}");
    json.unwrap()
}

fn ballast(body: &str) -> String {
    format!("variant: ballast\nversion: 1.0.0\n{body}")
}

/// `line:column key: message` of all problems, errors first.
fn problems(translation: &Translation) -> Vec<String> {
    let found = &translation.found;
    let all = found.errors.iter().chain(&found.warnings);
    all.map(|problem| {
        let (line, column) = problem.place.position.unwrap_or_default();
        format!("{line}:{column} {}: {}", problem.place.key, problem.message)
    })
    .collect()
}

fn refused(text: &str, words: &str) {
    let translation = with_files(text, None);
    let found = problems(&translation);
    assert!(!translation.found.errors.is_empty(), "accepted: {text}");
    assert!(translation.json.is_none(), "{text}");
    assert!(
        found[0].contains(words),
        "expected {words:?}, found {found:#?}"
    );
}

/// The contents of the file at `path`.
fn contents(json: &Value, path: &str) -> String {
    let files = json["storage"]["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["path"] == path);
    let contents = &file.unwrap_or_else(|| panic!("no {path}"))["contents"];
    let Ok(Source::Data(bytes)) = Source::parse(contents["source"].as_str().unwrap()) else {
        panic!("no data URL at {path}");
    };
    if contents["compression"] != "gzip" {
        return String::from_utf8(bytes).unwrap();
    }
    std::io::read_to_string(flate2::read::GzDecoder::new(bytes.as_slice())).unwrap()
}

#[test]
fn every_version_becomes_its_spec() {
    for (variant, specs) in [
        (
            "fcos",
            &[
                "3.0.0", "3.1.0", "3.2.0", "3.2.0", "3.3.0", "3.4.0", "3.5.0", "3.6.0",
            ][..],
        ),
        ("flatcar", &["3.3.0", "3.4.0"]),
        ("ballast", &["3.6.0"]),
    ] {
        for (minor, spec) in specs.iter().enumerate() {
            let text = format!("variant: {variant}\nversion: 1.{minor}.0\n");
            assert_eq!(right(&text), json!({ "ignition": { "version": spec } }));
        }
        let next = format!("variant: {variant}\nversion: 1.{}.0\n", specs.len());
        refused(&next, "there is no version");
        let experimental = format!(
            "variant: {variant}\nversion: 1.{}.0-experimental\n",
            specs.len()
        );
        refused(&experimental, "experimental");
    }
}

#[test]
fn keys_become_those_of_the_spec() {
    let json = right(&ballast(
        r#"
ignition:
  timeouts: {http_response_headers: 20, http_total: 0x20}
passwd:
  users:
    - name: core
      uid: 1001
      home_dir: /home/core
      no_create_home: yes
      password_hash: "*"
      ssh_authorized_keys: [ssh-ed25519 AAAA a b]
      should_exist: true
  groups:
    - {name: wheel, gid: 0700}
storage:
  directories: [{path: /srv/a, mode: 02755, user: {name: core}}]
  files:
    - path: /etc/hello
      mode: 0640
      overwrite: true
      group: {id: 7}
      contents: {inline: "hello world\n"}
      append: [{inline: more}]
    - path: /etc/big
      contents:
        source: https://example.com/big
        compression: gzip
        http_headers: [{name: X, value: 12}]
        verification: {hash: sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}
  links: [{path: /etc/l, target: /etc/hello, hard: no}]
systemd:
  units:
    - name: a.service
      enabled: true
      contents: |
        [Service]
        ExecStart=/bin/true
        [Install]
        WantedBy=multi-user.target
      dropins: [{name: x.conf, contents: "[Unit]\n"}]
    - {name: b.service, mask: true}
"#,
    ));
    let unit = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
    let hash = "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let expected = json!({
        "ignition": {
            "version": "3.6.0",
            "timeouts": { "httpResponseHeaders": 20, "httpTotal": 32 },
        },
        "passwd": {
            "users": [{
                "name": "core", "uid": 1001, "homeDir": "/home/core", "noCreateHome": true,
                "passwordHash": "*", "sshAuthorizedKeys": ["ssh-ed25519 AAAA a b"],
                "shouldExist": true,
            }],
            "groups": [{ "name": "wheel", "gid": 0o700 }],
        },
        "storage": {
            "directories": [{ "path": "/srv/a", "mode": 0o2755, "user": { "name": "core" } }],
            "files": [
                {
                    "path": "/etc/hello", "mode": 0o640, "overwrite": true, "group": { "id": 7 },
                    "contents": { "source": "data:,hello%20world%0A", "compression": "" },
                    "append": [{ "source": "data:,more", "compression": "" }],
                },
                {
                    "path": "/etc/big",
                    "contents": {
                        "source": "https://example.com/big", "compression": "gzip",
                        "httpHeaders": [{ "name": "X", "value": "12" }],
                        "verification": { "hash": hash },
                    },
                },
            ],
            "links": [{ "path": "/etc/l", "target": "/etc/hello", "hard": false }],
        },
        "systemd": {
            "units": [
                {
                    "name": "a.service", "enabled": true, "contents": unit,
                    "dropins": [{ "name": "x.conf", "contents": "[Unit]\n" }],
                },
                { "name": "b.service", "mask": true },
            ],
        },
    });
    assert_eq!(json, expected);
}

#[test]
fn disks_are_translated_though_a_host_may_refuse_them() {
    let text = ballast(
        "kernel_arguments: {should_exist: [quiet]}\nstorage:\n  disks:\n    - device: /dev/vdb\n      \
         wipe_table: true\n      partitions:\n        - {label: a, size_mib: 10, start_mib: 1, \
         type_guid: 0FC63DAF-8483-4772-8E79-3D69D8477DE4, wipe_partition_entry: true}\n  raid:\n    \
         - {name: r, level: raid1, devices: [/dev/vdc, /dev/vdd], spares: 0}\n  luks:\n    \
         - {name: l, device: /dev/md/r, clevis: {tpm2: true}, key_file: {inline: k}}\n  \
         filesystems:\n    - {device: /dev/mapper/l, format: ext4, path: /var/data, \
         mount_options: [noatime]}\n",
    );
    let translation = with_files(&text, None);
    assert_eq!(translation.found.errors, []);
    let json = translation.json.unwrap();
    assert_eq!(
        json["storage"]["disks"][0]["partitions"][0],
        json!({
            "label": "a", "sizeMiB": 10, "startMiB": 1, "wipePartitionEntry": true,
            "typeGuid": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
        })
    );
    assert_eq!(json["storage"]["luks"][0]["keyFile"]["source"], "data:,k");
    assert_eq!(
        json["storage"]["filesystems"][0]["mountOptions"],
        json!(["noatime"])
    );
    assert_eq!(json["kernelArguments"]["shouldExist"], json!(["quiet"]));
}

/// The units of a config with a file system, more of `storage` and more.
fn units(filesystem: &str, storage: &str, more: &str) -> Value {
    let text = ballast(&format!(
        "storage:\n  filesystems:\n    - {{{filesystem}}}\n{storage}{more}"
    ));
    let translation = with_files(&text, None);
    assert_eq!(translation.found.errors, []);
    translation.json.unwrap()["systemd"]["units"].clone()
}

#[test]
fn mount_units_have_systemds_names_and_wait_for_what_they_need() {
    let disk = "device: /dev/disk/by-label/my-data, path: /var/lib/my data, format: ext4, \
                with_mount_unit: true, mount_options: [noatime, x=50%]";
    let expected = "[Unit]\nRequires=systemd-fsck@dev-disk-by\\x2dlabel-my\\x2ddata.service\n\
                    After=systemd-fsck@dev-disk-by\\x2dlabel-my\\x2ddata.service\n\n\
                    [Mount]\nWhere=/var/lib/my data\nWhat=/dev/disk/by-label/my-data\nType=ext4\n\
                    Options=noatime,x=50%%\n\n[Install]\nRequiredBy=local-fs.target\n";
    assert_eq!(
        units(disk, "", ""),
        json!([{ "name": "var-lib-my\\x20data.mount", "enabled": true, "contents": expected }])
    );
    let swap = units(
        "device: /dev/vdb1, format: swap, with_mount_unit: true",
        "",
        "",
    );
    assert_eq!(swap[0]["name"], "dev-vdb1.swap");
    assert_eq!(
        swap[0]["contents"],
        "[Swap]\nWhat=/dev/vdb1\n\n[Install]\nRequiredBy=swap.target\n"
    );
    let tang = "  luks:\n    - {name: l, device: /dev/vdb, \
                clevis: {tang: [{url: http://t, thumbprint: x}]}}\n";
    let remote = "device: /dev/mapper/l, path: /var/l, format: xfs, with_mount_unit: true";
    let unit = units(remote, tang, "")[0]["contents"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(unit.contains("Options=_netdev\n"), "{unit}");
    assert!(unit.contains("RequiredBy=remote-fs.target"), "{unit}");
}

#[test]
fn a_unit_of_the_config_goes_before_the_one_that_is_made() {
    let own = "systemd:\n  units:\n    - {name: var-a.mount, enabled: false}\n";
    let filesystem = "device: /dev/vdb, path: /var/a, format: ext4, with_mount_unit: true";
    let found = units(filesystem, "", own);
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["enabled"], false);
    assert!(
        found[0]["contents"]
            .as_str()
            .unwrap()
            .contains("Where=/var/a")
    );
}

#[test]
fn a_mount_unit_needs_a_path_and_a_format() {
    for (filesystem, words) in [
        ("device: /dev/vdb, format: ext4", "needs the key path"),
        ("device: /dev/vdb, path: /var/a", "format"),
        ("device: /dev/vdb, path: /var/a, format: none", "format"),
    ] {
        let body = format!("storage: {{filesystems: [{{{filesystem}, with_mount_unit: true}}]}}");
        refused(&ballast(&body), words);
    }
}

#[test]
fn local_files_keys_units_and_trees_are_embedded() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    };
    write("motd", &"a long line\n".repeat(100));
    write("keys.pub", "ssh-ed25519 AAAA a\r\n\nssh-ed25519 BBBB b\n");
    write("a.service", "[Service]\nExecStart=/bin/true\n");
    write("tree/etc/x", "x");
    write("tree/bin/run", "#!/bin/sh\n");
    let run = directory.path().join("tree/bin/run");
    fs::set_permissions(run, fs::Permissions::from_mode(0o700)).unwrap();
    symlink("../etc/x", directory.path().join("tree/bin/link")).unwrap();
    write("child.ign", r#"{"ignition": {"version": "3.0.0"}}"#);
    let text = ballast(
        "ignition: {config: {merge: [{local: child.ign}]}}\n\
         passwd: {users: [{name: core, ssh_authorized_keys: [first], ssh_authorized_keys_local: [keys.pub]}]}\n\
         systemd: {units: [{name: a.service, contents_local: a.service}]}\n\
         storage:\n  files:\n    - {path: /etc/motd, contents: {local: motd}}\n    \
         - {path: /opt/etc/x, mode: 0600}\n  trees:\n    - {local: tree, path: /opt}\n",
    );
    let translation = with_files(&text, Some(directory.path()));
    assert_eq!(problems(&translation), [""; 0]);
    let json = translation.json.unwrap();
    assert_eq!(
        json["passwd"]["users"][0]["sshAuthorizedKeys"],
        json!(["first", "ssh-ed25519 AAAA a", "ssh-ed25519 BBBB b"])
    );
    assert_eq!(
        json["systemd"]["units"][0]["contents"],
        "[Service]\nExecStart=/bin/true\n"
    );
    assert_eq!(
        json["storage"]["files"][0]["contents"]["compression"],
        "gzip"
    );
    assert_eq!(contents(&json, "/etc/motd"), "a long line\n".repeat(100));
    assert_eq!(contents(&json, "/opt/etc/x"), "x");
    assert_eq!(contents(&json, "/opt/bin/run"), "#!/bin/sh\n");
    let mode = |at: usize| json["storage"]["files"][at]["mode"].clone();
    assert_eq!([mode(1), mode(2)], [json!(0o600), json!(0o755)]);
    assert_eq!(
        json["storage"]["links"],
        json!([{ "path": "/opt/bin/link", "target": "../etc/x" }])
    );
    let merged = json["ignition"]["config"]["merge"][0]["source"]
        .as_str()
        .unwrap();
    assert!(merged.starts_with("data:"), "{merged}");
}

#[test]
fn a_tree_can_set_owners_and_modes() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("d")).unwrap();
    fs::write(directory.path().join("d/f"), "").unwrap();
    let text = ballast(
        "storage: {trees: [{local: ., path: /srv, file_mode: 0600, dir_mode: 0700, user: {name: u}}]}",
    );
    let json = with_files(&text, Some(directory.path())).json.unwrap();
    let user = json!({ "name": "u" });
    assert_eq!(
        json["storage"]["directories"],
        json!([
            { "path": "/srv", "mode": 0o700, "user": user },
            { "path": "/srv/d", "mode": 0o700, "user": user },
        ])
    );
    assert_eq!(json["storage"]["files"][0]["user"], user);
    assert_eq!(json["storage"]["files"][0]["mode"], 0o600);
}

#[test]
fn local_paths_stay_inside_and_mistakes_in_local_files_are_found() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("id"),
        "-----BEGIN OPENSSH PRIVATE KEY-----\n",
    )
    .unwrap();
    fs::write(directory.path().join("bad.ign"), "{\"ignition\": {}}").unwrap();
    symlink("/etc", directory.path().join("out")).unwrap();
    for (body, words) in [
        (
            "storage: {files: [{path: /a, contents: {local: ../a}}]}",
            "leads out of",
        ),
        (
            "storage: {files: [{path: /a, contents: {local: out/passwd}}]}",
            "leads out of",
        ),
        ("storage: {trees: [{local: out}]}", "leads out of"),
        ("storage: {trees: [{local: id}]}", "is not a directory"),
        (
            "storage: {files: [{path: /a, contents: {local: none}}]}",
            "No such file",
        ),
        (
            "passwd: {users: [{name: a, ssh_authorized_keys_local: [id]}]}",
            "private key",
        ),
        (
            "ignition: {config: {replace: {local: bad.ign}}}",
            "spec version is missing",
        ),
        (
            "storage: {trees: [{local: .}], files: [{path: /id, contents: {inline: a}}]}",
            "is in storage.files too",
        ),
    ] {
        let found = problems(&with_files(&ballast(body), Some(directory.path())));
        assert!(found[0].contains(words), "{body}: {found:?}");
    }
    refused(&ballast("storage: {trees: [{local: a}]}"), "--files-dir");
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, expected) in [
        (
            ballast("storage:\n  files:\n    - path: etc/x\n"),
            "5:13 storage.files.0.path: expected an absolute path",
        ),
        (
            "variant: fcos\nversion: 1.1.0\nstorage:\n  luks: []\n".to_owned(),
            "4:3 storage.luks: \"luks\" needs version 1.2.0 of variant fcos; this config says 1.1.0",
        ),
        (
            "variant: flatcar\nversion: 1.1.0\nupdate: {}\n".to_owned(),
            "3:1 update: \"update\" is for variant ballast only",
        ),
        (
            "variant: fcos\nversion: 1.5.0\nboot_device:\n  mirror: {}\n".to_owned(),
            "3:1 boot_device: \"boot_device\" is about the disk layout",
        ),
        (
            ballast("storage:\n  files:\n    - path: /a\n      mode: \"0644\"\n"),
            "6:13 storage.files.0.mode: expected a number: write 0644 without quotes",
        ),
        (
            ballast("storage: {files: [{path: /a, contents: {inline: a, source: 'data:,b'}}]}"),
            "source and inline are both given",
        ),
        (
            ballast(
                "storage: {files: [{path: /a, contents: {inline: a, verification: {hash: sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}}}]}",
            ),
            "the contents have another hash, sha256-ca978112",
        ),
        (
            ballast("storage: [a]"),
            "3:10 storage: expected keys and values, found a list",
        ),
        (
            ballast("storage: {files: {path: /a}}"),
            "expected a list (every entry starts with",
        ),
        (
            ballast("storage: {files: [{mode: 0644}]}"),
            "missing field `path`",
        ),
    ] {
        refused(&text, expected);
    }
}

#[test]
fn unknown_keys_are_warned_about_with_what_may_be_meant() {
    for (body, expected) in [
        (
            "storage:\n  files:\n    - path: /a\n      mdoe: 0644\n",
            "did you mean \"mode\"?",
        ),
        (
            "passwd: {users: [{name: a, sshAuthorizedKeys: []}]}",
            "did you mean \"ssh_authorized_keys\"?",
        ),
        ("files: []", "it belongs below \"storage\""),
        (
            "storage: {files: [{path: /a, contents: {text: a}}]}",
            "keys here are compression,",
        ),
    ] {
        let translation = with_files(&ballast(body), None);
        let found = problems(&translation);
        assert_eq!(translation.found.errors, [], "{body}");
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{body}: {found:?}"
        );
    }
}

#[test]
fn a_mode_that_was_not_meant_as_decimal_is_warned_about() {
    let mode = |mode: &str| {
        let body = format!("storage: {{files: [{{path: /a, mode: {mode}}}]}}");
        problems(&with_files(&ballast(&body), None))
    };
    for bad in ["644", "755", "600", "640", "700", "1777"] {
        let found = mode(bad);
        assert!(
            found.len() == 1 && found[0].contains(&format!("write 0{bad}")),
            "{found:?}"
        );
    }
    for good in ["0644", "420", "493", "0o755", "384", "256", "0"] {
        assert_eq!(mode(good), [""; 0], "{good}");
    }
}

/// An authority, and certificates that it signs.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "The authority");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        Self(rcgen::CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn pem(&self) -> String {
        pem("CERTIFICATE", self.0.der())
    }

    /// Certificate and key, valid from the first of these years to the first of the other.
    fn certify(&self, name: &str, years: (i32, i32)) -> [String; 2] {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        [
            pem("CERTIFICATE", certificate.der()),
            pem("PRIVATE KEY", &key.serialize_der()),
        ]
    }
}

fn pem(kind: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}

/// A `cluster:` with this material, and more of its keys.
fn cluster(ca: &str, [certificate, key]: &[String; 2], more: &str) -> String {
    let indented = |text: &str| text.trim_end().replace('\n', "\n      ");
    format!(
        "cluster:\n  endpoint: https://10.0.0.1:6443\n  ca:\n    inline: |\n      {}\n  \
         certificate:\n    inline: |\n      {}\n  key:\n    inline: |\n      {}\n  \
         dns: [10.96.0.10, fd00::10]\n  domain: cluster.local\n{more}",
        indented(ca),
        indented(certificate),
        indented(key),
    )
}

/// One whose material is at URLs, so that nothing is known of it here.
const ELSEWHERE: &str = "cluster:
  endpoint: https://10.0.0.1:6443
  ca: {source: https://a.example/ca}
  certificate: {source: https://a.example/crt}
  key: {source: https://a.example/key}
  dns: [10.96.0.10, fd00::10]
  domain: cluster.local
  name: web-1
  labels: {zone: eu-1}
  agent: {binary: /opt/agent, preset: nomad, args: [a]}
";

/// A right one.
fn right_cluster(more: &str) -> (String, String, [String; 2]) {
    let authority = Authority::new();
    let pair = authority.certify("web-1", (2020, 2090));
    (
        cluster(&authority.pem(), &pair, more),
        authority.pem(),
        pair,
    )
}

fn file<'a>(json: &'a Value, path: &str) -> Option<&'a Value> {
    let files = json["storage"]["files"].as_array().unwrap();
    files.iter().find(|file| file["path"] == path)
}

#[test]
fn a_cluster_becomes_its_files_and_the_agent() {
    let (text, ca, [certificate, key]) = right_cluster(
        "  name: web-1\n  labels: {zone: eu-1, example.com/disk: fast}\n  agent:\n    \
         image: registry.example.com/agent:1\n    args: [--verbose, \"50% of $HOME\"]\n",
    );
    let json = right(&ballast(&text));
    for (path, expected) in [
        ("/etc/cluster/endpoint", "https://10.0.0.1:6443\n"),
        ("/etc/cluster/ca.crt", &ca),
        ("/etc/cluster/node.crt", &certificate),
        ("/etc/cluster/node.key", &key),
        ("/etc/cluster/dns", "10.96.0.10\nfd00::10\n"),
        ("/etc/cluster/domain", "cluster.local\n"),
        ("/etc/cluster/name", "web-1\n"),
        ("/etc/cluster/labels", "zone=eu-1\nexample.com/disk=fast\n"),
        (
            "/etc/cluster/cluster.env",
            "CLUSTER_ENDPOINT=https://10.0.0.1:6443\nCLUSTER_ADDRESS=10.0.0.1:6443\n\
             CLUSTER_CA=/etc/cluster/ca.crt\n\
             CLUSTER_CERTIFICATE=/etc/cluster/node.crt\nCLUSTER_KEY=/etc/cluster/node.key\n\
             CLUSTER_DNS=\"10.96.0.10 fd00::10\"\nCLUSTER_DOMAIN=cluster.local\n\
             CLUSTER_NAME=web-1\nCLUSTER_LABELS=zone=eu-1,example.com/disk=fast\n",
        ),
        (
            "/etc/systemd/resolved.conf.d/50-cluster.conf",
            "[Resolve]\nDNS=10.96.0.10 fd00::10\nDomains=~cluster.local\n",
        ),
    ] {
        assert_eq!(contents(&json, path), expected, "{path}");
    }
    assert_eq!(file(&json, "/etc/cluster/node.key").unwrap()["mode"], 0o600);
    let drop_in = "[Service]\nExecStart=\nExecStart=/usr/bin/rocket run $CLUSTER_ACCESS \
         --hostname=${CLUSTER_NAME} registry.example.com/agent:1 $CLUSTER_PRIVILEGES -- \
         \"--verbose\" \"50%% of $HOME\"\n";
    assert_eq!(
        json["systemd"]["units"],
        json!([{ "name": "cluster-agent.service", "enabled": true,
            "dropins": [{ "name": "50-agent.conf", "contents": drop_in }] }])
    );
}

#[test]
fn a_token_stands_for_certificate_and_key() {
    let authority = Authority::new();
    let ca = authority.pem().trim_end().replace('\n', "\n      ");
    let text = format!(
        "cluster:\n  endpoint: https://api.cluster.example\n  ca:\n    inline: |\n      {ca}\n  \
         bootstrap_token: {{inline: abcdef.0123456789}}\n  agent: {{binary: /opt/bin/kubelet, \
         preset: kubelet}}\n"
    );
    let json = right(&ballast(&text));
    assert_eq!(contents(&json, "/etc/cluster/token"), "abcdef.0123456789");
    assert_eq!(file(&json, "/etc/cluster/token").unwrap()["mode"], 0o600);
    assert_eq!(file(&json, "/etc/cluster/node.crt"), None);
    assert_eq!(
        contents(&json, "/etc/cluster/cluster.env"),
        "CLUSTER_ENDPOINT=https://api.cluster.example\nCLUSTER_ADDRESS=api.cluster.example:443\n\
         CLUSTER_CA=/etc/cluster/ca.crt\nCLUSTER_TOKEN_FILE=/etc/cluster/token\n"
    );
    let kubeconfig = contents(&json, "/etc/cluster/kubeconfig");
    assert!(
        kubeconfig.contains("user: {tokenFile: /etc/cluster/token}"),
        "{kubeconfig}"
    );
    assert_eq!(
        json["storage"]["links"],
        json!([{ "path": "/etc/systemd/system/cluster-agent.service.d/40-preset.conf",
            "target": "/usr/lib/ballast/cluster/presets/kubelet.conf" }])
    );
    let dropins = &json["systemd"]["units"][0]["dropins"];
    assert_eq!(
        dropins[0]["contents"],
        "[Service]\nExecStart=\nExecStart=/opt/bin/kubelet $CLUSTER_PRESET \
         \"--bootstrap-kubeconfig=/etc/cluster/kubeconfig\" \
         \"--kubeconfig=/var/lib/kubelet/kubeconfig\" \
         \"--hostname-override=${CLUSTER_NAME}\"\n"
    );
    // The token is in its file, and nowhere else.
    let without = json
        .to_string()
        .replace(&file(&json, "/etc/cluster/token").unwrap().to_string(), "");
    assert!(!without.contains("0123456789"), "{without}");
    let wrong = text.replace("abcdef.0123456789", "abcdef.012 3456789");
    let found = problems(&with_files(&ballast(&wrong), None)).join("\n");
    assert!(
        found.contains("cluster.bootstrap_token: expected a token"),
        "{found}"
    );
    assert!(!found.contains("3456789"), "{found}");
}

#[test]
fn presets_say_what_is_this_nodes_own() {
    let line = |preset: &str| {
        let (text, ..) = right_cluster(&format!(
            "  name: web-1\n  labels: {{zone: eu-1, disk: fast}}\n  agent: {{binary: \
             /opt/bin/agent, preset: {preset}, args: [last]}}\n"
        ));
        let json = right(&ballast(&text));
        let dropins = json["systemd"]["units"][0]["dropins"].clone();
        (dropins[0]["contents"].as_str().unwrap().to_owned(), json)
    };
    let (kubelet, json) = line("kubelet");
    assert_eq!(
        kubelet,
        "[Service]\nExecStart=\nExecStart=/opt/bin/agent $CLUSTER_PRESET \
         \"--kubeconfig=/etc/cluster/kubeconfig\" \"--hostname-override=${CLUSTER_NAME}\" \
         \"--node-labels=${CLUSTER_LABELS}\" \"--cluster-dns=10.96.0.10,fd00::10\" \
         \"--cluster-domain=cluster.local\" \"last\"\n"
    );
    let kubeconfig = contents(&json, "/etc/cluster/kubeconfig");
    assert!(
        kubeconfig.contains("client-key: /etc/cluster/node.key"),
        "{kubeconfig}"
    );
    let (nomad, json) = line("nomad");
    assert_eq!(
        nomad,
        "[Service]\nExecStart=\nExecStart=/opt/bin/agent $CLUSTER_PRESET \
         \"-servers=${CLUSTER_ADDRESS}\" \"-node=${CLUSTER_NAME}\" \"-meta=zone=eu-1\" \
         \"-meta=disk=fast\" \"last\"\n"
    );
    assert_eq!(file(&json, "/etc/cluster/kubeconfig"), None);
}

/// The release has what the presets name.
#[test]
fn presets_are_in_the_image() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/tree");
    for name in ["kubelet.conf", "kubelet.yaml", "nomad.conf", "nomad.hcl"] {
        let path = tree.join("usr/lib/ballast/cluster/presets").join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("ExecStart"), "{name}");
    }
    let unit = tree.join("usr/lib/systemd/system/cluster-agent.service");
    let unit = fs::read_to_string(unit).unwrap();
    for variable in ["CLUSTER_ACCESS", "CLUSTER_PRIVILEGES"] {
        assert!(
            unit.contains(&format!("Environment=\"{variable}=")),
            "{variable}"
        );
    }
}

#[test]
fn a_cluster_without_an_agent_enables_what_the_config_says_itself() {
    let (text, ..) = right_cluster("");
    assert_eq!(right(&ballast(&text))["systemd"]["units"], json!([]));
    let own = format!(
        "{text}systemd:\n  units:\n    - name: cluster-agent.service\n      contents: |\n        \
         [Service]\n        ExecStart=/opt/agent\n        [Install]\n        \
         WantedBy=multi-user.target\n"
    );
    let json = right(&ballast(&own));
    assert_eq!(json["systemd"]["units"][0]["enabled"], true);
    assert_eq!(json["systemd"]["units"][0].get("dropins"), None);
}

#[test]
fn a_cluster_that_cannot_work_is_refused() {
    let (text, ..) = right_cluster(
        "  name: web-1\n  labels: {zone: eu-1}\n  agent: {image: a.example/b:1, args: [-v]}\n",
    );
    for (from, to, words) in [
        (
            "https://10.0.0.1:6443",
            "10.0.0.1:6443",
            "the address of the control plane",
        ),
        ("  domain: cluster.local\n", "", "dns needs domain"),
        ("fd00::10", "dns.example", "expected IP addresses"),
        (
            "domain: cluster.local",
            "domain: \"a b\"",
            "expected a domain",
        ),
        ("  ca:\n", "  unknown:\n", "a cluster needs ca"),
        ("  key:\n", "  unknown:\n", "a cluster needs key"),
        ("  name: web-1", "  name: web 1", "expected a name"),
        (
            "  name: web-1",
            "  name: web-2",
            "cluster.certificate: the node's certificate names ",
        ),
        (
            "zone: eu-1",
            "zone: eu 1",
            "cluster.labels.zone: a label's value",
        ),
        ("zone: eu-1", "\"a=b\": eu-1", "a label's key"),
        ("{zone: eu-1}", "[zone]", "labels: expected keys and values"),
        (
            "image: a.example/b:1",
            "image: --net=none",
            "the name of an image",
        ),
        (
            "image: a.example/b:1",
            "binary: /usr/bin/x",
            "a program below /opt",
        ),
        (
            "image: a.example/b:1",
            "binary: /opt/x, image: b",
            "keep one of them",
        ),
        ("image: a.example/b:1, ", "", "an agent needs image"),
        ("args: [-v]", "preset: k3s", "expected kubelet or nomad"),
        ("args: [-v]", "args: [\"a\\nb\"]", "a line break"),
        (
            "  dns:",
            "  bootstrap_token: {inline: x}\n  dns:",
            "needs no bootstrap_token",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let found = problems(&with_files(&ballast(&text.replacen(from, to, 1)), None));
        assert!(
            found.iter().any(|line| line.contains(words)),
            "{words}: {found:?}"
        );
    }
    let both = format!("{text}storage: {{files: [{{path: /etc/cluster/dns}}]}}\n");
    refused(&ballast(&both), "duplicate");
}

#[test]
fn material_that_a_cluster_would_refuse_is_refused_with_its_line() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = authority.certify("web-1", (2020, 2090));
    let other = authority.certify("web-1", (2020, 2090));
    let ca = authority.pem();
    let mixed = [good[0].clone(), other[1].clone()];
    let swapped = [good[1].clone(), good[0].clone()];
    for (ca, pair, key, words) in [
        (&ca, &mixed, "key", "they are not a pair"),
        (
            &ca,
            &swapped,
            "certificate",
            "holds a private key, and no certificate",
        ),
        (
            &ca,
            &swapped,
            "key",
            "holds a certificate, and no private key",
        ),
        (
            &stranger.pem(),
            &good,
            "certificate",
            "signed by another authority",
        ),
        (
            &good[0],
            &good,
            "certificate",
            "not signed by the authority",
        ),
        (
            &ca,
            &authority.certify("web-1", (2020, 2024)),
            "certificate",
            "expired on 2024-01-01",
        ),
        (
            &good[1],
            &good,
            "ca",
            "holds a private key, and no certificate",
        ),
    ] {
        let text = ballast(&cluster(ca, pair, ""));
        let line = 1
            + text
                .lines()
                .position(|line| line == format!("  {key}:"))
                .unwrap()
            + 1;
        let found = with_files(&text, None).found.errors;
        let expected = format!("cluster.{key}");
        let fitting = found.iter().find(|problem| problem.message.contains(words));
        let problem = fitting.unwrap_or_else(|| panic!("{words}: {found:?}"));
        assert_eq!(problem.place.key, expected, "{words}");
        assert_eq!(problem.place.position.unwrap().0, line, "{words}");
        let shown = found.iter().map(ToString::to_string).collect::<String>();
        let secret = good[1].lines().nth(1).unwrap();
        assert!(!shown.contains(&secret[..20]), "{words}: {shown}");
    }
    // The host's clock may be another one.
    let text = cluster(&ca, &authority.certify("web-1", (2080, 2090)), "");
    let translation = with_files(&ballast(&text), None);
    assert_eq!(translation.found.errors, []);
    let found = problems(&translation).join("\n");
    assert!(found.contains("is valid from 2080-01-01"), "{found}");
}

/// The keys of `[update]` as the update engine has them.
#[derive(Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default)]
struct Update {
    enabled: bool,
    server: String,
    channel: String,
    poll: daemon::policy::Length,
    wave: u8,
    allow_downgrade: bool,
    reboot: String,
}

impl Default for Update {
    fn default() -> Self {
        Self {
            enabled: true,
            server: String::new(),
            channel: "stable".to_owned(),
            poll: daemon::policy::Length::from_secs(3600),
            wave: 0,
            allow_downgrade: false,
            reboot: "off".to_owned(),
        }
    }
}

impl daemon::policy::Section for Update {
    const NAME: &'static str = "update";
}

#[test]
fn update_and_reboot_become_a_fragment_that_the_policy_takes() {
    let json = right(&ballast(
        "update: {enabled: false, server: https://u.example/, channel: beta, poll: 10min, \
         wave: 30, allow_downgrade: true, reboot: off}\n\
         reboot:\n  strategy: etcd-lock\n  login_grace: 5min\n  windows:\n    \
         - {days: [Sat, Sun], start: 02:30, length: 3h, time_zone: Europe/Paris}\n  \
         etcd:\n    endpoints: [https://10.0.0.1:2379, https://10.0.0.2:2379]\n    \
         group: workers\n    ca: /etc/cluster/ca.crt\n    user: lock\n    \
         brake_threshold: 2\n    expire_after: 2h\n    \
         password_file: /etc/ballast/etcd-password\n  \
         fleet_lock: {url: https://lock.example/, group: default}\n",
    ));
    let directory = tempfile::tempdir().unwrap();
    let text = contents(&json, "/etc/ballast/config.d/50-provisioned.toml");
    fs::write(directory.path().join("50.toml"), &text).unwrap();
    let roots = daemon::policy::Roots::new(vec![directory.path().to_owned()]);
    let schema = daemon::policy::Schema::default().with::<Update>();
    let (loaded, problems) = daemon::policy::load(&roots, &daemon::policy::reboot::schema(schema));
    assert_eq!(problems, [], "{text}");
    assert_eq!(daemon::policy::reboot::complaints(&loaded), []);
    let update: Update = loaded.section().unwrap();
    let expected = Update {
        enabled: false,
        server: "https://u.example/".to_owned(),
        channel: "beta".to_owned(),
        poll: daemon::policy::Length::from_secs(600),
        wave: 30,
        allow_downgrade: true,
        reboot: "off".to_owned(),
    };
    assert_eq!(update, expected);
    for line in [
        "[[reboot.windows]]",
        "days = [\"Sat\", \"Sun\"]",
        "start = \"02:30\"",
        "strategy = \"etcd-lock\"",
        "[reboot.etcd]",
        "endpoints = [\"https://10.0.0.1:2379\", \"https://10.0.0.2:2379\"]",
        "password_file = \"/etc/ballast/etcd-password\"",
        "[reboot.fleet_lock]",
        "url = \"https://lock.example/\"",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

#[test]
fn wrong_policy_is_refused_where_it_is_written() {
    for (body, expected) in [
        (
            "update:\n  poll: soon\n",
            "4:9 update.poll: \"soon\" is not a length of time",
        ),
        ("update: {wave: 101}", "from 0 to 100"),
        ("update: {reboot: maybe}", "expected off or immediately"),
        ("update: {server: ftp://a}", "expected an address"),
        (
            "reboot: {strategy: never}",
            "is not a strategy: reboot, etcd-lock, fleet-lock or off",
        ),
        (
            "reboot: {windows: [{start: 25:00, length: 1h}]}",
            "is not a time of day such as 02:30",
        ),
        (
            "reboot: {windows: [{days: [someday], start: 02:00, length: 1h}]}",
            "is not a day such as Mon",
        ),
        (
            "reboot: {windows: [{start: 02:00, length: 1h, time_zone: Mars}]}",
            "is not a time zone such as",
        ),
        ("reboot: {windows: [{length: 1h}]}", "a window needs start"),
        (
            "reboot: {windows: [{start: 02:00, length: 8 days}]}",
            "a window is a week long at most",
        ),
        (
            "reboot: {etcd: {endpoints: [https://a], brake_threshold: 17}}",
            "is not a number from 1 to 16",
        ),
        (
            "reboot: {etcd: {endpoints: [https://a], expire_after: 1min}}",
            "give it 10min at least",
        ),
        (
            "reboot: {strategy: etcd-lock}",
            "the strategy etcd-lock needs reboot.etcd.endpoints",
        ),
        ("reboot: {etcd: {}}", "needs reboot.etcd.endpoints"),
        (
            "reboot: {etcd: {endpoints: []}}",
            "needs reboot.etcd.endpoints",
        ),
        (
            "reboot: {fleet_lock: {group: a}}",
            "needs reboot.fleet_lock.url",
        ),
        (
            "reboot: {etcd: {endpoints: [10.0.0.1:2379]}}",
            "is not an address such as https://10.0.0.1:2379",
        ),
        (
            "reboot:\n  etcd:\n    endpoints: [https://a]\n    key: /etc/key.pem\n",
            "6:10 reboot.etcd.key: key needs certificate beside it",
        ),
        (
            "reboot: {etcd: {endpoints: [https://a], user: lock}}",
            "user needs password_file",
        ),
        (
            "reboot: {etcd: {endpoints: [https://a], ca: ca.pem}}",
            "is not an absolute path on the host",
        ),
        (
            "reboot: {fleet_lock: {url: lock.example}}",
            "is not an address of http or https",
        ),
        (
            "reboot: {fleet_lock: {url: https://a, group: a b}}",
            "is not the name of a group (letters, digits",
        ),
    ] {
        refused(&ballast(body), expected);
    }
}

/// A config as data, to be written as YAML and found again.
#[derive(Debug, Clone)]
struct Meant {
    files: Vec<(String, u32, String)>,
    users: Vec<(String, Vec<String>)>,
}

fn meant() -> impl Strategy<Value = Meant> {
    let file = ("[a-z]{1,8}", 0_u32..0o7777, any::<String>());
    let user = ("[a-z]{1,8}", prop::collection::vec("[ -~]{1,30}", 0..3));
    let files = prop::collection::btree_map("[a-z]{1,8}", file, 0..5);
    let users = prop::collection::btree_map("[a-z]{1,8}", user, 0..3);
    (files, users).prop_map(|(files, users)| Meant {
        files: files
            .into_iter()
            .map(|(name, (_, mode, text))| (format!("/etc/{name}"), mode, text))
            .collect(),
        users: users
            .into_iter()
            .map(|(name, (_, keys))| (name, keys))
            .collect(),
    })
}

/// A double-quoted scalar: JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

impl Meant {
    fn yaml(&self) -> String {
        let mut text = ballast("storage:\n  files:\n");
        for (path, mode, contents) in &self.files {
            let contents = quoted(contents);
            text += &format!(
                "    - path: {path}\n      mode: 0{mode:o}\n      contents:\n        inline: {contents}\n"
            );
        }
        text += "passwd:\n  users:\n";
        for (name, keys) in &self.users {
            let keys: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
            text += &format!(
                "    - name: {}\n      ssh_authorized_keys: [{}]\n",
                quoted(name),
                keys.join(", ")
            );
        }
        text
    }
}

fn parsed(json: &Value) -> Config {
    let text = json.to_string();
    config::parse("t", text.as_bytes()).unwrap().unwrap().config
}

proptest! {
    #[test]
    fn what_is_translated_is_what_was_meant(meant in meant()) {
        let json = right(&meant.yaml());
        let config = parsed(&json);
        let storage = config.storage.unwrap_or_default();
        for ((path, mode, text), file) in meant.files.iter().zip(storage.files.unwrap_or_default()) {
            prop_assert_eq!(path, &file.path);
            prop_assert_eq!(i64::from(*mode), file.mode.unwrap());
            prop_assert_eq!(text, &contents(&json, path));
        }
        let users = config.passwd.unwrap_or_default().users.unwrap_or_default();
        prop_assert_eq!(users.len(), meant.users.len());
        for ((name, keys), user) in meant.users.iter().zip(users) {
            prop_assert_eq!(name, &user.name);
            prop_assert_eq!(keys, &user.ssh_authorized_keys.unwrap_or_default());
        }
    }

    #[test]
    fn any_bytes_are_judged_without_panic(bytes: Vec<u8>) {
        let mut files = Files::default();
        let _ = translate("t", &bytes, &mut files);
    }

    #[test]
    fn any_damage_is_judged_without_panic(
        at in 0_usize..900, with in "[-:#&*!|>\\[\\]{},\"'~<a0\t\n ]{0,5}", cut in 0_usize..30,
    ) {
        let text = ballast(&format!(
            "{ELSEWHERE}update: {{poll: 1h}}\nstorage:\n  files:\n    - path: /a\n      mode: 0644\n      \
             contents: {{inline: a}}\n  filesystems: [{{device: /dev/a, path: /b, format: ext4, \
             with_mount_unit: true}}]\nsystemd: {{units: [{{name: a.service, contents: '[Unit]'}}]}}\n",
        ));
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        let damaged = format!("{}{with}{}", &text[..at], &text[end..]);
        let translation = translate("t", damaged.as_bytes(), &mut Files::default());
        prop_assert_eq!(translation.json.is_none(), !translation.found.errors.is_empty());
        if let Some(json) = translation.json {
            prop_assert!(config::parse("t", json.to_string().as_bytes()).is_ok() || json["storage"]["filesystems"].is_array());
        }
    }
}
