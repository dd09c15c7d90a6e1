//! Why a request to a manager failed.

use std::convert::Infallible;
use std::io;

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use crate::link::net::NetError;
use crate::process;

/// Why a manager, or something it has, could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// The manager has ended, or the connection to it is lost. Whether the request was carried out is not known.
    #[error("the manager has ended, or the connection to it is lost: {reason}")]
    Died {
        /// What is known of it.
        reason: String,
    },
    /// Another manager answers at the address: what the old one had is gone.
    #[error("another manager has taken the place of the one that had this object")]
    Restarted,
    /// Nobody has the object any more, or this process was never given it.
    #[error("the object is gone, or was never given to this process")]
    Gone,
    /// The object is of another kind.
    #[error("it is a {found}, and no {expected}")]
    WrongKind {
        /// What the proxy stands for.
        expected: String,
        /// What the object is.
        found: String,
    },
    /// No object has the name.
    #[error("the manager has no object named {name:?}")]
    NoName {
        /// The name.
        name: String,
    },
    /// Another object has the name.
    #[error("the manager has an object named {name:?} already")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// There is nothing at the index.
    #[error("index {index} of a list of {len}")]
    Index {
        /// The index.
        index: i64,
        /// How many there are.
        len: u64,
    },
    /// An array keeps its length.
    #[error("{found} values in place of {expected} of an array")]
    SliceLen {
        /// How many there are.
        expected: u64,
        /// How many were given.
        found: u64,
    },
    /// There is nothing to take.
    #[error("it is empty")]
    Empty,
    /// Somebody else has it now.
    #[error("it is held by another")]
    WouldBlock,
    /// There is no room.
    #[error("it is full")]
    Full,
    /// It was closed.
    #[error("it was closed")]
    Closed,
    /// The time was over.
    #[error("it took longer than allowed")]
    TimedOut,
    /// Who releases something does not have it.
    #[error("{what} is not held")]
    NotHeld {
        /// What.
        what: String,
    },
    /// More than there can be.
    #[error("too many: {what}")]
    TooMany {
        /// Of what.
        what: String,
    },
    /// The barrier is broken.
    #[error("the barrier is broken")]
    Broken,
    /// This process has no right to do that.
    #[error("the manager does not allow this process to {what}")]
    Denied {
        /// To do what.
        what: String,
    },
    /// The process has as much of something as it may.
    #[error("{what}: at most {max} are allowed")]
    Limit {
        /// Of what.
        what: String,
        /// How much it may have.
        max: u64,
    },
    /// A method of the object, or a task that was run on it, panicked in the manager.
    #[error("it panicked in the manager: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// A call in a [pool](super::PoolProxy) failed.
    #[error("{reason}")]
    Call {
        /// How.
        failure: CallFailure,
        /// Its body was never entered: running it again cannot run it twice.
        is_safe_to_retry: bool,
        /// All that is known, in words.
        reason: String,
    },
    /// The object's own error, in words.
    #[error("{0}")]
    Failed(String),
    /// A value has no encoded form.
    #[error("a value cannot be encoded: {reason}")]
    Encode {
        /// Why.
        reason: String,
    },
    /// What the manager has is no such value.
    #[error("what the manager has is no {type_name}: {reason}")]
    Decode {
        /// The type that was to be.
        type_name: &'static str,
        /// Why not.
        reason: String,
    },
    /// The other end is not who it should be, or does not think so of this one.
    #[error("authentication failed: {reason}")]
    Authentication {
        /// What went wrong.
        reason: String,
    },
    /// A text is no address of a manager.
    #[error("{address:?} is no address of a manager: {reason}")]
    BadAddress {
        /// The text.
        address: String,
        /// Why not.
        reason: String,
    },
    /// Other machines can reach the address, and could listen in.
    #[error(
        "{address} is not of this machine alone, and used with TLS only: `tls` of `ServeOptions` and `ConnectOptions`, with the feature `tls` of procpool"
    )]
    Insecure {
        /// The address.
        address: String,
    },
    /// What was given for TLS is of no use.
    #[error("{reason}")]
    Tls {
        /// Why not.
        reason: String,
    },
    /// The manager could not be started.
    #[error("the manager could not be started: {0}")]
    Start(String),
    /// The system refused something.
    #[error("{what}: {reason}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system says.
        reason: String,
        /// The kind of the error.
        kind: io::ErrorKind,
    },
    /// It cannot be done here.
    #[error("unsupported: {what}")]
    Unsupported {
        /// What.
        what: String,
    },
    /// The manager sent what no manager sends.
    #[error("the manager sent nonsense: {what}")]
    Protocol {
        /// What.
        what: String,
    },
}

/// How a call in a pool of a manager failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CallFailure {
    /// The task panicked; its worker lives on.
    Panicked,
    /// Its worker ended while it had the call.
    WorkerDied,
    /// The pool takes no more calls, or was ended.
    Closed,
    /// Something else.
    Other,
}

impl ManagerError {
    pub(super) fn io(what: &str, error: &io::Error) -> Self {
        ManagerError::Io { what: what.to_owned(), reason: error.to_string(), kind: error.kind() }
    }

    pub(super) fn died(reason: impl Into<String>) -> Self {
        ManagerError::Died { reason: reason.into() }
    }
}

impl From<process::Error> for ManagerError {
    fn from(error: process::Error) -> Self {
        ManagerError::Start(error.to_string())
    }
}

impl From<NetError> for ManagerError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Insecure(address) => ManagerError::Insecure { address: address.to_string() },
            #[cfg(feature = "tls")]
            NetError::Settings(reason) | NetError::Tls(reason) => ManagerError::Tls { reason },
            #[cfg(not(feature = "tls"))]
            NetError::NoTls => ManagerError::Unsupported { what: error.to_string() },
            NetError::Io(error) => ManagerError::io("the network", &error),
        }
    }
}

/// So that an address may be given in whatever form.
impl From<Infallible> for ManagerError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<Fault> for ManagerError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed(what) => ManagerError::Protocol { what },
            Fault::NoObject => ManagerError::Gone,
            Fault::WrongKind { expected, found } => ManagerError::WrongKind { expected, found },
            Fault::NoName(name) => ManagerError::NoName { name },
            Fault::NameTaken(name) => ManagerError::NameTaken { name },
            Fault::Index { index, len } => ManagerError::Index { index, len },
            Fault::SliceLen { expected, found } => ManagerError::SliceLen { expected, found },
            Fault::Empty => ManagerError::Empty,
            Fault::Busy => ManagerError::WouldBlock,
            Fault::Full => ManagerError::Full,
            Fault::Closed => ManagerError::Closed,
            Fault::NotHeld(what) => ManagerError::NotHeld { what },
            Fault::TooMany(what) => ManagerError::TooMany { what },
            Fault::Broken => ManagerError::Broken,
            Fault::Denied(what) => ManagerError::Denied { what },
            Fault::Limit { what, max } => ManagerError::Limit { what, max },
            Fault::Panicked(message) => ManagerError::Panicked { message },
            Fault::Call { failure, is_safe_to_retry, reason } => {
                ManagerError::Call { failure, is_safe_to_retry, reason }
            }
            Fault::Failed(words) => ManagerError::Failed(words),
            Fault::Unsupported(what) => ManagerError::Unsupported { what },
            Fault::Encode(reason) => ManagerError::Encode { reason },
        }
    }
}
