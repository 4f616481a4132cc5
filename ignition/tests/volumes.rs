//! The stages disks and files make arrays and encrypted volumes with stand-ins for the
//! programs that need a kernel for it: each notes its arguments and what it is handed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

const SECRET: &str = "opensesame42";

/// Notes its call. A volume or an array exists once it was made.
const NOTE: &str = r#"#!/bin/sh
echo "${0##*/} $*" >> "$STAGE/calls"
case "${0##*/} $1" in
"cryptsetup luksFormat") cat > "$STAGE/key"; touch "$STAGE/volume" ;;
"cryptsetup luksOpen" | "cryptsetup luksRemoveKey") cmp -s - "$STAGE/key" || exit 2 ;;
"clevis luks")
    [ -z "$CURL_CA_BUNDLE" ] || cp "$CURL_CA_BUNDLE" "$STAGE/authorities"
    [ "$2" != bind ] || { cmp -s "$5" "$STAGE/key" && stat -c %a "$5" >> "$STAGE/calls"; } ;;
"mdadm --create") touch "$STAGE/array" ;;
"mdadm --examine") printf 'MD_LEVEL=raid1\nMD_DEVICES=2\nMD_NAME=any:data\nMD_UUID=a:b\n' ;;
esac
"#;

/// Says what there is.
const BLKID: &str = r#"#!/bin/sh
if [ -e "$STAGE/volume" ]; then
    printf 'ID_FS_TYPE=crypto_LUKS\nID_FS_VERSION=2\nID_FS_UUID_ENC=u-1\n'
elif [ -e "$STAGE/array" ]; then
    printf 'ID_FS_TYPE=linux_raid_member\n'
elif [ -e "$STAGE/other" ]; then
    printf 'ID_FS_TYPE=ext4\nID_FS_LABEL_ENC=old\n'
else
    exit 2
fi
"#;

/// A root directory, two disk images, and programs.
struct Host {
    directory: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let host = Self { directory };
        for name in ["root/etc", "bin"] {
            fs::create_dir_all(host.path(name)).unwrap();
        }
        for name in ["one", "two"] {
            let image = fs::File::create(host.path(name)).unwrap();
            image.set_len(1 << 20).unwrap();
        }
        for name in ["cryptsetup", "clevis", "mdadm", "wipefs", "udevadm"] {
            host.program(name, NOTE);
        }
        host.program("blkid", BLKID);
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn config(&self, storage: &Value) {
        self.whole_config(&json!({"ignition": {"version": "3.6.0"}, "storage": storage}));
    }

    fn whole_config(&self, config: &Value) {
        fs::write(self.path("config.json"), config.to_string()).unwrap();
    }

    fn stage(&self, stage: &str) -> Output {
        let flag = |name: &str, path: &str| format!("--{name}={}", self.path(path).display());
        let programs = format!("{}:/usr/bin:/bin", self.path("bin").display());
        Command::new(env!("CARGO_BIN_EXE_ignition"))
            .arg(format!("--stage={stage}"))
            .args([flag("root", "root"), flag("config-cache", "config.json")])
            .arg(flag("state-file", "state"))
            .env("PATH", programs)
            .env("STAGE", self.directory.path())
            .env("SSL_CERT_FILE", self.path("system.pem"))
            .env_remove("CURL_CA_BUNDLE")
            .output()
            .unwrap()
    }

    /// Runs a stage that must do well, and returns all it said.
    fn runs(&self, stage: &str) -> String {
        let output = self.stage(stage);
        let said = said(&output);
        assert!(output.status.success(), "{stage}: {said}");
        said
    }

    /// The calls since the last time, with the directory left out.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        let directory = fs::canonicalize(self.directory.path()).unwrap();
        let text = text.replace(&*directory.to_string_lossy(), "");
        let text = text.replace(&*self.directory.path().to_string_lossy(), "");
        text.lines().map(str::to_owned).collect()
    }

    fn mode(&self, path: &str) -> u32 {
        mode(&self.path("root").join(path))
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn said(output: &Output) -> String {
    let bytes = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn volume(host: &Host, more: Value) -> Value {
    let mut volume = more;
    volume["name"] = json!("safe");
    volume["device"] = json!(host.path("one"));
    json!({"luks": [volume]})
}

#[test]
fn a_volume_is_made_once_and_opened_by_every_attempt() {
    let host = Host::new();
    let key = json!({"source": format!("data:,{SECRET}%00%0A")});
    host.config(&volume(
        &host,
        json!({"keyFile": key, "label": "l", "discard": true}),
    ));
    let first = host.runs("disks");
    let made = [
        "wipefs --all /one",
        "cryptsetup luksFormat --batch-mode --type luks2 --key-file - --label l /one",
        "cryptsetup luksOpen /one safe --key-file - --persistent --allow-discards",
        "udevadm settle --timeout=60",
    ];
    // What blkid says has no label: another one is not this volume.
    assert_eq!(host.calls(), made);
    let key = fs::read(host.path("key")).unwrap();
    assert_eq!(key, format!("{SECRET}\0\n").into_bytes());
    assert_eq!(fs::read(host.path("root/etc/luks/safe")).unwrap(), key);
    assert_eq!(
        (host.mode("etc/luks"), host.mode("etc/luks/safe")),
        (0o700, 0o600)
    );
    host.config(&volume(
        &host,
        json!({"keyFile": {"source": format!("data:,{SECRET}%00%0A")}}),
    ));
    let second = host.runs("disks");
    let opened = [
        "cryptsetup luksOpen /one safe --key-file - --persistent",
        "udevadm settle --timeout=60",
    ];
    assert_eq!(host.calls(), opened);
    let third = host.runs("files");
    let line = "safe UUID=u-1 /etc/luks/safe luks\n";
    let crypttab = fs::read_to_string(host.path("root/etc/crypttab")).unwrap();
    assert_eq!(
        (crypttab.as_str(), host.mode("etc/crypttab")),
        (line, 0o600)
    );
    for said in [first, second, third] {
        assert!(!said.contains(SECRET), "{said}");
    }
}

#[test]
fn a_volume_that_is_bound_keeps_no_key() {
    let host = Host::new();
    host.config(&volume(&host, json!({"clevis": {"tpm2": true}})));
    host.runs("disks");
    let calls = host.calls();
    let expected = [
        "wipefs --all /one",
        "cryptsetup luksFormat --batch-mode --type luks2 --key-file - /one",
        "cryptsetup luksOpen /one safe --key-file - --persistent",
        r#"clevis luks bind -f -k /luks.key -d /one sss {"pins":{"tpm2":{}},"t":1}"#,
        "600",
        "cryptsetup luksClose safe",
        "clevis luks unlock -d /one -n safe",
        "cryptsetup luksRemoveKey --batch-mode --key-file - /one",
        "udevadm settle --timeout=60",
    ];
    assert_eq!(calls, expected);
    assert!(!host.path("luks.key").exists());
    assert!(!host.path("root/etc/luks").exists());
    host.runs("disks");
    let again = [
        "clevis luks unlock -d /one -n safe",
        "udevadm settle --timeout=60",
    ];
    assert_eq!(host.calls(), again);
    host.runs("files");
    let crypttab = fs::read_to_string(host.path("root/etc/crypttab")).unwrap();
    assert_eq!(crypttab, "safe UUID=u-1 none luks\n");
}

#[test]
fn clevis_trusts_whom_the_config_trusts() {
    let host = Host::new();
    fs::write(host.path("system.pem"), "of the system").unwrap();
    let tang = json!([{"url": "https://t", "thumbprint": "x", "advertisement": "{}"}]);
    let storage = volume(&host, json!({"clevis": {"tang": tang}}));
    host.config(&storage);
    host.runs("disks");
    assert!(!host.path("authorities").exists(), "it knows the system's");
    fs::remove_file(host.path("volume")).unwrap();
    let authorities = json!([{"source": "data:,one%0A"}, {"source": "data:,two"}]);
    host.whole_config(&json!({"ignition": {"version": "3.6.0", "security": {
        "tls": {"certificateAuthorities": authorities}}}, "storage": storage}));
    fs::remove_dir_all(host.path("root")).unwrap();
    fs::create_dir_all(host.path("root/etc")).unwrap();
    host.runs("disks");
    let trusted = fs::read_to_string(host.path("authorities")).unwrap();
    assert_eq!(trusted, "of the system\none\n\ntwo");
    assert!(!host.path("authorities.pem").exists());
}

#[test]
fn a_pin_of_its_own_that_fails_says_what_it_may_need() {
    let host = Host::new();
    host.program("clevis", "#!/bin/sh\necho Unable to fetch >&2\nexit 1\n");
    let custom = |network: bool| {
        let custom = json!({"pin": "tang", "config": "{}", "needsNetwork": network});
        volume(
            &host,
            json!({"wipeVolume": true, "clevis": {"custom": custom}}),
        )
    };
    let advice = "Unable to fetch; if this pin needs the network, set needsNetwork";
    for (network, advised) in [(false, true), (true, false)] {
        host.config(&custom(network));
        let output = host.stage("disks");
        assert!(!output.status.success());
        let said = said(&output);
        assert_eq!(said.contains(advice), advised, "{said}");
        assert!(said.contains("Unable to fetch"), "{said}");
    }
}

#[test]
fn what_is_in_the_way_of_a_volume_is_named_and_nothing_is_called() {
    let host = Host::new();
    fs::write(host.path("other"), "").unwrap();
    host.config(&volume(&host, json!({"keyFile": {"source": "data:,k"}})));
    let output = host.stage("disks");
    assert!(!output.status.success());
    let said = said(&output);
    let expected = "holds ext4, label \"old\", and the config wants a LUKS volume; \
        set wipeVolume if it may be destroyed";
    assert!(said.contains(expected), "{said}");
    assert_eq!(host.calls(), Vec::<String>::new());
    assert!(!host.path("root/etc/luks").exists(), "a key was left");
}

#[test]
fn a_key_that_does_not_open_the_volume_says_so() {
    let host = Host::new();
    fs::write(host.path("volume"), "").unwrap();
    fs::write(host.path("key"), "another").unwrap();
    host.program(
        "cryptsetup",
        &format!("{NOTE}\n[ \"$1\" != luksDump ] || echo '{{\"config\": {{}}}}'\n"),
    );
    host.config(&volume(&host, json!({"keyFile": {"source": "data:,k"}})));
    let output = host.stage("disks");
    let said = said(&output);
    assert!(!output.status.success());
    assert!(said.contains("key does not open"), "{said}");
    assert!(said.contains("wipeVolume"), "{said}");
    let format = |call: &String| call.contains("luksFormat") || call.contains("wipefs");
    assert!(!host.calls().iter().any(format));
}

#[test]
fn an_array_is_made_once_and_assembled_by_later_attempts() {
    let host = Host::new();
    let devices = [host.path("one"), host.path("two")];
    host.config(&json!({"raid": [{"name": "data", "level": "raid1", "devices": devices}]}));
    host.runs("disks");
    let made = [
        "wipefs --all /one",
        "wipefs --all /two",
        "mdadm --create /dev/md/data --force --run --homehost any --level raid1 --raid-devices 2 /one /two",
        "udevadm settle --timeout=60",
    ];
    assert_eq!(host.calls(), made);
    host.runs("disks");
    let again = [
        "mdadm --examine --export /one",
        "mdadm --examine --export /two",
        "mdadm --assemble /dev/md/data --homehost any /one /two",
        "udevadm settle --timeout=60",
    ];
    // Looked at twice: before anything is written, and before anything is made.
    let calls = host.calls();
    assert_eq!(calls[..2], again[..2]);
    assert_eq!(calls[2..], again);
}
