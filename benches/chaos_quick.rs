//! What is lost when workers are killed: nothing but what they were doing.
//!
//! `kill_10hz`: 2,000 calls of 5 ms on four workers, one of which is killed at random ten times a second. Each
//! call writes to a ledger when it begins and when it ends; by the ledger,
//!
//! * `kill_10hz_unresolved`: calls without a result;
//! * `kill_10hz_wrong`: results that are not the right ones: a value that no run of the call returned, an
//!   error of a call that had not begun, an error that does not say signal 9, more errors than kills;
//! * `kill_10hz_twice`: calls that began more than once.
//!
//! A worker can die between beginning a call and the ledger's first line of it, for some µs in 5 ms: once
//! in many runs that makes one `wrong`.

#![cfg_attr(not(target_os = "linux"), no_main)]
#![cfg(target_os = "linux")]

mod support;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

use procpool::ProcessPool;
use support::pool::{pids, runtime};
use support::proc::{self, TempDir};
use support::report::{Bound, Run, figure, ratio};
use tokio::time::{MissedTickBehavior, interval, timeout};

const WORKERS: usize = 4;
const WORK: Duration = Duration::from_millis(5);
const BETWEEN_KILLS: Duration = Duration::from_millis(100);
/// More than enough for every call to resolve.
const PATIENCE: Duration = Duration::from_secs(60);

/// The worker's end of the ledger.
static LEDGER: OnceLock<File> = OnceLock::new();

#[procpool::task]
fn open_ledger(path: String) {
    let file = OpenOptions::new().append(true).create(true).open(path);
    LEDGER.get_or_init(|| file.expect("a ledger"));
}

/// Says in the ledger that it begins, works, says that it ends.
#[procpool::task]
fn work(id: usize) -> usize {
    note("begin", id);
    std::thread::sleep(WORK);
    note("end", id);
    id
}

/// One line, in one write, so that a kill cannot cut it.
fn note(what: &str, id: usize) {
    let line = format!("{what} {id}\n");
    let mut ledger = LEDGER.get().expect("the initializer ran");
    let written = ledger.write(line.as_bytes()).expect("a ledger");
    assert_eq!(written, line.len());
}

fn main() {
    support::run_role_if_child();
    procpool::init();
    let Some(run) = Run::from_args() else { return };
    if run.wants("kill_10hz") {
        kill_10hz(&run);
    }
}

/// What became of a call; None when it did not resolve.
type Outcome = Option<Result<usize, procpool::Error>>;

fn kill_10hz(run: &Run) {
    let calls = run.iters(2_000);
    let dir = TempDir::new();
    let path = dir.path("ledger");
    let rt = runtime();
    let played = rt.spawn(play(calls, path.clone()));
    let (outcomes, kills) = rt.block_on(played).expect("the calls were made");

    let ledger = std::fs::read_to_string(path).expect("a ledger");
    let (mut begun, mut ended) = (vec![0; calls], vec![0; calls]);
    for line in ledger.lines() {
        let (what, id) = line.split_once(' ').expect("two words");
        let counts = if what == "begin" { &mut begun } else { &mut ended };
        counts[id.parse::<usize>().expect("an id")] += 1;
    }
    let count =
        |of: &dyn Fn(&(usize, &Outcome)) -> bool| outcomes.iter().enumerate().filter(of).count();
    let unresolved = count(&|(_, outcome)| outcome.is_none());
    let failed = count(&|(_, outcome)| matches!(outcome, Some(Err(_))));
    let wrong = count(&|&(id, outcome)| match outcome {
        None => false,
        Some(Ok(value)) => *value != id || ended[id] == 0,
        Some(Err(e)) => begun[id] == 0 || !e.is_killed() || e.signal() != Some(9),
    });
    let twice = begun.iter().filter(|&&times| times > 1).count();
    figure("kill_10hz_kills", kills as f64, "workers");
    figure("kill_10hz_failed", failed as f64, "calls");
    let ok = calls - failed - unresolved;
    figure("kill_10hz_ok", ok as f64, "calls");
    let wrong = wrong + failed.saturating_sub(kills);
    for (row, n) in [("unresolved", unresolved), ("wrong", wrong), ("twice", twice)] {
        let measured = Some(n as f64);
        ratio(&format!("kill_10hz_{row}"), measured, Bound::AtMost(0.0));
    }
}

/// Makes the calls while workers are killed: what became of each, and the number of kills.
async fn play(calls: usize, ledger: String) -> (Vec<Outcome>, usize) {
    let builder = ProcessPool::builder().workers(WORKERS).initializer(open_ledger, ledger);
    let pool = builder.build().await.expect("a pool");
    let handles: Vec<_> = (0..calls).map(|id| pool.spawn(work(id))).collect();
    let results = async {
        let mut outcomes = Vec::with_capacity(calls);
        let patience = tokio::time::Instant::now() + PATIENCE;
        for handle in handles {
            outcomes.push(tokio::time::timeout_at(patience, handle).await.ok());
        }
        outcomes
    };
    let mut killed = HashSet::new();
    let outcomes = tokio::select! {
        outcomes = results => outcomes,
        never = kill_at_random(&pool, &mut killed) => match never {},
    };
    if timeout(PATIENCE, async { pool.shutdown().await }).await.is_err() {
        eprintln!("the pool did not shut down");
    }
    (outcomes, killed.len())
}

async fn kill_at_random(pool: &ProcessPool, killed: &mut HashSet<u32>) -> std::convert::Infallible {
    let mut ticks = interval(BETWEEN_KILLS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    loop {
        ticks.tick().await;
        // An xorshift: the same workers in every run, at times that are not.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let up = pids(pool);
        let Some(&pid) = up.get(random as usize % up.len().max(1)) else {
            continue;
        };
        if !killed.contains(&pid) && proc::kill(pid) {
            killed.insert(pid);
        }
    }
}
