//! What may be called: tasks, their registry, calls, and the worker-side
//! context of a running one.
//!
//! Knows no process, no socket and no pool.

mod args;
mod args_encoder;
mod call;
mod context;
mod cost;
mod entry;
mod exit_code;
mod fault;
mod fnv;
mod panic;
mod registry;
mod value;

pub use args::{Args, Encoded, Output, OwnedArgs};
pub(crate) use args::{Refused, caught, decode_output, encode_or_return, moved_len};
pub use args_encoder::ArgsEncoder;
pub use call::{Async, AsyncTask, Blocking, Call, CallEncoder, IntoCall, Task, TaskFn, TaskKind};
pub(crate) use call::{CallParts, EncodeFailure, run_body};
pub use context::{Context, context, report_progress, try_context};
pub(crate) use context::{Current, Services, current_call, depth, provide_services, with_current};
pub(crate) use cost::Cost;
pub(crate) use entry::{BlockingFn, Body};
pub use entry::{BoxFuture, Entry, Registration};
pub use exit_code::ExitCode;
pub(crate) use exit_code::exit_code;
pub use fault::Fault;
pub(crate) use fault::PanicReport;
pub(crate) use fnv::Fnv;
pub(crate) use panic::{catch, install_hook, message};
pub(crate) use registry::{Registry, registry};
pub(crate) use value::{Kept, decode_value, encode_kept};
