//! What went wrong in or with a child, as errors.

use std::sync::Arc;
use std::time::Duration;

use super::error::{Error, ErrorKind, Progress, TimeoutPhase};
use super::exit::{ExitReason, Obituary};
use crate::task::Fault;

/// By then a started process must have said hello.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// A process that did not come up.
pub(crate) fn start_error(reason: String) -> Error {
    Error::new(ErrorKind::Start { reason, obituary: None })
}

/// One that ended before it was ready. `overdue` is the time it had, where it was
/// killed for taking longer.
pub(crate) fn start_error_of(overdue: Option<Duration>, obituary: &Arc<Obituary>) -> Error {
    let start = |reason| Error::new(ErrorKind::Start { reason, obituary: Some(obituary.clone()) });
    let Some(limit) = overdue else {
        return start(format!("it {}", was(obituary.reason)));
    };
    let reason = if limit == HELLO_TIMEOUT {
        "it did not say hello; does the program call `procpool::init()` (or use `#[procpool::main]`) before anything else?"
    } else {
        "its initializer did not end"
    };
    Error::new(ErrorKind::TimedOut { phase: TimeoutPhase::Starting, limit })
        .with_source(start(reason.to_owned()))
}

fn was(reason: ExitReason) -> String {
    if reason.is_killed() { format!("was {reason}") } else { reason.to_string() }
}

/// A failure inside a living worker, as its caller sees it.
pub(crate) fn fault_error(fault: Fault) -> Error {
    match fault {
        Fault::Panicked(report) => {
            let (message, location, backtrace) = report.into_parts();
            Error::new(ErrorKind::Panicked { message, location, backtrace })
                .with_progress(Progress::MayHaveBegun)
        }
        Fault::ArgDecode { what, reason } => {
            Error::new(ErrorKind::ArgDecode { param: what, reason })
        }
        Fault::ResultEncode { type_name, reason } => {
            Error::new(ErrorKind::ResultEncode { type_name, reason })
                .with_progress(Progress::Finished)
        }
        Fault::TooLarge { len, max } => {
            Error::new(ErrorKind::TooLarge { len, max }).with_progress(Progress::Finished)
        }
        Fault::UnknownTask { id } => {
            Error::new(ErrorKind::NotRegistered { task: format!("number {id}") })
        }
    }
}

/// A result that could not be decoded here: the call did finish.
pub(crate) fn result_error(fault: Fault) -> Error {
    Error::new(ErrorKind::ResultDecode { reason: fault.words() }).with_progress(Progress::Finished)
}
