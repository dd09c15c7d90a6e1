//! Everything a pool can be told, as plain data.

use std::time::Duration;

use super::error_option;
use super::restart::RestartPolicy;
use crate::process::{Error, MAX_TIME, Surroundings, check_time};
use crate::sys;
use crate::wire::DecodeLimits;

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
    pub(super) sandbox: Option<Sandbox>,
    pub(super) surroundings: Surroundings,
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
            sandbox: None,
            surroundings: Surroundings::default(),
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
        ] {
            check_time(option, time)?;
        }
        if self.cancel_grace > MAX_TIME {
            return Err(error_option("cancel_grace", self.cancel_grace, "at most a century"));
        }
        if self.decode.depth == 0 || self.decode.elements == 0 || self.decode.memory == 0 {
            return Err(error_option("decode_limits", self.decode, "numbers above zero"));
        }
        self.surroundings.check()?;
        self.restart.check()?;
        if self.start_method == StartMethod::ForkServer {
            return Err(Error::unsupported("start_method(ForkServer) is not built yet; use Spawn"));
        }
        if let Some(sandbox) = self.sandbox {
            return Err(Error::unsupported(format!(
                "sandbox({sandbox:?}) is not built yet; `limits`, `env_clear` and a container are what there is"
            )));
        }
        Ok(())
    }

    pub(super) fn worker_count(&self) -> usize {
        self.workers.unwrap_or_else(|| sys::usable_cpus().get().min(MAX_WORKERS))
    }
}
