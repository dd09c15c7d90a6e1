//! Everything a pool can be told, as plain data.

use std::time::Duration;

use super::error_option;
use super::restart::RestartPolicy;
use crate::process::Error;
use crate::sys::{self, ResourceLimit};
use crate::wire::DecodeLimits;

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

/// What becomes of the workers' standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Stderr {
    /// Shown on this process's standard error; the last 64 KiB are kept for the
    /// error of a call whose worker dies.
    #[default]
    Forward,
    /// Only kept, not shown.
    Capture,
    /// The same stream as this process's: nothing is kept.
    Inherit,
    /// Thrown away.
    Null,
}

/// How workers come into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartMethod {
    /// A fresh process from this program's own image.
    #[default]
    Spawn,
    /// Forked from a server that was started early. Not built yet:
    /// [`Builder::build`](super::Builder::build) answers `Unsupported`.
    ForkServer,
}

/// How much a worker is kept from doing. Not built yet:
/// [`Builder::build`](super::Builder::build) answers `Unsupported`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sandbox {
    /// Resource limits and an environment allow-list.
    Contain,
    /// For decoders of hostile input: no files, no network, no other processes.
    Decoder,
    /// Pure computation in a fresh process for every call.
    Strict,
}

#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) workers: Option<usize>,
    pub(super) name: String,
    pub(super) max_tasks: Option<u64>,
    pub(super) max_memory: Option<u64>,
    pub(super) max_age: Option<Duration>,
    pub(super) call_timeout: Option<Duration>,
    pub(super) queue_capacity: usize,
    pub(super) limits: Limits,
    pub(super) sandbox: Option<Sandbox>,
    pub(super) env_clear: bool,
    pub(super) env: Vec<(String, Option<String>)>,
    pub(super) stderr: Stderr,
    pub(super) start_method: StartMethod,
    pub(super) restart: RestartPolicy,
    pub(super) cancel_grace: Duration,
    pub(super) start_timeout: Option<Duration>,
    pub(super) async_calls: usize,
    pub(super) max_message: u64,
    pub(super) decode: DecodeLimits,
    pub(super) recycle_on_panic: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            workers: None,
            name: "pool".to_owned(),
            max_tasks: None,
            max_memory: None,
            max_age: None,
            call_timeout: None,
            queue_capacity: 1 << 20,
            limits: Limits::default(),
            sandbox: None,
            env_clear: false,
            env: Vec::new(),
            stderr: Stderr::default(),
            start_method: StartMethod::default(),
            restart: RestartPolicy::default(),
            cancel_grace: Duration::from_millis(10),
            start_timeout: None,
            async_calls: 16,
            max_message: 1 << 30,
            decode: DecodeLimits::default(),
            recycle_on_panic: false,
        }
    }
}

/// Most workers a pool may have.
pub(super) const MAX_WORKERS: usize = 4096;
/// Nested pools may go this deep.
pub(super) const MAX_DEPTH: u32 = 4;
/// Longest time any option may hold: a century.
pub(super) const MAX_TIME: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Config {
    /// The first option that makes no sense, with what would.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.workers {
            Some(n) if n == 0 || n > MAX_WORKERS => {
                return Err(error_option("workers", n, "1 to 4096"));
            }
            _ => {}
        }
        if self.max_tasks == Some(0) {
            return Err(error_option("max_tasks_per_worker", 0, "at least 1"));
        }
        if self.max_memory == Some(0) {
            return Err(error_option("max_worker_memory", 0, "at least 1 byte"));
        }
        if self.queue_capacity == 0 {
            return Err(error_option("queue_capacity", 0, "at least 1"));
        }
        if self.async_calls == 0 || self.async_calls > 1024 {
            return Err(error_option("async_calls_per_worker", self.async_calls, "1 to 1024"));
        }
        if !(64 * 1024..=u64::from(u32::MAX)).contains(&self.max_message) {
            return Err(error_option(
                "max_message_bytes",
                self.max_message,
                "65536 to 4294967295 (64 KiB to 4 GiB)",
            ));
        }
        for (option, time) in [
            ("max_worker_age", self.max_age),
            ("call_timeout", self.call_timeout),
            ("start_timeout", self.start_timeout),
            ("limits.cpu_time", self.limits.cpu_time),
        ] {
            check_time(option, time)?;
        }
        if self.cancel_grace > MAX_TIME {
            return Err(error_option("cancel_grace", self.cancel_grace, "at most a century"));
        }
        if self.limits.cpu_time.is_some_and(|t| t < Duration::from_secs(1)) {
            return Err(error_option("limits.cpu_time", self.limits.cpu_time, "at least 1 s"));
        }
        if self.limits.memory == Some(0) {
            return Err(error_option("limits.memory", 0, "at least 1 byte"));
        }
        if self.limits.files.is_some_and(|n| n < 32) {
            return Err(error_option("limits.files", self.limits.files, "at least 32"));
        }
        if self.decode.depth == 0 || self.decode.elements == 0 || self.decode.memory == 0 {
            return Err(error_option("decode_limits", self.decode, "numbers above zero"));
        }
        for (key, value) in &self.env {
            let bad = |s: &str| s.contains('\0');
            if key.is_empty() || key.contains('=') || bad(key) || value.as_deref().is_some_and(bad)
            {
                return Err(error_option("env", key, "a name without `=` and no NUL bytes"));
            }
        }
        self.restart.check()?;
        if self.start_method == StartMethod::ForkServer {
            return Err(Error::unsupported("start_method(ForkServer) is not built yet; use Spawn"));
        }
        if let Some(sandbox) = self.sandbox {
            return Err(Error::unsupported(format!(
                "sandbox({sandbox:?}) is not built yet; `limits`, `env_clear` and a container are what there is"
            )));
        }
        let limits = [
            ("memory", self.limits.memory.map(ResourceLimit::Memory)),
            ("cpu_time", self.limits.cpu_time.map(|t| ResourceLimit::CpuSeconds(t.as_secs()))),
            ("files", self.limits.files.map(ResourceLimit::Files)),
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

    pub(super) fn worker_count(&self) -> usize {
        self.workers.unwrap_or_else(|| sys::usable_cpus().get().min(MAX_WORKERS))
    }
}

/// A limit in time must be above zero and representable.
pub(super) fn check_time(option: &'static str, time: Option<Duration>) -> Result<(), Error> {
    match time {
        Some(t) if t.is_zero() || t > MAX_TIME => {
            Err(error_option(option, t, "above zero and at most a century"))
        }
        _ => Ok(()),
    }
}
