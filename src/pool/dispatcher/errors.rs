//! The pool's reasons as errors.

use super::*;

pub(super) fn start_error(reason: String) -> Error {
    Error::new(ErrorKind::Start { reason, obituary: None })
}

pub(super) fn start_error_of(worker: &Worker, obituary: &Arc<Obituary>) -> Error {
    let waited = worker.since.elapsed();
    let reason = match obituary.reason {
        reason if reason.is_forced() && waited >= HELLO_TIMEOUT => format!(
            "it was not ready after {waited:.1?}; does the program call `procpool::init()` (or use `#[procpool::main]`) before anything else?"
        ),
        reason => format!("it {}", was(reason)),
    };
    Error::new(ErrorKind::Start { reason, obituary: Some(obituary.clone()) })
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
