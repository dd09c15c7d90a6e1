//! Tasks and gates that the pool's tests share.
#![allow(dead_code)]

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use procpool::{Builder, ProcessPool};

use crate::common::os::{self, Death};
use crate::common::{self, TempDir};

pub async fn pool(workers: usize) -> ProcessPool {
    builder(workers).build().await.unwrap()
}

pub fn builder(workers: usize) -> Builder {
    ProcessPool::builder().workers(workers)
}

/// Process ids of the workers that are started, sorted.
pub fn pids(pool: &ProcessPool) -> Vec<u32> {
    let mut pids: Vec<u32> = pool.workers().iter().filter_map(|w| w.pid).collect();
    pids.sort_unstable();
    pids
}

/// A place where calls stop until the test lets them go on: a directory, so that
/// every process sees it.
pub struct Gate(TempDir);

impl Gate {
    pub fn new(name: &str) -> Self {
        Gate(TempDir::new(name))
    }

    pub fn path(&self) -> String {
        self.0.0.to_str().unwrap().to_owned()
    }

    /// Lets all calls through, now and later.
    pub fn open(&self) {
        std::fs::write(self.0.0.join("open"), "").unwrap();
    }

    /// What arrived, in order.
    pub fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.0.0.join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until so many calls have arrived.
    pub async fn arrived(&self, n: usize) {
        common::eventually("calls arrive at the gate", || self.log().len() >= n).await;
    }
}

/// In a worker: notes who came.
pub fn note(gate: &str, who: impl std::fmt::Display) {
    os::append(Path::new(gate).join("log"), &format!("{who}\n"));
}

fn is_open(gate: &str) -> bool {
    let gate = Path::new(gate);
    assert!(gate.exists(), "the test is over");
    gate.join("open").exists()
}

#[procpool::task]
pub fn square(x: u64) -> u64 {
    x * x
}

#[procpool::task]
pub fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[procpool::task]
pub async fn double(x: u64) -> u64 {
    tokio::task::yield_now().await;
    2 * x
}

/// In a worker: notes who came, and stays until the gate is opened.
pub fn stay(gate: &str, who: impl std::fmt::Display) {
    note(gate, who);
    while !is_open(gate) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Notes `x` at the gate and stays there until it is opened.
#[procpool::task]
pub fn hold(gate: String, x: u64) -> u64 {
    stay(&gate, x);
    x
}

#[procpool::task]
pub async fn hold_async(gate: String, x: u64) -> u64 {
    note(&gate, x);
    while !is_open(&gate) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    x
}

/// Notes `x` at the gate and goes through.
#[procpool::task]
pub fn mark(gate: String, x: u64) -> u64 {
    note(&gate, x);
    x
}

#[procpool::task]
pub fn pid(_x: u64) -> u32 {
    std::process::id()
}

/// What tells this process from all others, before it and after it too: Windows gives
/// the numbers of ended processes out again at once.
pub fn identity() -> (u32, u128) {
    static SINCE: OnceLock<u128> = OnceLock::new();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    (std::process::id(), *SINCE.get_or_init(now))
}

#[procpool::task]
pub fn whoami(_x: u64) -> (u32, u128) {
    identity()
}

#[procpool::task]
pub fn boom(text: String) -> u64 {
    panic!("{text}")
}

#[procpool::task]
pub fn exit(code: i32) -> u64 {
    std::process::exit(code)
}

#[procpool::task]
pub fn die_by(death: Death) -> u64 {
    death.strike()
}

/// How many calls this worker has run of this task.
#[procpool::task]
pub fn count_up(_x: u64) -> ((u32, u128), u64) {
    static N: AtomicU64 = AtomicU64::new(0);
    (identity(), N.fetch_add(1, Ordering::Relaxed) + 1)
}
