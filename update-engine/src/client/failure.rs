//! Why a verb came to nothing, and the exit status for it.

use std::io;

use daemon::log::chain;

/// Why a verb came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It was tried, and failed.
    #[error("{0}")]
    Failed(String),
    /// The daemon does not answer.
    #[error("update-engine does not answer: {0}; see journalctl -u update-engine")]
    NoDaemon(String),
    /// Not for this user, in this state, or with these arguments.
    #[error("{0}")]
    Refused(String),
    /// There are problems, and all of them were printed.
    #[error("the policy has {0} problem(s)")]
    Problems(usize),
    /// Output could not be written.
    #[error("writing output")]
    Output(#[source] io::Error),
}

impl ClientError {
    /// The exit status, as the man page has it.
    pub fn status(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Problems(_) | Self::Output(_) => 1,
            Self::NoDaemon(_) => 3,
            Self::Refused(_) => 4,
        }
    }
}

impl From<zbus::Error> for ClientError {
    fn from(error: zbus::Error) -> Self {
        let zbus::Error::MethodError(name, message, _) = &error else {
            return Self::NoDaemon(chain(&error));
        };
        let why = message.clone().unwrap_or_else(|| name.to_string());
        match name.as_str() {
            "org.ballast.Update1.Error.Refused"
            | "org.ballast.Update1.Error.AccessDenied"
            | "org.freedesktop.DBus.Error.AccessDenied"
            | "org.freedesktop.DBus.Error.InvalidArgs" => Self::Refused(why),
            "org.ballast.Update1.Error.Failed" => Self::Failed(why),
            _ => Self::NoDaemon(why),
        }
    }
}
