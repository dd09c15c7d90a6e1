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

mod calls;
mod deadlines;
mod dispatch;
mod population;

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
    /// A starting worker's time is up: see whether it has said something that nobody
    /// has read yet, and tell by [`Scheduler::nothing_came`] if not.
    Overdue {
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
    /// When the grace of one that is no longer wanted is over.
    grace_ends: Nanos,
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
    /// No recall before this time: the last one may have come too late.
    recall_at: Nanos,
    cpu_base: Nanos,
    exclusive: bool,
    kill_at: Nanos,
    /// What it has for the step of its start that it is in.
    start_limit: Nanos,
    /// That time is up.
    overdue: bool,
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

    fn worker(&self, key: WorkerKey) -> Option<&Worker> {
        self.workers.get(key.index as usize)?.as_ref().filter(|w| w.key == key)
    }

    fn worker_mut(&mut self, key: WorkerKey) -> Option<&mut Worker> {
        self.workers.get_mut(key.index as usize)?.as_mut().filter(|w| w.key == key)
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
