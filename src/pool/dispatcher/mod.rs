//! The scheduler's hands: carries out its actions and tells it what happened.
//!
//! There is no dispatcher task: whoever makes something happen (a caller that
//! submits, a driver that reads results, the supervision thread that sees a
//! death or a deadline) takes the core's lock, tells the scheduler, carries out
//! what follows, and does after the lock what may take longer: waking callers,
//! writing to sockets. See ARCHITECTURE.md for the drawing.
//!
//! Locks, outermost first: a link's receiving side, the core, a link's session.

mod actions;
mod events;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, debug, trace, warn};

use super::config::Config;
use super::job::{Job, Part, Sink};
use super::options::ProgressFn;
use super::scheduler::{
    Action, Ending, Lane, Nanos, Request, Scheduler, Timing, WorkerKey, WorkerState,
};
use super::waiter::{Waiter, Waiters};
use super::worker::Worker;
use crate::link::LinkEnd;
use crate::log;
use crate::process::{
    Child, Error, ErrorKind, ExitReason, LaunchSpec, Obituary, Progress, ResourceUsage, Supervisor,
    TimeoutPhase, Watcher, call_back, fault_error, start_error, start_error_of, timer,
};
use crate::session::{CallMeta, ParentEvent};
use crate::sys;
use crate::task::{Fault, catch};
use crate::wire::{Hello, Payload, Received, Welcome};

use events::token;

/// What calls of a pool without workers fail with.
fn degraded(cause: Option<&Error>) -> Error {
    let error = Error::new(ErrorKind::Degraded);
    match cause {
        Some(cause) => error.with_source(cause.clone()),
        None => error,
    }
}

/// Looks at an initializer's result.
pub(super) type InitCheck = Box<dyn Fn(Received) -> Result<(), Error> + Send + Sync>;

pub(super) struct Shared {
    pub(super) config: Config,
    core: Mutex<Core>,
    epoch: Instant,
    hello: Hello,
    welcome: Welcome,
    spec: Arc<LaunchSpec>,
    initializer: Option<(Payload, InitCheck)>,
    supervisor: &'static Supervisor,
    runtime: tokio::runtime::Handle,
    /// Who hears what workers log.
    listener: Option<Dispatch>,
    /// When the supervisor will call us; `u64::MAX` is never.
    armed: AtomicU64,
    finished: watch::Sender<bool>,
    me: Weak<Shared>,
}

pub(super) struct Core {
    pub(super) scheduler: Scheduler<Job>,
    pub(super) workers: Vec<Option<Arc<Worker>>>,
    waiters: Waiters,
    /// Why the last worker that did not come up did not.
    start_error: Option<Error>,
    building: Option<oneshot::Sender<Result<(), Error>>>,
    runtime_gone: bool,
    pub(super) counts: Counts,
    names: u64,
}

/// How calls ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
}

/// What is left to do once the core is unlocked.
#[derive(Default)]
struct Effects {
    /// Links with something to send; most often one.
    kick: Option<Arc<Worker>>,
    kicks: Vec<Arc<Worker>>,
    failed: Vec<(Job, Error)>,
    values: Vec<(Job, Received)>,
    faults: Vec<(Job, Fault)>,
    /// Nobody waits for them any more; their ends may run code of the user's.
    over: Vec<Job>,
    progress: Vec<(ProgressFn, u64, u64)>,
    finished: bool,
    wake_at: Option<Nanos>,
}

impl Effects {
    fn kick(&mut self, worker: &Arc<Worker>) {
        match &self.kick {
            None => self.kick = Some(worker.clone()),
            Some(last) if last.key == worker.key => {}
            Some(_) if self.kicks.last().is_some_and(|w| w.key == worker.key) => {}
            Some(_) => self.kicks.push(worker.clone()),
        }
    }
}

/// Everything a pool is made of, gathered by the builder.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) scheduler: Scheduler<Job>,
    pub(super) hello: Hello,
    pub(super) welcome: Welcome,
    pub(super) spec: LaunchSpec,
    /// Its arguments, and what looks at its result.
    pub(super) initializer: Option<(Payload, InitCheck)>,
    pub(super) supervisor: &'static Supervisor,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) epoch: Instant,
}

/// Why a call was not taken; it is given back.
pub(super) enum Refusal {
    /// The queue is full.
    Full(Job),
    Error(Error),
}

impl Shared {
    /// Starts the pool; the receiver hears when every worker is ready, or why
    /// that will not be.
    pub(super) fn start(parts: Parts) -> (Arc<Self>, oneshot::Receiver<Result<(), Error>>) {
        let (ready, receiver) = oneshot::channel();
        let shared = Arc::new_cyclic(|me| Shared {
            config: parts.config,
            core: Mutex::new(Core {
                scheduler: parts.scheduler,
                workers: Vec::new(),
                waiters: Waiters::default(),
                start_error: None,
                building: Some(ready),
                runtime_gone: false,
                counts: Counts::default(),
                names: 0,
            }),
            epoch: parts.epoch,
            hello: parts.hello,
            welcome: parts.welcome,
            spec: Arc::new(parts.spec),
            initializer: parts.initializer,
            supervisor: parts.supervisor,
            runtime: parts.runtime,
            listener: log::listener(),
            armed: AtomicU64::new(u64::MAX),
            finished: watch::Sender::new(false),
            me: me.clone(),
        });
        let now = shared.now();
        shared.act(|core| core.scheduler.handle_timeout(now));
        (shared, receiver)
    }

    pub(super) fn now(&self) -> Nanos {
        self.epoch.elapsed().as_nanos() as u64
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }

    /// A sleep for whatever executor polls it.
    pub(super) fn sleep(&self, limit: Duration) -> Pin<Box<tokio::time::Sleep>> {
        timer::sleep(&self.runtime, limit)
    }

    /// `tokio::time::timeout` for whatever executor polls it.
    pub(super) fn timeout<F: Future>(&self, limit: Duration, future: F) -> tokio::time::Timeout<F> {
        timer::timeout(&self.runtime, limit, future)
    }

    /// Tells the pool's listener something, later and elsewhere.
    fn tell(&self, tell: impl FnOnce() + Send + 'static) {
        log::tell(self.listener.clone(), tell);
    }

    /// Tells something of a worker, at level `DEBUG`.
    fn tell_of(&self, worker: &Worker, tell: impl FnOnce(&str, u32) + Send + 'static) {
        if log::is_heard(LevelFilter::DEBUG) {
            let (name, pid) = (worker.name.clone(), worker.pid().unwrap_or(0));
            self.tell(move || tell(&name, pid));
        }
    }

    pub(super) fn finished(&self) -> watch::Receiver<bool> {
        self.finished.subscribe()
    }

    /// Tells the scheduler something and carries out what follows.
    pub(super) fn act<R>(&self, f: impl FnOnce(&mut Core) -> R) -> R {
        let mut core = self.lock();
        let result = f(&mut core);
        let mut effects = Effects::default();
        self.perform(&mut core, &mut effects, self.now());
        drop(core);
        self.finish(effects);
        result
    }

    // Submitting.

    /// Whether calls are taken at all.
    fn admits(core: &Core) -> Result<(), Error> {
        if core.runtime_gone {
            return Err(Error::new(ErrorKind::RuntimeGone));
        }
        if !core.scheduler.is_open() {
            return Err(Error::new(ErrorKind::Closed));
        }
        if core.scheduler.is_degraded() {
            return Err(degraded(core.start_error.as_ref()));
        }
        Ok(())
    }

    /// Takes a call if there is a place for it.
    pub(super) fn submit(
        &self,
        request: Request,
        timing: Timing,
        job: Job,
        always: bool,
        granted: Option<&Arc<Waiter>>,
    ) -> Result<u64, Refusal> {
        let now = self.now();
        let mut core = self.lock();
        if let Err(error) = Self::admits(&core) {
            if let Some(waiter) = granted {
                core.waiters.leave(waiter);
                // Nobody else gets a place either.
                core.waiters.dismiss();
            }
            drop(core);
            return Err(Refusal::Error(job.sign(error)));
        }
        if granted.is_some() {
            core.waiters.arrive();
        } else if !always
            && core.waiters.is_full(core.scheduler.queued(), self.config.queue_capacity)
        {
            // A call that finds an idle worker never waits, so it needs no place.
            return Err(Refusal::Full(job));
        }
        let group = match &job.sink {
            Sink::Chunk(chunk) => Some(chunk.group.clone()),
            Sink::One(_) => None,
        };
        let id = core.scheduler.submit(now, request, timing, job);
        if let Some(group) = group
            && !group.add(id)
        {
            core.scheduler.cancel(id, now);
        }
        let mut effects = Effects::default();
        self.perform(&mut core, &mut effects, now);
        drop(core);
        self.finish(effects);
        Ok(id)
    }

    pub(super) fn wait_for_place(&self) -> Arc<Waiter> {
        let mut core = self.lock();
        let waiter = core.waiters.enter();
        let queued = core.scheduler.queued();
        core.waiters.grant(queued, self.config.queue_capacity);
        if Self::admits(&core).is_err() {
            core.waiters.dismiss();
        }
        waiter
    }

    pub(super) fn leave_line(&self, waiter: &Arc<Waiter>) {
        let mut core = self.lock();
        core.waiters.leave(waiter);
        let queued = core.scheduler.queued();
        core.waiters.grant(queued, self.config.queue_capacity);
    }

    pub(super) fn cancel(&self, id: u64) {
        let now = self.now();
        self.act(|core| core.scheduler.cancel(id, now));
    }

    pub(super) fn cancel_all(&self, ids: impl IntoIterator<Item = u64>) {
        let now = self.now();
        self.act(|core| {
            for id in ids {
                core.scheduler.cancel(id, now);
            }
        });
    }

    // Ending.

    pub(super) fn close(&self) {
        let now = self.now();
        self.act(|core| {
            core.scheduler.close(now);
            core.waiters.dismiss();
        });
    }

    pub(super) fn terminate(&self, kill: bool) {
        let now = self.now();
        self.act(|core| {
            core.scheduler.terminate(kill, now);
            core.waiters.dismiss();
        });
    }

    /// The runtime dropped a driver: nobody reads results any more.
    fn runtime_gone(&self) {
        let now = self.now();
        self.act(|core| {
            if !core.scheduler.is_finished() {
                core.runtime_gone = true;
                core.scheduler.terminate(true, now);
                core.waiters.dismiss();
            }
        });
    }
}

impl Core {
    fn worker(&self, key: WorkerKey) -> Option<Arc<Worker>> {
        self.workers.get(key.index as usize)?.as_ref().filter(|w| w.key == key).cloned()
    }

    /// Puts the rest of a chunk back in front of the queue. Under the same lock
    /// as the event that took the chunk away: a pool that closes must not find
    /// itself empty in between, nor a map be dropped unnoticed.
    fn resubmit(&mut self, effects: &mut Effects, job: Job, items: u32, now: Nanos) {
        let Sink::Chunk(chunk) = &job.sink else {
            return;
        };
        let refusal = if self.runtime_gone {
            Some(Error::new(ErrorKind::RuntimeGone))
        } else if self.scheduler.is_terminating() {
            Some(Error::new(ErrorKind::Closed))
        } else if self.scheduler.is_degraded() {
            Some(degraded(self.start_error.as_ref()))
        } else {
            // A closing pool finishes what it has accepted.
            None
        };
        if let Some(error) = refusal {
            effects.failed.push((job, error));
            return;
        }
        let bytes = job.payload.len().min(u32::MAX as usize) as u32;
        let request = Request { items, bytes, ..chunk.request };
        let (timing, group) = (chunk.timing, chunk.group.clone());
        let id = self.scheduler.resubmit(now, request, timing, job);
        if !group.add(id) {
            self.scheduler.cancel(id, now);
        }
    }

    /// Has the only item of a chunk run again if it failed and may be.
    fn retry_item(&mut self, key: WorkerKey, id: u64, results: &mut Received, now: Nanos) -> bool {
        let may = match self.scheduler.job_mut(id) {
            Some(Job { sink: Sink::Chunk(chunk), .. }) => {
                chunk.ends.len() == 1 && chunk.request.retries > 0
            }
            _ => false,
        };
        // The byte in front of an item's result says whether it is a fault.
        if !may || results.parts().0.first() != Some(&1) || !self.scheduler.retry(key, id, now) {
            return false;
        }
        if let Some(Job { sink: Sink::Chunk(chunk), .. }) = self.scheduler.job_mut(id) {
            chunk.request.retries -= 1;
            chunk.request.attempt = chunk.request.attempt.saturating_add(1);
        }
        true
    }

    fn ending_error(&self, ending: &Ending) -> Error {
        let progress = |begun: &bool| {
            if *begun { Progress::MayHaveBegun } else { Progress::NotBegun }
        };
        match ending {
            Ending::Cancelled { begun } => {
                Error::new(ErrorKind::Cancelled).with_progress(progress(begun))
            }
            Ending::TimedOut { phase, limit } => {
                let begun = *phase != TimeoutPhase::Queued;
                let limit = Duration::from_nanos(*limit);
                Error::new(ErrorKind::TimedOut { phase: *phase, limit })
                    .with_progress(progress(&begun))
            }
            Ending::Died { obituary } => Error::new(ErrorKind::WorkerDied(obituary.clone()))
                .with_progress(Progress::MayHaveBegun),
            Ending::Violated { violation } => {
                Error::new(ErrorKind::Protocol { violation: violation.to_string() })
                    .with_progress(Progress::MayHaveBegun)
            }
            Ending::Degraded => degraded(self.start_error.as_ref()),
            Ending::Closed { begun } => {
                let kind =
                    if self.runtime_gone { ErrorKind::RuntimeGone } else { ErrorKind::Closed };
                Error::new(kind).with_progress(progress(begun))
            }
        }
    }

    /// A worker did not come up; a pool being built fails with the first cause.
    fn start_failed(&mut self, error: Error) {
        if let Some(building) = self.building.take() {
            let _ = building.send(Err(error.clone()));
        }
        self.start_error = Some(error);
    }

    fn start_failed_if_starting(&mut self, key: WorkerKey, error: impl FnOnce() -> Error) {
        let starting = self
            .scheduler
            .workers()
            .any(|(k, state, ..)| k == key && state == WorkerState::Starting);
        if starting {
            self.start_failed(error());
        }
    }
}
