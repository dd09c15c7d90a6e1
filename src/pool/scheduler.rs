//! Which call goes where, and when: the pool's decisions without its I/O.
//!
//! A pure value. What happened goes in by methods that are told the time; what
//! is to be done comes out of [`Scheduler::poll_action`]. In debug builds every
//! method checks the invariants: each call is in exactly one state, and
//! queued + sent + resolved = submitted.
//!
//! ```text
//!            submit                 Send               completed
//!   (caller) ──────> Queued ───────────────> Sent ─────────────────> (gone)
//!                      ^  │ cancel, deadline  │ │ cancel, deadline
//!                      │  └──> (gone)         │ └─> TakeBack ─┬ taken back ─> (gone)
//!                      │   taken back, lost   │               └ begun ──> Orphan
//!                      └──────before begun ───┘                             │
//!                                               completed, lost, killed <───┘
//! ```
//! An orphan is a call that is resolved for its caller but still runs: its worker
//! is killed when the grace is over.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::histogram::Histogram;
use super::restart::Restarts;
use crate::process::{Obituary, TimeoutPhase};
use crate::session::MAX_SLOTS;

/// Nanoseconds since the pool was made.
pub(super) type Nanos = u64;

const MS: Nanos = 1_000_000;
/// Work a busy worker may have waiting: about what a round trip costs.
const DEPTH: Nanos = 300_000;
/// Encoded bytes a busy worker may have waiting.
const DEPTH_BYTES: u64 = 1 << 20;
/// A call that runs longer than this has what waits behind it taken back.
const RECALL_AFTER: Nanos = 2 * MS;
/// An async call has this long to react to its cancellation.
const ASYNC_GRACE: Nanos = 1_000 * MS;
/// A worker that said goodbye, or closed its socket, has this long to be gone.
const LINGER: Nanos = 1_000 * MS;
const BROKEN_LINGER: Nanos = 100 * MS;

/// Names a worker; never used twice in a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct WorkerKey {
    pub(super) index: u32,
    pub(super) serial: u32,
}

/// Blocking and async calls never share a worker at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Blocking = 0,
    Async = 1,
}

/// What a caller asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) task: u32,
    pub(super) lane: Lane,
    pub(super) items: u32,
    pub(super) bytes: u32,
    pub(super) priority: i32,
    pub(super) attempt: u16,
    pub(super) retries: u16,
}

/// Limits in time; most calls have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Timing {
    /// When the caller gives up, and how long after it asked that is.
    pub(super) deadline: Option<(Nanos, Nanos)>,
    /// How long one run (of one item) may take.
    pub(super) run_limit: Option<Nanos>,
    /// How much CPU time one run may use.
    pub(super) cpu_limit: Option<Nanos>,
}

/// How a call ends without a result from its worker.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    Cancelled { begun: bool },
    TimedOut { phase: TimeoutPhase, limit: Nanos },
    Died { obituary: Arc<Obituary> },
    Violated { violation: Arc<str> },
    Degraded,
    Closed { begun: bool },
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Action<J> {
    Spawn {
        worker: WorkerKey,
    },
    /// Send this call; the job is read by [`Scheduler::job`].
    Send {
        worker: WorkerKey,
        slot: u16,
        id: u64,
    },
    /// Take the call back if it has not begun; answered by
    /// [`Scheduler::taken_back`] or [`Scheduler::has_begun`].
    TakeBack {
        worker: WorkerKey,
        slot: u16,
        id: u64,
    },
    /// Tell the worker that nobody wants this call's result.
    Unwanted {
        worker: WorkerKey,
        slot: u16,
        id: u64,
        lane: Lane,
    },
    /// Compare the worker's progress; answered by [`Scheduler::probed`].
    Probe {
        worker: WorkerKey,
    },
    Shutdown {
        worker: WorkerKey,
    },
    Terminate {
        worker: WorkerKey,
    },
    Kill {
        worker: WorkerKey,
    },
    Resolve {
        job: J,
        ending: Ending,
    },
    /// Every worker is gone and no call is left.
    Finished,
}

/// Why a worker is being killed.
#[derive(Debug, Clone)]
enum Doom {
    /// For a call that is resolved already, or for being surplus.
    Ours,
    Violation(Arc<str>),
    Terminated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallState {
    Queued,
    Sent { worker: WorkerKey, slot: u16 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intent {
    Wanted,
    Cancel,
    Deadline,
    /// A chunk whose item exceeded its limit: resolved when the worker is gone
    /// and it is known which item that was.
    Overran(TimeoutPhase, Nanos),
    /// Resolved; still at a worker.
    Orphan,
}

#[derive(Debug)]
struct Call<J> {
    id: u64,
    seq: u64,
    submitted: Nanos,
    request: Request,
    timing: Option<Box<Timing>>,
    state: CallState,
    intent: Intent,
    job: Option<J>,
}

impl<J> Call<J> {
    fn timing(&self) -> Timing {
        self.timing.as_deref().copied().unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkerState {
    Starting,
    Ready,
    /// Takes no new calls; leaves when it is empty.
    Draining,
    /// Told to go, or being killed.
    Stopping,
}

#[derive(Debug)]
struct Worker {
    key: WorkerKey,
    state: WorkerState,
    lane: Lane,
    /// Calls it has, oldest first.
    fifo: VecDeque<u64>,
    free_slots: Vec<u16>,
    used_slots: u16,
    load: Nanos,
    bytes: u64,
    served: u64,
    quota: u64,
    retire_at: Nanos,
    /// When it last got its first call or gave a result.
    mark: Nanos,
    /// Time per call in the batch of results now being taken in.
    pace: Nanos,
    progress: u64,
    probe_at: Nanos,
    cpu_base: Nanos,
    exclusive: bool,
    kill_at: Nanos,
    /// Its end of the connection is closed: whatever it still does, nobody can
    /// hear of it.
    broken: bool,
    doom: Option<Doom>,
    listed_idle: bool,
}

#[derive(Debug, Default)]
struct Queue {
    /// By priority, highest first; most pools use one.
    levels: Vec<(i32, VecDeque<u64>)>,
    /// Entries whose call is gone.
    stale: usize,
}

/// Plain limits the scheduler keeps.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) target: u32,
    pub(super) max_tasks: Option<u64>,
    pub(super) max_age: Option<Nanos>,
    pub(super) async_calls: u32,
    pub(super) cancel_grace: Nanos,
    pub(super) start_timeout: Nanos,
    pub(super) cpus: u32,
}

/// Totals since the pool was made.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    pub(super) submitted: u64,
    pub(super) resolved: u64,
    pub(super) wait: Histogram,
    pub(super) run: Histogram,
    pub(super) lost_crashed: u64,
    pub(super) lost_cancelled: u64,
    pub(super) lost_recycled: u64,
    pub(super) lost_failed_start: u64,
    pub(super) lost_violation: u64,
    pub(super) lost_idle: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Finish what there is, then leave.
    Closing,
    Terminating,
    Finished,
}

#[derive(Debug)]
pub(super) struct Scheduler<J> {
    limits: Limits,
    calls: Vec<Option<Call<J>>>,
    free_calls: Vec<u32>,
    live_calls: usize,
    orphans: usize,
    queued: usize,
    serial: u32,
    seq: u64,
    /// Requeued calls count down from here, to stay in front.
    front_seq: u64,
    queues: [Queue; 2],
    workers: Vec<Option<Worker>>,
    worker_serial: u32,
    idle: Vec<WorkerKey>,
    cursor: usize,
    /// Mean run time by task; 0 is unknown.
    pace: Vec<Nanos>,
    deadlines: BTreeSet<(Nanos, u64)>,
    restarts: Restarts,
    kill_tokens: u32,
    kill_refilled: Nanos,
    actions: VecDeque<Action<J>>,
    phase: Phase,
    degraded: bool,
    totals: Totals,
}

const NEVER: Nanos = Nanos::MAX;
const FRONT: u64 = 1 << 62;

impl<J> Scheduler<J> {
    pub(super) fn new(limits: Limits, restarts: Restarts) -> Self {
        Scheduler {
            limits,
            calls: Vec::new(),
            free_calls: Vec::new(),
            live_calls: 0,
            orphans: 0,
            queued: 0,
            serial: 0,
            seq: FRONT,
            front_seq: FRONT,
            queues: [Queue::default(), Queue::default()],
            workers: Vec::new(),
            worker_serial: 0,
            idle: Vec::new(),
            cursor: 0,
            pace: Vec::new(),
            deadlines: BTreeSet::new(),
            restarts,
            kill_tokens: u32::MAX,
            kill_refilled: 0,
            actions: VecDeque::new(),
            phase: Phase::Open,
            degraded: false,
            totals: Totals::default(),
        }
    }

    // Getters.

    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Calls at workers whose callers still wait.
    pub(super) fn running(&self) -> usize {
        self.live_calls - self.queued - self.orphans
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub(super) fn is_terminating(&self) -> bool {
        self.phase >= Phase::Terminating
    }

    pub(super) fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
    }

    pub(super) fn is_degraded(&self) -> bool {
        self.degraded
    }

    pub(super) fn target(&self) -> u32 {
        self.limits.target
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    pub(super) fn ready_workers(&self) -> usize {
        self.live_workers().filter(|w| w.state == WorkerState::Ready).count()
    }

    /// Every worker with its state, its calls and how many it served.
    pub(super) fn workers(
        &self,
    ) -> impl Iterator<Item = (WorkerKey, WorkerState, usize, u64)> + '_ {
        self.live_workers().map(|w| (w.key, w.state, w.fifo.len(), w.served))
    }

    fn live_workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers.iter().flatten()
    }

    pub(super) fn job(&self, id: u64) -> Option<(&J, &Request, Timing)> {
        let call = self.call(id)?;
        Some((call.job.as_ref()?, &call.request, call.timing()))
    }

    pub(super) fn job_mut(&mut self, id: u64) -> Option<&mut J> {
        self.call_mut(id)?.job.as_mut()
    }

    fn call(&self, id: u64) -> Option<&Call<J>> {
        self.calls.get(id as u32 as usize)?.as_ref().filter(|c| c.id == id)
    }

    fn call_mut(&mut self, id: u64) -> Option<&mut Call<J>> {
        self.calls.get_mut(id as u32 as usize)?.as_mut().filter(|c| c.id == id)
    }

    fn worker_mut(&mut self, key: WorkerKey) -> Option<&mut Worker> {
        self.workers.get_mut(key.index as usize)?.as_mut().filter(|w| w.key == key)
    }

    // What happened.

    /// A new call. The pool must be open.
    pub(super) fn submit(&mut self, now: Nanos, request: Request, timing: Timing, job: J) -> u64 {
        self.totals.submitted += 1;
        self.seq += 1;
        let seq = self.seq;
        let id = self.insert(now, seq, request, timing, job);
        self.enqueue(id, false);
        self.assert_invariants();
        id
    }

    /// The rest of a call that was split; goes to the front.
    pub(super) fn resubmit(&mut self, now: Nanos, request: Request, timing: Timing, job: J) -> u64 {
        self.totals.submitted += 1;
        self.front_seq -= 1;
        let seq = self.front_seq;
        let id = self.insert(now, seq, request, timing, job);
        self.enqueue(id, true);
        self.assert_invariants();
        id
    }

    fn insert(&mut self, now: Nanos, seq: u64, request: Request, timing: Timing, job: J) -> u64 {
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
            job: Some(job),
        });
        self.live_calls += 1;
        id
    }

    fn enqueue(&mut self, id: u64, front: bool) {
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
    fn remove(&mut self, id: u64) -> Option<Call<J>> {
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

    /// The spawned worker said hello and ran its initializer.
    pub(super) fn worker_ready(&mut self, key: WorkerKey, now: Nanos) {
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

    /// Results of one worker are about to be taken in: `calls` of them at once.
    pub(super) fn batch(&mut self, key: WorkerKey, calls: usize, now: Nanos) {
        if let Some(worker) = self.worker_mut(key) {
            worker.pace = now.saturating_sub(worker.mark) / calls.max(1) as u64;
            worker.mark = now;
        }
    }

    /// The worker is done with a call. Gives the job unless its caller has gone.
    pub(super) fn completed(&mut self, key: WorkerKey, id: u64, now: Nanos) -> Option<J> {
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

    /// Takes a call off its worker's books; gives the worker's pace.
    fn detach(&mut self, key: WorkerKey, slot: u16, id: u64, now: Nanos) -> Option<Nanos> {
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
    fn rearm(&mut self, key: WorkerKey, now: Nanos) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        let ids: Vec<u64> = match worker.lane {
            Lane::Blocking => worker.fifo.front().copied().into_iter().collect(),
            Lane::Async => worker.fifo.iter().copied().collect(),
        };
        let (mut orphan, mut limit) = (false, NEVER);
        for id in ids {
            if let Some(call) = self.call(id) {
                orphan |= matches!(call.intent, Intent::Orphan | Intent::Overran(..));
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
        if !orphan && !worker.broken {
            worker.kill_at = NEVER;
        }
        worker.probe_at = limit;
    }

    fn note_idle(&mut self, key: WorkerKey) {
        if let Some(worker) = self.worker_mut(key)
            && !worker.listed_idle
        {
            worker.listed_idle = true;
            self.idle.push(key);
        }
    }

    /// The caller no longer wants this call.
    pub(super) fn cancel(&mut self, id: u64, now: Nanos) {
        self.end_early(id, Intent::Cancel, now);
        self.settle(now);
        self.assert_invariants();
    }

    fn end_early(&mut self, id: u64, intent: Intent, now: Nanos) {
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
    fn unqueue(&mut self, lane: Lane) {
        self.queued -= 1;
        let queue = &mut self.queues[lane as usize];
        queue.stale += 1;
    }

    fn compact(&mut self, lane: Lane) {
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
    fn resolve_early(&mut self, id: u64, begun: bool, now: Nanos) {
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
    fn orphan(&mut self, id: u64, now: Nanos) {
        let grace = self.limits.cancel_grace;
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
        let grace = match lane {
            Lane::Blocking => grace,
            Lane::Async => grace.max(ASYNC_GRACE),
        };
        if let Some(worker) = self.worker_mut(worker) {
            worker.kill_at = worker.kill_at.min(now.saturating_add(grace));
        }
        self.clear_behind(worker, id);
    }

    /// Takes back what waits behind a blocking call whose worker is to be killed:
    /// it might begin at the last moment, and die for another's fault.
    fn clear_behind(&mut self, key: WorkerKey, id: u64) {
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
    pub(super) fn taken_back(&mut self, id: u64, now: Nanos) {
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
    pub(super) fn has_begun(&mut self, id: u64, now: Nanos) {
        let Some(call) = self.call(id) else { return };
        if matches!(call.intent, Intent::Cancel | Intent::Deadline) {
            self.resolve_early(id, true, now);
        }
        self.assert_invariants();
    }

    fn requeue(&mut self, id: u64) {
        self.front_seq -= 1;
        let seq = self.front_seq;
        if let Some(call) = self.call_mut(id) {
            call.state = CallState::Queued;
            call.seq = seq;
            self.enqueue(id, true);
        }
    }

    /// The worker's process is gone. `lost` are the calls it still had, with
    /// whether each may have begun; resolved ones must have been
    /// [`completed`](Scheduler::completed) before.
    pub(super) fn worker_lost(
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

    fn lose(&mut self, id: u64, begun: bool, obituary: &Arc<Obituary>, doom: Option<&Doom>) {
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
                    call.request.attempt += 1;
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

    fn finish_lost(&mut self, id: u64, job: Option<J>, ending: Ending) {
        if let Some(job) = job {
            self.totals.resolved += 1;
            self.actions.push_back(Action::Resolve { job, ending });
        }
        self.remove(id);
    }

    /// A task failed in its worker, which lives; true if it is run again.
    pub(super) fn retry(&mut self, key: WorkerKey, id: u64, now: Nanos) -> bool {
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
        call.request.attempt += 1;
        self.detach(key, slot, id, now);
        if let Some(worker) = self.worker_mut(key) {
            worker.served += 1;
        }
        self.requeue(id);
        self.settle_worker(key, now);
        self.assert_invariants();
        true
    }

    /// The worker broke the protocol: it dies, its begun calls with it.
    pub(super) fn worker_violated(&mut self, key: WorkerKey, violation: &str) {
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
    pub(super) fn worker_broken(&mut self, key: WorkerKey, now: Nanos) {
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
    pub(super) fn retire(&mut self, key: WorkerKey, now: Nanos) {
        if let Some(worker) = self.worker_mut(key)
            && worker.state == WorkerState::Ready
        {
            worker.state = WorkerState::Draining;
        }
        self.settle_worker(key, now);
        self.assert_invariants();
    }

    /// Answer to [`Action::Probe`].
    pub(super) fn probed(&mut self, key: WorkerKey, progress: u64, cpu: Option<Nanos>, now: Nanos) {
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
    fn overran(&mut self, id: u64, phase: TimeoutPhase, limit: Nanos, now: Nanos) {
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
                let grace = self.limits.cancel_grace;
                if let Some(worker) = self.worker_mut(worker) {
                    worker.probe_at = NEVER;
                    worker.kill_at = worker.kill_at.min(now.saturating_add(grace));
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

    /// Finish what there is; then every worker leaves.
    pub(super) fn close(&mut self, now: Nanos) {
        self.phase = self.phase.max(Phase::Closing);
        self.settle(now);
        self.assert_invariants();
    }

    /// Resolve everything now and end every worker; at once if `kill`, else they
    /// are asked first.
    pub(super) fn terminate(&mut self, kill: bool, now: Nanos) {
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
    pub(super) fn resize(&mut self, target: u32, now: Nanos) {
        self.limits.target = target;
        self.settle(now);
        self.assert_invariants();
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Nanos) {
        while let Some(&(at, id)) = self.deadlines.first() {
            if at > now {
                break;
            }
            self.deadlines.remove(&(at, id));
            self.end_early(id, Intent::Deadline, now);
        }
        let spare = !self.idle.is_empty() && self.queued == 0;
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
    fn kill_due(&mut self, key: WorkerKey, now: Nanos) {
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
        if worker.state != WorkerState::Starting {
            worker.state = WorkerState::Stopping;
        }
        worker.doom.get_or_insert(Doom::Ours);
        self.actions.push_back(Action::Kill { worker: key });
    }

    /// Clients that disconnect must not become a storm of respawns.
    fn take_kill_token(&mut self, now: Nanos) -> bool {
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
    fn kill_interval(&self) -> Nanos {
        1_000 * MS / u64::from(self.limits.target.saturating_mul(20).max(200))
    }

    /// Takes back what waits behind a long call while others have nothing to do.
    fn recall(&mut self, key: WorkerKey, now: Nanos) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        if worker.lane != Lane::Blocking
            || worker.fifo.len() < 2
            || worker.mark.saturating_add(RECALL_AFTER) > now
        {
            return;
        }
        if let Some(&head) = worker.fifo.front() {
            self.clear_behind(key, head);
        }
    }

    /// When [`Scheduler::handle_timeout`] wants to be called.
    pub(super) fn next_timeout(&self) -> Option<Nanos> {
        let mut next = self.deadlines.first().map_or(NEVER, |(at, _)| *at);
        let many = self.limits.target > 1;
        let (mut live, mut starting) = (0, false);
        for worker in self.live_workers() {
            next = next.min(worker.kill_at).min(worker.probe_at);
            starting |= worker.state == WorkerState::Starting;
            if worker.state == WorkerState::Ready {
                next = next.min(worker.retire_at);
            }
            if many && worker.lane == Lane::Blocking && worker.fifo.len() > 1 {
                next = next.min(worker.mark + RECALL_AFTER);
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

    fn wants_workers(&self) -> bool {
        match self.phase {
            Phase::Open => true,
            Phase::Closing => self.queued > 0,
            Phase::Terminating | Phase::Finished => false,
        }
    }

    /// Brings one worker's state up to date after a call left it.
    fn settle_worker(&mut self, key: WorkerKey, now: Nanos) {
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

    fn stop(&mut self, key: WorkerKey, now: Nanos) {
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
    fn settle(&mut self, now: Nanos) {
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
    fn wind_down(&mut self, now: Nanos) {
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

    fn retire_one(&mut self, now: Nanos) {
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
    fn degrade(&mut self) {
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

    fn spawn(&mut self, now: Nanos) {
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
            cpu_base: NEVER,
            exclusive: false,
            kill_at: now.saturating_add(self.limits.start_timeout),
            broken: false,
            doom: None,
            listed_idle: false,
        });
        self.actions.push_back(Action::Spawn { worker: key });
    }

    /// The worker said hello in time; its initializer may take as long as it
    /// likes unless `limit` says otherwise.
    pub(super) fn worker_greeted(&mut self, key: WorkerKey, limit: Option<Nanos>, now: Nanos) {
        // One that was told to go meanwhile keeps the time set for that.
        if let Some(worker) = self.worker_mut(key)
            && worker.state == WorkerState::Starting
        {
            worker.kill_at = limit.map_or(NEVER, |l| now.saturating_add(l));
        }
    }

    // What is to be done.

    /// The next thing to do, if there is one.
    pub(super) fn poll_action(&mut self, now: Nanos) -> Option<Action<J>> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        if let Some(action) = self.dispatch(now) {
            return Some(action);
        }
        self.wind_down(now);
        self.actions.pop_front()
    }

    fn estimate(&self, request: &Request) -> Nanos {
        match self.pace.get(request.task as usize) {
            Some(&pace) if pace > 0 => pace.saturating_mul(u64::from(request.items.max(1))),
            // Nobody knows yet: nothing may wait behind it.
            _ => DEPTH,
        }
    }

    /// The call whose turn it is in one lane.
    fn head(&mut self, lane: Lane) -> Option<(i32, u64, u64)> {
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

    fn dispatch(&mut self, now: Nanos) -> Option<Action<J>> {
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

    fn place(&mut self, lane: Lane, request: &Request, alone: bool) -> Option<WorkerKey> {
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

    #[cfg(not(debug_assertions))]
    #[inline(always)]
    #[allow(clippy::unused_self, clippy::inline_always)]
    fn assert_invariants(&self) {}

    /// Each call is in exactly one state, and the books agree with it.
    #[cfg(debug_assertions)]
    fn assert_invariants(&self) {
        // Looking at every call at every step would make large tests quadratic.
        if self.live_calls > 64 && !self.seq.is_multiple_of(257) {
            return;
        }
        let (mut queued, mut orphans, mut live) = (0, 0, 0);
        for call in self.calls.iter().flatten() {
            live += 1;
            match call.state {
                CallState::Queued => {
                    queued += 1;
                    assert!(call.job.is_some(), "a queued call has its job");
                }
                CallState::Sent { worker, .. } => {
                    let worker =
                        self.workers[worker.index as usize].as_ref().filter(|w| w.key == worker);
                    assert!(
                        worker.is_some_and(|w| w.fifo.contains(&call.id)),
                        "a sent call is on its worker's books"
                    );
                }
            }
            orphans += usize::from(call.intent == Intent::Orphan);
            assert_eq!(call.intent == Intent::Orphan, call.job.is_none(), "orphans have no job");
        }
        assert_eq!((queued, orphans, live), (self.queued, self.orphans, self.live_calls));
        let open = (live - orphans) as u64;
        assert_eq!(
            self.totals.resolved + open,
            self.totals.submitted,
            "every call is counted once"
        );
        for worker in self.live_workers() {
            for id in &worker.fifo {
                assert!(self.call(*id).is_some(), "a worker's calls exist");
            }
        }
    }
}

impl Worker {
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
