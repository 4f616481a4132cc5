//! `cluster.agent`: what the agent's unit starts.

use serde_json::Value;

use super::preset::Preset;
use super::{Asked, Translator};

/// Where programs of the operator's own are.
const OPT: &str = "/opt/";

/// The agent, one way or the other.
pub struct Agent<'a> {
    program: Program<'a>,
    arguments: Vec<&'a str>,
    /// Arguments and paths that the release knows.
    pub preset: Option<Preset>,
}

#[derive(Clone, Copy)]
enum Program<'a> {
    Image(&'a str),
    Binary(&'a str),
}

/// The agent that is asked for, if one is.
pub fn read<'a>(translator: &mut Translator<'_>, asked: &Asked<'a>) -> Option<Agent<'a>> {
    let below = Asked {
        node: asked.node.get("agent")?,
        wanted: asked.wanted.get("agent")?.as_object()?,
        path: asked.path.key("agent"),
    };
    let program = match (below.text("image"), below.text("binary")) {
        (Some(image), None) if is_image(image) => Some(Program::Image(image)),
        (None, Some(binary)) if is_binary(binary) => Some(Program::Binary(binary)),
        (Some(image), None) => {
            let message = format!(
                "expected the name of an image, such as registry.example.com/agent:1, found \
                 {image:?}"
            );
            below.error(translator, "image", message);
            None
        }
        (None, Some(binary)) => {
            let message = format!(
                "expected the path of a program below /opt, such as /opt/bin/agent, found \
                 {binary:?}"
            );
            below.error(translator, "binary", message);
            None
        }
        (Some(_), Some(_)) => {
            let message = "image and binary are both given; keep one of them";
            below.error(translator, "binary", message);
            None
        }
        (None, None) => {
            let message = "an agent needs image: the name of a container image, or binary: a \
                           path below /opt";
            asked.error(translator, "agent", message);
            None
        }
    };
    let preset = below.text("preset").and_then(|name| {
        let preset = Preset::named(name);
        if preset.is_none() {
            let message = format!("expected kubelet or nomad, found {name:?}");
            below.error(translator, "preset", message);
        }
        preset
    });
    let arguments = arguments(translator, &below);
    Some(Agent {
        program: program?,
        arguments,
        preset,
    })
}

fn arguments<'a>(translator: &mut Translator<'_>, below: &Asked<'a>) -> Vec<&'a str> {
    let list = below.wanted.get("args").and_then(Value::as_array);
    let list = list.into_iter().flatten();
    let arguments: Vec<&str> = list.filter_map(Value::as_str).collect();
    if arguments
        .iter()
        .any(|word| word.chars().any(char::is_control))
    {
        let message = "an argument has a line break or another control character";
        below.error(translator, "args", message);
    }
    if arguments.contains(&"---") {
        let message = "--- between arguments would begin another app of the pod";
        below.error(translator, "args", message);
    }
    arguments
}

/// The characters of names, tags and digests.
fn is_image(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain)
}

fn is_binary(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(plain);
    text.strip_prefix(OPT)
        .is_some_and(|rest| rest.split('/').all(part))
}

impl Agent<'_> {
    /// The drop-in of the agent's unit; `own` are arguments of this node.
    pub fn drop_in(&self, own: &[String]) -> String {
        let mut words = Vec::new();
        if self.preset.is_some() {
            words.push("$CLUSTER_PRESET".to_owned());
        }
        let given = self.arguments.iter().copied().map(str::to_owned);
        words.extend(own.iter().cloned().chain(given).map(|word| quoted(&word)));
        let start = match self.program {
            Program::Binary(path) => path.to_owned(),
            Program::Image(image) => {
                if !words.is_empty() {
                    words.insert(0, "--".to_owned());
                }
                format!(
                    "/usr/bin/rocket run $CLUSTER_ACCESS --hostname=${{CLUSTER_NAME}} {image} \
                     $CLUSTER_PRIVILEGES"
                )
            }
        };
        words.insert(0, start);
        format!("[Service]\nExecStart=\nExecStart={}\n", words.join(" "))
    }
}

/// One word of a command line of systemd. `$` stays: variables of `cluster.env` are for
/// arguments, too.
fn quoted(word: &str) -> String {
    let escaped = word
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_below_opt_and_images_have_no_options() {
        for good in ["/opt/agent", "/opt/bin/k3s-agent", "/opt/a+b/c.1"] {
            assert!(is_binary(good), "{good}");
        }
        for bad in [
            "/usr/bin/x",
            "opt/x",
            "/opt/",
            "/opt//x",
            "/opt/../x",
            "/opt/a b",
            "/opt/%i",
        ] {
            assert!(!is_binary(bad), "{bad}");
        }
        assert!(is_image(
            "registry.example.com:5000/team/agent:1.2@sha256:00"
        ));
        for bad in ["", "--net=host", "a b", "a%i", "$A", "a;b", "a\"b"] {
            assert!(!is_image(bad), "{bad}");
        }
    }

    #[test]
    fn words_reach_the_program_as_they_are() {
        assert_eq!(quoted("a b"), "\"a b\"");
        assert_eq!(quoted("50%"), "\"50%%\"");
        assert_eq!(quoted(r#"{"a":"\n"}"#), r#""{\"a\":\"\\n\"}""#);
        assert_eq!(quoted("${CLUSTER_NAME}"), "\"${CLUSTER_NAME}\"");
    }
}
