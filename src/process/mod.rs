//! A child process: its start, its life under supervision, its end.
//!
//! Knows no pool.

mod child;
mod error;
mod exit;
mod hook;
mod outgoing;
mod stderr;
mod status;
mod supervisor;
mod watchdog;

pub use error::{Error, ErrorKind, Progress, TimeoutPhase};
pub use exit::{ExitReason, Obituary, ResourceUsage};
pub use hook::init;
pub(crate) use hook::{TestHook, WORKER_MARK, entry_point};
pub(crate) use status::StatusBlock;
pub(crate) use supervisor::{Child, StderrPolicy, Supervisor, Watcher};
