//! What went wrong, from what etcd or the connection to it says.

use std::error::Error as StdError;
use std::time::Duration;

use etcd_client::Error;

use crate::etcd::store::{Fault, StoreError};

/// Status codes of gRPC that are told apart here.
mod code {
    pub const INVALID_ARGUMENT: i32 = 3;
    pub const NOT_FOUND: i32 = 5;
    pub const PERMISSION_DENIED: i32 = 7;
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    pub const FAILED_PRECONDITION: i32 = 9;
    pub const OUT_OF_RANGE: i32 = 11;
    pub const UNIMPLEMENTED: i32 = 12;
    pub const UNAUTHENTICATED: i32 = 16;
}

/// Whether asking another endpoint would be of no use.
pub(super) fn is_final(fault: Fault) -> bool {
    matches!(fault, Fault::NoLease | Fault::Failed)
}

/// Whether the connection is not used any more. Also where the server refuses: the next
/// one begins with the files and the password as they are then.
pub(super) fn ends_link(fault: Fault) -> bool {
    !is_final(fault)
}

/// No answer within `deadline`.
pub(super) fn late(server: String, deadline: Duration) -> StoreError {
    StoreError {
        fault: Fault::Unreachable,
        server,
        source: format!("no answer within {} s", deadline.as_secs()).into(),
    }
}

/// A watch that the server ended.
pub(super) fn cancelled(server: String, reason: String) -> StoreError {
    let fault = match reason.contains("permission denied") || reason.contains("auth") {
        true => Fault::Denied,
        false => by_words(&reason).unwrap_or(Fault::Unreachable),
    };
    let source = format!("the watch was ended: {reason}").into();
    StoreError {
        fault,
        server,
        source,
    }
}

/// An error of the client.
pub(super) fn told(server: String, error: Error) -> StoreError {
    let fault = match &error {
        Error::GRpcStatus(status) => of_status(i32::from(status.code()), status.message(), status),
        Error::TransportError(error) => of_chain(error),
        Error::LeaseKeepAliveError(_) => Fault::NoLease,
        Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
            Fault::Failed
        }
        _ => Fault::Unreachable,
    };
    // Its `Display` has the words of the status; the chain below has those of TLS.
    let source = match error {
        Error::GRpcStatus(status) => whole(&status).into(),
        Error::TransportError(error) => whole(&error).into(),
        other => other.into(),
    };
    StoreError {
        fault,
        server,
        source,
    }
}

fn of_status(code: i32, message: &str, status: &dyn StdError) -> Fault {
    match code {
        code::PERMISSION_DENIED | code::UNAUTHENTICATED => Fault::Denied,
        code::INVALID_ARGUMENT if message.contains("auth") || message.contains("user") => {
            Fault::Denied
        }
        // Authentication that was never set up, and a user is given.
        code::FAILED_PRECONDITION if message.contains("authentication") => Fault::Denied,
        code::NOT_FOUND if message.contains("lease") => Fault::NoLease,
        code::INVALID_ARGUMENT
        | code::NOT_FOUND
        | code::RESOURCE_EXHAUSTED
        | code::FAILED_PRECONDITION
        | code::OUT_OF_RANGE
        | code::UNIMPLEMENTED => Fault::Failed,
        _ => by_words(message).unwrap_or_else(|| of_chain(status)),
    }
}

fn by_words(message: &str) -> Option<Fault> {
    let leader = message.contains("no leader") || message.contains("leader changed");
    leader.then_some(Fault::NoLeader)
}

/// What TLS complains about is only in words.
fn of_chain(error: &dyn StdError) -> Fault {
    let text = whole(error).to_lowercase();
    let words = ["certificate", "fatal alert", "unknownissuer", "bad key"];
    match words.iter().any(|word| text.contains(word)) {
        true => Fault::Denied,
        false => Fault::Unreachable,
    }
}

/// An error and all its causes, each once.
fn whole(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: i32, message: &str) -> Fault {
        of_status(code, message, &std::io::Error::other(message.to_owned()))
    }

    /// The words are etcd's own (`api/v3rpc/rpctypes/error.go`).
    #[test]
    fn what_etcd_says_is_told_apart() {
        let wrong = "etcdserver: authentication failed, invalid user ID or password";
        assert_eq!(fault(3, wrong), Fault::Denied);
        assert_eq!(
            fault(3, "etcdserver: revision of auth store is old"),
            Fault::Denied
        );
        assert_eq!(fault(3, "etcdserver: request is too large"), Fault::Failed);
        assert_eq!(fault(7, "etcdserver: permission denied"), Fault::Denied);
        assert_eq!(fault(16, "etcdserver: invalid auth token"), Fault::Denied);
        assert_eq!(
            fault(9, "etcdserver: authentication is not enabled"),
            Fault::Denied
        );
        assert_eq!(
            fault(5, "etcdserver: requested lease not found"),
            Fault::NoLease
        );
        assert_eq!(
            fault(8, "etcdserver: mvcc: database space exceeded"),
            Fault::Failed
        );
        assert_eq!(fault(14, "etcdserver: no leader"), Fault::NoLeader);
        assert_eq!(fault(14, "etcdserver: leader changed"), Fault::NoLeader);
        assert_eq!(
            fault(14, "etcdserver: request timed out"),
            Fault::Unreachable
        );
        assert_eq!(fault(14, "tcp connect error"), Fault::Unreachable);
        assert_eq!(
            fault(14, "invalid peer certificate: Expired"),
            Fault::Denied
        );
    }

    #[test]
    fn a_watch_may_be_refused_as_well() {
        let refused = cancelled(String::new(), "rpc error: permission denied".to_owned());
        assert_eq!(refused.fault, Fault::Denied);
        let ended = cancelled(String::new(), "the stream ended".to_owned());
        assert_eq!(ended.fault, Fault::Unreachable);
    }
}
