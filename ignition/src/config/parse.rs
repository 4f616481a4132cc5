//! Text to [`Config`].

mod words;

use ignition_config::{v3_0, v3_1, v3_2, v3_3, v3_4, v3_5, v3_6};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::index::{Index, Spot, join};
use super::lines::Lines;
use super::place::{Invalid, Locate, Place, Problem};
use super::version::{Accepts, NEWEST, Spec};
use super::{Config, list, unsupported, validate};
use words::{friendly, kind, not_json, syntax_hint};

/// A config's text under the name of its source, able to find its keys.
#[derive(Debug)]
pub struct Document {
    source: String,
    text: String,
    index: Index,
    lines: Lines,
}

/// An accepted config.
#[derive(Debug)]
pub struct Parsed {
    /// The config, as spec [`NEWEST`].
    pub config: Config,
    /// The spec that it was written for.
    pub spec: Spec,
    /// What is probably a mistake: unknown keys and the like.
    pub warnings: Vec<Problem>,
    /// Its text.
    pub document: Document,
}

/// Parses and checks the config `bytes` that came from `source`.
///
/// `None` if it is empty, which means "no config". Complains about all
/// problems at once, about features that are not implemented too; only
/// problems that show after merging are left.
pub fn parse(source: &str, bytes: &[u8]) -> Result<Option<Parsed>, Invalid> {
    parse_accepting(source, bytes, Accepts::Stable)
}

/// The same for the specs that `accepts` has.
pub fn parse_accepting(
    source: &str,
    bytes: &[u8],
    accepts: Accepts,
) -> Result<Option<Parsed>, Invalid> {
    let Some(mut parsed) = read(source, bytes, accepts)? else {
        return Ok(None);
    };
    let found = validate(&parsed.config, parsed.spec, &parsed.document);
    parsed.warnings.extend(found.warnings);
    let mut errors = found.errors;
    errors.extend(unsupported(&parsed.config, &parsed.document));
    if !errors.is_empty() {
        return Err(Invalid(errors));
    }
    Ok(Some(parsed))
}

/// Like [`parse`], without the checks that need more than the text: what it
/// returns may be refused yet.
pub(crate) fn read(
    source: &str,
    bytes: &[u8],
    accepts: Accepts,
) -> Result<Option<Parsed>, Invalid> {
    let document = Document::new(source, bytes)?;
    if document
        .text
        .trim_matches(['\0', ' ', '\t', '\r', '\n'])
        .is_empty()
    {
        return Ok(None);
    }
    let value = document.json()?;
    let spec = document.spec(&value, accepts)?;
    let mut unknown = Vec::new();
    let mut config = document.decode_as(spec, &mut unknown)?;
    let mut warnings: Vec<_> = unknown
        .into_iter()
        .map(|key| document.unknown_key(&key))
        .collect();
    if spec == Spec::V3_7Experimental {
        let message = format!("spec version {spec} is experimental: what it means may change");
        warnings.push(document.problem("ignition.version", message));
    }
    if spec < Spec::V3_4 {
        drop_special_mode_bits(&mut config, &document, &mut warnings);
    }
    Ok(Some(Parsed {
        config,
        spec,
        warnings,
        document,
    }))
}

impl Document {
    fn new(source: &str, bytes: &[u8]) -> Result<Self, Invalid> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(error) => {
                let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
                let document = Self::of(source, good);
                let end = document.text.len();
                return Err(document
                    .problem_at(end, "", "the text is not UTF-8 from here on")
                    .into());
            }
        };
        Ok(Self::of(source, text))
    }

    fn of(source: &str, text: String) -> Self {
        Self {
            source: source.to_owned(),
            index: Index::new(&text),
            lines: Lines::new(&text),
            text,
        }
    }

    fn json(&self) -> Result<Value, Problem> {
        if let Some(message) = not_json(&self.text) {
            return Err(self.problem_at(0, "", message));
        }
        serde_json::from_str(&self.text).map_err(|error| self.json_problem(&error, ""))
    }

    fn spec(&self, value: &Value, accepts: Accepts) -> Result<Spec, Problem> {
        const KEY: &str = "ignition.version";
        if !value.is_object() {
            return Err(self.problem("", format!("expected an object, found {}", kind(value))));
        }
        if value.get("ignitionVersion").is_some() {
            let message = "a config of the incompatible series 1; translate it to spec 3 first";
            return Err(self.problem("ignitionVersion", message.to_owned()));
        }
        match value.pointer("/ignition/version") {
            Some(Value::String(version)) => {
                Spec::accepted(version, accepts).map_err(|message| self.problem(KEY, message))
            }
            Some(other) => Err(self.problem(
                KEY,
                format!(
                    "expected a string such as \"{NEWEST}\", found {}",
                    kind(other)
                ),
            )),
            None => Err(self.problem(
                KEY,
                format!("the spec version is missing; write \"version\": \"{NEWEST}\" or older"),
            )),
        }
    }

    fn decode_as(&self, spec: Spec, unknown: &mut Vec<String>) -> Result<Config, Problem> {
        match spec {
            Spec::V3_0 => self.upgrade::<v3_0::Config>(unknown),
            Spec::V3_1 => self.upgrade::<v3_1::Config>(unknown),
            Spec::V3_2 => self.upgrade::<v3_2::Config>(unknown),
            Spec::V3_3 => self.upgrade::<v3_3::Config>(unknown),
            Spec::V3_4 => self.upgrade::<v3_4::Config>(unknown),
            Spec::V3_5 => self.upgrade::<v3_5::Config>(unknown),
            Spec::V3_6 | Spec::V3_7Experimental => self.upgrade::<v3_6::Config>(unknown),
        }
    }

    /// Reads the text as `T` and translates it to the newest spec, which has
    /// every key that an older one has, with the same meaning.
    fn upgrade<T>(&self, unknown: &mut Vec<String>) -> Result<Config, Problem>
    where
        T: DeserializeOwned + Serialize,
    {
        let old: T = self.decode(unknown)?;
        let translated = serde_json::to_value(old).and_then(serde_json::from_value);
        let mut config: Config = translated.map_err(|error| {
            self.problem(
                "",
                format!("cannot be translated to spec {NEWEST}: {error}"),
            )
        })?;
        NEWEST.clone_into(&mut config.ignition.version);
        Ok(config)
    }

    fn decode<T: DeserializeOwned>(&self, unknown: &mut Vec<String>) -> Result<T, Problem> {
        let mut json = serde_json::Deserializer::from_str(&self.text);
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
        let result = serde_ignored::deserialize(tracked, |path| unknown.push(key_path(&path)));
        result.map_err(|error: serde_json::Error| {
            self.json_problem(&error, &tracked_path(&track.path()))
        })
    }

    fn unknown_key(&self, key: &str) -> Problem {
        let offset = self.index.nearest(key).map_or(0, |spot| spot.key);
        let message = "this key is not in the config's spec version and has no effect; \
                       is it misspelt?";
        self.problem_at(offset, key, message)
    }

    /// serde_json's message carries a position, which is right for syntax
    /// errors; for type errors the value's own start reads better.
    fn json_problem(&self, error: &serde_json::Error, key: &str) -> Problem {
        let text = error.to_string();
        let message = text
            .rsplit_once(" at line ")
            .map_or(text.as_str(), |(m, _)| m);
        if error.is_data() {
            return self.problem(key, friendly(message, key));
        }
        let start: usize = self
            .text
            .split_inclusive('\n')
            .take(error.line().saturating_sub(1))
            .map(str::len)
            .sum();
        let offset = start + error.column().saturating_sub(1);
        let hint = syntax_hint(message);
        self.problem_at(offset, key, &format!("not valid JSON: {message}{hint}"))
    }

    fn problem(&self, key: &str, message: String) -> Problem {
        Problem {
            place: self.place(key),
            message,
        }
    }

    fn problem_at(&self, offset: usize, key: &str, message: &str) -> Problem {
        Problem {
            place: self.spot(offset, key),
            message: message.to_owned(),
        }
    }

    fn spot(&self, offset: usize, key: &str) -> Place {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let (line, column) = self.lines.position(&self.text, end);
        let around = &self.text[self.lines.around(&self.text, end)];
        Place {
            source: self.source.clone(),
            position: Some((line, column)),
            key: key.to_owned(),
            excerpt: excerpt(around.strip_suffix('\r').unwrap_or(around), column),
        }
    }
}

impl Locate for Document {
    fn place(&self, key: &str) -> Place {
        let offset = self
            .index
            .nearest(key)
            .map_or(0, |Spot { value, .. }| value);
        self.spot(offset, key)
    }
}

/// The line and a caret. None for lines that may hold secrets (they end up on
/// consoles and in the journal) and for lines too long to help.
pub(crate) fn excerpt(line: &str, column: usize) -> Option<String> {
    const SECRETS: [&str; 6] = ["password", "data:", "value", "$", "token", "PRIVATE KEY"];
    const WIDTH: usize = 120;
    if line.len() > WIDTH || line.trim().is_empty() || SECRETS.iter().any(|s| line.contains(s)) {
        return None;
    }
    let indent: String = line
        .chars()
        .take(column - 1)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    Some(format!("  | {line}\n  | {indent}^"))
}

fn tracked_path(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .fold(String::new(), |key, segment| match segment {
            Segment::Seq { index } => join(&key, &index.to_string()),
            Segment::Map { key: name } => join(&key, name),
            Segment::Enum { .. } | Segment::Unknown => key,
        })
}

/// serde_ignored's own format marks options with `?`; this one does not.
fn key_path(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => join(&key_path(parent), &index.to_string()),
        Path::Map { parent, key } => join(&key_path(parent), key),
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => key_path(parent),
    }
}

/// Specs before 3.4.0 have no setuid, setgid and sticky bits; as upstream
/// does, they are dropped, with a warning.
fn drop_special_mode_bits(config: &mut Config, document: &Document, out: &mut Vec<Problem>) {
    let Some(storage) = &mut config.storage else {
        return;
    };
    let files = storage.files.iter_mut().flatten().map(|f| &mut f.mode);
    let directories = storage.directories.iter_mut().flatten();
    let lists: [(&str, Vec<&mut Option<i64>>); 2] = [
        ("files", files.collect()),
        ("directories", directories.map(|d| &mut d.mode).collect()),
    ];
    for (name, modes) in lists {
        for (number, mode) in modes.into_iter().enumerate() {
            let Some(bits) = mode.filter(|bits| (0..=0o7777).contains(bits)) else {
                continue;
            };
            if bits & 0o7000 != 0 {
                *mode = Some(bits & 0o777);
                out.push(
                    document.problem(
                        &format!("storage.{name}.{number}.mode"),
                        "setuid, setgid and sticky bits need spec 3.4.0 or newer and are dropped"
                            .to_owned(),
                    ),
                );
            }
        }
    }
}

impl Parsed {
    /// Whether the config refers to others.
    pub fn refers(&self) -> bool {
        self.config.ignition.config.as_ref().is_some_and(|config| {
            !list(config.merge.as_ref()).is_empty()
                || config.replace.as_ref().is_some_and(|r| r.source.is_some())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(text: &str) -> String {
        parse("t.ign", text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn wrong_types_show_source_line_column_key_and_caret() {
        let text = "{\n  \"ignition\": {\"version\": \"3.4.0\"},\n  \"storage\": {\"files\": [\n    \
                    {\"path\": \"/a\",\n     \"mode\": \"0644\"}]}}";
        assert_eq!(
            refusal(text),
            "config from t.ign, line 5, column 14, key storage.files.0.mode: wrong type: \
             found string \"0644\", expected a whole number \
             (JSON has no octal numbers: 0644 is 420, 0755 is 493)\n  \
             |      \"mode\": \"0644\"}]}}\n  \
             |              ^"
        );
    }

    #[test]
    fn syntax_errors_show_where() {
        let message = refusal("{\"ignition\":\n  {\"version\" \"3.0.0\"}}");
        assert!(
            message
                .starts_with("config from t.ign, line 2, column 14: not valid JSON: expected `:`"),
            "{message}"
        );
        let message = refusal("{\"a\": 1,}");
        assert!(
            message.contains("line 1, column 9: not valid JSON: trailing comma"),
            "{message}"
        );
        let message = refusal("{\"ignition\": {\"version\": \"3.0.0\"}} x");
        assert!(message.contains("trailing characters"), "{message}");
    }

    #[test]
    fn other_formats_are_named() {
        assert!(refusal("#cloud-config\n").contains("cloud-config"));
        assert!(refusal("#!/bin/sh\n").contains("script"));
        assert!(refusal("variant: fcos\n").contains("Butane"));
        assert!(refusal("[]").contains("expected an object, found a list"));
        let bytes = b"{\"a\": \"\xff\"}";
        let message = parse("t", bytes).unwrap_err().to_string();
        assert!(
            message.contains("line 1, column 8: the text is not UTF-8"),
            "{message}"
        );
    }

    #[test]
    fn versions_are_required() {
        assert!(refusal("{}").contains("key ignition.version: the spec version is missing"));
        assert!(refusal(r#"{"ignition": {"version": 3}}"#).contains("found a number"));
        assert!(
            refusal(r#"{"ignition": {"version": "2.3.0"}}"#)
                .contains("column 26, key ignition.version")
        );
        assert!(refusal(r#"{"ignitionVersion": 1}"#).contains("series 1"));
    }

    #[test]
    fn unknown_keys_warn_where_they_are() {
        let text = "{\"ignition\": {\"version\": \"3.0.0\"},\n \"storage\": {\"files\": [{\"path\": \"/a\", \"mod\": 1}]}}";
        let parsed = parse("t", text.as_bytes()).unwrap().unwrap();
        let shown = parsed.warnings[0].place.to_string();
        assert_eq!(
            shown,
            "config from t, line 2, column 39, key storage.files.0.mod"
        );
    }

    #[test]
    fn keys_of_newer_specs_warn_in_older_ones() {
        let text =
            r#"{"ignition": {"version": "3.0.0"}, "kernelArguments": {"shouldExist": ["a"]}}"#;
        let parsed = parse("t", text.as_bytes()).unwrap().unwrap();
        assert_eq!(parsed.warnings[0].place.key, "kernelArguments");
        assert_eq!(parsed.config.kernel_arguments, None);
    }

    #[test]
    fn every_spec_is_read() {
        for minor in 0..=6 {
            let text = format!(
                r#"{{"ignition": {{"version": "3.{minor}.0"}}, "storage": {{"files": [{{"path": "/a", "mode": 2541}}]}}}}"#
            );
            let parsed = parse("t", text.as_bytes()).unwrap().unwrap();
            assert_eq!(parsed.config.ignition.version, "3.6.0");
            let mode = parsed.config.storage.unwrap().files.unwrap()[0].mode;
            let expected = if minor < 4 { 0o755 } else { 0o4755 };
            assert_eq!(mode, Some(expected), "3.{minor}.0");
        }
    }

    #[test]
    fn sha256_is_refused_where_the_spec_has_only_sha512() {
        let hash = |minor, hash: &str, digits| {
            let hash = format!("{hash}-{}", "0".repeat(digits));
            let text = format!(
                r#"{{"ignition": {{"version": "3.{minor}.0", "config": {{"merge": [
                {{"source": "data:,a", "verification": {{"hash": "{hash}"}}}}]}}}}}}"#
            );
            parse("t", text.as_bytes())
        };
        let refused = hash(0, "sha256", 64).unwrap_err().to_string();
        let key = "line 2, column 64, key ignition.config.merge.0.verification.hash";
        assert!(refused.contains(key), "{refused}");
        assert!(
            refused.contains("sha256 needs spec 3.1.0 or newer"),
            "{refused}"
        );
        assert!(hash(0, "sha512", 128).is_ok());
        for minor in 1..=6 {
            assert!(hash(minor, "sha256", 64).is_ok(), "3.{minor}.0");
        }
    }

    #[test]
    fn empty_text_is_no_config() {
        assert!(parse("t", b"").unwrap().is_none());
        assert!(parse("t", b" \n").unwrap().is_none());
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = r#"{"ignition": {"version": "3.0.0"}, "passwd": {"users": [{"name": "a", "passwordHash": "$6$s3cret", "uid": "x"}]}}"#;
        assert!(!refusal(text).contains("s3cret"));
        let text = text.replace("\"x\"", "1").replace("\"$6$s3cret\"", "5");
        assert!(refusal(&text).contains("key passwd.users.0.passwordHash"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic(bytes: Vec<u8>) {
            let _ = parse("t", &bytes);
        }

        #[test]
        fn any_damage_to_a_config_is_judged_without_panic(
            at in 0_usize..400, with in prop::collection::vec(any::<u8>(), 0..6), cut in 0_usize..9,
        ) {
            let text = br#"{"ignition": {"version": "3.6.0", "config": {"merge": [{"source": "data:,a"}]}},
                "storage": {"files": [{"path": "/a", "mode": 420, "contents": {"source": "http://h/"}}],
                "links": [{"path": "/l", "target": "/t"}]}, "passwd": {"users": [{"name": "u"}]},
                "systemd": {"units": [{"name": "a.service", "contents": "[Unit]"}]}}"#;
            let mut bytes = text.to_vec();
            let at = at.min(bytes.len());
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, with);
            if let Err(invalid) = parse("t", &bytes) {
                prop_assert!(!invalid.0.is_empty());
            }
        }
    }
}
