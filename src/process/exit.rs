//! Why a process ended.

use std::fmt;
use std::time::Duration;

use crate::sys::{RawExit, Usage, signal_name};

/// How a process ended, as the operating system told it.
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

    /// Python's exit code: the code, or the negated signal.
    #[must_use]
    #[doc(alias = "exitcode")]
    pub fn code(&self) -> Option<i32> {
        match self {
            ExitReason::Exited(code) => Some(*code),
            ExitReason::Signaled { signal, .. } => Some(-signal),
            ExitReason::Unknown => None,
        }
    }
}

impl From<RawExit> for ExitReason {
    fn from(raw: RawExit) -> Self {
        match raw {
            RawExit::Code(code) => ExitReason::Exited(code),
            RawExit::Signal { signal, core } => ExitReason::Signaled { signal, core_dumped: core },
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
            ExitReason::Unknown => f.write_str("ended with a status nobody could collect"),
        }
    }
}

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
#[derive(Debug, Clone)]
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
    /// Whether its standard error says that a stack overflowed: Rust's runtime
    /// reports one before it aborts.
    #[must_use]
    pub fn is_stack_overflow(&self) -> bool {
        let text = String::from_utf8_lossy(&self.stderr_tail);
        text.contains("has overflowed its stack")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_well_and_code_like_pythons() {
        let killed = ExitReason::Signaled { signal: 9, core_dumped: false };
        assert_eq!(killed.to_string(), "killed by SIGKILL");
        assert_eq!(killed.code(), Some(-9));
        assert_eq!(ExitReason::Exited(3).to_string(), "exited with code 3");
        assert_eq!(ExitReason::Exited(3).code(), Some(3));
        assert_eq!(ExitReason::Unknown.code(), None);
    }
}
