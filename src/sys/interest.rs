//! What a thread waits for on a stream.

/// Either or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

pub(crate) const BOTH: Interest = Interest { read: true, write: true };
pub(crate) const READ: Interest = Interest { read: true, write: false };
pub(crate) const WRITE: Interest = Interest { read: false, write: true };
