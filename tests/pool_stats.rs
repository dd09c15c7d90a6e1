//! What a pool tells about itself.

mod common;
mod kit;

use std::time::Duration;

use kit::{Gate, boom, builder, exit, hold, pool, square};
use procpool::{PoolStats, ProcessPool, Stderr, WorkerStatus};

procpool::test_hook!();

/// Every call is counted exactly once.
fn assert_adds_up(stats: &PoolStats) {
    let known = stats.done + stats.failed + stats.cancelled;
    let open = (stats.queued + stats.running) as u64;
    assert_eq!(known + open, stats.submitted, "{stats:#?}");
}

async fn settled(pool: &ProcessPool) -> PoolStats {
    common::eventually("no call is open", || {
        let stats = pool.stats();
        stats.queued == 0 && stats.running == 0
    })
    .await;
    pool.stats()
}

#[test]
fn every_end_of_a_call_is_counted_once() {
    common::run(|| async {
        let pool = builder(1).stderr(Stderr::Null).build().await.unwrap();
        let counts = |s: PoolStats| (s.submitted, s.done, s.failed, s.cancelled);
        assert_eq!(counts(pool.stats()), (0, 0, 0, 0));

        pool.run(square(1)).await.unwrap();
        assert_eq!(counts(settled(&pool).await), (1, 1, 0, 0));
        pool.run(boom("x".into())).await.unwrap_err();
        assert_eq!(counts(settled(&pool).await), (2, 1, 1, 0));
        pool.run(exit(1)).await.unwrap_err();
        assert_eq!(counts(settled(&pool).await), (3, 1, 2, 0));

        let gate = Gate::new("stats");
        let first = pool.spawn(hold(gate.path(), 0));
        gate.arrived(1).await;
        let late = pool.run(square(1)).timeout(Duration::from_millis(10));
        assert!(late.await.unwrap_err().is_timeout());
        assert_eq!(counts(pool.stats()), (5, 1, 3, 0));
        let unwanted = pool.spawn(square(1));
        unwanted.abort();
        unwanted.await.unwrap_err();
        assert_eq!(counts(pool.stats()), (6, 1, 3, 1));
        assert_adds_up(&pool.stats());
        first.abort();
        first.await.unwrap_err();
        assert_eq!(counts(settled(&pool).await), (6, 1, 3, 2));

        let stuck = Gate::new("stats-stuck");
        let slow = pool.run(hold(stuck.path(), 0)).run_timeout(Duration::from_millis(10));
        slow.await.unwrap_err();
        assert_eq!(counts(settled(&pool).await), (7, 1, 4, 2));
        // What is refused was never taken.
        pool.run(square(1)).timeout(Duration::ZERO).await.unwrap_err();
        assert_eq!(counts(pool.stats()), (7, 1, 4, 2));

        let open: Vec<_> = (0..5).map(|x| pool.spawn(hold(stuck.path(), x))).collect();
        assert_adds_up(&pool.stats());
        pool.terminate();
        for call in open {
            call.await.unwrap_err();
        }
        let stats = pool.stats();
        assert_adds_up(&stats);
        assert_eq!((stats.submitted, stats.done), (12, 1));
        pool.join().await.unwrap();
    });
}

#[test]
fn the_counts_of_maps_add_up() {
    common::run(|| async {
        let pool = builder(2).stderr(Stderr::Null).build().await.unwrap();
        let moody = procpool::task_fn!(|x: u64| -> u64 {
            match x % 10 {
                3 => panic!("three"),
                7 => std::process::exit(1),
                _ => x,
            }
        });
        for n in [1, 4, 100] {
            let results = pool.try_map(moody, 0..30).chunk_size(n).await.unwrap();
            assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 24);
            assert_adds_up(&settled(&pool).await);
            pool.map(moody, 0..30).chunk_size(n).await.unwrap_err();
            assert_adds_up(&settled(&pool).await);
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn queued_and_running_show_where_calls_are() {
    common::run(|| async {
        let pool = pool(2).await;
        let gate = Gate::new("stats-open");
        let calls: Vec<_> = (0..10).map(|x| pool.spawn(hold(gate.path(), x))).collect();
        gate.arrived(2).await;
        let stats = pool.stats();
        assert_eq!((stats.workers, stats.ready), (2, 2));
        assert_eq!((stats.running, stats.queued, stats.submitted), (2, 8, 10));
        let workers = pool.workers();
        assert!(workers.iter().all(|w| w.status == WorkerStatus::Busy && w.calls == 1));
        gate.open();
        for call in calls {
            call.await.unwrap();
        }
        let stats = settled(&pool).await;
        assert_eq!((stats.done, stats.wait.count(), stats.run.count()), (10, 10, 10));
        let workers = pool.workers();
        assert!(workers.iter().all(|w| w.status == WorkerStatus::Idle && w.calls == 0));
        assert_eq!(workers.iter().map(|w| w.served).sum::<u64>(), 10);
        pool.shutdown().await.unwrap();
        assert!(pool.workers().is_empty());
        assert_eq!(pool.stats().ready, 0);
    });
}

#[test]
fn restarts_are_counted_by_cause() {
    common::run(|| async {
        let pool = builder(1).stderr(Stderr::Null).build().await.unwrap();
        let ready = || async {
            common::eventually("the worker is replaced", || pool.stats().ready == 1).await;
        };
        pool.run(exit(1)).await.unwrap_err();
        ready().await;
        pool.run(square(1)).await.unwrap();
        common::os::kill(kit::pids(&pool)[0]);
        common::eventually("it is missed", || pool.stats().restarts.idle == 1).await;
        ready().await;
        let gate = Gate::new("stats-restarts");
        let call = pool.spawn(hold(gate.path(), 0));
        gate.arrived(1).await;
        call.abort();
        common::eventually("it is killed", || pool.stats().restarts.cancelled == 1).await;
        ready().await;
        pool.resize(2).unwrap();
        common::eventually("two are ready", || pool.stats().ready == 2).await;
        pool.resize(1).unwrap();
        common::eventually("one retires", || pool.stats().restarts.recycled == 1).await;
        let restarts = pool.stats().restarts;
        assert_eq!((restarts.crashed, restarts.failed_start, restarts.violation), (1, 0, 0));
        assert_eq!(restarts.total(), 4);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn debug_shows_state_and_size() {
    common::run(|| async {
        let pool = builder(2).name("painters").build().await.unwrap();
        let text = format!("{pool:?}");
        for part in ["ProcessPool", "painters", "open", "workers: 2", "ready: 2", "queued: 0"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        pool.close();
        pool.join().await.unwrap();
        assert!(format!("{pool:?}").contains("finished"), "{pool:?}");
        let builder = format!("{:?}", ProcessPool::builder().workers(7));
        assert!(builder.contains('7'), "{builder}");
    });
}
