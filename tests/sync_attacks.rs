//! What a process can do by the memory of a lock that it was given: spoil that lock.
#![cfg(target_os = "linux")]

mod common;
mod kit;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use kit::{Gate, pool};
use procpool::{Event, Lock, Process, Queue, SyncError};

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

/// Holds the lock, and sees to it that it hears nothing of its parent's end.
#[procpool::task]
fn hold_on(lock: Lock, said: Queue<u32>) {
    let _guard = lock.blocking_lock().unwrap();
    for fd in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let is_life =
            std::fs::read_link(fd.path()).is_ok_and(|to| to.ends_with("anon_inode:[pidfd]"));
        if is_life {
            let fd = fd.file_name().to_string_lossy().parse().unwrap();
            // SAFETY: a plain call; of whoever has it none closes it before this process is killed.
            assert_eq!(unsafe { libc::close(fd) }, 0);
        }
    }
    // SAFETY: a plain call.
    unsafe { libc::signal(libc::SIGRTMAX(), libc::SIG_IGN) };
    said.blocking_put(std::process::id()).unwrap();
    loop {
        std::thread::park();
    }
}

#[procpool::task]
async fn have_a_child(lock: Lock, said: Queue<u32>) {
    Process::spawn(hold_on(lock, said)).await.unwrap().join().await;
}

/// Whether nobody but perhaps who is to collect it knows of it.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// Its family is killed, and it runs on, however shortly: until it has ended, nobody else has what it holds.
#[test]
fn a_descendant_keeps_its_lock_until_it_has_ended() {
    common::run(|| async {
        let (lock, said) = (Lock::new().unwrap(), Queue::unbounded().unwrap());
        let family = Process::spawn(have_a_child(lock.clone(), said.clone())).await.unwrap();
        let pid = said.get().await.unwrap();
        family.handle().kill();
        family.join().await;
        let error = lock.lock_timeout(Duration::from_millis(100)).await.map(drop).unwrap_err();
        assert_eq!(error, SyncError::TimedOut);
        // SAFETY: a plain call.
        assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGKILL) }, 0);
        assert!(lock.lock_timeout(Duration::from_secs(20)).await.unwrap().recovered());
        assert!(has_ended(pid));
    });
}
