//! The crash rules, proved at each step at which a process can die in a protocol.
//!
//! (The unit test binary is a worker, too: the hook is in `pool::failpoint_tests`.)

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::executor::block_on;

use super::{Barrier, BarrierError, Condition, Event, Lock, Semaphore, SyncError};
use crate::Call;
use crate::process::{FAILPOINT_VARIABLE, Process};

/// A process that dies at a step.
struct Victim {
    process: Process<()>,
    place: String,
    file: PathBuf,
}

impl Victim {
    async fn start(place: &str, hit: u64, call: Call<()>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("procpool-sync-failpoint-{}-{n}", std::process::id());
        let file = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&file);
        let plan = format!("{place}:{hit}:{}", file.display());
        let process = Process::builder(call).env(FAILPOINT_VARIABLE, plan).start().await.unwrap();
        Victim { process, place: place.to_owned(), file }
    }

    async fn end(self) {
        self.process.join().await;
        assert!(self.file.exists(), "it has never come to {}", self.place);
        std::fs::remove_file(&self.file).unwrap();
    }
}

fn test(body: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), body).await.expect("the test hangs");
    });
}

fn waiting(object: &impl Debug, n: usize) -> bool {
    format!("{object:?}").contains(&format!("waiting: {n}"))
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits in this process, as a task or as a thread.
async fn here<R: Send + 'static>(
    task: bool,
    wait: impl Future<Output = R> + Send + 'static,
    blocking: impl FnOnce() -> R + Send + 'static,
) -> R {
    if task {
        tokio::spawn(wait).await.unwrap()
    } else {
        tokio::task::spawn_blocking(blocking).await.unwrap()
    }
}

/// Takes a lock again and again, and lets go of it when somebody waits.
#[procpool::task]
fn lock_and_unlock(lock: Lock, task: bool) {
    loop {
        let guard =
            if task { block_on(lock.lock()).unwrap() } else { lock.blocking_lock().unwrap() };
        while waiting(&lock, 0) {
            std::thread::yield_now();
        }
        drop(guard);
    }
}

#[test]
fn a_lock_passes_on_at_every_step() {
    test(async {
        for task in [true, false] {
            for place in ["entered", "taken"] {
                let lock = Lock::new().unwrap();
                let guard = lock.lock().await.unwrap();
                let victim = Victim::start(place, 1, lock_and_unlock(lock.clone(), task)).await;
                if place == "entered" {
                    victim.end().await;
                    drop(guard);
                    until(|| waiting(&lock, 0)).await;
                    assert!(!lock.lock().await.unwrap().recovered());
                } else {
                    until(|| waiting(&lock, 1)).await;
                    drop(guard);
                    victim.end().await;
                    assert!(lock.lock().await.unwrap().recovered());
                }
                assert!(!lock.is_locked());
            }
            for place in ["releasing", "released", "woken"] {
                let lock = Lock::new().unwrap();
                let victim = Victim::start(place, 1, lock_and_unlock(lock.clone(), task)).await;
                let mut recovered = false;
                while !recovered && !victim.file.exists() {
                    let (one, two) = (lock.clone(), lock.clone());
                    recovered = here(
                        task,
                        async move { one.lock().await.unwrap().recovered() },
                        move || two.blocking_lock().unwrap().recovered(),
                    )
                    .await;
                }
                assert!(!recovered || place == "releasing", "{place}");
                victim.end().await;
                drop(lock.lock().await.unwrap());
                assert!(!lock.is_locked() && waiting(&lock, 0));
            }
        }
    });
}

/// Takes permits and gives them back.
#[procpool::task]
fn acquire_and_release(permits: Semaphore, task: bool) {
    let acquire =
        || if task { block_on(permits.acquire()) } else { permits.blocking_acquire() }.unwrap();
    loop {
        let one = acquire();
        let two = permits.try_acquire();
        drop((one, two));
    }
}

/// All of a semaphore's permits are there.
async fn has(permits: &Semaphore, n: usize) {
    let mut all = Vec::new();
    for _ in 0..n {
        all.push(permits.acquire().await.unwrap());
    }
    assert_eq!(permits.try_acquire().unwrap_err(), SyncError::WouldBlock);
    drop(all);
    assert_eq!(permits.available_permits() as usize, n);
    assert!(waiting(permits, 0));
}

#[test]
fn permits_are_conserved_at_every_step() {
    test(async {
        for place in ["intent", "seen", "changed"] {
            // In an acquire, in another one, and in releases; alone, and while others change the state.
            for hit in 1..=5 {
                for others in [false, true] {
                    let permits = Semaphore::new(2).unwrap();
                    let call = acquire_and_release(permits.clone(), false);
                    let victim = Victim::start(place, hit, call).await;
                    while others && !victim.file.exists() {
                        let _ = permits.try_acquire();
                        tokio::task::yield_now().await;
                    }
                    victim.end().await;
                    has(&permits, 2).await;
                }
            }
        }
    });
}

#[test]
fn permits_pass_on_at_every_step() {
    test(async {
        for task in [true, false] {
            let permits = Semaphore::new(2).unwrap();
            let all = (permits.acquire().await.unwrap(), permits.acquire().await.unwrap());
            let call = acquire_and_release(permits.clone(), task);
            Victim::start("entered", 1, call).await.end().await;
            drop(all);
            has(&permits, 2).await;

            // It has them both, and somebody waits.
            let permits = Semaphore::new(2).unwrap();
            let call = acquire_and_release(permits.clone(), task);
            let victim = Victim::start("woken", 1, call).await;
            while !victim.file.exists() {
                let (one, two) = (permits.clone(), permits.clone());
                let acquired =
                    here(task, async move { one.acquire().await.map(drop) }, move || {
                        two.blocking_acquire().map(drop)
                    });
                acquired.await.unwrap();
            }
            victim.end().await;
            has(&permits, 2).await;
        }
    });
}

#[procpool::task]
fn set(event: Event) {
    event.set();
}

#[procpool::task]
fn wait_for(event: Event, task: bool) {
    if task { block_on(event.wait()) } else { event.blocking_wait() }.unwrap();
}

#[test]
fn an_event_wakes_all_at_every_step() {
    test(async {
        for task in [true, false] {
            for place in ["set", "woken"] {
                let event = Event::new().unwrap();
                let (one, two) = (event.clone(), event.clone());
                let waits = tokio::spawn(here(task, async move { one.wait().await }, move || {
                    two.blocking_wait()
                }));
                until(|| waiting(&event, 1)).await;
                let victim = Victim::start(place, 1, set(event.clone())).await;
                waits.await.unwrap().unwrap();
                victim.end().await;
                assert!(event.is_set());
            }
            let event = Event::new().unwrap();
            Victim::start("entered", 1, wait_for(event.clone(), task)).await.end().await;
            until(|| waiting(&event, 0)).await;
            event.set();
        }
    });
}

#[procpool::task]
fn notify(condition: Condition) {
    condition.notify_one();
}

#[procpool::task]
fn wait_for_notice(condition: Condition, task: bool) {
    let guard = condition.lock().blocking_lock().unwrap();
    drop(if task { block_on(condition.wait(guard)) } else { condition.blocking_wait(guard) });
}

#[test]
fn a_notice_arrives_at_every_step() {
    test(async {
        for task in [true, false] {
            let lock = Lock::new().unwrap();
            let condition = Condition::new(&lock).unwrap();
            let victim =
                Victim::start("entered", 1, wait_for_notice(condition.clone(), task)).await;
            victim.end().await;
            assert!(lock.lock().await.unwrap().recovered(), "it had not let go of it yet");
            until(|| format!("{condition:?}").ends_with("waiting: 0 }")).await;
            for place in ["notified", "woken"] {
                let (one, two) = (condition.clone(), condition.clone());
                let waits = tokio::spawn(here(
                    task,
                    async move {
                        let guard = one.lock().lock().await.unwrap();
                        drop(one.wait(guard).await.unwrap());
                    },
                    move || {
                        let guard = two.lock().blocking_lock().unwrap();
                        drop(two.blocking_wait(guard).unwrap());
                    },
                ));
                until(|| format!("{condition:?}").ends_with("waiting: 1 }")).await;
                let victim = Victim::start(place, 1, notify(condition.clone())).await;
                waits.await.unwrap();
                victim.end().await;
                assert!(!condition.notify_one(), "nobody is left");
            }
        }
    });
}

#[procpool::task]
fn sit(barrier: Barrier, task: bool, aborts: bool) {
    if aborts {
        barrier.abort();
    }
    let _ = if task { block_on(barrier.wait()) } else { barrier.blocking_wait() };
}

#[test]
fn nobody_is_left_in_a_barrier_at_any_step() {
    // For how many it is; of whom one sits here, and one dies.
    let cases = [
        ("sits", 3, Err(BarrierError::Broken)),
        ("come", 3, Err(BarrierError::Broken)),
        ("come", 2, Err(BarrierError::Broken)),
        ("broken", 3, Err(BarrierError::Broken)),
        ("departed", 2, Ok(())),
        ("woken", 2, Ok(())),
    ];
    test(async move {
        for task in [true, false] {
            for (place, parties, expected) in cases {
                let barrier = Barrier::new(parties).unwrap();
                let (one, two) = (barrier.clone(), barrier.clone());
                let waits = tokio::spawn(here(
                    task,
                    async move { one.wait().await.map(drop) },
                    move || two.blocking_wait().map(drop),
                ));
                until(|| barrier.waiting() == 1).await;
                let call = sit(barrier.clone(), task, place == "broken");
                let victim = Victim::start(place, 1, call).await;
                assert_eq!(waits.await.unwrap(), expected, "{place}, {parties}");
                victim.end().await;
                assert_eq!(barrier.is_broken(), expected.is_err());
            }
            // One that has not come yet breaks nothing.
            let barrier = Barrier::new(2).unwrap();
            Victim::start("entered", 1, sit(barrier.clone(), task, false)).await.end().await;
            let (here, other) = tokio::join!(barrier.wait(), barrier.wait());
            assert!(here.unwrap().is_leader() != other.unwrap().is_leader());
        }
    });
}
