//! Who is at the other end.

/// What the system says of a process that has connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) pid: Option<u32>,
    /// Its user's number, where users have one.
    pub(crate) user: Option<u32>,
    /// Whether it runs as the same user as this process.
    pub(crate) is_same_user: bool,
}
