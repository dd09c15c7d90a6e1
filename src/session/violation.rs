//! What a peer may never do.

use crate::wire::{HelloMismatch, Kind, WireError};

/// The peer broke the protocol; its connection is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("{0}")]
    Mismatch(#[from] HelloMismatch),
    #[error("a {kind:?} message while {state}")]
    Unexpected { kind: Kind, state: &'static str },
    #[error("a {kind:?} message for call {id} in slot {slot}, which is not running there")]
    UnknownCall { kind: Kind, slot: u16, id: u64 },
    #[error("results for items {first}..{end} of a chunk of {items}, {seen} of which were known")]
    Items { first: u32, end: u64, items: u32, seen: u32 },
    #[error("a malformed {0:?} message")]
    Malformed(Kind),
}
