//! What a process can do by the memory of a lock that it was given: spoil that lock.
#![cfg(target_os = "linux")]

mod common;
mod kit;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use kit::{Gate, pool};
use procpool::{Event, Queue};

procpool::test_hook!();

/// The words of the only such object that this process has.
fn words() -> &'static [AtomicU64] {
    for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
        if line.contains("procpool-sync") {
            let (from, rest) = line.split_once('-').unwrap();
            let to = rest.split_once(' ').unwrap().0;
            let [from, to] = [from, to].map(|hex| usize::from_str_radix(hex, 16).unwrap());
            // SAFETY: mapped, to be read and written, as long as this process has the object.
            return unsafe {
                std::slice::from_raw_parts(from as *const AtomicU64, (to - from) / 8)
            };
        }
    }
    panic!("no such memory here")
}

/// Computes, and has the event.
#[procpool::task]
fn compute(event: Event, gate: String) -> bool {
    kit::stay(&gate, std::process::id());
    event.is_set()
}

/// Says that a task of everybody else's waits, and wakes it again and again.
#[procpool::task]
fn wake_all(event: Event, times: u64, said: Queue<()>) {
    let words = words();
    let me = u64::from(std::process::id());
    for entry in words.chunks(8).skip(1).filter(|e| ![0, me].contains(&e[1].load(SeqCst))) {
        entry[3].store(1, SeqCst);
        entry[7].store(1, SeqCst);
    }
    for _ in 0..times {
        words[0].fetch_or(2, SeqCst);
        event.set();
        event.clear();
    }
    said.blocking_put(()).unwrap();
}

#[test]
fn wakes_that_nobody_waits_for_end_nobody() {
    common::run_within(Duration::from_secs(200), || async {
        let (pool, event) = (pool(2).await, Event::new().unwrap());
        let gate = Gate::new("flood");
        let computing = pool.spawn(compute(event.clone(), gate.path()));
        gate.arrived(1).await;
        let said = Queue::unbounded().unwrap();
        pool.run(wake_all(event.clone(), 1_300_000, said.clone())).await.unwrap();
        said.get().await.unwrap();
        gate.open();
        assert!(!computing.get().await.unwrap());
        pool.shutdown().await.unwrap();
    });
}
