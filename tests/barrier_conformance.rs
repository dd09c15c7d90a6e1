//! What Python's barriers promise, where `sync.rs` does not show it by the way.

mod common;
mod kit;

use std::time::Duration;

use kit::pool;
use procpool::{Barrier, BarrierError, BarrierPassed, ProcessPool, RawValue, SyncError};

procpool::test_hook!();

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(30);

/// How one waits: until it is told, or not so long.
type Limit = Option<Duration>;
type End = Result<(usize, bool), BarrierError>;

fn end(passed: Result<BarrierPassed, BarrierError>) -> End {
    passed.map(|passed| (passed.index(), passed.is_leader()))
}

/// What one has of a barrier in a worker; errors do not travel.
#[procpool::task]
fn wait(barrier: Barrier, limit: Limit) -> Result<(usize, bool), bool> {
    let passed = match limit {
        None => barrier.blocking_wait(),
        Some(limit) => barrier.blocking_wait_timeout(limit),
    };
    end(passed).map_err(|e| e == BarrierError::Broken)
}

/// Two workers, a thread and a task wait.
fn four_wait(
    pool: &ProcessPool,
    barrier: &Barrier,
    limit: Limit,
) -> Vec<tokio::task::JoinHandle<End>> {
    let mut all = Vec::new();
    for i in 0..4 {
        let barrier = barrier.clone();
        all.push(match i {
            0 | 1 => {
                let call = pool.spawn(wait(barrier, limit));
                tokio::spawn(async move {
                    call.get().await.unwrap().map_err(|broken| {
                        assert!(broken);
                        BarrierError::Broken
                    })
                })
            }
            2 => tokio::task::spawn_blocking(move || {
                end(match limit {
                    None => barrier.blocking_wait(),
                    Some(limit) => barrier.blocking_wait_timeout(limit),
                })
            }),
            _ => tokio::spawn(async move {
                end(match limit {
                    None => barrier.wait().await,
                    Some(limit) => barrier.wait_timeout(limit).await,
                })
            }),
        });
    }
    all
}

async fn all_find_it_broken(all: Vec<tokio::task::JoinHandle<End>>) {
    for one in all {
        assert_eq!(one.await.unwrap(), Err(BarrierError::Broken));
    }
}

/// Counts itself in, and finds after each trip that all have.
#[procpool::task]
fn march(barrier: Barrier, steps: RawValue<u64>, trips: u64) {
    let all = barrier.parties() as u64;
    for trip in 1..=trips {
        steps.fetch_add(1);
        barrier.blocking_wait().unwrap();
        assert_eq!(steps.get(), trip * all);
        barrier.blocking_wait().unwrap();
    }
}

#[test]
fn nobody_goes_on_before_the_last_has_come() {
    common::run(|| async {
        let (barrier, pool) = (Barrier::new(4).unwrap(), pool(2).await);
        let (steps, trips) = (RawValue::new(0u64).unwrap(), 50);
        let calls = [(); 2].map(|()| pool.spawn(march(barrier.clone(), steps.clone(), trips)));
        let call = march(barrier.clone(), steps.clone(), trips);
        let thread = tokio::task::spawn_blocking(move || call.run_here());
        for trip in 1..=trips {
            steps.fetch_add(1);
            barrier.wait().await.unwrap();
            assert_eq!(steps.get(), trip * 4);
            barrier.wait().await.unwrap();
        }
        thread.await.unwrap();
        for call in calls {
            call.get().await.unwrap();
        }
        assert_eq!((barrier.waiting(), barrier.parties(), barrier.is_broken()), (0, 4, false));
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn each_has_an_index_and_one_leads() {
    common::run(|| async {
        let (barrier, pool) = (Barrier::new(4).unwrap(), pool(2).await);
        for _ in 0..20 {
            let mut ends = Vec::new();
            for one in four_wait(&pool, &barrier, Some(LONG)) {
                ends.push(one.await.unwrap().unwrap());
            }
            ends.sort_unstable();
            assert_eq!(ends, [(0, false), (1, false), (2, false), (3, true)]);
        }
        pool.shutdown().await.unwrap();
    });
}

/// Runs the action, if it is to; and finds that it has been run.
#[procpool::task]
fn act(barrier: Barrier, acts: RawValue<u64>, trips: u64) {
    for trip in 1..=trips {
        barrier.blocking_wait_with(|| acts.set(acts.get() + 1)).unwrap();
        // Nobody can be two trips ahead.
        assert!((trip..=trip + 1).contains(&acts.get()));
    }
}

#[test]
fn the_action_is_run_once_before_anybody_goes_on() {
    common::run(|| async {
        let (barrier, pool) = (Barrier::new(3).unwrap(), pool(2).await);
        let (acts, trips) = (RawValue::new(0u64).unwrap(), 50);
        let calls = [(); 2].map(|()| pool.spawn(act(barrier.clone(), acts.clone(), trips)));
        for trip in 1..=trips {
            barrier.wait_with(|| acts.set(acts.get() + 1)).await.unwrap();
            assert!((trip..=trip + 1).contains(&acts.get()));
        }
        for call in calls {
            call.get().await.unwrap();
        }
        assert_eq!(acts.get(), trips);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn an_action_that_panics_breaks_it() {
    common::run(|| async {
        let barrier = Barrier::new(2).unwrap();
        let other = barrier.clone();
        let waits = tokio::spawn(async move { end(other.wait().await) });
        common::eventually("it waits", || barrier.waiting() == 1).await;
        let last = barrier.clone();
        let last = tokio::spawn(async move {
            let _ = last.wait_with(|| std::panic::resume_unwind(Box::new("as it is to"))).await;
        });
        assert!(last.await.unwrap_err().is_panic());
        assert_eq!(waits.await.unwrap(), Err(BarrierError::Broken));
        assert!(barrier.is_broken());
    });
}

#[test]
fn an_abort_breaks_it_for_all_until_it_is_reset() {
    common::run(|| async {
        let (barrier, pool) = (Barrier::new(5).unwrap(), pool(2).await);
        for _ in 0..3 {
            let all = four_wait(&pool, &barrier, None);
            common::eventually("four wait", || barrier.waiting() == 4).await;
            barrier.abort();
            all_find_it_broken(all).await;
            assert_eq!((barrier.is_broken(), barrier.waiting()), (true, 0));
            // For those who come, too.
            all_find_it_broken(four_wait(&pool, &barrier, Some(LONG))).await;
            barrier.reset();
            assert!(!barrier.is_broken());
            let all = four_wait(&pool, &barrier, None);
            let last = barrier.wait().await;
            assert!(last.is_ok());
            for one in all {
                one.await.unwrap().unwrap();
            }
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_reset_sends_away_those_that_wait_and_breaks_nothing() {
    common::run(|| async {
        let (barrier, pool) = (Barrier::new(5).unwrap(), pool(2).await);
        barrier.reset();
        let all = four_wait(&pool, &barrier, None);
        common::eventually("four wait", || barrier.waiting() == 4).await;
        barrier.reset();
        all_find_it_broken(all).await;
        assert_eq!((barrier.is_broken(), barrier.waiting()), (false, 0));
        let all = four_wait(&pool, &barrier, None);
        barrier.wait().await.unwrap();
        for one in all {
            one.await.unwrap().unwrap();
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn one_that_waits_too_long_breaks_it_for_all() {
    common::run(|| async {
        let (barrier, pool) = (Barrier::new(6).unwrap(), pool(2).await);
        for blocking in [true, false] {
            let all = four_wait(&pool, &barrier, None);
            common::eventually("four wait", || barrier.waiting() == 4).await;
            let hasty = barrier.clone();
            let hasty = if blocking {
                tokio::task::spawn_blocking(move || hasty.blocking_wait_timeout(SHORT)).await
            } else {
                tokio::spawn(async move { hasty.wait_timeout(SHORT).await }).await
            };
            assert_eq!(hasty.unwrap().unwrap_err(), BarrierError::Broken);
            all_find_it_broken(all).await;
            assert!(barrier.is_broken());
            barrier.reset();
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_barrier_may_have_a_limit_of_its_own() {
    common::run(|| async {
        let (barrier, pool) = (Barrier::with_timeout(5, SHORT).unwrap(), pool(2).await);
        // Some come so late that they find it broken.
        all_find_it_broken(four_wait(&pool, &barrier, None)).await;
        assert!(barrier.is_broken());
        let patient = Barrier::with_timeout(4, LONG).unwrap();
        for one in four_wait(&pool, &patient, None) {
            one.await.unwrap().unwrap();
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_barrier_for_one_never_waits() {
    common::run(|| async {
        let barrier = Barrier::new(1).unwrap();
        for _ in 0..3 {
            assert_eq!(end(barrier.wait().await), Ok((0, true)));
            assert_eq!(end(barrier.blocking_wait()), Ok((0, true)));
            assert_eq!(end(barrier.blocking_wait_timeout(Duration::ZERO)), Ok((0, true)));
        }
        assert!(Barrier::new(0).is_err() && Barrier::new(5000).is_err());
        let text = format!("{barrier:?}");
        assert_eq!(text, "Barrier { parties: 1, waiting: 0, broken: false }");
        assert_ne!(BarrierError::from(SyncError::Gone), BarrierError::Broken);
    });
}

#[test]
fn a_dropped_wait_is_as_if_it_had_not_come() {
    common::run(|| async {
        let barrier = Barrier::new(2).unwrap();
        let mut waits = Box::pin(barrier.wait());
        assert!(futures::poll!(&mut waits).is_pending());
        assert_eq!(barrier.waiting(), 1);
        drop(waits);
        assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
        let (one, two) = tokio::join!(barrier.wait(), barrier.wait());
        assert!(one.unwrap().is_leader() != two.unwrap().is_leader());
    });
}
