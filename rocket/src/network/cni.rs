//! Networks of CNI plugins, version 1.1 of the specification and those before that plugins of
//! today still speak.

mod config;
mod plugin;

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::options::PortOption;
use config::List;
use plugin::{Call, Command};

/// Where configurations are looked for.
const CONFIG: &str = "/etc/cni/net.d";

/// Where plugins are looked for, in this order.
const PLUGINS: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];

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

/// Puts the namespace of process `pid` into networks, in order; their devices are `eth0`,
/// `eth1` and so on. Tells `keep` of every network before its plugins run, so that it can be
/// left again whatever happens.
///
/// # Errors
/// A network is not configured, or a plugin failed. It and those before are left again.
pub fn attach(
    names: &[String],
    pod: Uuid,
    pid: i32,
    ports: &[PortOption],
    mut keep: impl FnMut(&[Attachment]) -> Result<(), CniError>,
) -> Result<Vec<Attachment>, CniError> {
    let lists: Vec<List> = names
        .iter()
        .map(|name| config::find(CONFIG.as_ref(), name))
        .collect::<Result<_, _>>()?;
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
            && let Err(error) = add(last, pod, pid)
        {
            // The first failure is what the caller has to know.
            let _ = detach(&done, pod, Some(pid));
            return Err(error);
        }
        keep(&done)?;
    }
    Ok(done)
}

fn add(network: &mut Attachment, pod: Uuid, pid: i32) -> Result<(), CniError> {
    let mut previous = None;
    for plugin in &network.plugins {
        let call = call(network, plugin, pod, Some(pid));
        let answer = call.run(&Command::Add, previous.as_ref(), &PLUGINS)?;
        previous = Some(answer);
    }
    network.result = previous.unwrap_or(Value::Null);
    Ok(())
}

/// Takes a pod out of networks, the last first. Without `pid` its namespace is gone already.
/// All are tried.
///
/// # Errors
/// The first failure of a plugin.
pub fn detach(networks: &[Attachment], pod: Uuid, pid: Option<i32>) -> Result<(), CniError> {
    let mut first = Ok(());
    for network in networks.iter().rev() {
        for plugin in network.plugins.iter().rev() {
            let previous = Some(&network.result).filter(|result| !result.is_null());
            let result = call(network, plugin, pod, pid).run(&Command::Delete, previous, &PLUGINS);
            first = first.and(result.map(drop));
        }
    }
    first
}

fn call<'a>(network: &'a Attachment, plugin: &'a Value, pod: Uuid, pid: Option<i32>) -> Call<'a> {
    Call {
        network: &network.network,
        plugin,
        container: pod.to_string(),
        namespace: pid.map(|pid| format!("/proc/{pid}/ns/net")),
        device: &network.device,
        ports: &network.ports,
    }
}
