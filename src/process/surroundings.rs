//! What a child process finds when it starts: its program, environment, directory,
//! streams and limits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::error::Error;
use super::hook::{WORKER_MARK, entry_point};
use super::printed::{Printed, Taker};
use super::supervisor::LaunchSpec;
use crate::log::Inbox;
use crate::sys::{self, ResourceLimit, Stream};

/// Longest time any option may hold: a century.
pub(crate) const MAX_TIME: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Ceilings the kernel keeps for each worker.
///
/// # Platform
/// Windows keeps `memory` (which there is what a process has committed) and
/// `cpu_time` (in user mode) by a job object, and has none for `files`: `build` answers
/// `Unsupported`. Wine accepts them and enforces neither; macOS does not enforce
/// `memory`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of address space (`RLIMIT_AS`). Default: none.
    ///
    /// An allocation beyond it fails, upon which Rust aborts: the call's error is a
    /// `WorkerDied` with SIGABRT, and its `stderr_tail` says "memory allocation of …
    /// bytes failed". One too low for the program to start at all fails `build`. To
    /// replace workers that have grown, between calls, there is
    /// [`max_worker_memory`](crate::Builder::max_worker_memory).
    pub memory: Option<u64>,
    /// CPU time over a worker's whole life, in full seconds; the kernel kills
    /// it: SIGKILL, on Windows exit code 1816. Default: none. For the time of one call
    /// there is [`Run::cpu_timeout`](crate::Run::cpu_timeout), whose error says so.
    pub cpu_time: Option<Duration>,
    /// Open descriptors, at least 32. Default: none.
    pub files: Option<u64>,
}

impl Limits {
    /// No limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of address space.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// CPU time over a worker's whole life.
    #[must_use]
    pub fn cpu_time(mut self, time: Duration) -> Self {
        self.cpu_time = Some(time);
        self
    }

    /// Open descriptors.
    #[must_use]
    pub fn files(mut self, n: u64) -> Self {
        self.files = Some(n);
        self
    }
}

/// What becomes of a child's standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Stderr {
    /// Shown on this process's standard error; the last 64 KiB are kept for the
    /// error of a call whose process dies.
    #[default]
    Forward,
    /// Only kept, not shown.
    Capture,
    /// The same stream as this process's: nothing is kept.
    Inherit,
    /// Each line is an event of this process's subscriber: at level `WARN`, with the target
    /// `procpool::stderr` and the fields `process.name` and `process.pid`; of no call, and in
    /// no order with what is logged. Lines of more than 8 KiB come in pieces. Where nobody
    /// wants such events they are gone. The last 64 KiB are kept as with `Forward`.
    Events,
    /// Thrown away.
    Null,
}

/// What becomes of a child's standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Stdout {
    /// The same stream as this process's.
    #[default]
    Inherit,
    /// Each line is an event of this process's subscriber: at level `INFO`, with the target
    /// `procpool::stdout` and the fields `process.name` and `process.pid`; of no call, and in
    /// no order with what is logged. Lines of more than 8 KiB come in pieces. Where nobody
    /// wants such events they are gone.
    Events,
    /// Thrown away.
    Null,
}

/// What a child is given besides its task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    /// `None`: the image this process runs.
    pub(crate) program: Option<PathBuf>,
    /// `None`: this process's.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) env_clear: bool,
    /// Set, or with `None` removed.
    pub(crate) env: Vec<(String, Option<String>)>,
    pub(crate) stdout: Stdout,
    pub(crate) stderr: Stderr,
    pub(crate) limits: Limits,
}

impl Surroundings {
    /// The first option that makes no sense, with what would.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let limits = &self.limits;
        check_time("limits.cpu_time", limits.cpu_time)?;
        if limits.cpu_time.is_some_and(|t| t < Duration::from_secs(1)) {
            return Err(Error::invalid("limits.cpu_time", limits.cpu_time, "at least 1 s"));
        }
        if limits.memory == Some(0) {
            return Err(Error::invalid("limits.memory", 0, "at least 1 byte"));
        }
        if limits.files.is_some_and(|n| n < 32) {
            return Err(Error::invalid("limits.files", limits.files, "at least 32"));
        }
        for (key, value) in &self.env {
            let bad = |s: &str| s.contains('\0');
            if key.is_empty() || key.contains('=') || bad(key) || value.as_deref().is_some_and(bad)
            {
                return Err(Error::invalid("env", key, "a name without `=` and no NUL bytes"));
            }
        }
        let limits = [
            ("memory", limits.memory.map(ResourceLimit::Memory)),
            ("cpu_time", limits.cpu_time.map(|t| ResourceLimit::CpuSeconds(t.as_secs()))),
            ("files", limits.files.map(ResourceLimit::Files)),
        ];
        for (name, limit) in limits {
            if limit.is_some_and(|limit| !sys::can_limit(limit)) {
                return Err(Error::unsupported(format!(
                    "the limit `{name}` on {}; leave it out there",
                    std::env::consts::OS
                )));
            }
        }
        Ok(())
    }

    /// The start of such a child.
    pub(crate) fn launch(&self) -> Result<LaunchSpec, Error> {
        let mut env: Vec<_> =
            self.env.iter().map(|(k, v)| (k.into(), v.as_ref().map(Into::into))).collect();
        env.push((WORKER_MARK.into(), Some("1".into())));
        Ok(LaunchSpec {
            program: self.program.clone(),
            args: entry_point()?,
            directory: self.directory.clone(),
            env_clear: self.env_clear,
            env,
            stdout: match self.stdout {
                Stdout::Inherit => Stream::Inherit,
                Stdout::Events => Stream::Pipe,
                Stdout::Null => Stream::Null,
            },
            stderr: match self.stderr {
                Stderr::Forward | Stderr::Capture | Stderr::Events => Stream::Pipe,
                Stderr::Inherit => Stream::Inherit,
                Stderr::Null => Stream::Null,
            },
        })
    }

    /// Who takes what a child prints, whose log is `log`.
    pub(crate) fn printed(&self, log: &Arc<Inbox>) -> Printed {
        Printed {
            stdout: match self.stdout {
                Stdout::Events => Taker::Log(log.clone()),
                Stdout::Inherit | Stdout::Null => Taker::Nobody,
            },
            stderr: match self.stderr {
                Stderr::Forward => Taker::Stderr,
                Stderr::Events => Taker::Log(log.clone()),
                Stderr::Capture | Stderr::Inherit | Stderr::Null => Taker::Nobody,
            },
        }
    }
}

/// A limit in time must be above zero and representable.
pub(crate) fn check_time(option: &'static str, time: Option<Duration>) -> Result<(), Error> {
    match time {
        Some(t) if t.is_zero() || t > MAX_TIME => {
            Err(Error::invalid(option, t, "above zero and at most a century"))
        }
        _ => Ok(()),
    }
}
