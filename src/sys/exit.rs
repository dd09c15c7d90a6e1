//! How a process ended, as the operating system tells it.

use std::time::Duration;

/// The system's word on the end of a child, without interpretation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RawExit {
    Code(i32),
    #[cfg_attr(windows, allow(dead_code, reason = "signals end no process there"))]
    Signal {
        signal: i32,
        core: bool,
    },
    /// An unhandled exception: its status code.
    #[cfg_attr(unix, allow(dead_code, reason = "it has signals instead"))]
    Exception(u32),
    /// Ended by [`ChildProcess::kill`](super::ChildProcess::kill), where that
    /// leaves no signal.
    #[cfg_attr(unix, allow(dead_code, reason = "it has signals instead"))]
    Terminated,
    /// Somebody else collected the status (or SIGCHLD is ignored).
    #[cfg_attr(windows, allow(dead_code, reason = "a handle keeps the status"))]
    Unknown,
}

/// What the child used, as the kernel accounted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    pub(crate) peak_resident: u64,
}

/// What an exception status of Windows did to the process; `None` for one without
/// a name here.
///
/// From the list of NTSTATUS values in the Windows Protocols document MS-ERREF.
pub(crate) fn exception_deed(code: u32) -> Option<&'static str> {
    Some(match code {
        0x8000_0002 => "killed by a misaligned access",
        0x8000_0003 => "killed by a breakpoint",
        0xC000_0005 => "killed by an access violation",
        0xC000_0006 => "killed by a failed page-in",
        0xC000_0017 => "killed by a lack of memory",
        0xC000_001D => "killed by an illegal instruction",
        0xC000_0094 => "killed by an integer division by zero",
        0xC000_0095 => "killed by an integer overflow",
        0xC000_0096 => "killed by a privileged instruction",
        0xC000_00FD => "killed by a stack overflow",
        0xC000_013A => "killed by Ctrl-C",
        0xC000_0374 => "killed by a corrupted heap",
        0xC000_0409 => "aborted",
        0xE06D_7363 => "killed by a C++ exception",
        _ => return None,
    })
}
