//! What a user holds.

use std::fmt;
use std::sync::Arc;

use super::builder::Builder;
use super::dispatcher::Shared;
use super::handle::AsyncResult;
use super::map::{Map, Results, TryMap};
use super::run::{Run, run_encoded};
use super::scheduler::WorkerState;
use super::source::IntoSource;
use super::stats::{PoolStats, Restarts, WorkerInfo, WorkerStatus};
#[cfg(doc)]
use crate::process::ErrorKind;
use crate::process::{Error, last_words};
use crate::task::{Call, Entry, IntoCall, TaskFn};
use crate::wire::{Payload, Received};

/// A pool of worker processes that run this program's tasks.
///
/// A handle: cheap to clone, usable from any thread and any runtime while the one
/// it was built on lives. Dropping the last clone kills what still runs; for an
/// orderly end use [`shutdown`](ProcessPool::shutdown).
///
/// # Crash behaviour
/// A worker that dies fails only the calls it was in, each with the signal or
/// exit code, the end of its standard error and its resource usage. Calls that
/// had not begun go to another worker; a call that may have begun is never run
/// again unless [`retries`](Run::retries) says so. The worker is replaced.
///
/// # Examples
/// ```standalone_crate
/// use procpool::ProcessPool;
///
/// #[procpool::task]
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), procpool::Error> {
///     let pool = ProcessPool::builder().workers(2).build().await?;
///     assert_eq!(pool.map(square, 1..=5).await?, [1, 4, 9, 16, 25]);
///     assert_eq!(pool.apply(square, 7).await?, 49);
///     assert_eq!(pool.run(square(8)).await?, 64);
///     pool.shutdown().await
/// }
/// ```
#[doc(alias = "Pool")]
#[doc(alias = "ProcessPoolExecutor")]
#[derive(Clone)]
pub struct ProcessPool {
    handle: Arc<Handle>,
}

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.terminate(true);
    }
}

/// Why a call was not taken at once.
#[derive(Debug)]
pub enum TrySubmitError<C> {
    /// The queue is full; here is the call with its arguments.
    Full(C),
    /// The pool does not take the call.
    Refused(Error),
}

/// A handle to the call, or the call itself.
pub type TrySubmit<R, K> = Result<AsyncResult<R>, TrySubmitError<Call<R, K>>>;

impl<C> fmt::Display for TrySubmitError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrySubmitError::Full(_) => f.write_str("the queue is full"),
            TrySubmitError::Refused(error) => error.fmt(f),
        }
    }
}

impl<C: fmt::Debug> std::error::Error for TrySubmitError<C> {}

impl ProcessPool {
    /// A pool with one worker for each CPU this process may use.
    ///
    /// # Errors
    /// Why the workers did not come up; see [`Builder::build`].
    pub async fn new() -> Result<Self, Error> {
        Self::builder().build().await
    }

    /// Sets up a pool with other than the default options.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(super) fn from_shared(shared: Arc<Shared>) -> Self {
        ProcessPool { handle: Arc::new(Handle(shared)) }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.0
    }

    pub(super) fn end_now(&self) {
        self.shared().terminate(true);
    }

    /// Runs one call in a worker.
    ///
    /// The returned future does nothing before its first poll and waits there for
    /// a place if the queue is full.
    ///
    /// # Errors
    /// See [`ErrorKind`]. A task that returns a `Result` gives it inside `Ok`.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call, even while it runs.
    pub fn run<C: IntoCall>(&self, call: C) -> Run<C::Output, C::Kind> {
        Run::new(self.shared().clone(), call.into_call())
    }

    /// Runs `task` with `args` (one value, or a tuple of several) in a worker:
    /// Python's spelling of [`run`](ProcessPool::run).
    pub fn apply<F, A, M>(&self, task: F, args: A) -> Run<F::Output, F::Kind>
    where
        F: TaskFn<A, M>,
    {
        self.run(task.make(args))
    }

    /// Has a task run whose types nobody knows here: arguments and result stay encoded.
    pub(crate) fn run_encoded(
        &self,
        entry: &'static Entry,
        payload: Payload,
    ) -> impl Future<Output = Result<Received, Error>> + Send + use<> {
        run_encoded(self.shared(), entry, payload)
    }

    /// Submits a call now and gives a handle to it.
    ///
    /// Needs no `await` and no runtime. It does not wait for a place in the
    /// queue; [`try_spawn`](ProcessPool::try_spawn) refuses a full one.
    #[doc(alias = "submit")]
    pub fn spawn<C: IntoCall>(&self, call: C) -> AsyncResult<C::Output> {
        self.run(call).spawn()
    }

    /// Submits `task` with `args` now: Python's spelling of
    /// [`spawn`](ProcessPool::spawn).
    pub fn apply_async<F, A, M>(&self, task: F, args: A) -> AsyncResult<F::Output>
    where
        F: TaskFn<A, M>,
    {
        self.spawn(task.make(args))
    }

    /// Submits a call now if the queue has a place for it. With options:
    /// [`run`](ProcessPool::run), then [`Run::try_spawn`].
    ///
    /// # Errors
    /// `Full` gives the call back with its arguments; `Refused` says why the pool
    /// does not take it.
    pub fn try_spawn<C: IntoCall>(&self, call: C) -> TrySubmit<C::Output, C::Kind> {
        self.run(call).try_spawn()
    }

    /// Submits `task` with `args` now if the queue has a place.
    ///
    /// # Errors
    /// As [`try_spawn`](ProcessPool::try_spawn).
    pub fn try_apply_async<F, A, M>(&self, task: F, args: A) -> TrySubmit<F::Output, F::Kind>
    where
        F: TaskFn<A, M>,
    {
        self.try_spawn(task.make(args))
    }

    /// Runs `task` for every element and gives the results in order.
    ///
    /// Elements are sent in chunks (see [`Map::chunk_size`]). The first error wins
    /// and cancels the rest, unless [`wait_all`](Map::wait_all) is asked for.
    /// Elements are single arguments, or tuples for a task with several. In place of
    /// a task, a closure that returns a [`Call`](crate::Call) may fill in what all
    /// elements share: it runs here, so it may capture.
    ///
    /// # Errors
    /// The first failure in time.
    ///
    /// # Examples
    /// ```
    /// # use procpool::ProcessPool;
    /// #[procpool::task]
    /// fn scale(x: f64, by: f64) -> f64 {
    ///     x * by
    /// }
    ///
    /// # #[procpool::main]
    /// # async fn main() -> Result<(), procpool::Error> {
    /// # let pool = ProcessPool::builder().workers(1).build().await?;
    /// let by = 2.0;
    /// assert_eq!(pool.map(|x| scale(x, by), [1.0, 2.0]).await?, [2.0, 4.0]);
    /// # pool.shutdown().await
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the future cancels what has not finished.
    pub fn map<F, X, A, M, N>(&self, task: F, xs: X) -> Map<F, X::Source, F::Output>
    where
        F: TaskFn<A, M>,
        X: IntoSource<N, Item = A>,
    {
        Map::new(self.shared().clone(), task, xs.into_source())
    }

    /// The same as [`map`](ProcessPool::map) for tasks with several parameters,
    /// under Python's name.
    pub fn starmap<F, X, A, M, N>(&self, task: F, xs: X) -> Map<F, X::Source, F::Output>
    where
        F: TaskFn<A, M>,
        X: IntoSource<N, Item = A>,
    {
        self.map(task, xs)
    }

    /// Starts a [`map`](ProcessPool::map) on the pool's runtime and gives a handle
    /// to it; dropping the handle lets it go on.
    pub fn map_async<F, X, A, M, N>(&self, task: F, xs: X) -> AsyncResult<Vec<F::Output>>
    where
        F: TaskFn<A, M> + Send + 'static,
        X: IntoSource<N, Item = A>,
        X::Source: Send + 'static,
    {
        self.map(task, xs).spawn()
    }

    /// The same as [`map_async`](ProcessPool::map_async) for tasks with several
    /// parameters, under Python's name.
    pub fn starmap_async<F, X, A, M, N>(&self, task: F, xs: X) -> AsyncResult<Vec<F::Output>>
    where
        F: TaskFn<A, M> + Send + 'static,
        X: IntoSource<N, Item = A>,
        X::Source: Send + 'static,
    {
        self.map_async(task, xs)
    }

    /// Runs `task` for every element; gives every element's own result, in order,
    /// and cancels nothing.
    ///
    /// It resolves to `Result<Vec<Result<R, Error>>, Error>`.
    ///
    /// # Errors
    /// The outer error is of the whole: an option that makes no sense, the `timeout`,
    /// a panic of the input, the end of the pool before every element was sent.
    pub fn try_map<F, X, A, M, N>(&self, task: F, xs: X) -> TryMap<F, X::Source, F::Output>
    where
        F: TaskFn<A, M>,
        X: IntoSource<N, Item = A>,
    {
        TryMap::new(self.map(task, xs))
    }

    /// A stream of the results in order, over an iterator or a stream.
    ///
    /// The input is taken lazily: at most [`window`](Results::window) elements
    /// are ahead of the consumer, so endless inputs work.
    ///
    /// # Cancel safety
    /// Dropping the stream cancels what is on its way.
    pub fn imap<F, X, A, M, N>(&self, task: F, xs: X) -> Results<F, X::Source, F::Output>
    where
        F: TaskFn<A, M>,
        X: IntoSource<N, Item = A>,
    {
        Results::new(self.shared().clone(), task, xs.into_source(), true)
    }

    /// A stream of the results as they come. Otherwise like
    /// [`imap`](ProcessPool::imap).
    pub fn imap_unordered<F, X, A, M, N>(&self, task: F, xs: X) -> Results<F, X::Source, F::Output>
    where
        F: TaskFn<A, M>,
        X: IntoSource<N, Item = A>,
    {
        Results::new(self.shared().clone(), task, xs.into_source(), false)
    }

    /// Like [`imap`](ProcessPool::imap) over an input that may fail: its errors
    /// appear in their place among the results, as
    /// [`ErrorKind::Input`] with the input's error as source.
    pub fn try_imap<F, X, A, E, M, N>(&self, task: F, xs: X) -> Results<F, X::Source, F::Output>
    where
        F: TaskFn<A, M>,
        X: IntoSource<N, Item = Result<A, E>>,
        E: std::error::Error + Send + Sync + 'static,
    {
        Results::fallible(self.shared().clone(), task, xs.into_source(), true)
    }

    /// Like [`imap_unordered`](ProcessPool::imap_unordered) over an input that may
    /// fail.
    pub fn try_imap_unordered<F, X, A, E, M, N>(
        &self,
        task: F,
        xs: X,
    ) -> Results<F, X::Source, F::Output>
    where
        F: TaskFn<A, M>,
        X: IntoSource<N, Item = Result<A, E>>,
        E: std::error::Error + Send + Sync + 'static,
    {
        Results::fallible(self.shared().clone(), task, xs.into_source(), false)
    }

    /// Takes no more calls; what was accepted is finished, then the workers leave.
    pub fn close(&self) {
        self.shared().close();
    }

    /// Waits until every worker is gone, and what they logged has been passed on (unless
    /// this process's subscriber takes longer than a second over it).
    ///
    /// # Errors
    /// `InvalidOption` if the pool was neither closed nor terminated: it would
    /// wait for ever.
    pub async fn join(&self) -> Result<(), Error> {
        if self.shared().lock().scheduler.is_open() {
            return Err(super::error_option(
                "join",
                "called on an open pool",
                "after `close` or `terminate`; `shutdown` closes and joins",
            ));
        }
        let mut finished = self.shared().finished();
        // The sender lives in `self`.
        let _ = finished.wait_for(|finished| *finished).await;
        last_words().await;
        Ok(())
    }

    /// Ends every worker now: SIGTERM, and SIGKILL a second later or when called
    /// again. What was not finished fails as closed.
    ///
    /// # Platform
    /// There is no SIGTERM on Windows: they are ended at once.
    #[doc(alias = "terminate_workers")]
    pub fn terminate(&self) {
        self.shared().terminate(false);
    }

    /// Kills every worker now (SIGKILL). What was not finished fails as closed.
    #[doc(alias = "kill_workers")]
    pub fn kill(&self) {
        self.shared().terminate(true);
    }

    /// [`close`](ProcessPool::close), then [`join`](ProcessPool::join).
    ///
    /// # Errors
    /// None at present.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.close();
        self.join().await
    }

    /// Changes the number of workers, 1 to 4096. New ones start in the background;
    /// surplus ones leave when they have finished what they do.
    ///
    /// # Errors
    /// `InvalidOption` for other numbers.
    pub fn resize(&self, workers: usize) -> Result<(), Error> {
        if workers == 0 || workers > super::config::MAX_WORKERS {
            return Err(super::error_option("workers", workers, "1 to 4096"));
        }
        let now = self.shared().now();
        self.shared().act(|core| core.scheduler.resize(workers as u32, now));
        Ok(())
    }

    /// Numbers about the pool at this moment.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let core = self.shared().lock();
        let totals = core.scheduler.totals();
        PoolStats {
            workers: core.scheduler.target() as usize,
            ready: core.scheduler.ready_workers(),
            queued: core.scheduler.queued(),
            running: core.scheduler.running(),
            submitted: totals.submitted,
            done: core.counts.done,
            failed: core.counts.failed,
            cancelled: core.counts.cancelled,
            restarts: Restarts {
                crashed: totals.lost_crashed,
                idle: totals.lost_idle,
                cancelled: totals.lost_cancelled,
                recycled: totals.lost_recycled,
                failed_start: totals.lost_failed_start,
                violation: totals.lost_violation,
            },
            wait: totals.wait.clone(),
            run: totals.run.clone(),
        }
    }

    /// Every worker at this moment, those on their way out beside their
    /// successors.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let core = self.shared().lock();
        core.scheduler
            .workers()
            .map(|(key, state, calls, served)| {
                let worker = core.workers.get(key.index as usize).and_then(Option::as_ref);
                WorkerInfo {
                    name: worker.map(|w| w.name.clone()).unwrap_or_default(),
                    pid: worker.and_then(|w| w.pid()),
                    status: match state {
                        WorkerState::Starting => WorkerStatus::Starting,
                        WorkerState::Ready if calls == 0 => WorkerStatus::Idle,
                        WorkerState::Ready => WorkerStatus::Busy,
                        WorkerState::Draining => WorkerStatus::Draining,
                        WorkerState::Stopping => WorkerStatus::Stopping,
                    },
                    calls,
                    served,
                }
            })
            .collect()
    }

    /// How many calls may wait in the queue.
    #[must_use]
    pub fn queue_capacity(&self) -> usize {
        self.shared().config.queue_capacity
    }
}

impl fmt::Debug for ProcessPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = self.shared().lock();
        let state = if core.scheduler.is_finished() {
            "finished"
        } else if core.scheduler.is_open() {
            "open"
        } else {
            "closing"
        };
        f.debug_struct("ProcessPool")
            .field("name", &self.shared().config.name)
            .field("state", &state)
            .field("workers", &core.scheduler.target())
            .field("ready", &core.scheduler.ready_workers())
            .field("queued", &core.scheduler.queued())
            .field("running", &core.scheduler.running())
            .finish()
    }
}
