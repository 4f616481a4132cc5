//! What others are told about a container.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::sync::MAX_MESSAGE;
use crate::runtime::error::{Error, Result};

/// How far a container has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is being made.
    Creating,
    /// It is there, its program is not.
    Created,
    /// Its program runs.
    Running,
    /// Its program is stopped for a while.
    Paused,
    /// Its program has ended.
    Stopped,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// Who a container is, for hooks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub id: String,
    /// Where its spec is.
    pub bundle: PathBuf,
    /// Of the spec.
    pub annotations: BTreeMap<String, String>,
}

/// The state as the runtime spec has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    bundle: &'a PathBuf,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

/// The version of the runtime spec that is followed.
pub const OCI_VERSION: &str = "1.2.0";

impl Identity {
    /// The state that a hook reads.
    pub fn state(&self, status: Status, pid: Option<i32>) -> Result<String> {
        let state = State {
            oci_version: OCI_VERSION,
            id: &self.id,
            status,
            pid,
            bundle: &self.bundle,
            annotations: &self.annotations,
        };
        let step = || format!("describing the container {}", self.id);
        let text =
            serde_json::to_string(&state).map_err(|e| Error::refused(step(), e.to_string()))?;
        if text.len() >= MAX_MESSAGE {
            return Err(Error::spec("annotations", "more than 128 KiB"));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_read_the_state_of_the_runtime_spec() {
        let identity = Identity {
            id: "x".into(),
            bundle: "/b".into(),
            annotations: BTreeMap::from([("a".into(), "1".into())]),
        };
        let expected = format!(
            r#"{{"ociVersion":"{OCI_VERSION}","id":"x","status":"created","pid":7,"bundle":"/b","annotations":{{"a":"1"}}}}"#
        );
        assert_eq!(identity.state(Status::Created, Some(7)).unwrap(), expected);
    }
}
