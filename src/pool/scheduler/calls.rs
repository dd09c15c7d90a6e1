//! A call's way through the scheduler, from its submission to its end.

use super::*;

impl<J> Scheduler<J> {
    /// A new call. The pool must be open.
    pub(in crate::pool) fn submit(
        &mut self,
        now: Nanos,
        request: Request,
        timing: Timing,
        job: J,
    ) -> u64 {
        self.totals.submitted += 1;
        self.seq += 1;
        let seq = self.seq;
        let id = self.insert(now, seq, request, timing, job);
        self.enqueue(id, false);
        self.assert_invariants();
        id
    }

    /// The rest of a call that was split; goes to the front.
    pub(in crate::pool) fn resubmit(
        &mut self,
        now: Nanos,
        request: Request,
        timing: Timing,
        job: J,
    ) -> u64 {
        self.totals.submitted += 1;
        self.front_seq -= 1;
        let seq = self.front_seq;
        let id = self.insert(now, seq, request, timing, job);
        self.enqueue(id, true);
        self.assert_invariants();
        id
    }

    pub(super) fn insert(
        &mut self,
        now: Nanos,
        seq: u64,
        request: Request,
        timing: Timing,
        job: J,
    ) -> u64 {
        let index = self.free_calls.pop().unwrap_or_else(|| {
            self.calls.push(None);
            (self.calls.len() - 1) as u32
        });
        // 30 bits and never zero: a stale message would have to be a thousand
        // million calls late to be mistaken.
        self.serial = (self.serial + 1) & 0x3fff_ffff;
        self.serial = self.serial.max(1);
        let id = u64::from(self.serial) << 32 | u64::from(index);
        if let Some((at, _)) = timing.deadline {
            self.deadlines.insert((at, id));
        }
        self.calls[index as usize] = Some(Call {
            id,
            seq,
            submitted: now,
            request,
            timing: (timing != Timing::default()).then(|| Box::new(timing)),
            state: CallState::Queued,
            intent: Intent::Wanted,
            grace_ends: NEVER,
            job: Some(job),
        });
        self.live_calls += 1;
        id
    }

    pub(super) fn enqueue(&mut self, id: u64, front: bool) {
        let Some(call) = self.call(id) else { return };
        let (lane, priority) = (call.request.lane, call.request.priority);
        let levels = &mut self.queues[lane as usize].levels;
        let level = match levels.binary_search_by(|(p, _)| priority.cmp(p)) {
            Ok(i) => i,
            Err(i) => {
                levels.insert(i, (priority, VecDeque::new()));
                i
            }
        };
        if front {
            levels[level].1.push_front(id);
        } else {
            levels[level].1.push_back(id);
        }
        self.queued += 1;
    }

    /// Forgets a call for good.
    pub(super) fn remove(&mut self, id: u64) -> Option<Call<J>> {
        self.call(id)?;
        let index = id as u32;
        let call = self.calls[index as usize].take()?;
        self.live_calls -= 1;
        if call.intent == Intent::Orphan {
            self.orphans -= 1;
        }
        if let Some((at, _)) = call.timing().deadline {
            self.deadlines.remove(&(at, id));
        }
        if self.live_calls == 0 && self.calls.len() > 4096 {
            // A burst is over: give its memory back.
            self.calls = Vec::new();
            self.free_calls = Vec::new();
            for queue in &mut self.queues {
                *queue = Queue::default();
            }
        } else {
            self.free_calls.push(index);
        }
        Some(call)
    }

    /// Results of one worker are about to be taken in: `calls` of them at once.
    pub(in crate::pool) fn batch(&mut self, key: WorkerKey, calls: usize, now: Nanos) {
        if let Some(worker) = self.worker_mut(key) {
            worker.pace = now.saturating_sub(worker.mark) / calls.max(1) as u64;
            worker.mark = now;
        }
    }

    /// The worker is done with a call. Gives the job unless its caller has gone.
    pub(in crate::pool) fn completed(&mut self, key: WorkerKey, id: u64, now: Nanos) -> Option<J> {
        let call = self.call(id)?;
        let CallState::Sent { worker, slot } = call.state else {
            return None;
        };
        if worker != key {
            return None;
        }
        let (task, items) = (call.request.task as usize, u64::from(call.request.items.max(1)));
        let wanted = call.intent != Intent::Orphan;
        let pace = self.detach(key, slot, id, now)?;
        let per_item = pace / items;
        if self.pace.len() <= task {
            self.pace.resize(task + 1, 0);
        }
        let mean = &mut self.pace[task];
        *mean =
            if *mean == 0 { per_item.max(1) } else { (*mean * 3 + per_item).div_ceil(4).max(1) };
        self.totals.run.record(pace);
        if let Some(worker) = self.worker_mut(key) {
            worker.served += 1;
        }
        let call = self.remove(id)?;
        self.settle_worker(key, now);
        if wanted {
            self.totals.resolved += 1;
        }
        self.assert_invariants();
        call.job
    }

    /// Whether this worker has the call.
    pub(in crate::pool) fn is_at(&self, key: WorkerKey, id: u64) -> bool {
        matches!(self.call(id), Some(Call { state: CallState::Sent { worker, .. }, .. }) if *worker == key)
    }

    /// Takes a call off its worker's books; gives the worker's pace.
    pub(super) fn detach(
        &mut self,
        key: WorkerKey,
        slot: u16,
        id: u64,
        now: Nanos,
    ) -> Option<Nanos> {
        let request = self.call(id)?.request;
        let estimate = self.estimate(&request);
        let worker = self.worker_mut(key)?;
        if worker.fifo.front() == Some(&id) {
            worker.fifo.pop_front();
        } else {
            worker.fifo.retain(|other| *other != id);
        }
        worker.free_slots.push(slot);
        worker.load = worker.load.saturating_sub(estimate);
        worker.bytes -= u64::from(request.bytes);
        worker.exclusive = false;
        let pace = worker.pace;
        if worker.fifo.is_empty() {
            worker.load = 0;
            worker.probe_at = NEVER;
            if worker.state != WorkerState::Stopping && !worker.broken {
                worker.kill_at = NEVER;
            }
            if worker.state == WorkerState::Ready {
                self.note_idle(key);
            }
        } else if worker.state != WorkerState::Stopping {
            self.rearm(key, now);
        }
        Some(pace)
    }

    /// After a worker's head has changed: whatever watches the new head.
    pub(super) fn rearm(&mut self, key: WorkerKey, now: Nanos) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        let ids: Vec<u64> = match worker.lane {
            Lane::Blocking => worker.fifo.front().copied().into_iter().collect(),
            Lane::Async => worker.fifo.iter().copied().collect(),
        };
        let (mut grace, mut limit) = (NEVER, NEVER);
        for id in ids {
            if let Some(call) = self.call(id) {
                grace = grace.min(call.grace_ends);
                let start = match call.request.lane {
                    Lane::Blocking => now,
                    Lane::Async => call.submitted,
                };
                let due = call.timing().run_limit.map_or(NEVER, |l| start.saturating_add(l));
                limit = limit.min(due);
            }
        }
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        if !worker.broken {
            worker.kill_at = grace;
        }
        worker.probe_at = limit;
    }

    pub(super) fn note_idle(&mut self, key: WorkerKey) {
        if let Some(worker) = self.worker_mut(key)
            && !worker.listed_idle
        {
            worker.listed_idle = true;
            self.idle.push(key);
        }
    }

    /// The caller no longer wants this call.
    pub(in crate::pool) fn cancel(&mut self, id: u64, now: Nanos) {
        self.end_early(id, Intent::Cancel, now);
        self.settle(now);
        self.assert_invariants();
    }

    pub(super) fn end_early(&mut self, id: u64, intent: Intent, now: Nanos) {
        let Some(call) = self.call_mut(id) else {
            return;
        };
        if !matches!(call.intent, Intent::Wanted | Intent::Overran(..)) {
            return;
        }
        call.intent = intent;
        match call.state {
            CallState::Queued => {
                let lane = call.request.lane;
                self.unqueue(lane);
                self.resolve_early(id, false, now);
            }
            CallState::Sent { worker, slot } => {
                self.actions.push_back(Action::TakeBack { worker, slot, id });
            }
        }
    }

    /// A queued call's entry becomes stale.
    pub(super) fn unqueue(&mut self, lane: Lane) {
        self.queued -= 1;
        let queue = &mut self.queues[lane as usize];
        queue.stale += 1;
    }

    pub(super) fn compact(&mut self, lane: Lane) {
        let queue = &self.queues[lane as usize];
        let len: usize = queue.levels.iter().map(|(_, q)| q.len()).sum();
        if queue.stale < 64 || queue.stale * 2 < len {
            return;
        }
        let mut levels = std::mem::take(&mut self.queues[lane as usize].levels);
        for (_, ids) in &mut levels {
            ids.retain(|id| self.call(*id).is_some_and(|c| c.state == CallState::Queued));
        }
        levels.retain(|(_, ids)| !ids.is_empty());
        self.queues[lane as usize] = Queue { levels, stale: 0 };
    }

    /// Resolves a call that no worker has (or will finish) for its caller.
    pub(super) fn resolve_early(&mut self, id: u64, begun: bool, now: Nanos) {
        let Some(call) = self.call_mut(id) else {
            return;
        };
        let limit = call.timing().deadline.map_or(0, |(_, limit)| limit);
        let ending = match call.intent {
            Intent::Deadline => Ending::TimedOut {
                phase: if begun { TimeoutPhase::Running } else { TimeoutPhase::Queued },
                limit,
            },
            _ => Ending::Cancelled { begun },
        };
        let lane = call.request.lane;
        if let Some(job) = call.job.take() {
            self.actions.push_back(Action::Resolve { job, ending });
        }
        self.totals.resolved += 1;
        if begun {
            self.orphan(id, now);
        } else {
            self.remove(id);
            self.compact(lane);
        }
    }

    /// The call runs on without a caller, for as long as the grace lasts.
    pub(super) fn orphan(&mut self, id: u64, now: Nanos) {
        let Some(call) = self.call_mut(id) else {
            return;
        };
        let CallState::Sent { worker, slot } = call.state else {
            return;
        };
        call.intent = Intent::Orphan;
        let lane = call.request.lane;
        self.orphans += 1;
        self.actions.push_back(Action::Unwanted { worker, slot, id, lane });
        let ends = now.saturating_add(self.grace(lane));
        if let Some(call) = self.call_mut(id) {
            call.grace_ends = call.grace_ends.min(ends);
        }
        if let Some(worker) = self.worker_mut(worker) {
            worker.kill_at = worker.kill_at.min(ends);
        }
        self.clear_behind(worker, id);
    }

    /// How long a call that is no longer wanted may go on.
    pub(super) fn grace(&self, lane: Lane) -> Nanos {
        match lane {
            Lane::Blocking => self.limits.cancel_grace,
            Lane::Async => self.limits.cancel_grace.max(ASYNC_GRACE),
        }
    }

    /// Takes back what waits behind a blocking call whose worker is to be killed:
    /// it might begin at the last moment, and die for another's fault.
    pub(super) fn clear_behind(&mut self, key: WorkerKey, id: u64) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        if worker.lane != Lane::Blocking {
            return;
        }
        let waiting: Vec<u64> = worker.fifo.iter().filter(|w| **w != id).copied().collect();
        for id in waiting.into_iter().rev() {
            if let Some(Call { state: CallState::Sent { slot, .. }, .. }) = self.call(id) {
                let slot = *slot;
                self.actions.push_back(Action::TakeBack { worker: key, slot, id });
            }
        }
    }

    /// Answer to [`Action::TakeBack`]: the worker will never begin it.
    pub(in crate::pool) fn taken_back(&mut self, id: u64, now: Nanos) {
        let Some(call) = self.call(id) else { return };
        let CallState::Sent { worker, slot } = call.state else {
            return;
        };
        let intent = call.intent;
        self.detach(worker, slot, id, now);
        match intent {
            Intent::Wanted => self.requeue(id),
            Intent::Cancel | Intent::Deadline => self.resolve_early(id, false, now),
            // These had begun: the worker spoilt its block. It cannot have the
            // call run again, nor resolved twice.
            Intent::Overran(phase, limit) => {
                let job = self.call_mut(id).and_then(|c| c.job.take());
                self.finish_lost(id, job, Ending::TimedOut { phase, limit });
            }
            Intent::Orphan => {
                self.remove(id);
            }
        }
        self.settle_worker(worker, now);
        self.assert_invariants();
    }

    /// Answer to [`Action::TakeBack`]: too late, it runs or has run.
    pub(in crate::pool) fn has_begun(&mut self, id: u64, now: Nanos) {
        let Some(call) = self.call(id) else { return };
        if matches!(call.intent, Intent::Cancel | Intent::Deadline) {
            self.resolve_early(id, true, now);
        }
        self.assert_invariants();
    }

    pub(super) fn requeue(&mut self, id: u64) {
        self.front_seq -= 1;
        let seq = self.front_seq;
        if let Some(call) = self.call_mut(id) {
            call.state = CallState::Queued;
            call.seq = seq;
            self.enqueue(id, true);
        }
    }

    pub(super) fn lose(
        &mut self,
        id: u64,
        begun: bool,
        obituary: &Arc<Obituary>,
        doom: Option<&Doom>,
    ) {
        let terminating = self.phase == Phase::Terminating;
        let Some(call) = self.call_mut(id) else {
            return;
        };
        match call.intent {
            Intent::Orphan => {
                self.remove(id);
            }
            Intent::Cancel | Intent::Deadline => {
                // Its TakeBack found nobody any more.
                let job = call.job.take();
                let ending = match call.intent {
                    Intent::Deadline => Ending::TimedOut {
                        phase: if begun { TimeoutPhase::Running } else { TimeoutPhase::Queued },
                        limit: call.timing().deadline.map_or(0, |(_, limit)| limit),
                    },
                    _ => Ending::Cancelled { begun },
                };
                self.finish_lost(id, job, ending);
            }
            Intent::Overran(phase, limit) => {
                let job = call.job.take();
                self.finish_lost(id, job, Ending::TimedOut { phase, limit });
            }
            Intent::Wanted if terminating => {
                let job = self.call_mut(id).and_then(|c| c.job.take());
                self.finish_lost(id, job, Ending::Closed { begun });
            }
            Intent::Wanted if !begun => self.requeue(id),
            Intent::Wanted => {
                let violated = match doom {
                    Some(Doom::Violation(text)) => Some(text.clone()),
                    _ => None,
                };
                let call = match self.call_mut(id) {
                    Some(call) => call,
                    None => return,
                };
                if call.request.retries > 0 && call.request.items == 0 {
                    call.request.retries -= 1;
                    call.request.attempt = call.request.attempt.saturating_add(1);
                    self.requeue(id);
                    return;
                }
                let job = call.job.take();
                let ending = match violated {
                    Some(violation) => Ending::Violated { violation },
                    None => Ending::Died { obituary: obituary.clone() },
                };
                self.finish_lost(id, job, ending);
            }
        }
    }

    pub(super) fn finish_lost(&mut self, id: u64, job: Option<J>, ending: Ending) {
        if let Some(job) = job {
            self.totals.resolved += 1;
            self.actions.push_back(Action::Resolve { job, ending });
        }
        self.remove(id);
    }

    /// A task failed in its worker, which lives; true if it is run again.
    pub(in crate::pool) fn retry(&mut self, key: WorkerKey, id: u64, now: Nanos) -> bool {
        let Some(call) = self.call_mut(id) else {
            return false;
        };
        let CallState::Sent { worker, slot } = call.state else {
            return false;
        };
        if worker != key || call.intent != Intent::Wanted || call.request.retries == 0 {
            return false;
        }
        call.request.retries -= 1;
        call.request.attempt = call.request.attempt.saturating_add(1);
        self.detach(key, slot, id, now);
        if let Some(worker) = self.worker_mut(key) {
            worker.served += 1;
        }
        self.requeue(id);
        self.settle_worker(key, now);
        self.assert_invariants();
        true
    }
}
