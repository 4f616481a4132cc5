//! Networks of CNI plugins, version 1.1 of the specification and those before that plugins of
//! today still speak.

mod config;
mod plugin;

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::dirs::Dirs;
use crate::options::PortOption;
use config::List;
use plugin::{Call, Command};

/// A network that its plugins did not make.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    /// There is no configuration of that name.
    #[error("no network {name:?} in {dir}; networks there are: {others}", dir = .dir.display())]
    Unknown {
        /// The name.
        name: String,
        /// Where it was looked for.
        dir: PathBuf,
        /// What is there.
        others: String,
    },
    /// A configuration is wrong.
    #[error("{}: {message}", .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A plugin is not there, or failed.
    #[error("network {network}: plugin {plugin} failed to {operation}: {message}")]
    Plugin {
        /// The network.
        network: String,
        /// The plugin.
        plugin: String,
        /// ADD or DEL.
        operation: &'static str,
        /// What it said.
        message: String,
    },
    /// It cannot be noted that a pod is in a network.
    #[error("noting the pod's networks: {0}")]
    Kept(String),
}

/// A network that a pod is in: what is needed to take it out again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// The network's name.
    network: String,
    /// The pod's device.
    device: String,
    /// Configurations of its plugins as they were, in order.
    plugins: Vec<Value>,
    /// What the last plugin answered.
    result: Value,
    /// Ports that were asked for.
    ports: Vec<PortOption>,
}

impl Attachment {
    /// The pod's addresses there.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let ips = self.result.get("ips").and_then(Value::as_array);
        let address = |ip: &Value| ip.get("address")?.as_str()?.split('/').next()?.parse().ok();
        ips.into_iter().flatten().filter_map(address).collect()
    }
}

/// The program that wants networks.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// The pod.
    pub pod: Uuid,
    /// A process in its namespace; nothing if that is gone.
    pub pid: Option<i32>,
}

/// Puts the namespace of a pod into networks, in order; their devices are `eth0`, `eth1` and
/// so on. Tells `keep` of every network before its plugins run, so that it can be left again
/// whatever happens.
///
/// # Errors
/// A network is not configured, or a plugin failed. It and those before are left again; those
/// of which a plugin fails once more are what `keep` was told of last.
pub fn attach(
    dirs: &Dirs,
    names: &[String],
    member: Member,
    ports: &[PortOption],
    mut keep: impl FnMut(&[Attachment]) -> Result<(), CniError>,
) -> Result<Vec<Attachment>, CniError> {
    let lists: Vec<List> = names
        .iter()
        .map(|name| config::find(&dirs.networks(), name))
        .collect::<Result<_, _>>()?;
    let plugins = dirs.plugins();
    let mut done: Vec<Attachment> = Vec::new();
    for (number, list) in lists.into_iter().enumerate() {
        done.push(Attachment {
            network: list.name,
            device: format!("eth{number}"),
            plugins: list.plugins,
            result: Value::Null,
            // Several networks cannot all have the host's port: the first has it.
            ports: if number == 0 {
                ports.to_vec()
            } else {
                Vec::new()
            },
        });
        keep(&done)?;
        if let Some(last) = done.last_mut()
            && let Err(error) = add(last, member, &plugins)
        {
            // The first failure is what the caller has to know; what is left is kept.
            let _ = detach(dirs, &mut done, member);
            let _ = keep(&done);
            return Err(error);
        }
        keep(&done)?;
    }
    Ok(done)
}

fn add(network: &mut Attachment, member: Member, plugins: &[PathBuf]) -> Result<(), CniError> {
    let mut previous = None;
    for plugin in &network.plugins {
        let call = call(network, plugin, member);
        let answer = call.run(&Command::Add, previous.as_ref(), plugins)?;
        previous = Some(answer);
    }
    network.result = previous.unwrap_or(Value::Null);
    Ok(())
}

/// Takes a pod out of networks, the last first. All are tried; those of which a plugin failed
/// stay in `networks`, to be tried again.
///
/// # Errors
/// The first failure of a plugin.
pub fn detach(dirs: &Dirs, networks: &mut Vec<Attachment>, member: Member) -> Result<(), CniError> {
    let plugins = dirs.plugins();
    let mut first = Ok(());
    for number in (0..networks.len()).rev() {
        match delete(&networks[number], member, &plugins) {
            Ok(()) => drop(networks.remove(number)),
            Err(error) => first = first.and(Err(error)),
        }
    }
    first
}

/// All plugins of a network are tried, the last first; the specification has them do so as
/// often as they are asked.
fn delete(network: &Attachment, member: Member, plugins: &[PathBuf]) -> Result<(), CniError> {
    let previous = Some(&network.result).filter(|result| !result.is_null());
    let mut first = Ok(());
    for plugin in network.plugins.iter().rev() {
        let call = call(network, plugin, member);
        first = first.and(call.run(&Command::Delete, previous, plugins).map(drop));
    }
    first
}

fn call<'a>(network: &'a Attachment, plugin: &'a Value, member: Member) -> Call<'a> {
    Call {
        network: &network.network,
        plugin,
        container: member.pod.to_string(),
        namespace: member.pid.map(|pid| format!("/proc/{pid}/ns/net")),
        device: &network.device,
        ports: &network.ports,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    /// Notes what it is asked in `calls`; does not do what `refuses` names.
    const PLUGIN: &str = r#"#!/bin/sh
root=$(dirname "$0")/../..
echo "$CNI_COMMAND $CNI_IFNAME" >> "$root/calls"
grep -qs "^$CNI_COMMAND $CNI_IFNAME$" "$root/refuses" && exit 1
echo '{"ips": [{"address": "10.9.0.2/24"}]}'
"#;

    fn host(root: &Path) -> Dirs {
        let dirs = Dirs::below(root);
        let bin = dirs.plugins().remove(0);
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(dirs.networks()).unwrap();
        fs::write(bin.join("lan"), PLUGIN).unwrap();
        fs::set_permissions(bin.join("lan"), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["a", "b"] {
            let list = format!(r#"{{"cniVersion": "1.1.0", "name": "{name}", "type": "lan"}}"#);
            fs::write(dirs.networks().join(format!("{name}.conf")), list).unwrap();
        }
        dirs
    }

    fn devices(networks: &[Attachment]) -> Vec<&str> {
        networks.iter().map(|one| one.device.as_str()).collect()
    }

    const MEMBER: Member = Member {
        pod: Uuid::nil(),
        pid: None,
    };

    #[test]
    fn a_network_is_kept_before_a_pod_is_in_it_and_until_it_has_left() {
        let root = tempfile::tempdir().unwrap();
        let dirs = host(root.path());
        let names = ["a".to_owned(), "b".to_owned()];
        let mut kept = Vec::new();
        let calls = || fs::read_to_string(root.path().join("calls")).unwrap_or_default();
        let keep = |networks: &[Attachment]| {
            kept.push(format!(
                "{} calls: {:?}",
                calls().lines().count(),
                devices(networks)
            ));
            Ok(())
        };
        let mut made = attach(&dirs, &names, MEMBER, &[], keep).unwrap();
        let expected = [
            r#"0 calls: ["eth0"]"#,
            r#"1 calls: ["eth0"]"#,
            r#"1 calls: ["eth0", "eth1"]"#,
            r#"2 calls: ["eth0", "eth1"]"#,
        ];
        assert_eq!(kept, expected);

        fs::write(root.path().join("refuses"), "DEL eth1\n").unwrap();
        for _ in 0..2 {
            let error = detach(&dirs, &mut made, MEMBER).unwrap_err().to_string();
            assert!(
                error.contains("network b: plugin lan failed to DEL"),
                "{error}"
            );
            assert_eq!(devices(&made), ["eth1"]);
        }
        fs::remove_file(root.path().join("refuses")).unwrap();
        detach(&dirs, &mut made, MEMBER).unwrap();
        assert!(made.is_empty());
        let asked = calls();
        assert_eq!(asked.matches("DEL eth0").count(), 1, "{asked}");
        assert_eq!(asked.matches("DEL eth1").count(), 3, "{asked}");
    }

    #[test]
    fn of_networks_that_were_not_all_made_those_are_kept_that_could_not_be_left() {
        let root = tempfile::tempdir().unwrap();
        let dirs = host(root.path());
        let names = ["a".to_owned(), "b".to_owned()];
        for (refuses, left) in [
            ("ADD eth1\n", vec![]),
            ("ADD eth1\nDEL eth0\n", vec!["eth0"]),
        ] {
            fs::write(root.path().join("refuses"), refuses).unwrap();
            let mut last = Vec::new();
            let keep = |networks: &[Attachment]| {
                last = networks.to_vec();
                Ok(())
            };
            let error = attach(&dirs, &names, MEMBER, &[], keep).unwrap_err();
            assert!(error.to_string().contains("failed to ADD"), "{error}");
            assert_eq!(devices(&last), left);
        }
    }
}
