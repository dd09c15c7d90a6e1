//! The process pool.
//!
//! Reading order: what a user asks for (`builder`, `config`, `process_pool`), what they
//! get back (`run`, `handle`, `map`), how it is decided (`scheduler`, `restart`),
//! and how it is done (`dispatcher`, `worker`, `job`). Knows no file descriptor.

mod builder;
mod config;
mod dispatcher;
#[cfg(test)]
mod failpoint_tests;
mod feed;
mod handle;
mod histogram;
mod job;
mod map;
mod options;
mod process_pool;
mod restart;
mod run;
mod scheduler;
#[cfg(test)]
mod scheduler_tests;
mod source;
mod stats;
mod waiter;
mod worker;

pub use builder::{Builder, InitOutput};
pub use config::{Sandbox, StartMethod};
pub use handle::AsyncResult;
pub use histogram::Histogram;
pub use map::{Map, Results, TryMap};
pub use options::OnDrop;
pub use process_pool::{ProcessPool, TrySubmit, TrySubmitError};
pub use restart::RestartPolicy;
pub use run::Run;
pub use source::{IntoSource, Source, ViaIterator, ViaStream};
pub use stats::{PoolStats, Restarts, WorkerInfo, WorkerStatus};

use crate::process::Error;

/// An option out of range.
fn error_option(option: &'static str, value: impl std::fmt::Debug, allowed: &'static str) -> Error {
    Error::invalid(option, value, allowed)
}
