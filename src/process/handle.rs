//! Handles to a process that was started.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::causes::{fault_error, result_error};
use super::error::{Error, ErrorKind};
use super::exit::{ExitReason, Obituary};
use super::last_words::last_words;
use super::running::{Running, Stage};
use super::sentinel::Sentinel;
use super::start::ProcessBuilder;
use super::timer;
use crate::task::{IntoCall, decode_output};

/// A process that runs one task and ends: Python's `multiprocessing.Process`.
///
/// It is this program, started again; the task's value comes back as
/// [`output`](Process::output). For many calls, and for work that may have to be repeated
/// elsewhere, there is the [`ProcessPool`](crate::ProcessPool); a `Process` is for one thing that
/// lives on its own.
///
/// Everything but `output` is on the [`ProcessHandle`] that it dereferences to.
///
/// # How it ends
///
/// | what happens | [`exit_code`](ProcessHandle::exit_code) | [`output`](Process::output) |
/// |---|---|---|
/// | the task returns a value, an `Err` too | 0 | the value |
/// | it returns an [`ExitCode`](crate::ExitCode) | that | the value |
/// | it panics | 1 | `Panicked`; message and backtrace are on its standard error, too |
/// | it calls `std::process::exit(n)` | n | `WorkerDied` |
/// | it is killed by signal n | -n | `WorkerDied` |
///
/// Before it exits, its [`on_exit`](crate::on_exit) hooks run, its daemon children are ended
/// and its other children are waited for.
///
/// # Dropping
///
/// Dropping the handle of a [daemon](crate::ProcessBuilder::daemon) ends the process. Any other runs on,
/// can be found by [`active_children`](crate::active_children), and is waited for when this
/// program ends in order (on Windows: when `main` returns). However this program ends otherwise, all processes end with it.
///
/// # Crash behaviour
/// A process that is killed takes all processes that it has started with it.
///
/// # State that is asked and told
/// A process that owns state and answers typed calls is a pool of one worker: its tasks
/// all run in that process, one at a time, so that a `static` or `thread_local!` of theirs is
/// the state (and `initializer` makes it).
///
/// # Examples
/// ```standalone_crate
/// use procpool::Process;
///
/// #[procpool::task]
/// fn greet(name: String) -> String {
///     format!("Hello {name}, I am {}", procpool::current_process().name())
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), procpool::Error> {
///     let mut process = Process::spawn(greet("Ann".into())).await?;
///     assert_eq!(process.output().await?, "Hello Ann, I am Process-1");
///     process.join().await;
///     assert_eq!(process.exit_code(), Some(0));
///     Ok(())
/// }
/// ```
#[must_use = "dropping a Process lets it run on, or ends it if it is a daemon"]
pub struct Process<R> {
    handle: ProcessHandle,
    value: std::marker::PhantomData<fn() -> R>,
}

impl<R> Process<R> {
    pub(super) fn new(running: Arc<Running>) -> Self {
        Process { handle: ProcessHandle(running), value: std::marker::PhantomData }
    }

    /// The handle without the value's type, to be kept and cloned.
    #[must_use]
    pub fn handle(&self) -> ProcessHandle {
        self.handle.clone()
    }
}

impl<R: DeserializeOwned + Send + 'static> Process<R> {
    /// Starts a process for `call`, with every option at its default.
    ///
    /// # Errors
    /// As [`ProcessBuilder::start`].
    ///
    /// # Cancel safety
    /// Dropping the future ends the process.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O and time drivers enabled.
    pub async fn spawn<C: IntoCall<Output = R>>(call: C) -> Result<Self, Error> {
        Self::builder(call).start().await
    }

    /// A process with options.
    pub fn builder<C: IntoCall<Output = R>>(call: C) -> ProcessBuilder<R> {
        ProcessBuilder::new(call.into_call())
    }

    /// What its task returned, as soon as it has: hooks and children of its may
    /// still take a while before it exits.
    ///
    /// # Errors
    /// `Panicked`, `WorkerDied` and what else may become of a call; `InvalidOption` when the
    /// value was taken before.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn output(&mut self) -> Result<R, Error> {
        let running = &self.handle.0;
        running.reached(Stage::Answered).await;
        let result = match running.take_outcome() {
            Ok(Ok(received)) => {
                decode_output(received, running.decode_limits()).map_err(result_error)
            }
            Ok(Err(fault)) => Err(fault_error(fault)),
            Err(error) => Err(error),
        };
        result.map_err(|error| error.with_call(running.task(), Some(running.name().to_owned())))
    }
}

impl<R> Deref for Process<R> {
    type Target = ProcessHandle;

    fn deref(&self) -> &ProcessHandle {
        &self.handle
    }
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        let running = &self.handle.0;
        if running.is_daemon() && running.stage() < Stage::Ended {
            running.end_soon();
        }
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

/// A process that was started, whatever its task returns.
///
/// From [`Process::handle`] or [`active_children`](crate::active_children). Dropping it does
/// nothing.
#[derive(Clone)]
pub struct ProcessHandle(Arc<Running>);

impl ProcessHandle {
    pub(super) fn new(running: Arc<Running>) -> Self {
        ProcessHandle(running)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Its process id; 0 if it could not be started.
    #[must_use]
    #[doc(alias = "ident")]
    pub fn pid(&self) -> u32 {
        self.0.child().map_or(0, super::Child::pid)
    }

    /// Whether it is a daemon; see [`ProcessBuilder::daemon`].
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.0.is_daemon()
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.0.stage() < Stage::Ended
    }

    /// Python's exit code: `None` while it runs; the code it exited with, or the negated
    /// number of the signal that killed it; see [`ExitReason::code`].
    #[must_use]
    #[doc(alias = "exitcode")]
    pub fn exit_code(&self) -> Option<i32> {
        self.exit_reason().and_then(|reason| reason.code())
    }

    /// How it ended; `None` while it runs.
    #[must_use]
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.0.obituary().map(|obituary| obituary.reason)
    }

    /// The whole record of its end, with what it used and last wrote to standard error;
    /// `None` while it runs.
    #[must_use]
    pub fn obituary(&self) -> Option<Obituary> {
        self.0.obituary().map(|obituary| (*obituary).clone())
    }

    /// Waits until it has ended, and what it logged has been passed on (unless this
    /// process's subscriber takes longer than a second over it); any number of times, from
    /// any number of tasks.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn join(&self) {
        self.0.reached(Stage::Ended).await;
        last_words().await;
    }

    /// Waits until it has ended or `limit` has passed; tells whether it has ended.
    ///
    /// # Cancel safety
    /// As [`join`](ProcessHandle::join).
    ///
    /// # Panics
    /// Outside a tokio runtime, when that of the process's start is gone.
    pub async fn join_timeout(&self, limit: Duration) -> bool {
        let ended = self.0.reached(Stage::Ended);
        timer::timeout(self.0.runtime(), limit, ended).await.is_ok()
    }

    /// Asks it to end (SIGTERM), which by default it does at once: no hook is run, and
    /// its own children are killed. Nothing happens if it has ended.
    ///
    /// # Platform
    /// There is no SIGTERM on Windows: it is ended at once.
    pub fn terminate(&self) {
        if self.is_alive() {
            self.0.terminate();
        }
    }

    /// Interrupts it (SIGINT), as Ctrl-C would: by default it ends at once, with exit
    /// code -2; a task that waits for `tokio::signal::ctrl_c` can end in its own way.
    ///
    /// # Errors
    /// `Unsupported` on Windows, where one process cannot be interrupted.
    pub fn interrupt(&self) -> Result<(), Error> {
        match self.0.child() {
            Some(child) if self.is_alive() => child.interrupt().map_err(|e| {
                Error::unsupported(format!("interrupting a process here: {e}; use `terminate`"))
            }),
            _ => Ok(()),
        }
    }

    /// Kills it (SIGKILL), with all that it has started. Nothing happens if it has ended.
    pub fn kill(&self) {
        if self.is_alive() {
            self.0.kill();
        }
    }

    /// What becomes ready when it ends: a future, and a handle of the operating system.
    ///
    /// # Errors
    /// `Spawn` when there are no descriptors left.
    pub fn sentinel(&self) -> Result<Sentinel, Error> {
        let none = || Error::new(ErrorKind::Spawn { reason: "it was not started".to_owned() });
        let handle = self.0.child().ok_or_else(none)?.sentinel();
        let handle = handle.map_err(|e| Error::new(ErrorKind::Spawn { reason: e.to_string() }))?;
        let running = self.0.clone();
        Ok(Sentinel::new(Box::pin(async move { running.reached(Stage::Ended).await }), handle))
    }
}

impl PartialEq for ProcessHandle {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ProcessHandle {}

impl fmt::Debug for ProcessHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.exit_reason() {
            Some(reason) => reason.to_string(),
            None if self.is_alive() => "started".to_owned(),
            None => "not started".to_owned(),
        };
        f.debug_struct("Process")
            .field("name", &self.name())
            .field("pid", &self.pid())
            .field("parent", &std::process::id())
            .field("status", &format_args!("{status}"))
            .field("daemon", &self.is_daemon())
            .finish()
    }
}
