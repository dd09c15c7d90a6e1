//! Which call goes to which worker next.

use super::*;

impl<J> Scheduler<J> {
    /// The next thing to do, if there is one.
    pub(in crate::pool) fn poll_action(&mut self, now: Nanos) -> Option<Action<J>> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        if let Some(action) = self.dispatch(now) {
            return Some(action);
        }
        self.wind_down(now);
        self.actions.pop_front()
    }

    pub(super) fn estimate(&self, request: &Request) -> Nanos {
        match self.pace.get(request.task as usize) {
            Some(&pace) if pace > 0 => pace.saturating_mul(u64::from(request.items.max(1))),
            // Nobody knows yet: nothing may wait behind it.
            _ => DEPTH,
        }
    }

    /// The call whose turn it is in one lane.
    pub(super) fn head(&mut self, lane: Lane) -> Option<(i32, u64, u64)> {
        let calls = &self.calls;
        let queue = &mut self.queues[lane as usize];
        while let Some((priority, ids)) = queue.levels.first_mut() {
            while let Some(&id) = ids.front() {
                match calls.get(id as u32 as usize).and_then(Option::as_ref) {
                    Some(call) if call.id == id && call.state == CallState::Queued => {
                        return Some((*priority, call.seq, id));
                    }
                    _ => {
                        ids.pop_front();
                        queue.stale = queue.stale.saturating_sub(1);
                    }
                }
            }
            if queue.levels.len() == 1 {
                return None;
            }
            queue.levels.remove(0);
        }
        None
    }

    pub(super) fn dispatch(&mut self, now: Nanos) -> Option<Action<J>> {
        if self.queued == 0 {
            return None;
        }
        // Whoever came first goes first, whatever the lane: else a stream of one
        // kind would starve the other.
        let (lane, id) = match (self.head(Lane::Blocking), self.head(Lane::Async)) {
            (Some((_, _, id)), None) => (Lane::Blocking, id),
            (None, Some((_, _, id))) => (Lane::Async, id),
            (Some((p, s, b)), Some((q, t, a))) => {
                if p > q || (p == q && s < t) {
                    (Lane::Blocking, b)
                } else {
                    (Lane::Async, a)
                }
            }
            (None, None) => return None,
        };
        let call = self.call(id)?;
        let (request, timing) = (call.request, call.timing());
        let key = self.place(lane, &request, timing.cpu_limit.is_some())?;
        let estimate = self.estimate(&request);
        let worker = self.worker_mut(key)?;
        let slot = worker.free_slots.pop().unwrap_or_else(|| {
            worker.used_slots += 1;
            worker.used_slots - 1
        });
        let first = worker.fifo.is_empty();
        worker.lane = lane;
        worker.fifo.push_back(id);
        worker.load = worker.load.saturating_add(estimate);
        worker.bytes += u64::from(request.bytes);
        worker.exclusive = timing.cpu_limit.is_some();
        if first {
            worker.mark = now;
        }
        if timing.cpu_limit.is_some() {
            worker.cpu_base = NEVER;
            worker.probe_at = now;
        } else if let Some(limit) = timing.run_limit {
            worker.probe_at = worker.probe_at.min(now.saturating_add(limit));
        }
        self.queued -= 1;
        let queue = &mut self.queues[lane as usize];
        if let Some((_, ids)) = queue.levels.first_mut() {
            ids.pop_front();
        }
        let call = self.call_mut(id)?;
        call.state = CallState::Sent { worker: key, slot };
        let waited = now.saturating_sub(call.submitted);
        if lane == Lane::Async {
            // From here on it is the start of its run that counts.
            call.submitted = now;
        }
        self.totals.wait.record(waited);
        self.assert_invariants();
        Some(Action::Send { worker: key, slot, id })
    }

    pub(super) fn place(
        &mut self,
        lane: Lane,
        request: &Request,
        alone: bool,
    ) -> Option<WorkerKey> {
        while let Some(key) = self.idle.pop() {
            let Some(worker) = self.worker_mut(key) else {
                continue;
            };
            worker.listed_idle = false;
            if worker.state == WorkerState::Ready && worker.fifo.is_empty() {
                return Some(key);
            }
        }
        if alone {
            return None;
        }
        let (count, async_calls) = (self.workers.len(), self.limits.async_calls);
        for _ in 0..count {
            self.cursor %= count;
            if let Some(worker) = &self.workers[self.cursor]
                && worker.takes(lane, async_calls, request)
            {
                return Some(worker.key);
            }
            self.cursor += 1;
        }
        None
    }
}

impl Worker {
    /// When what waits behind the running call may be taken back.
    pub(super) fn recall_due(&self) -> Nanos {
        self.mark.saturating_add(RECALL_AFTER).max(self.recall_at)
    }

    /// Whether a worker that already has calls takes one more.
    fn takes(&self, lane: Lane, async_calls: u32, request: &Request) -> bool {
        if self.state != WorkerState::Ready
            || self.fifo.is_empty()
            || self.lane != lane
            || self.exclusive
            || self.kill_at != NEVER
            || self.fifo.len() >= usize::from(MAX_SLOTS)
            || self.served + self.fifo.len() as u64 >= self.quota
        {
            return false;
        }
        match lane {
            Lane::Blocking => {
                self.load < DEPTH && self.bytes + u64::from(request.bytes) <= DEPTH_BYTES
            }
            Lane::Async => self.fifo.len() < async_calls as usize,
        }
    }
}
