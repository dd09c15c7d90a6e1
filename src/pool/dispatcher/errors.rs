//! The pool's reasons as errors.

use super::*;

pub(super) fn start_error(reason: String) -> Error {
    Error::new(ErrorKind::Start { reason, obituary: None })
}

/// `overdue` is the time it had, where it was killed for taking longer.
pub(super) fn start_error_of(overdue: Option<Nanos>, obituary: &Arc<Obituary>) -> Error {
    let Some(limit) = overdue.map(Duration::from_nanos) else {
        let reason = format!("it {}", was(obituary.reason));
        return Error::new(ErrorKind::Start { reason, obituary: Some(obituary.clone()) });
    };
    let reason = if limit == HELLO_TIMEOUT {
        "it did not say hello; does the program call `procpool::init()` (or use `#[procpool::main]`) before anything else?"
    } else {
        "its initializer did not end"
    };
    let cause = ErrorKind::Start { reason: reason.to_owned(), obituary: Some(obituary.clone()) };
    Error::new(ErrorKind::TimedOut { phase: TimeoutPhase::Starting, limit })
        .with_source(Error::new(cause))
}

pub(super) fn was(reason: ExitReason) -> String {
    if reason.is_killed() { format!("was {reason}") } else { reason.to_string() }
}

pub(super) fn degraded(cause: Option<&Error>) -> Error {
    let error = Error::new(ErrorKind::Degraded);
    match cause {
        Some(cause) => error.with_source(cause.clone()),
        None => error,
    }
}

/// A failure inside a living worker, as its caller sees it.
pub(in crate::pool) fn fault_error(fault: Fault) -> Error {
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
