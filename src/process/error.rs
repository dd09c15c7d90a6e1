//! The one error of calls, processes and pools.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::exit::{ExitReason, Obituary, STACK_OVERFLOW};

/// Why a call, a process or a pool failed.
///
/// Cheap to move and to clone. [`Error::kind`] tells what happened;
/// [`Error::progress`] tells whether the call may have run, which is what a
/// decision to retry needs. `Display` prints this level only; the chain is
/// behind [`source`](std::error::Error::source).
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    progress: Progress,
    task: Option<&'static str>,
    label: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// How far a failed call had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Progress {
    /// Its body was never entered: running it again cannot run it twice.
    NotBegun,
    /// Its body was, or may have been, entered and did not finish.
    MayHaveBegun,
    /// Its body finished; only its result was lost.
    Finished,
}

/// Which part of its time a call spent when its deadline came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeoutPhase {
    /// Waiting for a worker.
    Queued,
    /// Running; the worker was stopped.
    Running,
    /// Using CPU time; the worker was stopped.
    Cpu,
    /// Starting: a worker did not say hello, or its initializer did not end.
    Starting,
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The task panicked; its worker lives on.
    Panicked {
        /// The panic's message.
        message: String,
        /// `file:line:column`, where known.
        location: Option<String>,
        /// The worker's backtrace.
        backtrace: Option<String>,
    },
    /// The worker process ended while it had the call.
    WorkerDied(Arc<Obituary>),
    /// The deadline passed.
    TimedOut {
        /// In which phase.
        phase: TimeoutPhase,
        /// The limit that was exceeded.
        limit: Duration,
    },
    /// The call was cancelled, by `abort()` or by `terminate()`.
    Cancelled,
    /// An argument has no encoded form.
    ArgEncode {
        /// The parameter's name.
        param: &'static str,
        /// Why.
        reason: String,
    },
    /// The worker could not decode an argument; it lives on.
    ArgDecode {
        /// The parameter and its type.
        param: String,
        /// Why.
        reason: String,
    },
    /// The worker could not encode the result; it lives on.
    ResultEncode {
        /// The result's type.
        type_name: String,
        /// Why.
        reason: String,
    },
    /// The result could not be decoded here.
    ResultDecode {
        /// Why.
        reason: String,
    },
    /// The arguments or the result exceed the pool's message limit.
    TooLarge {
        /// Their size in bytes.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// The worker broke the protocol and was killed.
    Protocol {
        /// What it did.
        violation: String,
    },
    /// A process could not be started.
    Spawn {
        /// Why.
        reason: String,
    },
    /// Something that processes share (a queue, a lock, a shared value) could not be made.
    Create {
        /// What.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// A started worker did not become ready.
    Start {
        /// Why.
        reason: String,
        /// Its end, if it ended.
        obituary: Option<Arc<Obituary>>,
    },
    /// The pool has no workers and cannot get any; the source says why.
    Degraded,
    /// The queue is full.
    Full {
        /// How many calls it holds.
        capacity: usize,
    },
    /// The pool takes no more calls.
    Closed,
    /// The runtime that drove the pool is gone.
    RuntimeGone,
    /// The task is not in the registry.
    NotRegistered {
        /// Its name.
        task: String,
    },
    /// An option has a value that makes no sense.
    InvalidOption {
        /// Which option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The input of a map gave this error; nothing was wrong with the pool.
    Input {
        /// The input's own words.
        reason: String,
    },
    /// This build, platform or version cannot do that.
    Unsupported {
        /// What.
        what: String,
    },
}

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Error(Arc::new(Inner {
            kind,
            progress: Progress::NotBegun,
            task: None,
            label: None,
            source: None,
        }))
    }

    fn edit(mut self, f: impl FnOnce(&mut Inner)) -> Self {
        if Arc::get_mut(&mut self.0).is_none() {
            let inner = &*self.0;
            self = Error(Arc::new(Inner {
                kind: inner.kind.clone(),
                progress: inner.progress,
                task: inner.task,
                label: inner.label.clone(),
                source: inner.source.clone(),
            }));
        }
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            f(inner);
        }
        self
    }

    pub(crate) fn with_progress(self, progress: Progress) -> Self {
        self.edit(|inner| inner.progress = progress)
    }

    pub(crate) fn with_call(self, task: &'static str, label: Option<String>) -> Self {
        self.edit(|inner| {
            inner.task = Some(task);
            inner.label = label;
        })
    }

    pub(crate) fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.edit(|inner| inner.source = Some(Arc::new(source)))
    }

    /// An object that several processes use cannot be made.
    pub(crate) fn no_object(what: &'static str, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::Unsupported => Error::unsupported(error.to_string()),
            _ => Error::new(ErrorKind::Create { what, reason: error.to_string() }),
        }
    }

    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Error::new(ErrorKind::Unsupported { what: what.into() })
    }

    pub(crate) fn invalid(
        option: &'static str,
        value: impl fmt::Debug,
        allowed: &'static str,
    ) -> Self {
        Error::new(ErrorKind::InvalidOption { option, value: format!("{value:?}"), allowed })
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// How far the call had come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.0.progress
    }

    /// Whether running the call again cannot run its body twice.
    #[must_use]
    pub fn is_safe_to_retry(&self) -> bool {
        self.0.progress == Progress::NotBegun
    }

    /// The task's registered name, where a call failed.
    #[must_use]
    pub fn task_name(&self) -> Option<&'static str> {
        self.0.task
    }

    /// The call's label, where it was given one.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.0.label.as_deref()
    }

    /// Whether the task panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Panicked { .. })
    }

    /// Whether the worker ended while it had the call.
    #[must_use]
    pub fn is_worker_died(&self) -> bool {
        matches!(self.0.kind, ErrorKind::WorkerDied(_))
    }

    /// Whether the worker was killed: by a signal, or on Windows by an exception or
    /// its termination.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.exit_reason().is_some_and(|reason| reason.is_killed())
    }

    /// Whether a deadline passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.kind, ErrorKind::TimedOut { .. })
    }

    /// Whether the call was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Cancelled)
    }

    /// Whether the pool takes no more calls.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Closed | ErrorKind::RuntimeGone)
    }

    /// Whether the queue was full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Full { .. })
    }

    /// Whether this build, platform or version cannot do what was asked.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unsupported { .. })
    }

    /// The end of the worker, where one ended.
    #[must_use]
    pub fn obituary(&self) -> Option<&Obituary> {
        match &self.0.kind {
            ErrorKind::WorkerDied(obituary) => Some(obituary),
            ErrorKind::Start { obituary, .. } => obituary.as_deref(),
            _ => None,
        }
    }

    /// How the worker ended, where one did.
    #[must_use]
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.obituary().map(|o| o.reason)
    }

    /// The signal that ended the worker, where one did.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.exit_reason().and_then(|r| r.signal())
    }

    /// The worker's standard error up to its end, at most 64 KiB.
    #[must_use]
    pub fn stderr_tail(&self) -> Option<String> {
        self.obituary().map(|o| String::from_utf8_lossy(&o.stderr_tail).into_owned())
    }

    /// The panic's message, where the task panicked.
    #[must_use]
    pub fn panic_message(&self) -> Option<&str> {
        match &self.0.kind {
            ErrorKind::Panicked { message, .. } => Some(message),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.task, &self.0.label) {
            (Some(task), Some(label)) => write!(f, "task {task} ({label}): ")?,
            (Some(task), None) => write!(f, "task {task}: ")?,
            (None, Some(label)) => write!(f, "call {label}: ")?,
            (None, None) => {}
        }
        match &self.0.kind {
            ErrorKind::Panicked { message, location, .. } => {
                write!(f, "panicked")?;
                if let Some(location) = location {
                    write!(f, " at {location}")?;
                }
                write!(f, ": {message}")
            }
            ErrorKind::WorkerDied(obituary) => {
                write!(f, "its worker (pid {}) was {}", obituary.pid, Verb(obituary.reason))?;
                // An exception says so by itself.
                if obituary.is_stack_overflow() && obituary.reason != STACK_OVERFLOW {
                    f.write_str(" after a stack overflow")?;
                }
                Ok(())
            }
            ErrorKind::TimedOut { phase, limit } => match phase {
                TimeoutPhase::Queued => {
                    write!(f, "timed out after {limit:?}, still waiting for a worker")
                }
                TimeoutPhase::Running => {
                    write!(f, "timed out after {limit:?} and was stopped")
                }
                TimeoutPhase::Cpu => {
                    write!(f, "used more than {limit:?} of CPU time and was stopped")
                }
                TimeoutPhase::Starting => {
                    write!(f, "a worker was not ready after {limit:?}, and was stopped")
                },
            },
            ErrorKind::Cancelled => f.write_str("cancelled"),
            ErrorKind::ArgEncode { param, reason } => {
                write!(f, "argument `{param}` cannot be encoded: {reason}")
            }
            ErrorKind::ArgDecode { param, reason } => {
                write!(f, "argument {param} could not be decoded in the worker: {reason}")
            }
            ErrorKind::ResultEncode { type_name, reason } => {
                write!(f, "its result of type {type_name} cannot be encoded: {reason}")
            }
            ErrorKind::ResultDecode { reason } => {
                write!(f, "its result could not be decoded: {reason}")
            }
            ErrorKind::TooLarge { len, max } => write!(
                f,
                "a message of {len} bytes, where at most {max} are allowed; raise `max_message_bytes` or send less"
            ),
            ErrorKind::Protocol { violation } => {
                write!(f, "its worker broke the protocol and was killed: {violation}")
            }
            ErrorKind::Create { what, reason } => write!(f, "no {what} can be made: {reason}"),
            ErrorKind::Spawn { reason } => write!(f, "a worker could not be started: {reason}"),
            ErrorKind::Start { reason, obituary } => {
                write!(f, "a worker did not become ready: {reason}")?;
                if let Some(obituary) = obituary {
                    let tail = String::from_utf8_lossy(&obituary.stderr_tail);
                    if let Some(line) = tail.lines().rev().find(|l| !l.trim().is_empty()) {
                        write!(f, "; it last wrote: {line}")?;
                    }
                }
                Ok(())
            }
            ErrorKind::Degraded => f.write_str("the pool has no workers left and gets no new ones"),
            ErrorKind::Full { capacity } => write!(f, "the queue is full ({capacity} calls)"),
            ErrorKind::Closed => f.write_str("the pool is closed"),
            ErrorKind::RuntimeGone => f.write_str(
                "the tokio runtime on which the pool was built is gone; build the pool on one that outlives it",
            ),
            ErrorKind::NotRegistered { task } => write!(
                f,
                "task {task} is not in the registry of this program; is its crate linked, and did `procpool::init()` run first?"
            ),
            ErrorKind::InvalidOption { option, value, allowed } => {
                write!(f, "option `{option}` is {value}; allowed is {allowed}")
            }
            ErrorKind::Input { reason } => write!(f, "the input failed: {reason}"),
            ErrorKind::Unsupported { what } => write!(f, "unsupported: {what}"),
        }
    }
}

struct Verb(ExitReason);

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_killed() {
            return write!(f, "{}", self.0);
        }
        write!(f, "lost: it {}", self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        match &self.0.kind {
            // Of a backtrace only its length: `main` prints errors this way.
            ErrorKind::Panicked { message, location, backtrace } => {
                let lines = backtrace.as_ref().map(|b| b.lines().count());
                debug.field(
                    "kind",
                    &format_args!(
                        "Panicked {{ message: {message:?}, location: {location:?}, backtrace_lines: {lines:?} }}"
                    ),
                );
            }
            kind => {
                debug.field("kind", kind);
            }
        }
        debug.field("progress", &self.0.progress);
        if let Some(task) = self.0.task {
            debug.field("task", &task);
        }
        if let Some(label) = &self.0.label {
            debug.field("label", label);
        }
        if let Some(source) = &self.0.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|s| s as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_stays_readable_whatever_was_captured() {
        let backtrace = "0: main\n".repeat(10_000);
        let kind = ErrorKind::Panicked {
            message: "boom".into(),
            location: Some("a.rs:1:1".into()),
            backtrace: Some(backtrace),
        };
        let text = format!("{:?}", Error::new(kind));
        assert!(text.len() < 1000 && text.contains("boom") && text.contains("a.rs:1:1"), "{text}");
        let obituary = Obituary {
            reason: ExitReason::Exited(1),
            usage: crate::ResourceUsage::default(),
            stderr_tail: [vec![b'x'; 60_000], b" last words".to_vec()].concat(),
            pid: 7,
        };
        let text = format!("{:?}", Error::new(ErrorKind::WorkerDied(Arc::new(obituary))));
        assert!(text.len() < 3000 && text.contains("last words"), "{text}");
    }
}
