//! What kinds of addresses a listener can have.

/// The kind of an [`Address`](crate::Address).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressFamily {
    /// A Unix socket in the file system; Python's `AF_UNIX`.
    Path,
    /// A Unix socket with a name of its own, on Linux.
    Abstract,
    /// A Windows named pipe; Python's `AF_PIPE`.
    NamedPipe,
}
