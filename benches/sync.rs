//! What locks and what is like them cost.
//!
//! * `lock_uncontended`: locking and unlocking in one process; against a `Mutex` of std, and CPython's `Lock`.
//! * `lock_contended_2`: pairs of that a second, of two processes that do nothing else; against CPython's. The longest that
//!   either waited is a figure.
//! * `event_wake_blocking`, `lock_handover_blocking`, `semaphore_handover_blocking`: two processes that wake each other, one wake of
//!   it; against a bare futex between two processes, and CPython's.
//! * `event_wake_async`, `lock_handover_async`: the same where one side is a task of this process; against an eventfd that
//!   such a task waits for and answers.
//! * `value_locked`, `value_fetch_add`: adding one to a number in shared memory; against CPython's `with v.get_lock(): v.value += 1`.
//! * `kill_sync`: users of a lock, a semaphore, a condition and a barrier that are killed at any moment: how long the others wait
//!   for what those held, how many permits there are too few or too many, and how many of the others hang.

#![cfg_attr(not(target_os = "linux"), no_main)]
#![cfg(target_os = "linux")]

mod support;

use std::hint::black_box;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use procpool::{
    AsyncResult, Barrier, Condition, Event, Lock, LockGuard, Process, RawValue, Semaphore,
};
use serde::{Deserialize, Serialize};
use support::place::{self, Place};
use support::pool::{Pool, crowd, runtime, runtime_threads};
use support::python::PythonSync;
use support::report::{Bound, Run, figure, max, median, median_ratio, ratio};
use support::wake::{EventFd, Futex};
use tokio::runtime::Runtime;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

fn main() {
    support::run_role_if_child();
    procpool::init();
    let Some(run) = Run::from_args() else { return };
    runtime_threads(2);
    place::everywhere(|place| {
        if place.is_same() {
            uncontended(&run, place);
            values(&run, place);
        }
        contended(&run, place);
        wakes_blocking(&run, place);
        wakes_async(&run, place);
    });
    kill_sync(&run);
}

/// Prints both figures, and their ratio where there is a bound for it.
fn against_python(row: &str, ours: &[f64], cpython: &[f64], unit: &str, bound: Option<Bound>) {
    let (what, at) = row.split_once('@').unwrap_or((row, ""));
    let at = if at.is_empty() { String::new() } else { format!("@{at}") };
    figure(&format!("cpython_{what}{at}"), median(cpython), unit);
    if let Some(bound) = bound {
        let measured = Some(median_ratio(ours, cpython)).filter(|r| !r.is_nan());
        ratio(&format!("{what}_vs_cpython{at}"), measured, bound);
    }
}

/// What Python gives for `what`, `n` times; not a number where there is none.
fn cpython(python: &mut Option<PythonSync>, what: &str, n: usize) -> f64 {
    python.as_mut().and_then(|p| p.run(what, n)).unwrap_or(f64::NAN)
}

/// Seconds of one of `n`, in nanoseconds.
fn nanos(seconds: f64, n: usize) -> f64 {
    seconds * 1e9 / n as f64
}

fn repeat(n: usize, mut what: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..n {
        what();
    }
    start.elapsed().as_secs_f64()
}

fn uncontended(run: &Run, place: &Place) {
    let row = "lock_uncontended";
    if !run.wants(row) {
        return;
    }
    let (n, few) = (run.iters(3_000_000), run.iters(300_000));
    let mut python = PythonSync::start(place);
    let (lock, mutex) = (Lock::new().expect("a lock"), Mutex::new(()));
    let [std, cpython, ours] = run.alternate(
        9,
        [
            &mut || nanos(repeat(n, || drop(black_box(&mutex).lock())), n),
            &mut || nanos(cpython(&mut python, "lock", few), few),
            &mut || nanos(repeat(n, || drop(black_box(&lock).blocking_lock())), n),
        ],
    );
    figure("floor_std_mutex", median(&std), "ns");
    figure(row, median(&ours), "ns");
    ratio(row, Some(median_ratio(&ours, &std)), Bound::AtMost(3.0));
    against_python(row, &ours, &cpython, "ns", Some(Bound::AtMost(1.0)));
}

fn values(run: &Run, place: &Place) {
    if !run.wants_any(&["value_locked", "value_fetch_add"]) {
        return;
    }
    let (n, few) = (run.iters(3_000_000), run.iters(100_000));
    let mut python = PythonSync::start(place);
    let lock = Lock::new().expect("a lock");
    let value = RawValue::new(0u64).expect("a value");
    let rate = |seconds: f64, n: usize| n as f64 / seconds / 1e6;
    let [cpython, locked, added] = run.alternate(
        9,
        [
            &mut || rate(cpython(&mut python, "value", few), few),
            &mut || rate(repeat(n, || add_one(&lock, black_box(&value))), n),
            &mut || rate(repeat(n, || _ = black_box(&value).fetch_add(1)), n),
        ],
    );
    for (row, ours, k) in [("value_locked", &locked, 5.0), ("value_fetch_add", &added, 20.0)] {
        figure(row, median(ours), "M/s");
        against_python(row, ours, &cpython, "M/s", Some(Bound::AtLeast(k)));
    }
}

/// In two steps that somebody else could come between.
fn add_one(lock: &Lock, value: &RawValue<u64>) {
    let _guard = lock.blocking_lock().expect("a lock");
    value.set(value.get() + 1);
}

/// Adds one as often as it can in that time; how often.
#[procpool::task]
fn compete(lock: Lock, value: RawValue<u64>, go: Event, millis: u64) -> u64 {
    go.blocking_wait().expect("an event");
    let end = Instant::now() + Duration::from_millis(millis);
    let mut n = 0;
    while Instant::now() < end {
        (0..64).for_each(|_| add_one(&lock, &value));
        n += 64;
    }
    n
}

/// The same; the longest it waited, in nanoseconds.
#[procpool::task]
fn compete_and_time(lock: Lock, value: RawValue<u64>, go: Event, millis: u64) -> u64 {
    go.blocking_wait().expect("an event");
    let mut before = Instant::now();
    let end = before + Duration::from_millis(millis);
    let mut longest = Duration::ZERO;
    while before < end {
        let guard = lock.blocking_lock().expect("a lock");
        longest = longest.max(before.elapsed());
        value.set(value.get() + 1);
        drop(guard);
        before = Instant::now();
    }
    longest.as_nanos() as u64
}

fn contended(run: &Run, place: &Place) {
    let row = format!("lock_contended_2@{place}");
    if !run.wants(&row) {
        return;
    }
    let rt = runtime();
    let mut python = PythonSync::start(place);
    let pool = Pool::new(&rt, 1, Some(place));
    let (lock, go) = (Lock::new().expect("a lock"), Event::new().expect("an event"));
    let value = RawValue::new(0u64).expect("a value");
    let millis = 200;
    let both = |time: bool| {
        go.clear();
        let args = || (lock.clone(), value.clone(), go.clone(), millis);
        let (lock, value, started, millis) = args();
        let (theirs, pool) = (args(), &pool.pool);
        let there = if time {
            pool.apply_async(compete_and_time, theirs)
        } else {
            pool.apply_async(compete, theirs)
        };
        while !format!("{go:?}").contains("waiting: 1") {
            std::thread::yield_now();
        }
        go.set();
        let here = if time {
            compete_and_time(lock, value, started, millis).run_here()
        } else {
            compete(lock, value, started, millis).run_here()
        };
        [here, rt.block_on(there.get()).expect("a competitor")]
    };
    let (mut between, mut their_waits, mut our_waits) = (0, Vec::new(), Vec::new());
    let [theirs, ours] = run.alternate(
        7,
        [
            &mut || {
                their_waits.push(cpython(&mut python, "longest_wait", millis as usize));
                cpython(&mut python, "contended", millis as usize) / 1e3
            },
            &mut || {
                let longest = both(true).into_iter().max().unwrap_or(0);
                our_waits.push(longest as f64 / 1e9);
                let before = value.get();
                let n: u64 = both(false).iter().sum();
                between += u64::from(value.get() - before != n);
                n as f64 / millis as f64
            },
        ],
    );
    assert_eq!(between, 0, "nobody came between");
    figure(&row, median(&ours), "k/s");
    against_python(&row, &ours, &theirs, "k/s", Some(Bound::AtLeast(1.0)));
    figure(&format!("lock_contended_2_longest_wait@{place}"), max(&our_waits) * 1e3, "ms");
    figure(
        &format!("cpython_lock_contended_2_longest_wait@{place}"),
        max(&their_waits) * 1e3,
        "ms",
    );
}

#[procpool::task]
fn answer_event(from: Event, to: Event, n: usize) {
    for _ in 0..n {
        from.blocking_wait().expect("an event");
        from.clear();
        to.set();
    }
}

#[procpool::task]
async fn answer_event_async(from: Event, to: Event, n: usize) {
    for _ in 0..n {
        from.wait().await.expect("an event");
        from.clear();
        to.set();
    }
}

/// Nobody gives anything back but by releasing what it was given.
#[procpool::task]
fn answer_lock(from: Lock, to: Lock, n: usize) {
    for _ in 0..n {
        LockGuard::leak(from.blocking_lock().expect("a lock"));
        to.release().expect("the other holds it");
    }
}

#[procpool::task]
async fn answer_lock_async(from: Lock, to: Lock, n: usize) {
    for _ in 0..n {
        LockGuard::leak(from.lock().await.expect("a lock"));
        to.release().expect("the other holds it");
    }
}

#[procpool::task]
fn answer_semaphore(from: Semaphore, to: Semaphore, n: usize) {
    for _ in 0..n {
        from.blocking_acquire().expect("a semaphore").forget();
        to.add_permits(1).expect("it has none");
    }
}

/// Two of each, with which two processes wake each other.
struct Pairs {
    events: [Event; 2],
    locks: [Lock; 2],
    semaphores: [Semaphore; 2],
}

impl Pairs {
    fn new() -> Pairs {
        Pairs {
            events: [(); 2].map(|()| Event::new().expect("an event")),
            locks: [(); 2].map(|()| Lock::new().expect("a lock")),
            semaphores: [(); 2].map(|()| Semaphore::new(0).expect("a semaphore")),
        }
    }
}

/// Has both held: the other end has left, and what it held is free.
fn hold(locks: [&Lock; 2]) {
    locks.into_iter().filter_map(|lock| lock.try_lock().ok()).for_each(LockGuard::leak);
}

/// Seconds until what is done here and there is done.
fn with(rt: &Runtime, there: AsyncResult<()>, here: impl FnOnce()) -> f64 {
    let start = Instant::now();
    here();
    let took = start.elapsed().as_secs_f64();
    rt.block_on(there.get()).expect("the other end");
    took
}

/// Microseconds of one wake, of `n` rounds of two.
fn wake(seconds: f64, n: usize) -> f64 {
    seconds * 1e6 / (2 * n) as f64
}

fn wakes_blocking(run: &Run, place: &Place) {
    let rows = ["event_wake_blocking", "lock_handover_blocking", "semaphore_handover_blocking"]
        .map(|row| format!("{row}@{place}"));
    if !rows.iter().any(|row| run.wants(row)) {
        return;
    }
    let n = run.iters(10_000);
    let rt = runtime();
    let mut python = PythonSync::start(place);
    let mut futex = Futex::new(place);
    let pool = Pool::new(&rt, 1, Some(place));
    let pool = &pool.pool;
    let Pairs { events: [a, b], locks: [k, l], semaphores: [s, t] } = Pairs::new();
    let python = std::cell::RefCell::new(&mut python);
    let python = |what, n| wake(cpython(&mut python.borrow_mut(), what, n), n);
    let [floor, their_event, their_semaphore, event, lock, semaphore] = run.alternate(
        9,
        [
            &mut || wake(futex.run(n), n),
            &mut || python("event", n / 4),
            &mut || python("semaphore", n / 2),
            &mut || {
                let there = pool.spawn(answer_event(a.clone(), b.clone(), n));
                let here = || {
                    for _ in 0..n {
                        a.set();
                        b.blocking_wait().expect("an event");
                        b.clear();
                    }
                };
                wake(with(&rt, there, here), n)
            },
            &mut || {
                hold([&k, &l]);
                let there = pool.spawn(answer_lock(k.clone(), l.clone(), n));
                let here = || {
                    for _ in 0..n {
                        k.release().expect("it is held");
                        LockGuard::leak(l.blocking_lock().expect("a lock"));
                    }
                };
                wake(with(&rt, there, here), n)
            },
            &mut || {
                let there = pool.spawn(answer_semaphore(s.clone(), t.clone(), n));
                let here = || {
                    for _ in 0..n {
                        s.add_permits(1).expect("it has none");
                        t.blocking_acquire().expect("a semaphore").forget();
                    }
                };
                wake(with(&rt, there, here), n)
            },
        ],
    );
    figure(&format!("floor_futex@{place}"), median(&floor), "us");
    let theirs = [&their_event, &their_semaphore, &their_semaphore];
    for ((row, ours), theirs) in rows.iter().zip([&event, &lock, &semaphore]).zip(theirs) {
        figure(row, median(ours), "us");
        let bounded = place.pinned();
        if bounded {
            ratio(row, Some(median_ratio(ours, &floor)), Bound::AtMost(2.0));
        }
        against_python(row, ours, theirs, "us", bounded.then_some(Bound::AtMost(1.0)));
    }
}

fn wakes_async(run: &Run, place: &Place) {
    let rows = ["event_wake_async", "lock_handover_async"].map(|row| format!("{row}@{place}"));
    let task_row = format!("event_wake_worker_task@{place}");
    if !rows.iter().any(|row| run.wants(row)) && !run.wants(&task_row) {
        return;
    }
    let n = run.iters(5_000);
    let rt = runtime();
    let mut eventfd = EventFd::new(place);
    let pool = Pool::new(&rt, 1, Some(place));
    let pool = &pool.pool;
    let Pairs { events: [a, b], locks: [k, l], .. } = Pairs::new();
    let [floor, event, lock, task, both] = run.alternate(
        9,
        [
            &mut || wake(eventfd.run(&rt, n), n),
            &mut || {
                let there = pool.spawn(answer_event(a.clone(), b.clone(), n));
                let here = || {
                    crowd(&rt, 1, || {
                        let (a, b) = (a.clone(), b.clone());
                        async move {
                            for _ in 0..n {
                                a.set();
                                b.wait().await.expect("an event");
                                b.clear();
                            }
                        }
                    });
                };
                wake(with(&rt, there, here), n)
            },
            &mut || {
                hold([&k, &l]);
                let there = pool.spawn(answer_lock(k.clone(), l.clone(), n));
                let here = || {
                    crowd(&rt, 1, || {
                        let (k, l) = (k.clone(), l.clone());
                        async move {
                            for _ in 0..n {
                                k.release().expect("it is held");
                                LockGuard::leak(l.lock().await.expect("a lock"));
                            }
                        }
                    });
                };
                wake(with(&rt, there, here), n)
            },
            &mut || {
                let there = pool.spawn(answer_event_async(a.clone(), b.clone(), n));
                let here = || {
                    for _ in 0..n {
                        a.set();
                        b.blocking_wait().expect("an event");
                        b.clear();
                    }
                };
                wake(with(&rt, there, here), n)
            },
            &mut || {
                hold([&k, &l]);
                let there = pool.spawn(answer_lock_async(k.clone(), l.clone(), n));
                let here = || {
                    for _ in 0..n {
                        k.release().expect("it is held");
                        LockGuard::leak(l.blocking_lock().expect("a lock"));
                    }
                };
                wake(with(&rt, there, here), n)
            },
        ],
    );
    figure(&format!("floor_eventfd@{place}"), median(&floor), "us");
    for (row, ours) in rows.iter().zip([&event, &lock]) {
        figure(row, median(ours), "us");
        if place.pinned() {
            ratio(row, Some(median_ratio(ours, &floor)), Bound::AtMost(1.3));
        }
    }
    figure(&task_row, median(&task), "us");
    figure(&format!("lock_handover_worker_task@{place}"), median(&both), "us");
}

/// What the ones use that are killed, and the others.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Used {
    lock: Lock,
    permits: Semaphore,
    /// Of what there is as much as `tickets` says.
    condition: Condition,
    tickets: RawValue<u64>,
    barrier: Barrier,
    begun: RawValue<u64>,
}

const PERMITS: u32 = 3;
/// There will be no more tickets.
const OVER: u64 = u64::MAX;
/// After that long somebody hangs.
const LIMIT: Duration = Duration::from_secs(20);

impl Used {
    fn new() -> Used {
        let protects = Lock::new().expect("a lock");
        Used {
            lock: Lock::new().expect("a lock"),
            permits: Semaphore::new(PERMITS).expect("a semaphore"),
            condition: Condition::new(&protects).expect("a condition"),
            tickets: RawValue::new(0).expect("a value"),
            barrier: Barrier::new(2).expect("a barrier"),
            begun: RawValue::new(0).expect("a value"),
        }
    }

    /// Takes a ticket if there is one; none if there will be no more.
    fn ticket(&self, guard: &LockGuard<'_>) -> Option<bool> {
        if guard.recovered() {
            // Who died may have been notified of one, and taken none.
            self.condition.notify_all();
        }
        match self.tickets.get() {
            OVER => None,
            0 => Some(false),
            n => {
                self.tickets.set(n - 1);
                Some(true)
            }
        }
    }
}

/// The kinds of users.
const USERS: u64 = 4;

#[procpool::task]
fn use_it(it: Used, what: u64) {
    it.begun.fetch_add(1);
    loop {
        match what {
            0 => drop(it.lock.blocking_lock().expect("a lock")),
            1 => {
                let _one = it.permits.blocking_acquire().expect("a semaphore");
                let _two = it.permits.try_acquire();
            }
            2 => return take_tickets(&it),
            _ => {
                if it.barrier.blocking_wait().is_err() {
                    it.barrier.reset();
                }
            }
        }
    }
}

fn take_tickets(it: &Used) {
    loop {
        let mut guard = it.condition.lock().blocking_lock().expect("a lock");
        loop {
            match it.ticket(&guard) {
                None => return,
                Some(true) => break,
                Some(false) => {}
            }
            guard = it.condition.blocking_wait(guard).expect("a condition");
        }
    }
}

#[procpool::task]
async fn use_it_async(it: Used, what: u64) {
    it.begun.fetch_add(1);
    loop {
        match what {
            0 => drop(it.lock.lock().await.expect("a lock")),
            1 => {
                let _one = it.permits.acquire().await.expect("a semaphore");
                let _two = it.permits.try_acquire();
            }
            2 => return take_tickets_async(&it).await,
            _ => {
                if it.barrier.wait().await.is_err() {
                    it.barrier.reset();
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

async fn take_tickets_async(it: &Used) {
    loop {
        let mut guard = it.condition.lock().lock().await.expect("a lock");
        loop {
            match it.ticket(&guard) {
                None => return,
                Some(true) => break,
                Some(false) => {}
            }
            guard = it.condition.wait(guard).await.expect("a condition");
        }
    }
}

/// Uses the lock and the permits now and then, and is not killed; how often it waited in vain.
#[procpool::task]
fn survive(it: Used) -> u64 {
    let mut hung = 0;
    while it.tickets.get() != OVER {
        hung += u64::from(it.lock.blocking_lock_timeout(LIMIT).is_err());
        hung += u64::from(it.permits.blocking_acquire_timeout(LIMIT).is_err());
        std::thread::sleep(Duration::from_micros(100));
    }
    hung
}

/// Seconds each kind of object took to be of use again, after every round.
#[derive(Default)]
struct Kills {
    killed: usize,
    recovery: [Vec<f64>; USERS as usize],
    permits: u64,
    hung: u64,
}

fn kill_sync(run: &Run) {
    if !run.wants("kill_sync") {
        return;
    }
    let kills = run.iters(10_000);
    let rt = runtime();
    let start = Instant::now();
    let it = Used::new();
    let pool = Pool::new(&rt, 3, None);
    let (mut done, hung) = rt.block_on(async {
        let survivors = pool.pool.spawn(survive(it.clone()));
        let takers =
            [pool.pool.spawn(use_it(it.clone(), 2)), pool.pool.spawn(use_it_async(it.clone(), 2))];
        let mut done = Kills::default();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        while done.killed < kills && done.hung == 0 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            round(&it, random, &mut done).await;
        }
        it.tickets.set(OVER);
        let ends = async {
            let all = it.condition.lock().lock().await.expect("a lock");
            it.condition.notify_all();
            drop(all);
            for taker in takers {
                taker.get().await.expect("a taker");
            }
            survivors.get().await.expect("a survivor")
        };
        (done, timeout(LIMIT, ends).await.unwrap_or(1))
    });
    done.permits += u64::from(it.permits.available_permits().abs_diff(PERMITS));
    figure("kill_sync_kills", done.killed as f64, "processes");
    figure("kill_sync_seconds", start.elapsed().as_secs_f64(), "s");
    let mut all = Vec::new();
    for (kind, taken) in ["lock", "semaphore", "condition", "barrier"].iter().zip(&done.recovery) {
        figure(&format!("kill_sync_{kind}_p50"), quantile(taken, 0.5) * 1e3, "ms");
        figure(&format!("kill_sync_{kind}_p99"), quantile(taken, 0.99) * 1e3, "ms");
        figure(&format!("kill_sync_{kind}_max"), max(taken) * 1e3, "ms");
        all.extend_from_slice(taken);
    }
    ratio("kill_sync_recovery_p99_ms", Some(quantile(&all, 0.99) * 1e3), Bound::AtMost(50.0));
    ratio("kill_sync_permits_wrong", Some(done.permits as f64), Bound::AtMost(0.0));
    ratio("kill_sync_hung", Some((done.hung + hung) as f64), Bound::AtMost(0.0));
}

fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Starts two users of each kind, kills them at no particular moment, half of them while the others go on, and
/// sees that everything is of use.
async fn round(it: &Used, random: u64, done: &mut Kills) {
    it.begun.set(0);
    let mut users = Vec::new();
    for what in 0..USERS {
        users.push(Process::spawn(use_it(it.clone(), what)).await.expect("a user"));
        users.push(Process::spawn(use_it_async(it.clone(), what)).await.expect("a user"));
    }
    // Some die while they start.
    let early = random.is_multiple_of(8);
    while !early && it.begun.get() < users.len() as u64 {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    tokio::time::sleep(Duration::from_micros(random >> 8 & 0x7ff)).await;
    let [produced, halved] = [random >> 20 & 3, random >> 22 & 7];
    produce(it, produced).await;
    let (first, second): (Vec<_>, Vec<_>) =
        (0..users.len()).partition(|k| !(*k as u64 ^ halved).is_multiple_of(3));
    first.iter().for_each(|k| users[*k].kill());
    if random >> 25 & 1 == 0 {
        tokio::time::sleep(Duration::from_micros(random >> 26 & 0x3ff)).await;
        produce(it, produced).await;
    }
    second.iter().for_each(|k| users[*k].kill());
    let killed = Instant::now();
    done.killed += users.len();

    let lock = async {
        let _guard = it.lock.lock().await.expect("a lock");
        killed.elapsed()
    };
    let permits = async {
        let mut all = Vec::new();
        for _ in 0..PERMITS {
            all.push(it.permits.acquire().await.expect("a semaphore"));
        }
        (killed.elapsed(), all)
    };
    let condition = async {
        produce(it, 0).await;
        while it.tickets.get() > 0 {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        killed.elapsed()
    };
    let barrier = async {
        for user in &users {
            user.join().await;
        }
        loop {
            it.barrier.reset();
            let (one, other) = tokio::join!(it.barrier.wait(), it.barrier.wait());
            if one.is_ok() && other.is_ok() {
                return killed.elapsed();
            }
        }
    };
    let limited = |what: &str, taken: Result<Duration, Elapsed>, samples: &mut Vec<f64>| {
        match taken {
            Ok(taken) => samples.push(taken.as_secs_f64()),
            Err(_) => eprintln!("{what} hangs: {it:?}"),
        }
        u64::from(taken.is_err())
    };
    let (lock, permits, condition, barrier) = tokio::join!(
        timeout(LIMIT, lock),
        timeout(LIMIT, permits),
        timeout(LIMIT, condition),
        timeout(LIMIT, barrier),
    );
    // All who were killed have ended, and whatever they held is here.
    let (permits, held) = permits.map_or_else(|e| (Err(e), None), |(t, all)| (Ok(t), Some(all)));
    if held.is_some() {
        done.permits += u64::from(it.permits.available_permits());
    }
    let taken =
        [("lock", lock), ("semaphore", permits), ("condition", condition), ("barrier", barrier)];
    for ((what, taken), samples) in taken.into_iter().zip(&mut done.recovery) {
        done.hung += limited(what, taken, samples);
    }
}

/// Makes so many tickets, and says so to as many.
async fn produce(it: &Used, n: u64) {
    let guard = it.condition.lock().lock().await.expect("a lock");
    if guard.recovered() {
        it.condition.notify_all();
    }
    it.tickets.set(it.tickets.get() + n);
    it.condition.notify_n(n as usize);
}
