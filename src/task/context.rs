//! What a running task can learn about its own call.

use std::cell::Cell;
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What the worker does for the task it runs; provided once a process.
pub(crate) trait Services: Send + Sync {
    fn worker_name(&self) -> &str;
    fn is_cancelled(&self, slot: u16, id: u64) -> bool;
    fn progress(&self, slot: u16, id: u64, done: u64, total: u64);
    fn depth(&self) -> u32;
}

static SERVICES: OnceLock<Box<dyn Services>> = OnceLock::new();

pub(crate) fn provide_services(services: Box<dyn Services>) {
    let _ = SERVICES.set(services);
}

/// The call this thread is in, as plain values: setting it costs two stores.
#[derive(Clone, Copy)]
pub(crate) struct Current {
    pub(crate) slot: u16,
    /// Of the task in the registry.
    pub(crate) task: u32,
    pub(crate) id: u64,
    pub(crate) attempt: u32,
    pub(crate) deadline: Option<Instant>,
    /// Its future is dropped before its end.
    pub(crate) dropped: bool,
}

impl Current {
    pub(crate) fn local() -> Self {
        Current { slot: 0, task: u32::MAX, id: 0, attempt: 1, deadline: None, dropped: false }
    }
}

thread_local! {
    static CURRENT: Cell<Option<Current>> = const { Cell::new(None) };
}

/// Runs `f` as part of the call `current`.
#[inline]
pub(crate) fn with_current<R>(current: Current, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Current>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(Some(current)));
    f()
}

/// Number and task of the call this thread is in, if it is one that a parent knows of.
pub(crate) fn current_call() -> Option<(u64, u32)> {
    // Asked by what is logged, which may be while this thread ends.
    let current = CURRENT.try_with(Cell::get).ok()??;
    (current.id != 0).then_some((current.id, current.task))
}

/// The call a task is running for.
#[derive(Clone, Copy)]
pub struct Context {
    current: Current,
}

impl Context {
    /// Number of the call, unique in its pool (not counted up from 1); what the parent's logs
    /// show. Items of one chunk of a map share it.
    #[must_use]
    pub fn call_id(&self) -> u64 {
        self.current.id
    }

    /// 1 for the first run of this call, more after a retry.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.current.attempt
    }

    /// Name of the worker process, such as `"thumbs-3"`; `"here"` under
    /// `run_here`.
    #[must_use]
    pub fn worker_name(&self) -> &'static str {
        SERVICES.get().map_or("here", |s| s.worker_name())
    }

    /// Time left until the call's deadline, `None` if it has none.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.current.deadline.map(|d| d.saturating_duration_since(Instant::now()))
    }

    /// Whether the caller no longer wants the result. A blocking task that looks
    /// now and then can end early and so keep its worker; one that does not is
    /// killed with it once the pool's grace is over. In destructors of an async task that is dropped because of that it
    /// is true, too.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let Current { slot, id, dropped, .. } = self.current;
        dropped || SERVICES.get().is_some_and(|s| s.is_cancelled(slot, id))
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("call_id", &self.call_id())
            .field("attempt", &self.attempt())
            .field("worker_name", &self.worker_name())
            .field("remaining", &self.remaining())
            .finish()
    }
}

/// The context of the call that is running on this thread, if one is.
#[must_use]
pub fn try_context() -> Option<Context> {
    CURRENT.get().map(|current| Context { current })
}

/// The context of the call that is running on this thread.
///
/// # Panics
/// Outside a task, and on threads a task has started by itself; use
/// [`try_context`] there.
#[must_use]
pub fn context() -> Context {
    match try_context() {
        Some(context) => context,
        None => panic!("procpool::context() was called outside a running task"),
    }
}

/// Tells the caller how far this call has come, in units of the task's choice.
///
/// It reaches the closure given to `.progress(…)`. Reports are cheap but not
/// free (one message each); outside a task, in an initializer, and where nobody
/// listens, they are ignored.
pub fn report_progress(done: u64, total: u64) {
    // 0: an initializer, or `run_here` in a worker. No caller knows of such a call.
    if let (Some(services), Some(current)) = (SERVICES.get(), CURRENT.get())
        && current.id != 0
    {
        services.progress(current.slot, current.id, done, total);
    }
}

/// How many pools are above this process: 0 in the main program.
pub(crate) fn depth() -> u32 {
    SERVICES.get().map_or(0, |s| s.depth())
}
