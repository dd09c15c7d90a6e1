//! The workers: who comes, who goes, and when that is the end of the pool.

use super::*;

impl<J> Scheduler<J> {
    /// The spawned worker said hello and ran its initializer.
    pub(in crate::pool) fn worker_ready(&mut self, key: WorkerKey, now: Nanos) {
        self.restarts.came_up();
        self.degraded = false;
        let retire = self.limits.max_age.map(|age| {
            let jitter = self.restarts.next_random() % (age / 10 + 1);
            now.saturating_add(age - jitter)
        });
        let quota =
            self.limits.max_tasks.map(|max| max - self.restarts.next_random() % (max / 10 + 1));
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        if worker.state != WorkerState::Starting {
            return;
        }
        worker.state = WorkerState::Ready;
        worker.mark = now;
        worker.kill_at = NEVER;
        worker.retire_at = retire.unwrap_or(NEVER);
        worker.quota = quota.unwrap_or(u64::MAX);
        self.note_idle(key);
        self.settle(now);
        self.assert_invariants();
    }

    /// The time a worker had for the step of its start during which it was killed for
    /// taking longer.
    pub(in crate::pool) fn overdue(&self, key: WorkerKey) -> Option<Nanos> {
        let worker = self.worker(key)?;
        let overdue =
            worker.state == WorkerState::Starting && matches!(worker.doom, Some(Doom::Ours));
        overdue.then_some(worker.start_limit)
    }

    /// The worker's process is gone. `lost` are the calls it still had, with
    /// whether each may have begun; resolved ones must have been
    /// [`completed`](Scheduler::completed) before.
    pub(in crate::pool) fn worker_lost(
        &mut self,
        key: WorkerKey,
        obituary: &Arc<Obituary>,
        lost: &[(u64, bool)],
        now: Nanos,
    ) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        let (state, doom) = (worker.state, worker.doom.clone());
        let had_calls = !worker.fifo.is_empty();
        let ids: Vec<u64> = worker.fifo.iter().copied().collect();
        let served = worker.served;
        self.workers[key.index as usize] = None;
        // Newest first: each goes to the very front, so the oldest ends there.
        for id in ids.into_iter().rev() {
            let begun = lost.iter().find(|(l, _)| *l == id).is_none_or(|(_, begun)| *begun);
            self.lose(id, begun, obituary, doom.as_ref());
        }
        match (state, &doom) {
            (WorkerState::Starting, _) => {
                self.totals.lost_failed_start += 1;
                self.restarts.failed(now);
            }
            (_, Some(Doom::Violation(_))) => self.totals.lost_violation += 1,
            (WorkerState::Stopping, Some(Doom::Ours)) => self.totals.lost_cancelled += 1,
            (WorkerState::Stopping, _) => self.totals.lost_recycled += 1,
            _ if had_calls => self.totals.lost_crashed += 1,
            _ => {
                self.totals.lost_idle += 1;
                if served == 0 {
                    self.restarts.failed(now);
                }
            }
        }
        self.settle(now);
        self.assert_invariants();
    }

    /// The worker broke the protocol: it dies, its begun calls with it.
    pub(in crate::pool) fn worker_violated(&mut self, key: WorkerKey, violation: &str) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        worker.state = match worker.state {
            WorkerState::Starting => WorkerState::Starting,
            _ => WorkerState::Stopping,
        };
        worker.doom = Some(Doom::Violation(violation.into()));
        worker.kill_at = NEVER;
        self.actions.push_back(Action::Kill { worker: key });
    }

    /// The worker's end of the connection is closed; its process should end.
    pub(in crate::pool) fn worker_broken(&mut self, key: WorkerKey, now: Nanos) {
        if let Some(worker) = self.worker_mut(key) {
            if worker.state == WorkerState::Ready {
                worker.state = WorkerState::Draining;
            }
            worker.broken = true;
            worker.kill_at = worker.kill_at.min(now + BROKEN_LINGER);
        }
        self.assert_invariants();
    }

    /// Takes a worker out of service once it is empty.
    pub(in crate::pool) fn retire(&mut self, key: WorkerKey, now: Nanos) {
        if let Some(worker) = self.worker_mut(key)
            && worker.state == WorkerState::Ready
        {
            worker.state = WorkerState::Draining;
        }
        self.settle_worker(key, now);
        self.assert_invariants();
    }

    /// Finish what there is; then every worker leaves.
    pub(in crate::pool) fn close(&mut self, now: Nanos) {
        self.phase = self.phase.max(Phase::Closing);
        self.settle(now);
        self.assert_invariants();
    }

    /// Resolve everything now and end every worker; at once if `kill`, else they
    /// are asked first.
    pub(in crate::pool) fn terminate(&mut self, kill: bool, now: Nanos) {
        if self.phase == Phase::Finished {
            return;
        }
        self.phase = Phase::Terminating;
        for i in 0..self.calls.len() {
            let Some(Some(call)) = self.calls.get_mut(i) else {
                continue;
            };
            let id = call.id;
            let begun = call.state != CallState::Queued;
            if let Some(job) = call.job.take() {
                self.totals.resolved += 1;
                self.actions.push_back(Action::Resolve { job, ending: Ending::Closed { begun } });
            }
            if begun {
                if call.intent != Intent::Orphan {
                    call.intent = Intent::Orphan;
                    self.orphans += 1;
                }
            } else {
                self.queued -= 1;
                self.remove(id);
            }
        }
        self.queues = [Queue::default(), Queue::default()];
        let keys: Vec<WorkerKey> = self.live_workers().map(|w| w.key).collect();
        for key in keys {
            let Some(worker) = self.worker_mut(key) else {
                continue;
            };
            let first = !matches!(worker.doom, Some(Doom::Terminated));
            worker.state = WorkerState::Stopping;
            worker.doom = Some(Doom::Terminated);
            if kill || !first {
                worker.kill_at = NEVER;
                self.actions.push_back(Action::Kill { worker: key });
            } else {
                worker.kill_at = now + LINGER;
                self.actions.push_back(Action::Terminate { worker: key });
            }
        }
        self.settle(now);
        self.assert_invariants();
    }

    /// Changes how many workers there should be.
    pub(in crate::pool) fn resize(&mut self, target: u32, now: Nanos) {
        self.limits.target = target;
        self.settle(now);
        self.assert_invariants();
    }

    pub(super) fn wants_workers(&self) -> bool {
        match self.phase {
            Phase::Open => true,
            Phase::Closing => self.queued > 0,
            Phase::Terminating | Phase::Finished => false,
        }
    }

    /// Brings one worker's state up to date after a call left it.
    pub(super) fn settle_worker(&mut self, key: WorkerKey, now: Nanos) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        if worker.state == WorkerState::Ready && worker.served >= worker.quota {
            worker.state = WorkerState::Draining;
        }
        if worker.state == WorkerState::Draining && worker.fifo.is_empty() {
            self.stop(key, now);
            self.settle(now);
        }
    }

    pub(super) fn stop(&mut self, key: WorkerKey, now: Nanos) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        // One that has not said hello cannot be asked, and has nothing to lose.
        let starting = worker.state == WorkerState::Starting;
        worker.state = WorkerState::Stopping;
        worker.kill_at = match (starting, worker.broken) {
            (true, _) => NEVER,
            (false, true) => worker.kill_at,
            (false, false) => now + LINGER,
        };
        self.actions.push_back(if starting {
            Action::Kill { worker: key }
        } else {
            Action::Shutdown { worker: key }
        });
    }

    /// Brings the population up or down to what it should be.
    pub(super) fn settle(&mut self, now: Nanos) {
        let live = self.live_workers().filter(|w| w.state != WorkerState::Stopping).count() as u32;
        if self.wants_workers() {
            if live < self.limits.target && self.restarts.not_before() <= now {
                // After a failure one attempt at a time.
                let several = self.restarts.not_before() == 0;
                let starting = self.live_workers().any(|w| w.state == WorkerState::Starting);
                let missing =
                    if several { self.limits.target - live } else { u32::from(!starting) };
                for _ in 0..missing {
                    self.spawn(now);
                }
            }
            // Those that are leaving already are not to be made up for twice.
            let staying = self
                .live_workers()
                .filter(|w| matches!(w.state, WorkerState::Ready | WorkerState::Starting))
                .count() as u32;
            let surplus = staying.saturating_sub(self.limits.target);
            for _ in 0..surplus {
                self.retire_one(now);
            }
            let nobody = self.live_workers().all(|w| w.state == WorkerState::Stopping);
            if nobody && live == 0 && self.restarts.given_up() && self.ready_workers() == 0 {
                self.degrade();
            }
        }
    }

    /// The end of a pool that takes no more calls. Only once every action is
    /// carried out: the rest of a chunk whose worker died comes back from one.
    pub(super) fn wind_down(&mut self, now: Nanos) {
        if self.phase < Phase::Closing || self.phase == Phase::Finished || self.live_calls > 0 {
            return;
        }
        let keys: Vec<WorkerKey> = self
            .live_workers()
            .filter(|w| w.state != WorkerState::Stopping)
            .map(|w| w.key)
            .collect();
        for key in keys {
            self.stop(key, now);
        }
        if self.live_workers().next().is_none() {
            self.phase = Phase::Finished;
            self.actions.push_back(Action::Finished);
        }
    }

    pub(super) fn retire_one(&mut self, now: Nanos) {
        let pick = self
            .live_workers()
            .filter(|w| matches!(w.state, WorkerState::Ready | WorkerState::Starting))
            .min_by_key(|w| (w.state == WorkerState::Starting, w.fifo.len()))
            .map(|w| w.key);
        if let Some(key) = pick
            && let Some(worker) = self.worker_mut(key)
        {
            if worker.fifo.is_empty() {
                self.stop(key, now);
            } else {
                worker.state = WorkerState::Draining;
            }
        }
    }

    /// Nobody is left and nobody comes: waiting calls are told.
    pub(super) fn degrade(&mut self) {
        self.degraded = true;
        let ids: Vec<u64> = self
            .calls
            .iter()
            .flatten()
            .filter(|c| c.state == CallState::Queued)
            .map(|c| c.id)
            .collect();
        for id in ids {
            let Some(call) = self.call_mut(id) else {
                continue;
            };
            let job = call.job.take();
            self.queued -= 1;
            self.finish_lost(id, job, Ending::Degraded);
        }
        self.queues = [Queue::default(), Queue::default()];
    }

    pub(super) fn spawn(&mut self, now: Nanos) {
        let index = match self.workers.iter().position(Option::is_none) {
            Some(i) => i,
            None => {
                self.workers.push(None);
                self.workers.len() - 1
            }
        };
        self.worker_serial += 1;
        let key = WorkerKey { index: index as u32, serial: self.worker_serial };
        self.workers[index] = Some(Worker {
            key,
            state: WorkerState::Starting,
            lane: Lane::Blocking,
            fifo: VecDeque::new(),
            free_slots: Vec::new(),
            used_slots: 0,
            load: 0,
            bytes: 0,
            served: 0,
            quota: u64::MAX,
            retire_at: NEVER,
            mark: now,
            pace: 0,
            progress: 0,
            probe_at: NEVER,
            recall_at: 0,
            cpu_base: NEVER,
            exclusive: false,
            kill_at: now.saturating_add(self.limits.start_timeout),
            start_limit: self.limits.start_timeout,
            overdue: false,
            broken: false,
            doom: None,
            listed_idle: false,
        });
        self.actions.push_back(Action::Spawn { worker: key });
    }

    /// The worker said hello in time; its initializer may take as long as it
    /// likes unless `limit` says otherwise.
    pub(in crate::pool) fn worker_greeted(
        &mut self,
        key: WorkerKey,
        limit: Option<Nanos>,
        now: Nanos,
    ) {
        // One that was told to go meanwhile keeps the time set for that.
        if let Some(worker) = self.worker_mut(key)
            && worker.state == WorkerState::Starting
        {
            worker.start_limit = limit.unwrap_or(NEVER);
            worker.overdue = false;
            worker.kill_at = limit.map_or(NEVER, |l| now.saturating_add(l));
        }
    }
}
