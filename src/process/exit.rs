//! Why a process ended.

use std::fmt;
use std::time::Duration;

use crate::sys::{RawExit, Usage, exception_deed, signal_name};

/// How a process ended, as the operating system told it.
///
/// # Platform
/// On Unix a crash is a signal. On Windows it is an exception; of a process that
/// somebody else ended (`TerminateProcess`) there is only the code he gave, as if it had
/// exited with that. `Signaled` comes from Unix only, `Exception` and `Terminated` from
/// Windows only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitReason {
    /// It exited with this code, by itself.
    Exited(i32),
    /// A signal ended it.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether a core dump was written.
        core_dumped: bool,
    },
    /// An unhandled exception ended it, which is what a crash is on Windows.
    Exception {
        /// The exception's status code, such as `0xC0000005` for an access violation.
        code: u32,
    },
    /// The pool ended it, on Windows, where that leaves no signal.
    Terminated,
    /// It is gone, but something else in this program collected its status
    /// (or ignores `SIGCHLD`), so nobody can say how.
    Unknown,
}

impl ExitReason {
    /// The signal that ended the process, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        match self {
            ExitReason::Signaled { signal, .. } => Some(*signal),
            _ => None,
        }
    }

    /// Whether it did not end by itself: a signal, an exception or the pool did it.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        match self {
            ExitReason::Signaled { .. } | ExitReason::Exception { .. } | ExitReason::Terminated => {
                true
            }
            ExitReason::Exited(_) | ExitReason::Unknown => false,
        }
    }

    /// Python's exit code: the code, or the negated signal; an exception's code as
    /// the system gives it, and -15 for a process that the pool ended on Windows.
    #[must_use]
    #[doc(alias = "exitcode")]
    pub fn code(&self) -> Option<i32> {
        match self {
            ExitReason::Exited(code) => Some(*code),
            ExitReason::Signaled { signal, .. } => Some(-signal),
            // Its bits, as Rust's own `ExitStatus::code` gives them.
            ExitReason::Exception { code } => Some(code.cast_signed()),
            ExitReason::Terminated => Some(-15),
            ExitReason::Unknown => None,
        }
    }
}

impl From<RawExit> for ExitReason {
    fn from(raw: RawExit) -> Self {
        match raw {
            RawExit::Code(code) => ExitReason::Exited(code),
            RawExit::Signal { signal, core } => ExitReason::Signaled { signal, core_dumped: core },
            RawExit::Exception(code) => ExitReason::Exception { code },
            RawExit::Terminated => ExitReason::Terminated,
            RawExit::Unknown => ExitReason::Unknown,
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitReason::Exited(code) => write!(f, "exited with code {code}"),
            ExitReason::Signaled { signal, core_dumped } => {
                match signal_name(*signal) {
                    Some(name) => write!(f, "killed by {name}")?,
                    None => write!(f, "killed by signal {signal}")?,
                }
                if *core_dumped {
                    f.write_str(" (core dumped)")?;
                }
                Ok(())
            }
            ExitReason::Exception { code } => {
                write!(
                    f,
                    "{} (0x{code:08X})",
                    exception_deed(*code).unwrap_or("killed by an exception")
                )
            }
            ExitReason::Terminated => f.write_str("terminated"),
            ExitReason::Unknown => f.write_str("ended with a status nobody could collect"),
        }
    }
}

/// The exception of a stack that overflowed.
pub(super) const STACK_OVERFLOW: ExitReason = ExitReason::Exception { code: 0xC000_00FD };

/// What a process used over its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ResourceUsage {
    /// CPU time in user mode.
    pub user_time: Duration,
    /// CPU time in the kernel.
    pub system_time: Duration,
    /// Most memory resident at once, in bytes.
    pub peak_resident: u64,
}

impl From<Usage> for ResourceUsage {
    fn from(usage: Usage) -> Self {
        ResourceUsage {
            user_time: usage.user,
            system_time: usage.system,
            peak_resident: usage.peak_resident,
        }
    }
}

/// The whole record of a process's end.
#[derive(Clone)]
#[non_exhaustive]
pub struct Obituary {
    /// How it ended.
    pub reason: ExitReason,
    /// What it used.
    pub usage: ResourceUsage,
    /// The end of what it wrote to standard error, at most 64 KiB.
    pub stderr_tail: Vec<u8>,
    /// Its process id while it lived.
    pub pid: u32,
}

impl Obituary {
    /// Whether a stack overflowed: by the exception, or by its standard error, where
    /// Rust's runtime reports one before it aborts.
    #[must_use]
    pub fn is_stack_overflow(&self) -> bool {
        if self.reason == STACK_OVERFLOW {
            return true;
        }
        let text = String::from_utf8_lossy(&self.stderr_tail);
        text.contains("has overflowed its stack")
    }
}

/// For people: the end of its standard error as text, and only of that the end.
impl fmt::Debug for Obituary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 1024;
        let skipped = self.stderr_tail.len().saturating_sub(SHOWN);
        let tail = String::from_utf8_lossy(&self.stderr_tail[skipped..]);
        let mut debug = f.debug_struct("Obituary");
        debug
            .field("reason", &self.reason)
            .field("usage", &self.usage)
            .field("pid", &self.pid)
            .field("stderr_tail", &tail);
        if skipped > 0 {
            debug.field("stderr_bytes_before", &skipped);
        }
        debug.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_well_and_code_like_pythons() {
        let killed = ExitReason::Signaled { signal: 9, core_dumped: false };
        assert!(killed.to_string().starts_with("killed by "), "{killed}");
        assert_eq!(killed.code(), Some(-9));
        assert_eq!(ExitReason::Exited(3).to_string(), "exited with code 3");
        assert_eq!(ExitReason::Exited(3).code(), Some(3));
        assert_eq!(ExitReason::Unknown.code(), None);
        let fault = ExitReason::Exception { code: 0xC000_0005 };
        assert_eq!(fault.to_string(), "killed by an access violation (0xC0000005)");
        assert_eq!(ExitReason::Exception { code: 0xC000_0409 }.to_string(), "aborted (0xC0000409)");
        assert_eq!(fault.code(), Some(-0x3FFF_FFFB));
        assert_eq!(ExitReason::Terminated.code(), Some(-15));
        assert!(fault.is_killed() && killed.is_killed() && !ExitReason::Exited(1).is_killed());
    }
}
