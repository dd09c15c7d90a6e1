//! What a process may use.

/// A ceiling the kernel keeps for the calling process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResourceLimit {
    /// Bytes of address space.
    Memory(u64),
    /// Seconds of CPU over the life of the process.
    CpuSeconds(u64),
    /// Open descriptors.
    Files(u64),
    /// No core dumps: a death is then seen at once, not after a slow dump.
    NoCore,
}
