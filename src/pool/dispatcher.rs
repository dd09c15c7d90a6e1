//! The scheduler's hands: carries out its actions and tells it what happened.
//!
//! There is no dispatcher task: whoever makes something happen (a caller that
//! submits, a driver that reads results, the supervision thread that sees a
//! death or a deadline) takes the core's lock, tells the scheduler, carries out
//! what follows, and does after the lock what may take longer: waking callers,
//! writing to sockets. See ARCHITECTURE.md for the drawing.
//!
//! Locks, outermost first: a link's receiving side, the core, a link's session.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tracing::{debug, trace, warn};

use super::config::Config;
use super::job::{Extra, Job, Part, Sink};
use super::run::call_back;
use super::scheduler::{
    Action, Ending, Lane, Nanos, Request, Scheduler, Timing, WorkerKey, WorkerState,
};
use super::waiter::{Waiter, Waiters};
use super::worker::Worker;
use crate::link::LinkEnd;
use crate::process::{
    Child, Error, ErrorKind, ExitReason, LaunchSpec, Obituary, Progress, ResourceUsage,
    StderrPolicy, Supervisor, TimeoutPhase, Watcher,
};
use crate::session::{CallMeta, ParentEvent};
use crate::sys;
use crate::task::Fault;
use crate::wire::{Hello, Received, Welcome};

pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Looks at an initializer's result.
pub(super) type InitCheck = Box<dyn Fn(Received) -> Result<(), Error> + Send + Sync>;

pub(super) struct Shared {
    pub(super) config: Config,
    core: Mutex<Core>,
    epoch: Instant,
    hello: Hello,
    welcome: Welcome,
    spec: Arc<LaunchSpec>,
    init_check: Option<InitCheck>,
    supervisor: &'static Supervisor,
    runtime: tokio::runtime::Handle,
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
    progress: Vec<(Extra, u64, u64)>,
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
    pub(super) init_check: Option<InitCheck>,
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
            init_check: parts.init_check,
            supervisor: parts.supervisor,
            runtime: parts.runtime,
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

    // Carrying out.

    fn perform(&self, core: &mut Core, effects: &mut Effects, now: Nanos) {
        while let Some(action) = core.scheduler.poll_action(now) {
            match action {
                Action::Send { worker, slot, id } => {
                    self.send(core, effects, worker, slot, id, now)
                }
                Action::Spawn { worker } => self.spawn(core, worker, now),
                Action::TakeBack { worker, slot, id } => {
                    let taken = core.worker(worker).is_some_and(|w| {
                        let taken = w.block.take_back(slot, id);
                        if taken {
                            w.link.with_session(|s| s.taken_back(slot, id));
                        }
                        taken
                    });
                    if taken {
                        core.scheduler.taken_back(id, now);
                    } else {
                        core.scheduler.has_begun(id, now);
                    }
                }
                Action::Unwanted { worker, slot, id, lane } => {
                    if let Some(w) = core.worker(worker) {
                        w.block.mark_unwanted(slot, id);
                        if lane == Lane::Async {
                            w.link.with_session(|s| s.cancel(slot, id));
                            effects.kick(&w);
                        }
                    }
                }
                Action::Probe { worker } => {
                    if let Some(w) = core.worker(worker) {
                        let cpu = w.cpu_time().map(|t| t.as_nanos() as u64);
                        core.scheduler.probed(worker, w.block.progress(), cpu, now);
                    }
                }
                Action::Shutdown { worker } => {
                    if let Some(w) = core.worker(worker) {
                        w.link.with_session(crate::session::ParentSession::shutdown);
                        effects.kick(&w);
                    }
                }
                Action::Terminate { worker } => {
                    if let Some(w) = core.worker(worker) {
                        w.terminate();
                    }
                }
                Action::Kill { worker } => {
                    if let Some(w) = core.worker(worker) {
                        w.kill();
                    }
                }
                Action::Resolve { job, ending } => {
                    self.resolve(core, effects, job, &ending, now);
                }
                Action::Finished => effects.finished = true,
            }
        }
        core.waiters.grant(core.scheduler.queued(), self.config.queue_capacity);
        if let Some(next) = core.scheduler.next_timeout()
            && next < self.armed.load(Ordering::Acquire)
        {
            self.armed.store(next, Ordering::Release);
            effects.wake_at = Some(next);
        }
    }

    #[inline]
    fn send(
        &self,
        core: &mut Core,
        effects: &mut Effects,
        key: WorkerKey,
        slot: u16,
        id: u64,
        now: Nanos,
    ) {
        let Some(worker) = core.worker(key) else {
            return;
        };
        let Some((job, request, timing)) = core.scheduler.job(id) else {
            return;
        };
        let remaining_ms = timing.deadline.map_or(0, |(at, _)| {
            (at.saturating_sub(now) / 1_000_000).clamp(1, u64::from(u32::MAX)) as u32
        });
        let meta = CallMeta {
            task: request.task,
            items: request.items,
            attempt: request.attempt.into(),
            remaining_ms,
        };
        // The word in the block must say "waiting" before the worker can see
        // the frame.
        worker.block.queue(slot, id);
        worker.link.with_session(|session| session.call(slot, id, meta, &job.payload));
        match &job.extra {
            Some(extra) => extra.span.in_scope(|| {
                trace!(task = job.entry.name, id, worker = %worker.name, "call sent");
            }),
            None => trace!(task = job.entry.name, id, worker = %worker.name, "call sent"),
        }
        effects.kick(&worker);
    }

    fn spawn(&self, core: &mut Core, key: WorkerKey, now: Nanos) {
        core.names += 1;
        let name = format!("{}-{}", self.config.name, core.names);
        let _in_runtime = self.runtime.enter();
        let made = Worker::new(key, name, self.hello.clone(), self.config.max_message);
        let (worker, socket) = match made {
            Ok(made) => made,
            Err(e) => return self.spawn_failed(core, key, &e, now),
        };
        let index = key.index as usize;
        if core.workers.len() <= index {
            core.workers.resize_with(index + 1, || None);
        }
        core.workers[index] = Some(Arc::new(worker));
        if let Some(me) = self.me.upgrade() {
            let stderr = match self.config.stderr {
                super::Stderr::Forward => StderrPolicy::Forward,
                super::Stderr::Capture => StderrPolicy::Keep,
                super::Stderr::Inherit | super::Stderr::Null => StderrPolicy::Elsewhere,
            };
            self.supervisor.spawn(me, token(key), self.spec.clone(), stderr, socket);
        }
    }

    fn spawn_failed(&self, core: &mut Core, key: WorkerKey, error: &io::Error, now: Nanos) {
        warn!(pool = %self.config.name, %error, "a worker could not be started");
        let error = Error::new(ErrorKind::Spawn { reason: error.to_string() });
        core.start_failed(error);
        if let Some(slot) = core.workers.get_mut(key.index as usize) {
            *slot = None;
        }
        let nobody = Arc::new(Obituary {
            reason: ExitReason::Unknown,
            usage: ResourceUsage::default(),
            stderr_tail: Vec::new(),
            pid: 0,
        });
        core.scheduler.worker_lost(key, &nobody, &[], now);
    }

    /// What need not, or must not, happen under the lock.
    fn finish(&self, effects: Effects) {
        if let Some(at) = effects.wake_at
            && let Some(me) = self.me.upgrade()
        {
            self.supervisor.wake_at(me, self.epoch + Duration::from_nanos(at));
        }
        for worker in effects.kick.iter().chain(&effects.kicks) {
            worker.link.kick();
        }
        for (job, value) in effects.values {
            if let Sink::One(sender) = job.sink {
                let _ = sender.send(Ok(value));
            }
        }
        for (job, fault) in effects.faults {
            let error = fault_error(fault);
            job.fail(error);
        }
        for (extra, done, total) in effects.progress {
            if let Some(progress) = &extra.progress {
                // On the driver or the supervision thread: neither may unwind.
                call_back(|| progress(done, total));
            }
        }
        for (job, error) in effects.failed {
            job.fail(error);
        }
        if effects.finished {
            debug!(pool = %self.config.name, "pool finished");
            self.finished.send_replace(true);
        }
    }

    fn resolve(
        &self,
        core: &mut Core,
        effects: &mut Effects,
        job: Job,
        ending: &Ending,
        now: Nanos,
    ) {
        match ending {
            Ending::Cancelled { .. } => core.counts.cancelled += 1,
            _ => core.counts.failed += 1,
        }
        let error = core.ending_error(ending);
        // Of a chunk only the item it was in is lost; the rest goes to another
        // worker, unless it is the whole map's time that is over.
        let one_item = match (&job.sink, ending) {
            (Sink::One(_), _) => false,
            (Sink::Chunk(_), Ending::Died { .. } | Ending::Violated { .. }) => true,
            (Sink::Chunk(chunk), Ending::TimedOut { phase, .. }) => {
                *phase != TimeoutPhase::Queued
                    && chunk.timing.deadline.is_none_or(|(at, _)| at > now)
            }
            _ => false,
        };
        if one_item {
            for (part, items) in job.split_at_failure(error) {
                core.resubmit(effects, part, items, now);
            }
            return;
        }
        effects.failed.push((job, error));
    }

    // What workers say.

    fn handle(&self, worker: &Arc<Worker>, events: &mut Vec<ParentEvent>, now: Nanos) {
        if events.is_empty() {
            return;
        }
        let key = worker.key;
        let mut effects = Effects::default();
        let mut core = self.lock();
        let ended = events
            .iter()
            .filter(|e| {
                matches!(e, ParentEvent::Value { .. } | ParentEvent::Fault { .. })
                    || matches!(e, ParentEvent::Items { last: true, .. })
            })
            .count();
        if ended > 0 {
            core.scheduler.batch(key, ended, now);
        }
        for event in events.drain(..) {
            self.event(&mut core, &mut effects, worker, event, now);
        }
        if let (true, Some(max), Some(pid)) = (ended > 0, self.config.max_memory, worker.pid())
            && sys::resident_bytes(pid).is_some_and(|bytes| bytes > max)
        {
            debug!(worker = %worker.name, "worker is over its memory and is replaced");
            core.scheduler.retire(key, now);
        }
        self.perform(&mut core, &mut effects, now);
        drop(core);
        self.finish(effects);
    }

    fn event(
        &self,
        core: &mut Core,
        effects: &mut Effects,
        worker: &Arc<Worker>,
        event: ParentEvent,
        now: Nanos,
    ) {
        let key = worker.key;
        match event {
            ParentEvent::Value { id, value } => {
                if let Some(job) = core.scheduler.completed(key, id, now) {
                    core.counts.done += 1;
                    effects.values.push((job, value));
                }
            }
            ParentEvent::Fault { id, fault } => {
                if !core.scheduler.retry(key, id, now)
                    && let Some(job) = core.scheduler.completed(key, id, now)
                {
                    core.counts.failed += 1;
                    if self.config.recycle_on_panic && matches!(fault, Fault::Panicked(_)) {
                        core.scheduler.retire(key, now);
                    }
                    effects.faults.push((job, fault));
                }
            }
            ParentEvent::Items { id, count, last, results } => {
                if let Some(Job { sink: Sink::Chunk(chunk), entry, .. }) =
                    core.scheduler.job_mut(id)
                {
                    let task = entry.name;
                    let first = chunk.base + chunk.seen as usize;
                    chunk.seen += count;
                    let _ = chunk.parts.send(Part::Items { first, count, results, task });
                    if last {
                        chunk.group.remove(id);
                    }
                }
                if last && core.scheduler.completed(key, id, now).is_some() {
                    core.counts.done += 1;
                }
            }
            ParentEvent::Cancelled { id } => {
                // An async call dropped at our wish, or a blocking chunk of which
                // the worker gives the rest back.
                if let Some(job) = core.scheduler.completed(key, id, now)
                    && let Some((rest, items)) = job.rest()
                {
                    core.counts.failed += 1;
                    core.resubmit(effects, rest, items, now);
                }
            }
            ParentEvent::Progress { id, done, total } => {
                if let Some(Job { extra: Some(extra), .. }) = core.scheduler.job_mut(id)
                    && extra.progress.is_some()
                {
                    effects.progress.push(((**extra).clone(), done, total));
                }
            }
            ParentEvent::HelloAccepted => {
                let welcome = Welcome { name: worker.name.clone(), ..self.welcome.clone() };
                match worker.welcome(&welcome) {
                    Ok(()) => {
                        let limit = self.config.start_timeout.map(|t| t.as_nanos() as u64);
                        core.scheduler.worker_greeted(key, limit, now);
                    }
                    Err(e) => {
                        core.start_failed(start_error(format!("it could not be welcomed: {e}")));
                        worker.explained.store(true, Ordering::Relaxed);
                        worker.kill();
                    }
                }
            }
            ParentEvent::Ready(result) => {
                let result = match result {
                    Ok(value) => self.init_check.as_ref().map_or(Ok(()), |check| check(value)),
                    Err(fault) => Err(fault_error(fault)),
                };
                match result {
                    Ok(()) => {
                        debug!(worker = %worker.name, pid = worker.pid(), "worker ready");
                        core.scheduler.worker_ready(key, now);
                        let all = core.scheduler.ready_workers() as u32;
                        if all >= core.scheduler.target()
                            && let Some(building) = core.building.take()
                        {
                            let _ = building.send(Ok(()));
                        }
                    }
                    Err(error) => {
                        let reason = format!("its initializer failed: {error}");
                        core.start_failed(start_error(reason).with_source(error));
                        worker.explained.store(true, Ordering::Relaxed);
                        worker.kill();
                    }
                }
            }
            ParentEvent::Goodbye => {}
        }
    }

    /// The task that moves one worker's bytes, on the pool's runtime.
    async fn drive(self: Arc<Self>, worker: Arc<Worker>) {
        /// Tells when the runtime drops the task instead of finishing it.
        struct Guard(Option<Arc<Shared>>);
        impl Drop for Guard {
            fn drop(&mut self) {
                if let Some(shared) = self.0.take() {
                    shared.runtime_gone();
                }
            }
        }
        let mut guard = Guard(Some(self.clone()));
        let mut events = Vec::new();
        loop {
            let end = poll_fn(|cx| {
                // Held until the events are dealt with: see `exited`.
                let mut rx = worker.link.receiver();
                let polled = worker.link.poll(&mut rx, cx, &mut events);
                if !events.is_empty() {
                    self.handle(&worker, &mut events, self.now());
                }
                polled
            })
            .await;
            match end {
                Ok(()) => {}
                Err(LinkEnd::Closed) => {
                    let now = self.now();
                    self.act(|core| core.scheduler.worker_broken(worker.key, now));
                    break;
                }
                Err(LinkEnd::Violation(violation)) => {
                    self.violated(&worker, &violation.to_string());
                    break;
                }
            }
        }
        guard.0 = None;
    }

    fn violated(&self, worker: &Worker, violation: &str) {
        warn!(worker = %worker.name, violation, "worker broke the protocol and is killed");
        self.act(|core| {
            core.scheduler.worker_violated(worker.key, violation);
            core.start_failed_if_starting(worker.key, || start_error(violation.to_owned()));
            worker.explained.store(true, Ordering::Relaxed);
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

fn token(key: WorkerKey) -> u64 {
    u64::from(key.serial) << 32 | u64::from(key.index)
}

fn key(token: u64) -> WorkerKey {
    WorkerKey { index: token as u32, serial: (token >> 32) as u32 }
}

impl Watcher for Shared {
    fn spawned(&self, token: u64, result: io::Result<Child>) {
        let key = key(token);
        let now = self.now();
        match result {
            Ok(child) => {
                let worker = self.lock().worker(key);
                let Some(worker) = worker else {
                    return child.kill();
                };
                debug!(worker = %worker.name, pid = child.pid(), "worker started");
                worker.started(child);
                if let Some(me) = self.me.upgrade() {
                    self.runtime.spawn(me.drive(worker));
                }
            }
            Err(e) => self.act(|core| self.spawn_failed(core, key, &e, now)),
        }
    }

    fn exited(&self, token: u64, obituary: Obituary) {
        let key = key(token);
        let worker = self.lock().worker(key);
        let Some(worker) = worker else { return };
        // Whoever reads this worker's events deals with them before it lets go
        // of the receiver, so from here on there are no others but these.
        let mut rx = worker.link.receiver();
        let mut events = Vec::new();
        let block = &worker.block;
        let drained = worker.link.drain(&mut rx, &mut events, |received| {
            [block.unwritten(received), block.open_items().unwrap_or_default()]
        });
        let now = self.now();
        self.handle(&worker, &mut events, now);
        let lost: Vec<(u64, bool)> = worker.link.with_session(|session| {
            session
                .outstanding()
                .map(|(slot, id, seen)| (id, seen > 0 || block.may_have_begun(slot, id)))
                .collect()
        });
        if obituary.reason == ExitReason::Exited(0) {
            debug!(worker = %worker.name, pid = obituary.pid, "worker exited");
        } else {
            debug!(worker = %worker.name, pid = obituary.pid, reason = %obituary.reason, calls = lost.len(), "worker ended");
        }
        let obituary = Arc::new(obituary);
        self.act(|core| {
            if let Err(violation) = &drained {
                core.scheduler.worker_violated(key, &violation.to_string());
            }
            if !worker.explained.load(Ordering::Relaxed) {
                core.start_failed_if_starting(key, || start_error_of(&worker, &obituary));
            }
            core.scheduler.worker_lost(key, &obituary, &lost, now);
            core.workers[key.index as usize] = None;
        });
    }

    fn tick(&self, _: Instant) -> Option<Instant> {
        self.armed.store(u64::MAX, Ordering::Release);
        let now = self.now();
        self.act(|core| core.scheduler.handle_timeout(now));
        // Whatever is next has armed the timer by itself.
        None
    }
}

fn start_error(reason: String) -> Error {
    Error::new(ErrorKind::Start { reason, obituary: None })
}

fn start_error_of(worker: &Worker, obituary: &Arc<Obituary>) -> Error {
    let waited = worker.since.elapsed();
    let reason = match obituary.reason {
        ExitReason::Signaled { signal: 9, .. } if waited >= HELLO_TIMEOUT => format!(
            "it was not ready after {waited:.1?}; does the program call `procpool::init()` (or use `#[procpool::main]`) before anything else?"
        ),
        reason => format!("it {}", was(reason)),
    };
    Error::new(ErrorKind::Start { reason, obituary: Some(obituary.clone()) })
}

fn was(reason: ExitReason) -> String {
    match reason {
        ExitReason::Signaled { .. } => format!("was {reason}"),
        _ => reason.to_string(),
    }
}

fn degraded(cause: Option<&Error>) -> Error {
    let error = Error::new(ErrorKind::Degraded);
    match cause {
        Some(cause) => error.with_source(cause.clone()),
        None => error,
    }
}

/// A failure inside a living worker, as its caller sees it.
pub(super) fn fault_error(fault: Fault) -> Error {
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
        Fault::UnknownTask { id } => {
            Error::new(ErrorKind::NotRegistered { task: format!("number {id}") })
        }
    }
}
