//! Runtimes of every kind, several at a time, and their end.

mod common;
mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kit::{Gate, add, double, hold, hold_async, pids, pool, square};
use procpool::{ErrorKind, ProcessPool};

procpool::test_hook!();

#[procpool::task]
fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

async fn everything(pool: &ProcessPool) {
    assert_eq!(pool.run(square(3)).await.unwrap(), 9);
    assert_eq!(pool.spawn(double(3)).await.unwrap(), 6);
    assert_eq!(pool.map(square, 0..100).await.unwrap().len(), 100);
    assert_eq!(pool.map_async(add, (0..10).map(|x| (x, x))).await.unwrap()[9], 18);
    let mut results = pool.imap(double, 0..10);
    for x in 0..10 {
        assert_eq!(results.next().await.unwrap().unwrap(), 2 * x);
    }
    let slow = pool.run(square(4)).timeout(common::HANG).await;
    assert_eq!(slow.unwrap(), 16);
}

#[test]
fn every_flavour_works() {
    async fn body() {
        let pool = pool(2).await;
        everything(&pool).await;
        pool.shutdown().await.unwrap();
    }
    common::run(body);
    common::run_current_thread(body);
}

/// Runs `f` with a runtime of its own on a thread of its own.
async fn elsewhere<R: Send + 'static>(
    current_thread: bool,
    f: impl FnOnce(tokio::runtime::Runtime) -> R + Send + 'static,
) -> R {
    let thread = std::thread::spawn(move || {
        let mut builder = if current_thread {
            tokio::runtime::Builder::new_current_thread()
        } else {
            tokio::runtime::Builder::new_multi_thread()
        };
        f(builder.enable_all().build().unwrap())
    });
    tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap()
}

#[test]
fn a_pool_is_used_from_another_runtime() {
    common::run(|| async {
        let pool = pool(2).await;
        for current_thread in [true, false] {
            let theirs = pool.clone();
            let here = everything(&pool);
            let there =
                elsewhere(current_thread, move |runtime| runtime.block_on(everything(&theirs)));
            tokio::join!(here, there);
        }
        everything(&pool).await;
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn calls_are_submitted_outside_any_runtime() {
    common::run(|| async {
        let pool = pool(1).await;
        let theirs = pool.clone();
        let thread = std::thread::spawn(move || {
            let calls = [theirs.spawn(square(3)), theirs.apply_async(square, 4)];
            (calls, theirs.try_spawn(square(5)).unwrap(), theirs.map_async(square, 6..7))
        });
        let (calls, tried, mapped) = thread.join().unwrap();
        let [a, b] = calls;
        assert_eq!((a.await.unwrap(), b.await.unwrap(), tried.await.unwrap()), (9, 16, 25));
        assert_eq!(mapped.await.unwrap(), [36]);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn the_end_of_a_pools_runtime_ends_its_calls_with_an_error() {
    common::run(|| async {
        for current_thread in [true, false] {
            let gate = Gate::new("runtime-gone");
            let path = gate.path();
            let (pool, workers, calls, map) = elsewhere(current_thread, move |runtime| {
                let pool = runtime.block_on(pool(2));
                let workers = pids(&pool);
                let calls: Vec<_> = (0..10)
                    .map(|x| {
                        if x == 0 {
                            pool.spawn(hold_async(path.clone(), x))
                        } else {
                            pool.spawn(hold(path.clone(), x))
                        }
                    })
                    .collect();
                let map = pool.map_async(square, 0..10);
                let log = std::path::Path::new(&path).join("log");
                runtime.block_on(common::eventually("two have begun", || {
                    std::fs::read_to_string(&log).is_ok_and(|l| l.lines().count() >= 2)
                }));
                drop(runtime);
                (pool, workers, calls, map)
            })
            .await;
            for call in calls {
                let error = call.await.unwrap_err();
                assert!(error.is_closed(), "{error}");
                assert!(matches!(error.kind(), ErrorKind::RuntimeGone), "{error}");
            }
            assert!(map.await.is_err());
            for pid in workers {
                common::eventually("the worker is gone", || !common::os::is_alive(pid)).await;
            }
            // And whoever comes later is told at once.
            for error in [
                pool.run(square(1)).await.unwrap_err(),
                pool.spawn(square(1)).await.unwrap_err(),
                pool.map(square, 0..3).await.unwrap_err(),
            ] {
                assert!(matches!(error.kind(), ErrorKind::RuntimeGone), "{error}");
                assert!(error.to_string().contains("runtime"), "{error}");
            }
            pool.close();
            pool.join().await.unwrap();
        }
    });
}

#[test]
fn the_end_of_another_runtime_changes_nothing() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("other-runtime");
        let (theirs, path) = (pool.clone(), gate.path());
        let detached = elsewhere(false, move |runtime| {
            let run = theirs.run(hold(path, 1));
            let detached = theirs.spawn(square(5));
            // Dropped with its runtime, so cancelled.
            runtime.spawn(run);
            drop(runtime);
            detached
        })
        .await;
        assert_eq!(detached.await.unwrap(), 25);
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn the_calling_thread_is_free_while_large_arguments_travel() {
    common::run_current_thread(|| async {
        let pool = pool(1).await;
        let ticks = Arc::new(AtomicUsize::new(0));
        let counter = ticks.clone();
        let ticker = tokio::spawn(async move {
            let mut interval = tokio::time::interval(Duration::from_millis(1));
            loop {
                interval.tick().await;
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        for round in 0..4_u8 {
            let bytes = vec![round; 64 << 20];
            let before = ticks.load(Ordering::Relaxed);
            let back = pool.run(echo(bytes)).await.unwrap();
            let during = ticks.load(Ordering::Relaxed) - before;
            assert!(during >= 2, "only {during} ticks while 128 MiB went by");
            assert_eq!(back.len(), 64 << 20);
            assert!(back[0] == round && back[back.len() - 1] == round);
        }
        ticker.abort();
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_blocked_runtime_does_not_hold_deadlines_up() {
    common::run_current_thread(|| async {
        let pool = pool(1).await;
        let worker = pids(&pool)[0];
        let gate = Gate::new("blocked-runtime");
        let call = pool.run(hold(gate.path(), 0)).run_timeout(Duration::from_millis(50)).spawn();
        gate.arrived(1).await;
        // This is the only thread of the runtime, and it does not give it back.
        let deadline = std::time::Instant::now() + common::HANG / 2;
        while common::os::is_alive(worker) {
            assert!(std::time::Instant::now() < deadline, "nobody stopped the call");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(call.await.unwrap_err().is_timeout());
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn several_pools_live_side_by_side() {
    common::run(|| async {
        let (one, two) = tokio::join!(pool(1), pool(2));
        tokio::join!(everything(&one), everything(&two));
        one.shutdown().await.unwrap();
        everything(&two).await;
        two.shutdown().await.unwrap();
    });
}

#[test]
fn a_dropped_build_leaves_nothing() {
    common::run(|| async {
        for _ in 0..5 {
            let build = kit::builder(3).build();
            // Begun, and given up somewhere on the way.
            let _ = tokio::time::timeout(Duration::from_millis(1), build).await;
        }
        let mut build = Box::pin(kit::builder(2).build());
        let first = futures::poll!(&mut build);
        assert!(first.is_pending());
        drop(build);
    });
}

#[test]
fn timeouts_need_no_timers_of_the_caller() {
    common::run(|| async {
        let gate = Gate::new("foreign-timeouts");
        let pool = pool(1).await;
        let mine = pool.clone();
        let path = gate.path();
        let foreign = std::thread::spawn(move || {
            futures::executor::block_on(async move {
                let short = Duration::from_millis(20);
                assert_eq!(mine.run(square(3)).timeout(common::HANG).await.unwrap(), 9);
                assert_eq!(mine.map(square, 0..3).timeout(common::HANG).await.unwrap(), [0, 1, 4]);
                let mut held = mine.spawn(hold(path.clone(), 1));
                assert!(!held.wait(short).await);
                assert!(held.get_timeout(short).await.is_none());
                let mut held = mine.imap(square, 0..1);
                assert!(held.next_timeout(short).await.is_err());
                assert!(mine.map(square, 0..3).timeout(short).await.unwrap_err().is_timeout());
            });
        });
        tokio::task::spawn_blocking(|| foreign.join().unwrap()).await.unwrap();
        gate.open();
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_runtime_that_ends_while_a_worker_is_replaced_is_noticed() {
    common::run(|| async {
        for micros in [0, 100, 200, 500, 1000, 2000, 5000] {
            let pool = elsewhere(false, move |runtime| {
                let pool = runtime.block_on(kit::pool(1));
                common::os::kill(pids(&pool)[0]);
                // How far supervision has come by then is what the rounds differ in.
                let end = std::time::Instant::now() + Duration::from_micros(micros);
                while std::time::Instant::now() < end {
                    std::hint::spin_loop();
                }
                drop(runtime);
                pool
            })
            .await;
            let error = pool.run(square(2)).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::RuntimeGone), "{micros} us: {error:?}");
        }
    });
}

/// The worker has said hello in time; only nobody was there to hear it.
#[test]
fn a_blocked_runtime_does_not_give_up_a_starting_worker() {
    common::run(|| async {
        elsewhere(true, |runtime| {
            let gate = Gate::new("blocked-start");
            let pool = runtime.block_on(kit::pool(1));
            runtime.block_on(async {
                let hold = pool.run(hold(gate.path(), 1)).timeout(Duration::from_millis(50));
                assert!(hold.await.unwrap_err().is_timeout());
            });
            // The program does something else, for longer than a hello may take.
            std::thread::sleep(Duration::from_secs(6));
            assert_eq!(runtime.block_on(async { pool.run(square(3)).await.unwrap() }), 9);
            assert_eq!(pool.stats().restarts.failed_start, 0);
            runtime.block_on(pool.shutdown()).unwrap();
        })
        .await;
    });
}

#[test]
fn the_end_of_a_detached_map_has_its_true_cause() {
    common::run(|| async {
        let (cancelled, lost, _pool) = elsewhere(false, |runtime| {
            runtime.block_on(async {
                let gate = Gate::new("map-end");
                let pool = kit::pool(1).await;
                let broken = (0..3_u64).inspect(|x| assert_ne!(*x, 1, "the input is broken"));
                let error = pool.map_async(square, broken).await.unwrap_err();
                assert!(matches!(error.kind(), ErrorKind::Input { .. }), "{error:?}");
                assert!(error.to_string().contains("the input is broken"), "{error}");
                let path = gate.path();
                let aborted = pool.map_async(hold, [(path.clone(), 1)]);
                gate.arrived(1).await;
                aborted.abort();
                let lost = pool.map_async(hold, [(path, 2)]);
                (aborted.await.unwrap_err(), lost, pool)
            })
        })
        .await;
        assert!(cancelled.is_cancelled(), "{cancelled:?}");
        let error = lost.await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::RuntimeGone), "{error:?}");
    });
}

/// Whoever waits with a limit on a runtime of his own hears of it as everybody does.
#[test]
fn limits_outlive_the_pools_runtime() {
    common::run(|| async {
        let gate = Gate::new("limits-outlive");
        let path = gate.path();
        let (runtime, pool) = elsewhere(false, |runtime| {
            let pool = runtime.block_on(kit::builder(1).queue_capacity(1).build()).unwrap();
            (runtime, pool)
        })
        .await;
        let mut held = pool.spawn(hold(path, 1));
        gate.arrived(1).await;
        let _queued = pool.spawn(square(1));
        let (mine, other) = (pool.clone(), pool.clone());
        let in_line = tokio::spawn(async move { mine.run(square(2)).timeout(common::HANG).await });
        let map = tokio::spawn(async move { other.map(square, 0..3).timeout(common::HANG).await });
        assert!(!held.wait(Duration::from_millis(50)).await);
        tokio::task::spawn_blocking(move || drop(runtime)).await.unwrap();
        let error = in_line.await.unwrap().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::RuntimeGone), "{error:?}");
        let error = map.await.unwrap().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::RuntimeGone), "{error:?}");
        assert!(held.wait(common::HANG).await);
        assert!(held.get_timeout(common::HANG).await.unwrap().is_err());
    });
}
