//! What time does: deadlines, limits of one run, grace periods, recalls.

use super::*;

impl<J> Scheduler<J> {
    /// Answer to [`Action::Probe`].
    pub(in crate::pool) fn probed(
        &mut self,
        key: WorkerKey,
        progress: u64,
        cpu: Option<Nanos>,
        now: Nanos,
    ) {
        let cpus = u64::from(self.limits.cpus.max(1));
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        let Some(&head) = worker.fifo.front() else {
            return;
        };
        let moved = worker.progress != progress;
        worker.progress = progress;
        let (mark, cpu_base) = (worker.mark, worker.cpu_base);
        let ids: Vec<u64> = worker.fifo.iter().copied().collect();
        let Some(call) = self.call(head) else { return };
        if let Some(limit) = call.timing().cpu_limit {
            let used = cpu.unwrap_or(0);
            let Some(worker) = self.worker_mut(key) else {
                return;
            };
            if cpu_base == NEVER {
                worker.cpu_base = used;
                worker.probe_at = now + (limit / cpus).max(MS);
            } else if used.saturating_sub(cpu_base) >= limit {
                self.overran(head, TimeoutPhase::Cpu, limit, now);
            } else {
                let left = limit - used.saturating_sub(cpu_base);
                worker.probe_at = now + (left / cpus).max(MS);
            }
            return;
        }
        if call.request.lane == Lane::Blocking {
            let Some(limit) = call.timing().run_limit else {
                return;
            };
            let due = mark.saturating_add(limit);
            let chunk = call.request.items > 0;
            let Some(worker) = self.worker_mut(key) else {
                return;
            };
            if moved && chunk {
                // Another item of the chunk has begun since we looked last.
                worker.mark = now;
                worker.probe_at = now + limit;
            } else if due > now {
                worker.probe_at = due;
            } else {
                self.overran(head, TimeoutPhase::Running, limit, now);
            }
            return;
        }
        // Async calls each have a start of their own.
        let mut next = NEVER;
        for id in ids {
            let Some(call) = self.call(id) else { continue };
            let Some(limit) = call.timing().run_limit else {
                continue;
            };
            if call.intent != Intent::Wanted {
                continue;
            }
            let due = call.submitted.saturating_add(limit);
            if due <= now {
                self.overran(id, TimeoutPhase::Running, limit, now);
            } else {
                next = next.min(due);
            }
        }
        if let Some(worker) = self.worker_mut(key) {
            worker.probe_at = next;
        }
    }

    /// A running call has used up its own limit.
    pub(super) fn overran(&mut self, id: u64, phase: TimeoutPhase, limit: Nanos, now: Nanos) {
        let Some(call) = self.call_mut(id) else {
            return;
        };
        if let CallState::Sent { worker, .. } = call.state
            && call.intent == Intent::Wanted
        {
            if call.request.items > 0 {
                call.intent = Intent::Overran(phase, limit);
                let CallState::Sent { slot, .. } = call.state else {
                    return;
                };
                let lane = call.request.lane;
                self.actions.push_back(Action::Unwanted { worker, slot, id, lane });
                let ends = now.saturating_add(self.grace(lane));
                if let Some(call) = self.call_mut(id) {
                    call.grace_ends = ends;
                }
                if let Some(worker) = self.worker_mut(worker) {
                    worker.probe_at = NEVER;
                    worker.kill_at = worker.kill_at.min(ends);
                }
                self.clear_behind(worker, id);
                return;
            }
            if let Some(job) = call.job.take() {
                self.actions
                    .push_back(Action::Resolve { job, ending: Ending::TimedOut { phase, limit } });
            }
            self.totals.resolved += 1;
            self.orphan(id, now);
            if let Some(worker) = self.worker_mut(worker) {
                worker.probe_at = NEVER;
            }
        }
    }

    /// How a chunk ends that is being stopped because an item took too long.
    pub(in crate::pool) fn overrun(&self, id: u64) -> Option<Ending> {
        match self.call(id)?.intent {
            Intent::Overran(phase, limit) => Some(Ending::TimedOut { phase, limit }),
            _ => None,
        }
    }

    /// Time has passed.
    pub(in crate::pool) fn handle_timeout(&mut self, now: Nanos) {
        while let Some(&(at, id)) = self.deadlines.first() {
            if at > now {
                break;
            }
            self.deadlines.remove(&(at, id));
            self.end_early(id, Intent::Deadline, now);
        }
        let spare = self.has_spare();
        for i in 0..self.workers.len() {
            let Some(worker) = &self.workers[i] else {
                continue;
            };
            let key = worker.key;
            if worker.kill_at <= now {
                self.kill_due(key, now);
                continue;
            }
            if worker.retire_at <= now && worker.state == WorkerState::Ready {
                self.retire(key, now);
                continue;
            }
            if worker.probe_at <= now {
                if let Some(worker) = self.worker_mut(key) {
                    worker.probe_at = NEVER;
                }
                self.actions.push_back(Action::Probe { worker: key });
            }
            if spare {
                self.recall(key, now);
            }
        }
        self.settle(now);
        self.assert_invariants();
    }

    /// A worker's time is up: for an orphaned call, within the kill budget.
    pub(super) fn kill_due(&mut self, key: WorkerKey, now: Nanos) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        if worker.state == WorkerState::Ready && !self.take_kill_token(now) {
            let refill = self.kill_interval();
            if let Some(worker) = self.worker_mut(key) {
                worker.kill_at = now + refill;
            }
            return;
        }
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        worker.kill_at = NEVER;
        if worker.state == WorkerState::Starting {
            worker.overdue = true;
            self.actions.push_back(Action::Overdue { worker: key });
            return;
        }
        worker.state = WorkerState::Stopping;
        worker.doom.get_or_insert(Doom::Ours);
        self.actions.push_back(Action::Kill { worker: key });
    }

    /// All that a starting worker has said was read after its time was up, and it was
    /// not what it had to say.
    pub(in crate::pool) fn nothing_came(&mut self, key: WorkerKey) {
        if let Some(worker) = self.worker_mut(key)
            && worker.state == WorkerState::Starting
            && worker.overdue
        {
            worker.doom.get_or_insert(Doom::Ours);
            self.actions.push_back(Action::Kill { worker: key });
        }
    }

    /// Clients that disconnect must not become a storm of respawns.
    pub(super) fn take_kill_token(&mut self, now: Nanos) -> bool {
        let burst = self.limits.target.saturating_mul(8).max(64);
        let interval = self.kill_interval();
        let refill = (now - self.kill_refilled.min(now)) / interval;
        if refill > 0 || self.kill_tokens > burst {
            self.kill_tokens = self
                .kill_tokens
                .min(burst)
                .saturating_add(refill.min(u64::from(burst)) as u32)
                .min(burst);
            self.kill_refilled = now;
        }
        if self.kill_tokens == 0 {
            return false;
        }
        self.kill_tokens -= 1;
        true
    }

    /// Two hundred kills a second at most, or twenty a worker.
    pub(super) fn kill_interval(&self) -> Nanos {
        1_000 * MS / u64::from(self.limits.target.saturating_mul(20).max(200))
    }

    /// Whether a worker has nothing to do, and the queue nothing for it.
    fn has_spare(&self) -> bool {
        !self.idle.is_empty() && self.queued == 0
    }

    /// Takes back what waits behind a long call while others have nothing to do.
    pub(super) fn recall(&mut self, key: WorkerKey, now: Nanos) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        if worker.lane != Lane::Blocking || worker.fifo.len() < 2 || worker.recall_due() > now {
            return;
        }
        worker.recall_at = now + RECALL_AFTER;
        if let Some(&head) = worker.fifo.front() {
            self.clear_behind(key, head);
        }
    }

    /// When [`Scheduler::handle_timeout`] wants to be called.
    pub(in crate::pool) fn next_timeout(&self) -> Option<Nanos> {
        let mut next = self.deadlines.first().map_or(NEVER, |(at, _)| *at);
        // With nobody to give it to, the time for a recall is no event (and, being
        // past, would come again at once).
        let spare = self.has_spare();
        let (mut live, mut starting) = (0, false);
        for worker in self.live_workers() {
            next = next.min(worker.kill_at).min(worker.probe_at);
            starting |= worker.state == WorkerState::Starting;
            if worker.state == WorkerState::Ready {
                next = next.min(worker.retire_at);
            }
            if spare && worker.lane == Lane::Blocking && worker.fifo.len() > 1 {
                next = next.min(worker.recall_due());
            }
            live += u32::from(worker.state != WorkerState::Stopping);
        }
        // After a failure one attempt at a time: while one is on its way, the end
        // of the wait is no event (and, being past, would come again at once).
        let one_on_its_way = starting && self.restarts.not_before() != 0;
        if self.wants_workers() && live < self.limits.target && !one_on_its_way {
            next = next.min(self.restarts.not_before());
        }
        (next != NEVER).then_some(next)
    }
}
