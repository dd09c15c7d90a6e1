//! A child process: its start, its life under supervision, its end.
//!
//! Knows no pool.

mod child;
mod error;
mod exit;
mod failpoint;
mod hook;
mod outgoing;
mod status;
mod stderr;
mod supervisor;
mod watchdog;
mod welcome;

pub(crate) use child::own_hello;
pub use error::{Error, ErrorKind, Progress, TimeoutPhase};
pub use exit::{ExitReason, Obituary, ResourceUsage};
#[cfg(test)]
pub(crate) use failpoint::VARIABLE as FAILPOINT_VARIABLE;
pub use hook::{TestHook, init, run_if_worker};
pub(crate) use hook::{WORKER_MARK, entry_point};
pub(crate) use status::StatusBlock;
pub(crate) use supervisor::{Child, LaunchSpec, StderrPolicy, Supervisor, Watcher};
pub(crate) use welcome::{BlockHandle, WorkerSocket, worker_socket};
