//! Calling a plugin: parameters in the environment, configuration on standard input, the
//! answer on standard output.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{self, Stdio};

use serde_json::{Value, json};

use super::CniError;
use crate::options::PortOption;

/// One call of one plugin.
pub struct Call<'a> {
    pub network: &'a str,
    pub plugin: &'a Value,
    pub container: String,
    /// The path of the namespace; nothing if it is gone.
    pub namespace: Option<String>,
    pub device: &'a str,
    pub ports: &'a [PortOption],
}

/// What the plugin is to do.
pub enum Command {
    Add,
    Delete,
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Delete => "DEL",
        }
    }
}

impl Call<'_> {
    /// Runs the plugin and returns its answer; of DEL there is none.
    pub fn run(
        &self,
        command: &Command,
        previous: Option<&Value>,
        dirs: &[PathBuf],
    ) -> Result<Value, CniError> {
        let name = self.name();
        let failed = |message: String| CniError::Plugin {
            network: self.network.to_owned(),
            plugin: name.to_owned(),
            operation: command.name(),
            message,
        };
        // A name with a slash would leave the directories of plugins.
        if name.contains('/') || name.starts_with('.') {
            return Err(failed("its name is not the name of a file".into()));
        }
        let found = dirs
            .iter()
            .map(|dir| dir.join(name))
            .find(|path| path.is_file());
        let path = found.ok_or_else(|| failed(format!("it is not in {}", list(dirs, " or "))))?;
        let mut child = process::Command::new(path)
            .env("CNI_COMMAND", command.name())
            .env("CNI_CONTAINERID", &self.container)
            .env("CNI_NETNS", self.namespace.as_deref().unwrap_or_default())
            .env("CNI_IFNAME", self.device)
            .env("CNI_PATH", list(dirs, ":"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        if let Some(mut input) = child.stdin.take() {
            // One that does not read its configuration says itself what is wrong.
            let _ = input.write_all(self.config(previous).to_string().as_bytes());
        }
        let output = child
            .wait_with_output()
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(complaint(&output)));
        }
        match command {
            Command::Delete => Ok(Value::Null),
            Command::Add => serde_json::from_slice(&output.stdout)
                .map_err(|error| failed(format!("its answer is not JSON: {error}"))),
        }
    }

    fn name(&self) -> &str {
        self.plugin
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The plugin's configuration with what it is told at run time.
    fn config(&self, previous: Option<&Value>) -> Value {
        let mut config = self.plugin.clone();
        let can = |name: &str| {
            self.plugin
                .pointer(&format!("/capabilities/{name}"))
                .and_then(Value::as_bool)
                .unwrap_or_default()
        };
        let ports = can("portMappings") && !self.ports.is_empty();
        let Some(object) = config.as_object_mut() else {
            return config;
        };
        object.remove("capabilities");
        if ports {
            let mappings: Vec<Value> = self.ports.iter().map(mapping).collect();
            object.insert("runtimeConfig".into(), json!({ "portMappings": mappings }));
        }
        if let Some(previous) = previous {
            object.insert("prevResult".into(), previous.clone());
        }
        config
    }
}

fn list(dirs: &[PathBuf], between: &str) -> String {
    let names: Vec<_> = dirs.iter().map(|dir| dir.to_string_lossy()).collect();
    names.join(between)
}

fn mapping(port: &PortOption) -> Value {
    let mut value = json!({
        "hostPort": port.host,
        "containerPort": port.pod,
        "protocol": port.protocol,
    });
    if let (Some(address), Some(object)) = (port.address, value.as_object_mut()) {
        object.insert("hostIP".into(), json!(address));
    }
    value
}

/// What a plugin that failed says: an error of the specification, or whatever it printed.
fn complaint(output: &process::Output) -> String {
    let parsed: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    let said = parsed.and_then(|error| {
        let message = error.get("msg")?.as_str()?.to_owned();
        match error.get("details").and_then(Value::as_str) {
            Some(details) if !details.is_empty() => Some(format!("{message}: {details}")),
            _ => Some(message),
        }
    });
    said.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text
            .trim()
            .lines()
            .next_back()
            .unwrap_or("it said nothing")
            .to_owned();
        format!("{last} ({})", output.status)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    fn plugin(dir: &Path, name: &str, script: &str) {
        let path = dir.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(dir: &Path, config: &Value, command: &Command) -> Result<Value, String> {
        let ports = ["8080:80".parse().unwrap()];
        let call = Call {
            network: "lan",
            plugin: config,
            container: "pod".into(),
            namespace: Some("/proc/1/ns/net".into()),
            device: "eth0",
            ports: &ports,
        };
        let dirs = ["/nowhere".into(), dir.to_owned()];
        call.run(command, Some(&json!({"ips": []})), &dirs)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_plugin_is_told_what_to_do_and_its_answer_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        plugin(
            dir.path(),
            "echo",
            r#"config=$(cat); printf '{"env": "%s %s %s %s", "config": %s}' \
               "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_NETNS" "$CNI_IFNAME" "$config""#,
        );
        let config = json!({"type": "echo", "capabilities": {"portMappings": true}});
        let answer = run(dir.path(), &config, &Command::Add).unwrap();
        assert_eq!(answer["env"], "ADD pod /proc/1/ns/net eth0");
        assert_eq!(answer["config"]["prevResult"], json!({"ips": []}));
        assert_eq!(
            answer["config"]["runtimeConfig"]["portMappings"][0]["hostPort"],
            8080
        );
        assert!(answer["config"].get("capabilities").is_none());
    }

    #[test]
    fn a_plugin_that_fails_is_named_with_what_it_said() {
        let dir = tempfile::tempdir().unwrap();
        plugin(
            dir.path(),
            "bad",
            r#"echo '{"code": 11, "msg": "no", "details": "way"}'; exit 1"#,
        );
        plugin(dir.path(), "worse", "echo 'it broke' >&2; exit 2");
        let said = |name: &str| run(dir.path(), &json!({"type": name}), &Command::Add).unwrap_err();
        assert_eq!(
            said("bad"),
            "network lan: plugin bad failed to ADD: no: way"
        );
        assert!(said("worse").contains("it broke (exit status: 2)"));
        assert!(said("none").contains("it is not in /nowhere or "));
        assert!(said("../bad").contains("not the name of a file"));
    }
}
