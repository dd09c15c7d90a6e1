//! What a wait for many things finds.

/// One thing that a poller's wait found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// Somebody rang.
    Bell,
    /// What was added under this key is readable, at its end or over.
    Key(u64),
}
