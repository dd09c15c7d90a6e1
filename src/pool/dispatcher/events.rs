//! What workers say, and what supervision says of them.

use super::*;

/// After it a runtime that was late has heard of everything that had come meanwhile:
/// it learns of timers where it learns of bytes.
const UNREAD: Duration = Duration::from_millis(20);

impl Shared {
    pub(super) fn handle(&self, worker: &Arc<Worker>, events: &mut Vec<ParentEvent>, now: Nanos) {
        if events.is_empty() {
            return;
        }
        let key = worker.key;
        for event in events.iter_mut() {
            event.claim(&worker.courier);
        }
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
            self.tell_of(worker, |worker, pid| {
                debug!(parent: None,
                    process.name = worker,
                    process.pid = pid,
                    "worker is over its memory and is replaced"
                );
            });
            core.scheduler.retire(key, now);
        }
        self.perform(&mut core, &mut effects, now);
        drop(core);
        self.finish(effects);
    }

    pub(super) fn event(
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
            ParentEvent::Items { id, .. }
            | ParentEvent::Progress { id, .. }
            | ParentEvent::HandlesTaken { id }
                if !core.scheduler.is_at(key, id) => {}
            ParentEvent::Items { id, count, last, mut results } => {
                if last && core.retry_item(key, id, &mut results, now) {
                    return;
                }
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
                if last && let Some(job) = core.scheduler.completed(key, id, now) {
                    core.counts.done += 1;
                    effects.over.push(job);
                }
            }
            ParentEvent::Cancelled { id } => {
                // An async call dropped at our wish, or a blocking chunk of which
                // the worker gives the rest back.
                let overrun = core.scheduler.overrun(id);
                let Some(job) = core.scheduler.completed(key, id, now) else {
                    return;
                };
                if let (Some(ending), true) = (overrun, job.entry.is_async()) {
                    // It was dropped for taking too long: to be told, not to be
                    // begun again.
                    self.resolve(core, effects, job, &ending, now);
                    return;
                }
                match job.rest() {
                    Ok((rest, items)) => {
                        core.counts.failed += 1;
                        core.resubmit(effects, rest, items, now);
                    }
                    // Nobody had asked for that.
                    Err(job) => {
                        let violation = "it cancelled a call by itself";
                        core.scheduler.worker_violated(key, violation);
                        let ending = Ending::Violated { violation: violation.into() };
                        self.resolve(core, effects, *job, &ending, now);
                    }
                }
            }
            ParentEvent::HandlesTaken { id } => {
                // Whoever holds the other ends is to see the worker close its own. What may be
                // begun again must have them again.
                if let Some((_, request, _)) = core.scheduler.job(id)
                    && request.retries == 0
                    && let Some(job) = core.scheduler.job_mut(id)
                {
                    job.payload.drop_handles();
                }
                worker.courier.flush();
            }
            ParentEvent::Progress { id, done, total } => {
                if let Some(Job { extra: Some(extra), .. }) = core.scheduler.job_mut(id)
                    && let Some(progress) = &extra.progress
                {
                    effects.progress.push((progress.clone(), done, total));
                }
            }
            ParentEvent::HelloAccepted => {
                let initializer = self.initializer.as_ref();
                let welcome = Welcome {
                    name: worker.name.clone(),
                    initializer_brings: initializer
                        .and_then(|(args, _)| worker.courier.bring(args)),
                    ..self.welcome.clone()
                };
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
                    // It runs code of the user's, to decode the result and to show
                    // its error.
                    Ok(value) => self.initializer.as_ref().map_or(Ok(()), |(_, check)| {
                        catch(|| check(value)).unwrap_or_else(|panic| {
                            let (message, ..) = panic.into_parts();
                            Err(start_error(format!(
                                "its result panicked when looked at: {message}"
                            )))
                        })
                    }),
                    Err(fault) => Err(fault_error(fault)),
                };
                match result {
                    Ok(()) => {
                        self.tell_of(worker, |worker, pid| {
                            debug!(parent: None, process.name = worker, process.pid = pid, "worker ready")
                        });
                        core.scheduler.worker_ready(key, now);
                        let all = core.scheduler.ready_workers() as u32;
                        if all >= core.scheduler.target()
                            && let Some(building) = core.building.take()
                        {
                            let _ = building.send(Ok(()));
                        }
                    }
                    Err(error) => {
                        let reason = match error.kind() {
                            // What the initializer returned, in its own words.
                            ErrorKind::Start { reason, .. } => {
                                format!("its initializer failed: {reason}")
                            }
                            _ => format!("its initializer failed: {error}"),
                        };
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
    pub(super) async fn drive(self: Arc<Self>, worker: Arc<Worker>, mut guard: Guard) {
        let mut events = Vec::new();
        let mut patience = None;
        loop {
            let end = poll_fn(|cx| {
                if worker.overdue.swap(false, Ordering::AcqRel) {
                    patience = Some(self.sleep(UNREAD));
                }
                // Held until the events are dealt with: see `exited`.
                let mut rx = worker.link.receiver();
                let polled = worker.link.poll(&mut rx, cx, &mut events);
                if !events.is_empty() {
                    self.handle(&worker, &mut events, self.now());
                }
                if let Some(sleep) = &mut patience
                    && sleep.as_mut().poll(cx).is_ready()
                {
                    patience = None;
                    self.act(|core| core.scheduler.nothing_came(worker.key));
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

    pub(super) fn violated(&self, worker: &Worker, violation: &str) {
        if log::is_heard(LevelFilter::WARN) {
            let (worker, violation) = (worker.name.clone(), violation.to_owned());
            self.tell(move || {
                warn!(parent: None, process.name = worker, violation, "worker broke the protocol and is killed")
            });
        }
        self.act(|core| {
            core.scheduler.worker_violated(worker.key, violation);
            core.start_failed_if_starting(worker.key, || start_error(violation.to_owned()));
            worker.explained.store(true, Ordering::Relaxed);
        });
    }
}

/// Tells when the runtime drops the task instead of finishing it; made before the
/// task is, which a runtime that has ended drops without a poll.
pub(super) struct Guard(Option<Arc<Shared>>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.runtime_gone();
        }
    }
}

pub(super) fn token(key: WorkerKey) -> u64 {
    u64::from(key.serial) << 32 | u64::from(key.index)
}

pub(super) fn key(token: u64) -> WorkerKey {
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
                worker.started(child);
                self.tell_of(&worker, |worker, pid| {
                    debug!(parent: None, process.name = worker, process.pid = pid, "worker started")
                });
                if let Some(me) = self.me.upgrade() {
                    let guard = Guard(Some(me.clone()));
                    self.runtime.spawn(me.drive(worker, guard));
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
        let reason = obituary.reason;
        self.tell_of(&worker, move |worker, pid| match reason {
            ExitReason::Exited(0) => {
                debug!(parent: None, process.name = worker, process.pid = pid, "worker exited")
            }
            _ => debug!(parent: None, process.name = worker, process.pid = pid, %reason, "worker ended"),
        });
        // Before anybody who waits hears of the end.
        if let Some(seat) = &worker.seat {
            seat.ended();
        }
        worker.log.ended();
        let obituary = Arc::new(obituary);
        self.act(|core| {
            // Under the core's lock, under which calls are handed to workers: one
            // that came in the meantime has not begun, and must not be missed.
            let lost: Vec<(u64, bool)> = worker.link.with_session(|session| {
                session
                    .outstanding()
                    .map(|(slot, id, seen)| (id, seen > 0 || block.may_have_begun(slot, id)))
                    .collect()
            });
            if let Err(violation) = &drained {
                core.scheduler.worker_violated(key, &violation.to_string());
            }
            if !worker.explained.load(Ordering::Relaxed) {
                let overdue = core.scheduler.overdue(key).map(Duration::from_nanos);
                core.start_failed_if_starting(key, || start_error_of(overdue, &obituary));
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
