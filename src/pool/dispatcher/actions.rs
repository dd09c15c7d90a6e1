//! Carrying out what the scheduler decides.

use super::*;

impl Shared {
    pub(super) fn perform(&self, core: &mut Core, effects: &mut Effects, now: Nanos) {
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
                // Only who reads its messages can tell, on the user's runtime: where
                // that is late, so may they be.
                Action::Overdue { worker } => {
                    if let Some(w) = core.worker(worker) {
                        w.overdue.store(true, Ordering::Release);
                        w.link.wake();
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
    pub(super) fn send(
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
        if let Some(Job { extra: Some(extra), .. }) = core.scheduler.job_mut(id)
            && let Some(span) = &extra.span
        {
            // The earlier run of it first, which had the same number.
            extra.logged = None;
            extra.logged = Some(worker.log.call_begins(id, span.clone()));
        }
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
        let brings = worker.courier.bring(&job.payload);
        worker.link.with_session(|s| s.call(slot, id, meta, &job.payload, brings.as_ref()));
        if log::is_heard(LevelFilter::TRACE) {
            let (task, worker) = (job.entry.name, worker.name.clone());
            let span = job.extra.as_ref().and_then(|extra| extra.span.clone());
            self.tell(move || {
                let parent = span.as_ref().and_then(|span| span.id());
                trace!(parent: parent, task.name = task, task.call = id, process.name = worker, "call sent");
            });
        }
        effects.kick(&worker);
    }

    pub(super) fn spawn(&self, core: &mut Core, key: WorkerKey, now: Nanos) {
        core.names += 1;
        let name = format!("{}-{}", self.config.name, core.names);
        let _in_runtime = self.runtime.enter();
        let (hello, listener) = (self.hello.clone(), self.listener.clone());
        let made = Worker::new(key, name, hello, self.config.max_message, listener);
        let (worker, socket) = match made {
            Ok(made) => made,
            Err(e) => {
                // The usual reason, and no reason to try again.
                let probe = self.runtime.spawn(std::future::pending::<()>());
                if probe.is_finished() {
                    core.runtime_gone = true;
                    core.scheduler.terminate(true, now);
                    core.waiters.dismiss();
                }
                probe.abort();
                return self.spawn_failed(core, key, &e, now);
            }
        };
        let index = key.index as usize;
        if core.workers.len() <= index {
            core.workers.resize_with(index + 1, || None);
        }
        let printed = self.config.surroundings.printed(worker.log.inbox());
        core.workers[index] = Some(Arc::new(worker));
        if let Some(me) = self.me.upgrade() {
            self.supervisor.spawn(me, token(key), self.spec.clone(), printed, socket);
        }
    }

    pub(super) fn spawn_failed(
        &self,
        core: &mut Core,
        key: WorkerKey,
        error: &io::Error,
        now: Nanos,
    ) {
        if log::is_heard(LevelFilter::WARN) {
            let (pool, error) = (self.config.name.clone(), error.to_string());
            self.tell(move || warn!(parent: None, pool, error, "a worker could not be started"));
        }
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
    pub(super) fn finish(&self, effects: Effects) {
        if let Some(at) = effects.wake_at
            && let Some(me) = self.me.upgrade()
        {
            self.supervisor.wake_at(me, self.epoch + Duration::from_nanos(at));
        }
        for worker in effects.kick.iter().chain(&effects.kicks) {
            worker.link.kick();
        }
        // Before the results: whoever gets one has heard all that came before it.
        for (progress, done, total) in effects.progress {
            // On the driver or the supervision thread: neither may unwind.
            call_back(|| progress(done, total));
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
        for (job, error) in effects.failed {
            job.fail(error);
        }
        if effects.finished {
            if log::is_heard(LevelFilter::DEBUG) {
                let pool = self.config.name.clone();
                self.tell(move || debug!(parent: None, pool, "pool finished"));
            }
            self.finished.send_replace(true);
        }
    }

    pub(super) fn resolve(
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
}
