//! A child process: its start, its life under supervision, its end.
//!
//! Knows no pool.

mod at_exit;
mod causes;
mod child;
mod courier;
mod error;
mod exit;
mod failpoint;
mod family;
mod handle;
mod hook;
mod identity;
mod last_words;
mod log_to_stderr;
mod outgoing;
mod printed;
mod running;
mod sentinel;
mod start;
mod status;
mod supervisor;
mod surroundings;
mod sweep;
pub(crate) mod timer;
mod watchdog;
mod welcome;

pub use at_exit::on_exit;
pub(crate) use causes::{HELLO_TIMEOUT, fault_error, result_error, start_error, start_error_of};
pub(crate) use child::own_hello;
pub(crate) use courier::Courier;
pub use error::{Error, ErrorKind, Progress, TimeoutPhase};
pub use exit::{ExitReason, Obituary, ResourceUsage};
#[cfg(test)]
pub(crate) use failpoint::VARIABLE as FAILPOINT_VARIABLE;
pub(crate) use failpoint::hit as failpoint_hit;
pub use family::active_children;
pub use handle::{Process, ProcessHandle};
pub use hook::{TestHook, init, run_if_worker};
pub(crate) use identity::next_depth;
pub use identity::{CurrentProcess, ParentProcess, current_process, parent_process};
pub(crate) use last_words::last_words;
pub use log_to_stderr::log_to_stderr;
pub(crate) use running::call_back;
pub use sentinel::Sentinel;
pub use start::ProcessBuilder;
pub(crate) use status::StatusBlock;
pub(crate) use supervisor::{Child, LaunchSpec, Supervisor, Watcher};
pub use surroundings::{Limits, Stderr, Stdout};
pub(crate) use surroundings::{MAX_TIME, Surroundings, check_time};
pub(crate) use welcome::{ChildLog, Memory, MemoryHandles, WorkerSocket, worker_socket};
