//! scaffolding
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod process;
mod session;
mod sys;
mod task;
mod wire;

pub use task::{Async, Blocking, Call, Context, IntoCall, Task, TaskFn, TaskKind, context, report_progress, try_context};
pub use wire::DecodeLimits;

pub use process::{Error, ErrorKind, ExitReason, Obituary, Progress, ResourceUsage, TimeoutPhase, init};
