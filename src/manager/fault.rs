//! How a request can fail in the manager.

use serde::{Deserialize, Serialize};

use super::error::CallFailure;

/// Goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fault {
    /// What came is no such operation.
    Malformed(String),
    /// The process has no such object, or nobody has it any more.
    NoObject,
    WrongKind {
        expected: String,
        found: String,
    },
    /// There is no object of that name.
    NoName(String),
    NameTaken(String),
    Index {
        index: i64,
        len: u64,
    },
    SliceLen {
        expected: u64,
        found: u64,
    },
    Empty,
    /// Somebody else has it.
    Busy,
    Full,
    Closed,
    NotHeld(String),
    TooMany(String),
    Broken,
    Denied(String),
    Limit {
        what: String,
        max: u64,
    },
    Panicked(String),
    /// A call in a pool.
    Call {
        failure: CallFailure,
        is_safe_to_retry: bool,
        reason: String,
    },
    /// An error of the object's own, in words.
    Failed(String),
    Unsupported(String),
    /// A result has no encoded form.
    Encode(String),
}

/// A name that another has said and nobody knows, as it goes back to it: not all of it, if it is long.
pub(super) fn quoted(name: &str) -> String {
    name.chars().take(256).collect()
}
