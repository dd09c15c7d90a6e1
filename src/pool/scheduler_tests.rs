//! The scheduler against simulated workers, under random histories.
//!
//! What is checked after every step: each call is resolved at most once; none is
//! sent again after it had begun, unless retries were asked for; its ending says
//! the truth about whether it had; timers never ask for the past. And at the end,
//! once everybody behaves: every call is resolved and the pool finishes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::restart::{RestartPolicy, Restarts};
use super::scheduler::{
    Action, Ending, Lane, Limits, Nanos, Request, Scheduler, Timing, WorkerKey, WorkerState,
};
use crate::process::{ExitReason, Obituary, ResourceUsage, TimeoutPhase};

const MS: Nanos = 1_000_000;
const FIRST_BACKOFF: Nanos = 10 * MS;

#[derive(Debug, Clone)]
enum Step {
    Submit { lane: Lane, items: u32, timeout: Option<u16>, limit: Option<u16>, retries: u16 },
    ComeUp(u8),
    FailToStart(u8),
    Begin(u8),
    Finish(u8),
    Panic(u8),
    Die(u8),
    Violate(u8),
    Break(u8),
    Retire(u8),
    Cancel(u8),
    Pass(u16),
    Resize(u8),
    Close,
    Terminate(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let lane = prop_oneof![3 => Just(Lane::Blocking), 1 => Just(Lane::Async)];
    let short = || proptest::option::weighted(0.15, 1u16..2000);
    let items = prop_oneof![3 => Just(0u32), 1 => 1u32..5];
    let retries = prop_oneof![4 => Just(0u16), 1 => 1u16..3];
    prop_oneof![
        20 => (lane, items, short(), short(), retries).prop_map(
            |(lane, items, timeout, limit, retries)| {
                Step::Submit { lane, items, timeout, limit, retries }
            }
        ),
        12 => any::<u8>().prop_map(Step::ComeUp),
        3 => any::<u8>().prop_map(Step::FailToStart),
        20 => any::<u8>().prop_map(Step::Begin),
        20 => any::<u8>().prop_map(Step::Finish),
        3 => any::<u8>().prop_map(Step::Panic),
        4 => any::<u8>().prop_map(Step::Die),
        1 => any::<u8>().prop_map(Step::Violate),
        2 => any::<u8>().prop_map(Step::Break),
        1 => any::<u8>().prop_map(Step::Retire),
        6 => any::<u8>().prop_map(Step::Cancel),
        15 => (0u16..3000).prop_map(Step::Pass),
        2 => (1u8..5).prop_map(Step::Resize),
        1 => Just(Step::Close),
        1 => any::<bool>().prop_map(Step::Terminate),
    ]
}

/// A call as its caller knows it.
#[derive(Debug, Default)]
struct Job {
    id: u64,
    resolved: bool,
    cancelled: bool,
    /// How often it has begun, and how often it may.
    begun: u32,
    allowed: u32,
}

/// A call at a worker.
#[derive(Debug)]
struct Sent {
    slot: u16,
    id: u64,
    job: usize,
    lane: Lane,
    begun: bool,
}

#[derive(Debug, Default)]
struct Process {
    up: bool,
    calls: Vec<Sent>,
    served: u64,
    leaving: bool,
    killed: bool,
    asked_to_end: bool,
    broken: bool,
    progress: u64,
}

struct World {
    now: Nanos,
    scheduler: Scheduler<usize>,
    jobs: Vec<Job>,
    processes: BTreeMap<WorkerKey, Process>,
    finished: bool,
    /// Starts that failed in a row, and when the next may be.
    failures: u32,
    not_before: Nanos,
    /// Whether begun calls nobody wants end by themselves.
    deaf: bool,
}

impl World {
    fn new(target: u32, max_tasks: Option<u64>, seed: u64) -> Self {
        let policy = RestartPolicy::default().initial_backoff(Duration::from_nanos(FIRST_BACKOFF));
        let limits = Limits {
            target,
            max_tasks,
            max_age: None,
            async_calls: 4,
            cancel_grace: 10 * MS,
            start_timeout: 5_000 * MS,
            cpus: 2,
        };
        World {
            now: 0,
            scheduler: Scheduler::new(limits, Restarts::new(policy, seed)),
            jobs: Vec::new(),
            processes: BTreeMap::new(),
            finished: false,
            failures: 0,
            not_before: 0,
            deaf: seed.is_multiple_of(2),
        }
    }

    /// Picks one of the processes for which `which` holds.
    fn pick(&self, n: u8, which: impl Fn(&Process) -> bool) -> Option<WorkerKey> {
        let all: Vec<_> =
            self.processes.iter().filter(|(_, p)| which(p)).map(|(k, _)| *k).collect();
        (!all.is_empty()).then(|| all[usize::from(n) % all.len()])
    }

    fn submit(&mut self, request: Request, timing: Timing, again: bool) {
        let job = self.jobs.len();
        let allowed = u32::from(request.retries) + 1;
        let id = if again {
            self.scheduler.resubmit(self.now, request, timing, job)
        } else {
            self.scheduler.submit(self.now, request, timing, job)
        };
        self.jobs.push(Job { id, allowed, ..Job::default() });
    }

    fn resolve(&mut self, job: usize) {
        let job = &mut self.jobs[job];
        assert!(!job.resolved, "{job:?} is resolved twice");
        job.resolved = true;
    }

    /// Carries out what the scheduler asks for, as the dispatcher does.
    fn perform(&mut self) {
        while let Some(action) = self.scheduler.poll_action(self.now) {
            match action {
                Action::Spawn { worker } => {
                    assert!(
                        self.now >= self.not_before,
                        "spawned {} ns early after {} failures",
                        self.not_before - self.now,
                        self.failures
                    );
                    let old = self.processes.insert(worker, Process::default());
                    assert!(old.is_none(), "a key is used twice");
                }
                Action::Send { worker, slot, id } => self.send(worker, slot, id),
                Action::TakeBack { worker, slot, id } => {
                    let calls = self.processes.get_mut(&worker).map(|p| &mut p.calls);
                    let at = calls.as_ref().and_then(|calls| {
                        calls.iter().position(|c| c.id == id && c.slot == slot && !c.begun)
                    });
                    match (calls, at) {
                        (Some(calls), Some(at)) => {
                            calls.remove(at);
                            self.scheduler.taken_back(id, self.now);
                        }
                        _ => self.scheduler.has_begun(id, self.now),
                    }
                }
                Action::Unwanted { worker, slot, id, .. } => {
                    let process = &self.processes[&worker];
                    assert!(process.calls.iter().any(|c| (c.id, c.slot) == (id, slot)));
                }
                Action::Probe { worker } => {
                    let progress = self.processes.get(&worker).map_or(0, |p| p.progress);
                    self.scheduler.probed(worker, progress, Some(0), self.now);
                }
                Action::Shutdown { worker } => {
                    let process = self.processes.get_mut(&worker).unwrap();
                    assert!(process.calls.is_empty(), "told to leave its calls behind");
                    process.leaving = true;
                }
                Action::Terminate { worker } => {
                    self.processes.get_mut(&worker).unwrap().asked_to_end = true;
                }
                Action::Kill { worker } => {
                    if let Some(process) = self.processes.get_mut(&worker) {
                        process.killed = true;
                    }
                }
                // Nobody reads late here.
                Action::Overdue { worker } => self.scheduler.nothing_came(worker),
                Action::Resolve { job, ending } => self.ended(job, &ending),
                Action::Finished => {
                    assert!(!self.finished, "finished twice");
                    self.finished = true;
                }
            }
        }
        let open = self.jobs.iter().filter(|j| !j.resolved).count();
        assert_eq!(open, self.scheduler.queued() + self.scheduler.running());
    }

    fn send(&mut self, worker: WorkerKey, slot: u16, id: u64) {
        let (job, request, _) = self.scheduler.job(id).expect("what is sent exists");
        let (job, lane) = (*job, request.lane);
        let process = self.processes.get_mut(&worker).expect("sent to nobody");
        assert!(process.up && !process.leaving && !process.killed, "sent to {process:?}");
        assert!(!process.calls.iter().any(|c| c.slot == slot), "slot {slot} is taken");
        assert!(process.calls.iter().all(|c| c.lane == lane), "lanes are mixed");
        let model = &self.jobs[job];
        assert!(!model.resolved, "a resolved call is sent");
        assert!(model.begun < model.allowed, "{model:?} is sent again");
        process.calls.push(Sent { slot, id, job, lane, begun: false });
    }

    fn ended(&mut self, job: usize, ending: &Ending) {
        let model = &self.jobs[job];
        match ending {
            Ending::Cancelled { begun } => {
                assert!(model.cancelled, "{model:?} was not cancelled");
                assert!(*begun || model.allowed > 1 || model.begun == 0, "{model:?}");
            }
            Ending::TimedOut { phase: TimeoutPhase::Queued, .. } => {
                assert!(model.allowed > 1 || model.begun == 0, "{model:?}");
            }
            Ending::Died { .. } | Ending::Violated { .. } => assert!(model.begun > 0, "{model:?}"),
            Ending::Closed { .. } => assert!(self.scheduler.is_terminating()),
            Ending::Degraded => assert!(self.scheduler.is_degraded()),
            Ending::TimedOut { .. } => {}
        }
        self.resolve(job);
    }

    fn begin(&mut self, worker: WorkerKey) {
        let process = self.processes.get_mut(&worker).unwrap();
        let busy = process.calls.iter().any(|c| c.begun && c.lane == Lane::Blocking);
        let next = process.calls.iter_mut().find(|c| !c.begun);
        if let Some(call) = next
            && !busy
        {
            call.begun = true;
            process.progress += 1;
            let job = &mut self.jobs[call.job];
            job.begun += 1;
            assert!(job.begun <= job.allowed, "{job:?} begins again");
        }
    }

    /// The oldest begun call of a worker is over.
    fn finish(&mut self, worker: WorkerKey, panicked: bool) {
        let process = self.processes.get_mut(&worker).unwrap();
        let Some(at) = process.calls.iter().position(|c| c.begun) else { return };
        let call = process.calls.remove(at);
        process.served += 1;
        self.scheduler.batch(worker, 1, self.now);
        if panicked && self.scheduler.retry(worker, call.id, self.now) {
            return;
        }
        if let Some(job) = self.scheduler.completed(worker, call.id, self.now) {
            assert_eq!(job, call.job);
            self.resolve(job);
        }
    }

    fn die(&mut self, worker: WorkerKey) {
        let Some(process) = self.processes.remove(&worker) else { return };
        let starting = self
            .scheduler
            .workers()
            .any(|(key, state, ..)| key == worker && state == WorkerState::Starting);
        if starting {
            self.failures += 1;
            let wait = (FIRST_BACKOFF << (self.failures - 1).min(20)).min(5_000 * MS);
            self.not_before = self.now + wait;
        }
        let obituary = Arc::new(Obituary {
            reason: ExitReason::Exited(1),
            usage: ResourceUsage::default(),
            stderr_tail: Vec::new(),
            pid: 1,
        });
        let lost: Vec<_> = process.calls.iter().map(|c| (c.id, c.begun)).collect();
        self.scheduler.worker_lost(worker, &obituary, &lost, self.now);
    }

    fn come_up(&mut self, worker: WorkerKey) {
        self.scheduler.worker_greeted(worker, None, self.now);
        let process = self.processes.get_mut(&worker).unwrap();
        process.up = true;
        self.failures = 0;
        self.not_before = 0;
        self.scheduler.worker_ready(worker, self.now);
    }

    fn pass(&mut self, time: Nanos) {
        let end = self.now + time;
        let (mut rounds, mut still) = (0, 0);
        while let Some(at) = self.scheduler.next_timeout()
            && at <= end
        {
            // What one round did may make something else due at once, but not for
            // ever: a timer in the past would keep a processor busy.
            still = if at > self.now { 0 } else { still + 1 };
            if still > 2 {
                panic!("a timer asks for the past: {at} at {}, {:#?}", self.now, self.scheduler);
            }
            self.now = self.now.max(at);
            self.scheduler.handle_timeout(self.now);
            self.perform();
            rounds += 1;
            assert!(rounds < 20_000, "timers do not let time pass");
        }
        self.now = end;
    }

    fn take(&mut self, step: Step) {
        let alive = |p: &Process| !p.killed;
        match step {
            Step::Submit { lane, items, timeout, limit, retries } => {
                if !self.scheduler.is_open() || self.scheduler.is_degraded() {
                    return;
                }
                let request = Request {
                    task: items.min(1),
                    lane,
                    items,
                    bytes: 10,
                    priority: 0,
                    attempt: 1,
                    retries,
                };
                let nanos = |t: u16| Nanos::from(t) * MS / 10;
                let timing = Timing {
                    deadline: timeout.map(|t| (self.now + nanos(t), nanos(t))),
                    run_limit: limit.map(nanos),
                    cpu_limit: None,
                };
                self.submit(request, timing, retries == 2);
            }
            Step::ComeUp(n) => {
                if let Some(worker) = self.pick(n, |p| !p.up && alive(p) && !p.leaving) {
                    self.come_up(worker);
                }
            }
            Step::FailToStart(n) => {
                if let Some(worker) = self.pick(n, |p| !p.up) {
                    self.die(worker);
                }
            }
            Step::Begin(n) => {
                if let Some(worker) = self.pick(n, |p| p.up && !p.broken) {
                    self.begin(worker);
                }
            }
            Step::Finish(n) | Step::Panic(n) => {
                let panicked = matches!(step, Step::Panic(_));
                let busy = |p: &Process| !p.broken && p.calls.iter().any(|c| c.begun);
                if let Some(worker) = self.pick(n, busy) {
                    self.finish(worker, panicked);
                }
            }
            Step::Die(n) => {
                if let Some(worker) = self.pick(n, |p| p.up) {
                    self.die(worker);
                }
            }
            Step::Violate(n) => {
                if let Some(worker) = self.pick(n, |p| p.up && alive(p)) {
                    self.scheduler.worker_violated(worker, "a lie");
                    self.processes.get_mut(&worker).unwrap().broken = true;
                }
            }
            Step::Break(n) => {
                if let Some(worker) = self.pick(n, |p| p.up && alive(p)) {
                    self.scheduler.worker_broken(worker, self.now);
                    self.processes.get_mut(&worker).unwrap().broken = true;
                }
            }
            Step::Retire(n) => {
                if let Some(worker) = self.pick(n, |p| p.up) {
                    self.scheduler.retire(worker, self.now);
                }
            }
            Step::Cancel(n) => {
                let open: Vec<_> =
                    (0..self.jobs.len()).filter(|i| !self.jobs[*i].resolved).collect();
                if !open.is_empty() {
                    let job = open[usize::from(n) % open.len()];
                    self.jobs[job].cancelled = true;
                    self.scheduler.cancel(self.jobs[job].id, self.now);
                }
            }
            Step::Pass(micros) => self.pass(Nanos::from(micros) * 10_000),
            Step::Resize(n) => self.scheduler.resize(n.into(), self.now),
            Step::Close => self.scheduler.close(self.now),
            Step::Terminate(kill) => self.scheduler.terminate(kill, self.now),
        }
        self.perform();
    }

    /// From here on everybody behaves.
    fn wind_up(&mut self) {
        self.scheduler.close(self.now);
        self.perform();
        for _ in 0..10_000 {
            if self.finished {
                break;
            }
            for worker in self.processes.keys().copied().collect::<Vec<_>>() {
                let Some(process) = self.processes.get(&worker) else { continue };
                if process.killed || process.leaving || process.asked_to_end {
                    self.die(worker);
                } else if !process.up {
                    self.come_up(worker);
                } else if !process.broken {
                    self.begin(worker);
                    // A deaf one goes on until it is killed.
                    let wanted = self.processes[&worker].calls.first();
                    if !(self.deaf && wanted.is_some_and(|c| self.jobs[c.job].resolved)) {
                        self.finish(worker, false);
                    }
                }
                self.perform();
            }
            self.pass(5 * MS);
        }
        assert!(self.finished, "does not finish: {:#?}", self.scheduler);
        assert!(self.processes.is_empty(), "finished before its workers were gone");
        assert!(self.jobs.iter().all(|j| j.resolved), "finished before its calls");
        let totals = self.scheduler.totals();
        assert_eq!(totals.submitted, self.jobs.len() as u64);
        assert_eq!(totals.resolved, totals.submitted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_history_resolves_every_call_once(
        target in 1u32..5,
        max_tasks in proptest::option::weighted(0.3, 1u64..20),
        seed in any::<u64>(),
        steps in proptest::collection::vec(step(), 0..300),
    ) {
        let mut world = World::new(target, max_tasks, seed);
        world.take(Step::Pass(0));
        world.scheduler.handle_timeout(0);
        world.perform();
        for step in steps {
            world.take(step);
        }
        world.wind_up();
    }
}

/// Both busy for long, with more sent ahead behind one: nobody can be helped, and
/// nobody must be woken for it.
#[test]
fn a_recall_without_a_spare_worker_wakes_nobody() {
    let mut world = World::new(2, None, 1);
    world.scheduler.handle_timeout(0);
    world.perform();
    for n in 0..2 {
        world.take(Step::ComeUp(n));
    }
    let submit =
        || Step::Submit { lane: Lane::Blocking, items: 0, timeout: None, limit: None, retries: 0 };
    for _ in 0..20 {
        world.take(submit());
        for n in 0..2 {
            world.take(Step::Begin(n));
            world.take(Step::Finish(n));
        }
    }
    for _ in 0..10 {
        world.take(submit());
    }
    for n in 0..2 {
        world.take(Step::Begin(n));
    }
    assert!(world.processes.values().any(|p| p.calls.len() > 1), "some are sent ahead");
    world.now += 5 * MS;
    world.scheduler.handle_timeout(world.now);
    world.perform();
    assert!(world.scheduler.next_timeout().is_none_or(|at| at > world.now));
    world.wind_up();
}

#[test]
fn every_cancelled_call_has_a_grace_of_its_own() {
    let mut world = World::new(1, None, 0);
    world.scheduler.handle_timeout(0);
    world.perform();
    world.take(Step::ComeUp(0));
    for _ in 0..3 {
        let (timeout, limit) = (None, None);
        world.take(Step::Submit { lane: Lane::Async, items: 0, timeout, limit, retries: 0 });
        world.take(Step::Begin(0));
    }
    world.take(Step::Cancel(0));
    world.pass(800 * MS);
    world.take(Step::Cancel(0));
    world.take(Step::Finish(0));
    world.pass(900 * MS);
    let killed = |world: &World| world.processes.values().any(|p| p.killed);
    assert!(!killed(&world), "the second has been cancelled for 900 ms");
    world.pass(200 * MS);
    assert!(killed(&world), "the second has been cancelled for 1100 ms");
    world.wind_up();
}
