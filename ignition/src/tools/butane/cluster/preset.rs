//! `cluster.agent.preset`: agents whose arguments are known. What is the same on all nodes
//! is in the release (`/usr/lib/ballast/cluster/presets`); what is this node's is here.

use std::net::IpAddr;

use crate::cluster;

use super::{Cluster, Proof};

/// How a kubelet finds its API server.
pub const KUBECONFIG: &str = "/etc/cluster/kubeconfig";

/// An agent that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Of Kubernetes.
    Kubelet,
    /// A client.
    Nomad,
}

impl Preset {
    /// By its name in the config.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "kubelet" => Some(Self::Kubelet),
            "nomad" => Some(Self::Nomad),
            _ => None,
        }
    }

    /// What the release says of the agent's unit.
    pub fn drop_in(self) -> &'static str {
        match self {
            Self::Kubelet => "/usr/lib/ballast/cluster/presets/kubelet.conf",
            Self::Nomad => "/usr/lib/ballast/cluster/presets/nomad.conf",
        }
    }

    /// What this node has to say.
    pub fn arguments(self, cluster: &Cluster<'_>) -> Vec<String> {
        match self {
            Self::Kubelet => kubelet(cluster),
            Self::Nomad => nomad(cluster),
        }
    }
}

fn kubelet(cluster: &Cluster<'_>) -> Vec<String> {
    let mut words = match cluster.proof {
        Proof::Certificate { .. } => vec![format!("--kubeconfig={KUBECONFIG}")],
        Proof::Token(_) => vec![
            format!("--bootstrap-kubeconfig={KUBECONFIG}"),
            "--kubeconfig=/var/lib/kubelet/kubeconfig".to_owned(),
        ],
    };
    words.push("--hostname-override=${CLUSTER_NAME}".to_owned());
    if !cluster.labels.is_empty() {
        words.push("--node-labels=${CLUSTER_LABELS}".to_owned());
    }
    if let Some((servers, domain)) = &cluster.dns {
        // Pods ask on port 53, whatever the host does.
        let plain = servers
            .iter()
            .copied()
            .filter(|text| text.parse::<IpAddr>().is_ok());
        let plain: Vec<&str> = plain.collect();
        if !plain.is_empty() {
            words.push(format!("--cluster-dns={}", plain.join(",")));
        }
        words.push(format!("--cluster-domain={domain}"));
    }
    words
}

fn nomad(cluster: &Cluster<'_>) -> Vec<String> {
    let labels = cluster.labels.iter();
    let labels = labels.map(|(key, value)| format!("-meta={key}={value}"));
    ["-servers=${CLUSTER_ADDRESS}", "-node=${CLUSTER_NAME}"]
        .map(str::to_owned)
        .into_iter()
        .chain(labels)
        .collect()
}

/// A kubeconfig that holds no secrets, only where they are.
pub fn kubeconfig(endpoint: &str, proof: &Proof<'_>) -> String {
    let user = match proof {
        Proof::Certificate { .. } => format!(
            "client-certificate: {}, client-key: {}",
            cluster::CERTIFICATE,
            cluster::KEY
        ),
        Proof::Token(_) => format!("tokenFile: {}", cluster::TOKEN),
    };
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: node\nclusters:\n- name: cluster\n  \
         cluster: {{certificate-authority: {}, server: \"{endpoint}\"}}\nusers:\n- name: node\n  \
         user: {{{user}}}\ncontexts:\n- name: node\n  context: {{cluster: cluster, user: node}}\n",
        cluster::CA
    )
}
