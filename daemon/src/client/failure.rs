//! Why a verb came to nothing, and the exit status for it.

use std::fmt;
use std::io;
use std::marker::PhantomData;

use crate::log::chain;

/// The daemon that a program is the client of.
pub trait Service: fmt::Debug + 'static {
    /// Its interface, which its errors are named after.
    const INTERFACE: &'static str;
    /// Its unit.
    const UNIT: &'static str;
}

/// Why a verb came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError<S: Service> {
    /// It was tried, and failed.
    #[error("{0}")]
    Failed(String),
    /// The daemon does not answer.
    #[error("{unit} does not answer: {0}; see journalctl -u {unit}", unit = S::UNIT)]
    NoDaemon(String, PhantomData<S>),
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

impl<S: Service> ClientError<S> {
    /// The daemon does not answer.
    pub fn no_daemon(why: impl Into<String>) -> Self {
        Self::NoDaemon(why.into(), PhantomData)
    }

    /// The exit status, as man pages have it.
    pub fn status(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Problems(_) | Self::Output(_) => 1,
            Self::NoDaemon(..) => 3,
            Self::Refused(_) => 4,
        }
    }
}

impl<S: Service> From<zbus::Error> for ClientError<S> {
    fn from(error: zbus::Error) -> Self {
        let zbus::Error::MethodError(name, message, _) = &error else {
            return Self::no_daemon(chain(&error));
        };
        let why = message.clone().unwrap_or_else(|| name.to_string());
        let ours = name.as_str().strip_prefix(S::INTERFACE);
        match ours.and_then(|rest| rest.strip_prefix(".Error.")) {
            Some("Refused" | "AccessDenied") => return Self::Refused(why),
            Some("Failed") => return Self::Failed(why),
            _ => {}
        }
        match name.as_str() {
            "org.freedesktop.DBus.Error.AccessDenied"
            | "org.freedesktop.DBus.Error.InvalidArgs" => Self::Refused(why),
            _ => Self::no_daemon(why),
        }
    }
}
