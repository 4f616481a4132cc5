//! The rules that types cannot say, as upstream has them.

mod arguments;
mod disks;
mod filesystems;
mod luks;
mod raid;
mod resource;
mod storage;
mod systemd;
mod users;

use std::collections::BTreeMap;

use super::place::{Locate, Problem};
use super::{Config, Spec, filled, list};
use crate::fetch::proxy_problem;

/// What a check of a config found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Reasons to refuse the config.
    pub errors: Vec<Problem>,
    /// What is allowed but likely a mistake.
    pub warnings: Vec<Problem>,
}

/// Checks `config`, which was written for `spec`; `at` finds its keys for the messages.
pub fn validate(config: &Config, spec: Spec, at: &dyn Locate) -> Findings {
    let mut check = Check {
        at,
        spec,
        found: Findings::default(),
    };
    ignition(config, &mut check);
    if let Some(arguments) = &config.kernel_arguments {
        arguments::arguments(arguments, &mut check);
    }
    if let Some(passwd) = &config.passwd {
        users::groups(list(passwd.groups.as_ref()), &mut check);
        users::users(list(passwd.users.as_ref()), &mut check);
    }
    if let Some(systemd) = &config.systemd {
        systemd::units(list(systemd.units.as_ref()), &mut check);
    }
    if config.storage.is_some() {
        storage::storage(config, &mut check);
    }
    check.found
}

/// Collects findings.
struct Check<'a> {
    at: &'a dyn Locate,
    spec: Spec,
    found: Findings,
}

impl Check<'_> {
    fn error(&mut self, key: &str, message: impl Into<String>) {
        let place = self.at.place(key);
        let message = message.into();
        self.found.errors.push(Problem { place, message });
    }

    fn warn(&mut self, key: &str, message: impl Into<String>) {
        let place = self.at.place(key);
        let message = message.into();
        self.found.warnings.push(Problem { place, message });
    }

    /// Reports every name that an earlier entry has too.
    fn unique<'n>(&mut self, names: impl IntoIterator<Item = (String, &'n str)>) {
        let mut first: BTreeMap<&str, String> = BTreeMap::new();
        for (key, name) in names {
            if let Some(earlier) = first.get(name) {
                let message = format!(
                    "{name:?} is a duplicate, already defined at {earlier}; keep one of them"
                );
                self.error(&key, message);
            } else {
                first.insert(name, key);
            }
        }
    }
}

fn ignition(config: &Config, check: &mut Check<'_>) {
    let ignition = &config.ignition;
    if let Some(references) = &ignition.config {
        let merge = list(references.merge.as_ref());
        resource::required("ignition.config.merge", merge, check);
        let named = merge.iter().enumerate();
        check.unique(named.map(|(n, r)| {
            let source = r.source.as_deref().unwrap_or_default();
            (format!("ignition.config.merge.{n}.source"), source)
        }));
        if let Some(replace) = &references.replace {
            resource::resource("ignition.config.replace", replace, check);
        }
    }
    if let Some(tls) = ignition.security.as_ref().and_then(|s| s.tls.as_ref()) {
        let key = "ignition.security.tls.certificateAuthorities";
        let authorities = list(tls.certificate_authorities.as_ref());
        resource::required(key, authorities, check);
        let named = authorities.iter().enumerate();
        check.unique(named.map(|(n, r)| {
            let source = r.source.as_deref().unwrap_or_default();
            (format!("{key}.{n}.source"), source)
        }));
    }
    if let Some(given) = &ignition.proxy {
        proxy("ignition.proxy.httpProxy", given.http_proxy.as_ref(), check);
        proxy(HTTPS_PROXY, given.https_proxy.as_ref(), check);
        if filled(given.https_proxy.as_ref()).is_some_and(|url| url.starts_with("http:")) {
            check.warn(HTTPS_PROXY, "the way to this proxy is not encrypted");
        }
    }
    if let Some(timeouts) = &ignition.timeouts {
        for (name, seconds) in [
            ("httpResponseHeaders", timeouts.http_response_headers),
            ("httpTotal", timeouts.http_total),
        ] {
            if seconds.is_some_and(|seconds| seconds < 0) {
                let key = format!("ignition.timeouts.{name}");
                check.error(&key, "expected a number of seconds, 0 or more");
            }
        }
    }
}

const HTTPS_PROXY: &str = "ignition.proxy.httpsProxy";

fn proxy(key: &str, url: Option<&String>, check: &mut Check<'_>) {
    if let Some(problem) = filled(url).and_then(proxy_problem) {
        check.error(key, problem);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    /// `key: message` of every error of a config with `body`.
    fn errors(body: &str) -> Vec<String> {
        let text = format!(r#"{{"ignition": {{"version": "3.6.0"}}, {body}}}"#);
        match parse("t", text.as_bytes()) {
            Ok(_) => Vec::new(),
            Err(invalid) => invalid
                .0
                .iter()
                .map(|p| format!("{}: {}", p.place.key, p.message))
                .collect(),
        }
    }

    fn warnings(body: &str) -> Vec<String> {
        let text = format!(r#"{{"ignition": {{"version": "3.6.0"}}, {body}}}"#);
        let parsed = parse("t", text.as_bytes()).unwrap().unwrap();
        parsed
            .warnings
            .iter()
            .map(|p| format!("{}: {}", p.place.key, p.message))
            .collect()
    }

    fn refused(body: &str, key: &str, words: &str) {
        let found = errors(body);
        assert!(
            found
                .iter()
                .any(|e| e.starts_with(&format!("{key}:")) && e.contains(words)),
            "{body}\nexpected {key}: {words}\nfound {found:?}"
        );
    }

    #[test]
    fn storage_rules() {
        let file = |body: &str| format!(r#""storage": {{"files": [{{{body}}}]}}"#);
        let path = "storage.files.0.path";
        refused(&file(r#""path": """#), path, "absolute");
        refused(&file(r#""path": "a""#), path, "absolute");
        refused(&file(r#""path": "/a/../b""#), path, "write it as \"/b\"");
        refused(&file(r#""path": "/a/""#), path, "write it as \"/a\"");
        refused(&file(r#""path": "/""#), path, "root directory");
        let mode = |m: &str| file(&format!(r#""path": "/a", "mode": {m}"#));
        refused(&mode("-1"), "storage.files.0.mode", "4095");
        refused(&mode("4096"), "storage.files.0.mode", "4095");
        refused(&mode("\"0644\""), "storage.files.0.mode", "wrong type");
        assert_eq!(errors(&mode("4095")), Vec::<String>::new());
        refused(
            &file(r#""path": "/a", "overwrite": true"#),
            "storage.files.0.overwrite",
            "contents.source",
        );
        refused(
            &file(r#""path": "/a", "user": {"id": 1, "name": "b"}"#),
            "storage.files.0.user",
            "both",
        );
        refused(
            &file(r#""path": "/a", "group": {"id": -1}"#),
            "storage.files.0.group.id",
            "4294967294",
        );
    }

    #[test]
    fn argument_rules() {
        let lists = |exist: &str, not: &str| {
            format!(r#""kernelArguments": {{"shouldExist": [{exist}], "shouldNotExist": [{not}]}}"#)
        };
        let exist = "kernelArguments.shouldExist.0";
        let not = "kernelArguments.shouldNotExist.0";
        refused(
            &lists(r#""init=/bin/sh""#, ""),
            exist,
            "starts first; remove it",
        );
        refused(
            &lists("", r#""usrhash=0""#),
            not,
            "how the system is verified",
        );
        refused(&lists(r#""a\"b""#, ""), exist, "not closed; close it");
        refused(&lists(r#""ä""#, ""), exist, "printable ASCII; remove it");
        refused(
            &lists(r#""a""#, r#""a""#),
            not,
            "already defined at kernelArguments.should",
        );
        let twice = lists(r#""a", "a""#, "");
        refused(&twice, "kernelArguments.shouldExist.1", "duplicate");
        let both = lists(r#""a=\"b\"""#, r#""a=b""#);
        refused(&both, "kernelArguments", "shall not exist; remove one");
        let long = format!("\"{}\"", "a".repeat(900));
        let other = format!("\"{}\"", "b".repeat(900));
        refused(&lists(&long, &other), "kernelArguments", "fewer or shorter");
        let fine = lists(
            r#""a=\"b c\" d", "net.ifnames=0""#,
            r#""quiet", "console=tty0""#,
        );
        assert_eq!(errors(&fine), Vec::<String>::new());
    }

    #[test]
    fn raid_rules() {
        let raid = |body: &str| format!(r#""storage": {{"raid": [{body}]}}"#);
        let devices = r#""devices": ["/dev/a", "/dev/b"]"#;
        let key = "storage.raid.0";
        for (body, name, words) in [
            (
                r#""name": "a", "level": "raid1""#,
                "devices",
                "needs devices",
            ),
            (
                r#""name": "a", "level": "raid1", "devices": ["a"]"#,
                "devices.0",
                "absolute",
            ),
            (
                r#""name": "a", "level": "raid1", "devices": ["/dev/a", "/dev/a"]"#,
                "devices.1",
                "already defined",
            ),
        ] {
            refused(
                &raid(&format!("{{{body}}}")),
                &format!("{key}.{name}"),
                words,
            );
        }
        for (body, name, words) in [
            (r#""name": """#, "name", "1 to 28"),
            (r#""name": "/dev/md/a""#, "name", "/dev/md/NAME"),
            (r#""name": "-a""#, "name", "/dev/md/NAME"),
            (r#""name": "a", "level": """#, "level", "needs a level"),
            (
                r#""name": "a", "level": "raid7""#,
                "level",
                "found \"raid7\"",
            ),
            (
                r#""name": "a", "level": "0", "spares": 1"#,
                "spares",
                "no spares",
            ),
            (
                r#""name": "a", "level": "5", "spares": 2"#,
                "spares",
                "leave none",
            ),
            (
                r#""name": "a", "level": "5", "spares": -1"#,
                "spares",
                "0 or more",
            ),
        ] {
            let body = raid(&format!("{{{devices}, {body}}}"));
            refused(&body, &format!("{key}.{name}"), words);
        }
        let array = format!(r#"{{"name": "a", "level": "mirror", "spares": 0, {devices}}}"#);
        assert_eq!(errors(&raid(&array)), Vec::<String>::new());
        refused(
            &raid(&format!("{array}, {array}")),
            "storage.raid.1.name",
            "already defined",
        );
    }

    #[test]
    fn luks_rules() {
        let luks = |body: &str| format!(r#""storage": {{"luks": [{body}]}}"#);
        let one = |body: &str| luks(&format!(r#"{{"device": "/dev/a", {body}}}"#));
        let key = "storage.luks.0";
        let long = format!(r#""name": "a", "label": "{}""#, "x".repeat(48));
        for (body, name, words) in [
            (r#""name": """#, "name", "1 to 127"),
            (r#""name": "a/b""#, "name", "no slash"),
            (r#""name": "a b""#, "name", "no slash and no space"),
            (&long, "label", "at most 47 bytes"),
            (r#""name": "a", "device": "a""#, "device", "absolute"),
            (
                r#""name": "a", "keyFile": {"source": "x"}"#,
                "keyFile.source",
                "URL",
            ),
        ] {
            let body = match name {
                "device" => luks(&format!("{{{body}}}")),
                _ => one(body),
            };
            refused(&body, &format!("{key}.{name}"), words);
        }
        refused(
            &luks(r#"{"name": "a"}"#),
            "storage.luks.0.device",
            "path of a device",
        );
        let good = r#"{"name": "a", "device": "/dev/a"}"#;
        assert_eq!(errors(&luks(good)), Vec::<String>::new());
        let twice = luks(&format!("{good}, {good}"));
        refused(&twice, "storage.luks.1.name", "already defined");
        refused(&twice, "storage.luks.1.device", "already defined");
        let file = r#""files": [{"path": "/etc/luks/a"}]"#;
        let both = format!(r#""storage": {{"luks": [{good}], {file}}}"#);
        refused(
            &both,
            "storage.files.0.path",
            "written by storage.luks.0 too",
        );
    }

    #[test]
    fn clevis_rules() {
        let clevis = |body: &str| {
            let one = format!(r#"{{"name": "a", "device": "/dev/a", "clevis": {{{body}}}}}"#);
            format!(r#""storage": {{"luks": [{one}]}}"#)
        };
        let key = "storage.luks.0.clevis";
        for (body, name, words) in [
            (
                r#""tang": [{"url": "ftp://a", "thumbprint": "x"}]"#,
                "tang.0.url",
                "http or https",
            ),
            (
                r#""tang": [{"url": "http://", "thumbprint": "x"}]"#,
                "tang.0.url",
                "http or https",
            ),
            (
                r#""tang": [{"url": "http://a"}]"#,
                "tang.0.thumbprint",
                "thumbprint",
            ),
            (
                r#""tang": [{"url": "http://a", "thumbprint": "x", "advertisement": "y"}]"#,
                "tang.0.advertisement",
                "JSON object",
            ),
            (r#""tpm2": true, "threshold": 2"#, "threshold", "which is 1"),
            (r#""tpm2": true, "threshold": -1"#, "threshold", "from 1"),
            (
                r#""custom": {"config": "{}"}"#,
                "custom.pin",
                "give the pin",
            ),
            (
                r#""custom": {"needsNetwork": true}"#,
                "custom.pin",
                "give the pin",
            ),
            (
                r#""custom": {"pin": "pkcs11", "config": "{}"}"#,
                "custom.pin",
                "found \"pkcs11\"",
            ),
            (
                r#""custom": {"pin": "sss"}"#,
                "custom.config",
                "give the config",
            ),
            (
                r#""custom": {"pin": "sss", "config": "["}"#,
                "custom.config",
                "JSON object",
            ),
            (
                r#""custom": {"pin": "tpm2", "config": "{}"}, "tpm2": true"#,
                "custom",
                "without",
            ),
        ] {
            refused(&clevis(body), &format!("{key}.{name}"), words);
        }
    }

    #[test]
    fn disk_rules() {
        let disks = |body: &str| format!(r#""storage": {{"disks": [{body}]}}"#);
        let device = "storage.disks.0.device";
        refused(&disks(r#"{"device": ""}"#), device, "path of a device");
        refused(&disks(r#"{"device": "vda"}"#), device, "absolute");
        refused(&disks(r#"{"device": "/dev//a"}"#), device, "write it as");
        let twice = disks(r#"{"device": "/dev/a"}, {"device": "/dev/a"}"#);
        refused(&twice, "storage.disks.1.device", "already defined at");
        let partitions = |list: &str| {
            disks(&format!(
                r#"{{"device": "/dev/a", "partitions": [{list}]}}"#
            ))
        };
        let first = "storage.disks.0.partitions.0";
        let second = "storage.disks.0.partitions.1";
        for (list, key, words) in [
            (r#"{"sizeMiB": 5}"#, first, "number from 1 on"),
            (r#"{"number": 0}"#, first, "number from 1 on"),
            (r#"{"label": ""}"#, first, "number from 1 on"),
            (
                r#"{"number": -1}"#,
                "storage.disks.0.partitions.0.number",
                "0 or more",
            ),
            (
                r#"{"number": 1, "sizeMiB": -1}"#,
                "storage.disks.0.partitions.0.sizeMiB",
                "0 or",
            ),
            (
                r#"{"number": 1}, {"number": 1}"#,
                "storage.disks.0.partitions.1.number",
                "duplicate",
            ),
            (
                r#"{"label": "a"}, {"number": 1, "label": "a"}"#,
                "storage.disks.0.partitions.1.label",
                "already defined at storage.disks.0.partitions.0.label",
            ),
            (
                r#"{"number": 1, "shouldExist": false}, {"label": "a"}"#,
                second,
                "partitions.0 shall not exist",
            ),
            (
                r#"{"number": 1, "shouldExist": false, "sizeMiB": 4}"#,
                "storage.disks.0.partitions.0.shouldExist",
                "nothing else",
            ),
            (
                r#"{"number": 1, "label": "1234567890123456789012345678901234567"}"#,
                "storage.disks.0.partitions.0.label",
                "at most 36 characters, this one has 37",
            ),
            (
                r#"{"number": 1, "label": "a:b"}"#,
                "storage.disks.0.partitions.0.label",
                "colon",
            ),
            (
                r#"{"number": 1, "guid": "not-a-guid"}"#,
                "storage.disks.0.partitions.0.guid",
                "01234567-89AB",
            ),
            (
                r#"{"number": 1, "typeGuid": "00000000-0000-0000-0000-000000000000"}"#,
                "storage.disks.0.partitions.0.typeGuid",
                "no partition",
            ),
            (
                r#"{"number": 1, "startMiB": 1, "sizeMiB": 10}, {"number": 2, "startMiB": 10, "sizeMiB": 0}"#,
                second,
                "overlaps storage.disks.0.partitions.0",
            ),
        ] {
            refused(&partitions(list), key, words);
        }
        let fine = partitions(
            r#"{"number": 1, "startMiB": 1, "sizeMiB": 10}, {"number": 2, "startMiB": 11,
                "sizeMiB": 0, "guid": "", "typeGuid": "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6"},
                {"label": "ä"}, {"label": "b", "startMiB": 0, "sizeMiB": 0}"#,
        );
        assert_eq!(errors(&fine), Vec::<String>::new());
    }

    #[test]
    fn filesystem_rules() {
        let all = |body: &str| format!(r#""storage": {{"filesystems": [{body}]}}"#);
        let one = |body: &str| all(&format!(r#"{{"device": "/dev/a", {body}}}"#));
        let key = |name: &str| format!("storage.filesystems.0.{name}");
        let none = r#"{"device": "", "format": "ext4"}"#;
        refused(&all(none), &key("device"), "path of a device");
        let twice = all(r#"{"device": "/dev/a"}, {"device": "/dev/a"}"#);
        refused(&twice, "storage.filesystems.1.device", "already defined");
        refused(&one(r#""format": "ntfs""#), &key("format"), "ext4, btrfs");
        for other in [
            r#""path": "/a""#,
            r#""label": "a""#,
            r#""uuid": "a""#,
            r#""wipeFilesystem": true"#,
            r#""options": ["a"]"#,
            r#""mountOptions": ["a"]"#,
        ] {
            refused(&one(other), &key("format"), "need a format");
        }
        refused(
            &one(r#""format": "xfs", "path": "a""#),
            &key("path"),
            "absolute",
        );
        for (format, longest) in [
            ("ext4", 16),
            ("btrfs", 256),
            ("xfs", 12),
            ("swap", 15),
            ("vfat", 11),
        ] {
            let label = |length| {
                let label = "a".repeat(length);
                one(&format!(r#""format": "{format}", "label": "{label}""#))
            };
            refused(
                &label(longest + 1),
                &key("label"),
                &format!("at most {longest} bytes"),
            );
            assert_eq!(errors(&label(longest)), Vec::<String>::new());
        }
    }

    #[test]
    fn path_conflicts() {
        refused(
            r#""storage": {"files": [{"path": "/a"}], "links": [{"path": "/a", "target": "/b"}]}"#,
            "storage.links.0.path",
            "already defined at storage.files.0.path",
        );
        refused(
            r#""storage": {"files": [{"path": "/a/b"}], "links": [{"path": "/a", "target": "/b"}]}"#,
            "storage.files.0.path",
            "storage.links.0.path",
        );
        refused(
            r#""storage": {"files": [{"path": "/a"}], "directories": [{"path": "/a/b/c"}]}"#,
            "storage.directories.0.path",
            "storage.files.0.path",
        );
        refused(
            r#""storage": {"links": [{"path": "/a"}]}"#,
            "storage.links.0.target",
            "target",
        );
        refused(
            r#""storage": {"directories": [{"path": "/d"}], "links": [{"path": "/a", "target": "/d", "hard": true}]}"#,
            "storage.links.0.target",
            "directory",
        );
        let itself = |target: &str, overwrite: bool| {
            format!(
                r#""storage": {{"links": [{{"path": "/a", "target": "{target}", "hard": true,
                   "overwrite": {overwrite}}}]}}"#
            )
        };
        for target in ["/a", "//a", "/a/b"] {
            let key = "storage.links.0.target";
            refused(&itself(target, true), key, "overwrite removes");
        }
        for (target, overwrite) in [("/a", false), ("/ab", true)] {
            assert_eq!(errors(&itself(target, overwrite)), Vec::<String>::new());
        }
        refused(
            r#""storage": {"files": [{"path": "/etc/systemd/system/a.service.d/b.conf"}]},
               "systemd": {"units": [{"name": "a.service", "dropins": [{"name": "b.conf", "contents": "[Unit]"}]}]}"#,
            "storage.files.0.path",
            "systemd.units.0.dropins.0",
        );
    }

    /// What another config replaces is not carried out.
    #[test]
    fn what_is_replaced_may_not_be_possible() {
        let with = |source: &str, storage: &str| {
            let config = format!(r#"{{"replace": {{"source": {source}}}}}"#);
            let ignition = format!(r#"{{"version": "3.6.0", "config": {config}}}"#);
            let text = format!(r#"{{"ignition": {ignition}, "storage": {storage}}}"#);
            parse("t", text.as_bytes()).map(drop)
        };
        let below_a_file = r#"{"files": [{"path": "/a"}, {"path": "/a/b"}]}"#;
        let below_a_link =
            r#"{"files": [{"path": "/a/b"}], "links": [{"path": "/a", "target": "/c"}]}"#;
        let source = r#""http://a/b""#;
        assert_eq!(with(source, below_a_file).ok(), Some(()));
        for (source, storage, key) in [
            ("null", below_a_file, "storage.files.1.path"),
            (source, below_a_link, "storage.files.0.path"),
        ] {
            let invalid = with(source, storage).unwrap_err();
            assert_eq!(invalid.0[0].place.key, key);
        }
    }

    #[test]
    fn resource_rules() {
        let contents = |body: &str| {
            format!(r#""storage": {{"files": [{{"path": "/a", "contents": {{{body}}}}}]}}"#)
        };
        let key = "storage.files.0.contents";
        let source = format!("{key}.source");
        refused(&contents(r#""source": "ftp://h/""#), &source, "scheme");
        refused(&contents(r#""source": "/etc/x""#), &source, "scheme");
        refused(&contents(r#""source": "http:///x""#), &source, "host");
        refused(&contents(r#""source": "http://h h/""#), &source, "URL");
        refused(
            &contents(r#""source": "data:;base64,%%""#),
            &source,
            "data URL",
        );
        refused(
            &contents(r#""source": "data:,a", "compression": "xz""#),
            &format!("{key}.compression"),
            "gzip",
        );
        let hash = format!("{key}.verification.hash");
        for (value, words) in [
            ("md5-00", "sha256"),
            ("abc", "sha256"),
            ("sha256-00", "64"),
            ("sha512-zz", "128"),
        ] {
            let body = format!(r#""source": "data:,", "verification": {{"hash": "{value}"}}"#);
            refused(&contents(&body), &hash, words);
        }
        refused(
            &contents(r#""verification": {"hash": "sha256-00"}"#),
            &hash,
            "source",
        );
        refused(
            &contents(r#""source": "data:,", "httpHeaders": [{"name": "a", "value": "b"}]"#),
            &format!("{key}.httpHeaders"),
            "http and https",
        );
        let headers = |h: &str| contents(&format!(r#""source": "http://h/", "httpHeaders": {h}"#));
        let name = format!("{key}.httpHeaders.0.name");
        refused(
            &headers(r#"[{"name": "", "value": "b"}]"#),
            &name,
            "header name",
        );
        refused(&headers(r#"[{"name": "a b"}]"#), &name, "header name");
        let value = format!("{key}.httpHeaders.0.value");
        refused(
            &headers(r#"[{"name": "a", "value": "b\nc"}]"#),
            &value,
            "header value",
        );
    }

    #[test]
    fn references_need_a_source() {
        for (key, body) in [
            (
                "ignition.config.merge.0.source",
                r#""config": {"merge": [{}]}"#,
            ),
            (
                "ignition.security.tls.certificateAuthorities.0.source",
                r#""security": {"tls": {"certificateAuthorities": [{}]}}"#,
            ),
        ] {
            let text = format!(r#"{{"ignition": {{"version": "3.6.0", {body}}}}}"#);
            let invalid = parse("t", text.as_bytes()).unwrap_err();
            assert_eq!(invalid.0[0].place.key, key);
            assert!(invalid.0[0].message.contains("source is required"));
        }
    }

    #[test]
    fn proxies_are_urls() {
        let proxy = |body: &str| {
            let text = format!(r#"{{"ignition": {{"version": "3.6.0", "proxy": {{{body}}}}}}}"#);
            parse("t", text.as_bytes())
        };
        let invalid = proxy(r#""httpProxy": "proxy:3128""#).unwrap_err();
        assert_eq!(invalid.0[0].place.key, "ignition.proxy.httpProxy");
        assert!(invalid.0[0].message.contains("http://host:port"));
        let parsed = proxy(r#""httpProxy": "", "httpsProxy": "http://p:1", "noProxy": ["*"]"#);
        let warnings = parsed.unwrap().unwrap().warnings;
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].place.key, "ignition.proxy.httpsProxy");
    }

    #[test]
    fn user_rules() {
        let user = |body: &str| format!(r#""passwd": {{"users": [{{{body}}}]}}"#);
        let name = "passwd.users.0.name";
        for bad in ["", "a b", "a:b", "-a", "a/b", "..", "é"] {
            refused(&user(&format!(r#""name": "{bad}""#)), name, "user name");
        }
        refused(
            &user(r#""name": "a", "uid": -5"#),
            "passwd.users.0.uid",
            "4294967294",
        );
        refused(
            &user(r#""name": "a", "passwordHash": "x:y""#),
            "passwd.users.0.passwordHash",
            "colon",
        );
        refused(
            &user(r#""name": "a", "gecos": "x:y""#),
            "passwd.users.0.gecos",
            "colon",
        );
        refused(
            &user(r#""name": "a", "homeDir": "x""#),
            "passwd.users.0.homeDir",
            "absolute",
        );
        refused(
            &user(r#""name": "a", "shell": "x""#),
            "passwd.users.0.shell",
            "absolute",
        );
        refused(
            &user(r#""name": "a", "sshAuthorizedKeys": ["k\u0000l"]"#),
            "passwd.users.0.sshAuthorizedKeys.0",
            "NUL",
        );
        refused(
            &user(r#""name": "a", "sshAuthorizedKeys": ["k", "k"]"#),
            "passwd.users.0.sshAuthorizedKeys.1",
            "already defined",
        );
        refused(
            &user(r#""name": "a", "groups": ["g", "g"]"#),
            "passwd.users.0.groups.1",
            "already defined",
        );
        refused(
            r#""passwd": {"users": [{"name": "a"}, {"name": "a"}]}"#,
            "passwd.users.1.name",
            "already defined at passwd.users.0.name",
        );
        refused(
            r#""passwd": {"groups": [{"name": "a"}, {"name": "a"}]}"#,
            "passwd.groups.1.name",
            "already defined at passwd.groups.0.name",
        );
        assert_eq!(errors(&user(r#""name": "a_b-c.d$""#)), Vec::<String>::new());
    }

    #[test]
    fn unit_rules() {
        let unit = |body: &str| format!(r#""systemd": {{"units": [{{{body}}}]}}"#);
        let name = "systemd.units.0.name";
        refused(&unit(r#""name": "a""#), name, ".service");
        refused(&unit(r#""name": "a.conf""#), name, ".service");
        refused(&unit(r#""name": "a/b.service""#), name, "slash");
        refused(
            &unit(r#""name": "a.service", "dropins": [{"name": "x"}]"#),
            "systemd.units.0.dropins.0.name",
            ".conf",
        );
        refused(
            &unit(r#""name": "a.service", "contents": "[Unit""#),
            "systemd.units.0.contents",
            "line 1",
        );
        refused(
            &unit(r#""name": "a.service", "contents": "[Unit]\nnonsense""#),
            "systemd.units.0.contents",
            "line 2",
        );
        refused(
            r#""systemd": {"units": [{"name": "a.service"}, {"name": "a.service"}]}"#,
            "systemd.units.1.name",
            "already defined",
        );
    }

    #[test]
    fn suspicious_units_warn() {
        let found = warnings(
            r#""systemd": {"units": [{"name": "a.service", "enabled": true, "contents": "[Unit]\nAfter=b"}]}"#,
        );
        assert!(found[0].contains("[Install]"), "{found:?}");
        let found = warnings(
            r#""systemd": {"units": [{"name": "a.service", "mask": true, "contents": "[Unit]"}]}"#,
        );
        assert!(found[0].contains("masked"), "{found:?}");
        let fine = r#""systemd": {"units": [{"name": "a.service", "enabled": true,
            "contents": "[Unit]\nA=b \\\n c\n; note\n[Install]\nWantedBy=x"}]}"#;
        assert_eq!(warnings(fine), Vec::<String>::new());
    }
}
