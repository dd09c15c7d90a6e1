//! A pool's life: its size, its ways to end, its workers' replacement.

mod common;
mod kit;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use common::os::{self, Death};
use kit::{
    Gate, builder, count_up, die_by, exit, hold, hold_async, mark, pid, pids, pool, square, whoami,
};
use procpool::{ErrorKind, ProcessPool, RestartPolicy, Stderr, WorkerStatus};

procpool::test_hook!();

async fn gone(pids: &[u32]) {
    for pid in pids {
        common::eventually("the worker is gone", || !os::is_alive(*pid)).await;
    }
}

#[test]
fn a_pool_has_the_workers_it_was_told() {
    common::run(|| async {
        for n in [1, 3] {
            let pool = builder(n).name("crew").build().await.unwrap();
            let workers = pool.workers();
            assert_eq!(workers.len(), n);
            assert_eq!(pids(&pool).iter().collect::<HashSet<_>>().len(), n);
            let mut names: Vec<String> = workers.iter().map(|w| w.name.clone()).collect();
            names.sort();
            assert_eq!(names, (1..=n).map(|i| format!("crew-{i}")).collect::<Vec<_>>());
            assert!(workers.iter().all(|w| w.status == WorkerStatus::Idle && w.calls == 0));
            for pid in pids(&pool) {
                assert_eq!(os::parent(pid), Some(std::process::id()));
            }
            pool.shutdown().await.unwrap();
        }
    });
}

#[test]
fn the_default_size_is_the_cpus_that_may_be_used() {
    common::run(|| async {
        let pool = ProcessPool::new().await.unwrap();
        let cpus = std::thread::available_parallelism().unwrap().get();
        assert_eq!(pool.stats().workers, cpus);
        assert_eq!(pids(&pool).len(), cpus);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_closed_pool_takes_no_more_and_finishes_what_it_has() {
    common::run(|| async {
        let pool = pool(2).await;
        let gate = Gate::new("close");
        let calls: Vec<_> = (0..50).map(|x| pool.spawn(hold(gate.path(), x))).collect();
        pool.close();
        pool.close();
        assert!(format!("{pool:?}").contains("closing"), "{pool:?}");
        for error in [
            pool.run(square(1)).await.unwrap_err(),
            pool.spawn(square(1)).await.unwrap_err(),
            pool.map(square, 0..2).await.unwrap_err(),
            pool.map_async(square, 0..2).await.unwrap_err(),
        ] {
            assert!(error.is_closed(), "{error}");
            assert!(error.is_safe_to_retry(), "elsewhere");
        }
        gate.open();
        for (x, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), x as u64);
        }
        pool.join().await.unwrap();
        pool.join().await.unwrap();
        assert!(pool.workers().is_empty());
        assert!(format!("{pool:?}").contains("finished"), "{pool:?}");
    });
}

#[test]
fn join_wants_a_closed_pool() {
    common::run(|| async {
        let pool = pool(1).await;
        let error = pool.join().await.unwrap_err();
        let ErrorKind::InvalidOption { allowed, .. } = error.kind() else { panic!("{error}") };
        assert!(allowed.contains("close"), "{error}");
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        pool.close();
        pool.join().await.unwrap();
    });
}

#[test]
fn shutdown_waits_for_more_work_than_workers() {
    common::run(|| async {
        for workers in [1, 3] {
            let pool = pool(workers).await;
            let before = pids(&pool);
            let calls: Vec<_> = (0..50).map(|x| pool.spawn(square(x))).collect();
            let doubled: Vec<_> = (0..50).map(|x| pool.spawn(kit::double(x))).collect();
            pool.shutdown().await.unwrap();
            assert!(before.iter().all(|pid| !os::is_alive(*pid)));
            for (x, call) in calls.into_iter().enumerate() {
                assert_eq!(call.await.unwrap(), (x * x) as u64);
            }
            for (x, call) in doubled.into_iter().enumerate() {
                assert_eq!(call.await.unwrap(), 2 * x as u64);
            }
        }
    });
}

#[test]
fn shutdown_at_once_from_several_sides_is_fine() {
    common::run(|| async {
        let pool = pool(2).await;
        let ends: Vec<_> = (0..4)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move { pool.shutdown().await })
            })
            .collect();
        for end in ends {
            end.await.unwrap().unwrap();
        }
        assert!(pool.run(square(1)).await.unwrap_err().is_closed());
    });
}

#[test]
fn terminate_ends_ten_thousand_waiting_calls_at_once() {
    common::run(|| async {
        for kill in [false, true] {
            let pool = pool(2).await;
            let before = pids(&pool);
            let gate = Gate::new("terminate");
            let calls: Vec<_> = (0..10_000).map(|x| pool.spawn(hold(gate.path(), x))).collect();
            gate.arrived(2).await;
            if kill {
                pool.kill();
            } else {
                pool.terminate();
            }
            for call in calls {
                assert!(call.await.unwrap_err().is_closed());
            }
            pool.join().await.unwrap();
            assert!(before.iter().all(|pid| !os::is_alive(*pid)));
            assert!(pool.run(square(1)).await.unwrap_err().is_closed());
            assert!(gate.log().len() <= 2, "none but the first two ever began");
            // Again, and in every order, changes nothing.
            pool.terminate();
            pool.kill();
            pool.close();
            pool.shutdown().await.unwrap();
        }
    });
}

#[procpool::task]
fn deaf(gate: String) -> u64 {
    os::ignore_requests_to_end();
    kit::stay(&gate, "deaf");
    0
}

#[test]
fn terminate_does_not_wait_for_the_deaf() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("deaf");
        let call = pool.spawn(deaf(gate.path()));
        gate.arrived(1).await;
        pool.terminate();
        assert!(call.await.unwrap_err().is_closed());
        // What it cannot ignore follows by itself.
        pool.join().await.unwrap();
    });
}

#[test]
fn terminate_after_workers_died_is_fine() {
    common::run(|| async {
        for kill in [false, true] {
            let pool = builder(2).stderr(Stderr::Null).build().await.unwrap();
            for pid in pids(&pool) {
                os::kill(pid);
            }
            if kill {
                pool.kill()
            } else {
                pool.terminate()
            }
            pool.join().await.unwrap();
            assert!(pool.spawn(square(1)).await.unwrap_err().is_closed());
        }
    });
}

#[test]
fn no_replacement_escapes_a_kill() {
    common::run(|| async {
        for round in 0..10 {
            let pool =
                builder(2).max_tasks_per_worker(1).stderr(Stderr::Null).build().await.unwrap();
            let calls: Vec<_> = (0..20).map(|x| pool.spawn(pid(x))).collect();
            let mut calls = calls.into_iter();
            // Somewhere between two replacements.
            for call in calls.by_ref().take(round) {
                call.await.unwrap();
            }
            pool.kill();
            for call in calls {
                if let Err(error) = call.await {
                    assert!(error.is_closed(), "{error}");
                }
            }
            pool.join().await.unwrap();
            assert!(pool.workers().is_empty());
            assert!(os::children().is_empty(), "{:?}", os::children());
        }
    });
}

#[test]
fn dropping_the_last_handle_kills_what_runs() {
    common::run(|| async {
        let pool = pool(2).await;
        let before = pids(&pool);
        let gate = Gate::new("drop");
        let mut done = pool.spawn(square(4));
        assert!(done.wait(common::HANG).await);
        let running = pool.spawn(hold(gate.path(), 0));
        gate.arrived(1).await;
        let clone = pool.clone();
        drop(pool);
        assert_eq!(clone.run(square(5)).await.unwrap(), 25, "a clone keeps it going");
        drop(clone);
        assert!(running.await.unwrap_err().is_closed());
        assert_eq!(done.await.unwrap(), 16, "what was there stays");
        gone(&before).await;
    });
}

#[test]
fn dropping_a_pool_while_its_last_worker_retires_fails_the_rest_promptly() {
    common::run(|| async {
        for _ in 0..5 {
            let pool = builder(1).max_tasks_per_worker(1).build().await.unwrap();
            let calls: Vec<_> = (0..10).map(|x| pool.spawn(square(x))).collect();
            let mut calls = calls.into_iter();
            calls.next().unwrap().await.unwrap();
            drop(pool);
            for call in calls {
                if let Err(error) = call.await {
                    assert!(error.is_closed(), "{error}");
                }
            }
        }
    });
}

#[test]
fn close_without_waiting_cleans_up_in_the_background() {
    common::run(|| async {
        for tasks in [1, 1_000] {
            let pool = builder(2).max_tasks_per_worker(tasks).build().await.unwrap();
            let before = pids(&pool);
            let calls: Vec<_> = (0..20).map(|x| pool.spawn(square(x))).collect();
            pool.close();
            for (x, call) in calls.into_iter().enumerate() {
                assert_eq!(call.await.unwrap(), (x * x) as u64);
            }
            gone(&before).await;
            common::eventually("all workers leave", || pool.workers().is_empty()).await;
        }
    });
}

#[test]
fn submitting_cancelling_and_shutting_down_does_not_hang() {
    common::run(|| async {
        for _ in 0..5 {
            let pool = pool(2).await;
            let gate = Gate::new("cancel-shutdown");
            let started = pool.spawn(hold(gate.path(), 0));
            gate.arrived(1).await;
            let calls: Vec<_> = (0..50).map(|x| pool.spawn(hold(gate.path(), x))).collect();
            pool.close();
            // Cancel what has not begun; what has is finished.
            let (kept, cancelled): (Vec<_>, Vec<_>) =
                calls.into_iter().enumerate().partition(|(i, _)| i % 10 == 0);
            for (_, call) in &cancelled {
                call.abort();
            }
            for (_, call) in cancelled {
                assert!(call.await.unwrap_err().is_cancelled());
            }
            gate.open();
            assert_eq!(started.await.unwrap(), 0);
            for (x, call) in kept {
                assert_eq!(call.await.unwrap(), x as u64);
            }
            pool.shutdown().await.unwrap();
        }
    });
}

#[test]
fn a_program_exits_with_a_pool_it_never_closed() {
    const ROLE: &str = "TEST_FORGETS_ITS_POOL";
    let end = |how: &str| -> ! {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let pool = runtime.block_on(pool(2));
        for pid in pids(&pool) {
            println!("worker {pid}");
        }
        let gate = Gate::new("forgotten");
        let running = pool.spawn(hold(gate.path(), 0));
        runtime.block_on(gate.arrived(1));
        match how {
            "forget" => std::mem::forget((pool, running, runtime)),
            "drop runtime" => drop((runtime, pool, running)),
            "close" => {
                pool.close();
                std::mem::forget((pool, running));
            }
            _ => drop((pool, running)),
        }
        drop(gate);
        std::process::exit(0)
    };
    if let Ok(how) = std::env::var(ROLE) {
        end(&how);
    }
    common::run(|| async {
        for how in ["forget", "drop runtime", "close", "drop pool"] {
            let program = os::this_program("a_program_exits_with_a_pool_it_never_closed")
                .env(ROLE, how)
                .output();
            let output = program.unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(output.status.code(), Some(0), "{how}: {output:?}");
            let workers: Vec<u32> =
                text.lines().filter_map(|l| l.strip_prefix("worker ")?.parse().ok()).collect();
            assert_eq!(workers.len(), 2, "{text}");
            gone(&workers).await;
        }
    });
}

// Replacement.

#[test]
fn workers_are_replaced_after_their_tasks() {
    common::run(|| async {
        let pool = builder(1).max_tasks_per_worker(3).build().await.unwrap();
        let mut served: HashMap<_, u64> = HashMap::new();
        for x in 0..30 {
            let (who, n) = pool.run(count_up(x)).await.unwrap();
            served.insert(who, n);
            assert!(pids(&pool).len() <= 2, "one, and one that leaves");
        }
        assert_eq!(served.len(), 10);
        assert!(served.values().all(|n| *n == 3), "{served:?}");
        common::eventually("the last was replaced", || {
            pool.stats().restarts.recycled == 10 && pool.stats().ready == 1
        })
        .await;
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn replaced_workers_lose_no_result() {
    common::run(|| async {
        let pool = builder(2).max_tasks_per_worker(10).build().await.unwrap();
        let before: HashSet<u32> = pids(&pool).into_iter().collect();
        let calls: Vec<_> = (0..200).map(|x| pool.spawn(square(x))).collect();
        let squares = pool.map(square, 0..200).chunk_size(1).await.unwrap();
        assert!(squares.iter().enumerate().all(|(i, x)| *x == (i * i) as u64));
        for (x, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), (x * x) as u64);
        }
        common::eventually("two fresh workers", || {
            let now: HashSet<u32> = pids(&pool).into_iter().collect();
            pool.stats().ready == 2 && now.is_disjoint(&before)
        })
        .await;
        assert_eq!(pool.map(square, 0..5).await.unwrap(), [0, 1, 4, 9, 16]);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_backlog_outlives_workers_of_one_task() {
    common::run(|| async {
        let pool = builder(2).max_tasks_per_worker(1).build().await.unwrap();
        let calls: Vec<_> = (0..60).map(|x| pool.spawn(whoami(x))).collect();
        let slow: Vec<_> = (0..10).map(|x| pool.spawn(kit::double(x))).collect();
        let mut seen = HashSet::new();
        for call in calls {
            assert!(seen.insert(call.await.unwrap()), "each has its own worker");
        }
        for (x, call) in slow.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), 2 * x as u64);
        }
        // Closed with a backlog, too.
        let calls: Vec<_> = (0..20).map(|x| pool.spawn(whoami(x))).collect();
        pool.shutdown().await.unwrap();
        for call in calls {
            assert!(seen.insert(call.await.unwrap()));
        }
    });
}

#[procpool::task]
fn leak(mib: usize) -> u32 {
    std::mem::forget(std::hint::black_box(vec![1_u8; mib << 20]));
    std::process::id()
}

#[test]
fn workers_are_replaced_when_they_grow() {
    common::run(|| async {
        let pool = builder(1).max_worker_memory(256 << 20).build().await.unwrap();
        let first = pool.run(leak(1)).await.unwrap();
        assert_eq!(pool.run(leak(1)).await.unwrap(), first, "it is small");
        assert_eq!(pool.run(leak(300)).await.unwrap(), first);
        assert_ne!(pool.run(leak(1)).await.unwrap(), first);
        gone(&[first]).await;
        common::eventually("it is counted", || pool.stats().restarts.recycled == 1).await;
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn workers_are_replaced_when_they_are_old() {
    common::run(|| async {
        let pool = builder(1).max_worker_age(Duration::from_millis(100)).build().await.unwrap();
        let first = pids(&pool)[0];
        let gate = Gate::new("age");
        let busy = pool.spawn(hold(gate.path(), 7));
        gate.arrived(1).await;
        gate.open();
        assert_eq!(busy.await.unwrap(), 7, "age does not stop a call");
        common::eventually("it is replaced", || {
            pool.stats().restarts.recycled > 0 && !pids(&pool).contains(&first)
        })
        .await;
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn resize_starts_and_retires_workers() {
    common::run(|| async {
        let pool = pool(1).await;
        pool.resize(3).unwrap();
        common::eventually("three are ready", || pool.stats().ready == 3).await;
        let gate = Gate::new("resize");
        let calls: Vec<_> = (0..3).map(|x| pool.spawn(hold(gate.path(), x))).collect();
        gate.arrived(3).await;
        // The surplus finishes what it does.
        pool.resize(1).unwrap();
        assert_eq!(pool.stats().workers, 1);
        gate.open();
        for (x, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), x as u64);
        }
        common::eventually("one is left", || pool.workers().len() == 1).await;
        for bad in [0, 4097, usize::MAX] {
            let error = pool.resize(bad).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::InvalidOption { option: "workers", .. }));
        }
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        // Up and down while new ones are still starting.
        for n in [4, 1, 3, 2, 1] {
            pool.resize(n).unwrap();
        }
        common::eventually("one is left", || pool.workers().len() == 1).await;
        assert_eq!(pool.run(square(4)).await.unwrap(), 16);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn killed_workers_are_replaced() {
    common::run(|| async {
        let pool = builder(2).stderr(Stderr::Null).build().await.unwrap();
        // Idle ones.
        let before = pids(&pool);
        for pid in &before {
            os::kill(*pid);
        }
        let squares = pool.map(square, 0..100).chunk_size(1).await.unwrap();
        assert!(squares.iter().enumerate().all(|(i, x)| *x == (i * i) as u64));
        common::eventually("both are replaced", || {
            pool.stats().ready == 2 && pids(&pool).iter().all(|pid| !before.contains(pid))
        })
        .await;
        // A busy one: its call fails, the others do not.
        let gate = Gate::new("killed-busy");
        let call = pool.spawn(hold(gate.path(), 0));
        gate.arrived(1).await;
        let busy = pool.workers().into_iter().find(|w| w.status == WorkerStatus::Busy).unwrap();
        let others: Vec<_> = (0..20).map(|x| pool.spawn(square(x))).collect();
        os::ask_to_end(busy.pid.unwrap());
        let error = call.await.unwrap_err();
        assert!(os::ASKED.is_cause_of(&error), "{error}");
        assert_eq!(error.obituary().unwrap().pid, busy.pid.unwrap());
        for (x, other) in others.into_iter().enumerate() {
            assert_eq!(other.await.unwrap(), (x * x) as u64);
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn many_blocked_calls_start_no_more_workers_than_there_are() {
    common::run(|| async {
        let pool = pool(2).await;
        let gate = Gate::new("saturation");
        let calls: Vec<_> = (0..30).map(|x| pool.spawn(hold(gate.path(), x))).collect();
        gate.arrived(2).await;
        assert_eq!(pool.workers().len(), 2);
        assert_eq!(os::children().len(), 2);
        assert_eq!(gate.log().len(), 2);
        gate.open();
        for (x, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), x as u64);
        }
        assert_eq!(pool.stats().restarts.total(), 0);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn idle_workers_are_used_again() {
    common::run(|| async {
        let pool = pool(2).await;
        let workers = pids(&pool);
        for x in 0..20 {
            assert!(workers.contains(&pool.run(pid(x)).await.unwrap()));
            let (a, b) = tokio::join!(pool.run(pid(x)), pool.run(pid(x)));
            assert!(workers.contains(&a.unwrap()) && workers.contains(&b.unwrap()));
        }
        assert_eq!(pids(&pool), workers);
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn fail_if_marked(dir: String) -> Result<(), String> {
    if std::path::Path::new(&dir).join("broken").exists() {
        return Err("the disk is full".to_owned());
    }
    Ok(())
}

#[test]
fn a_pool_that_gets_no_replacement_says_why_and_recovers() {
    common::run(|| async {
        let gate = Gate::new("no-replacement");
        let broken = std::path::Path::new(&gate.path()).join("broken");
        let pool = builder(1)
            .initializer(fail_if_marked, gate.path())
            .restart(
                RestartPolicy::default()
                    .initial_backoff(Duration::from_millis(1))
                    .max_backoff(Duration::from_millis(5))
                    .max_failed_starts(3),
            )
            .stderr(Stderr::Capture)
            .build()
            .await
            .unwrap();
        std::fs::write(&broken, "").unwrap();
        let dead = pool.spawn(exit(1));
        let pending: Vec<_> = (0..10).map(|x| pool.spawn(square(x))).collect();
        assert!(dead.await.unwrap_err().is_worker_died());
        for call in pending {
            let error = call.await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Degraded), "{error}");
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains("the disk is full"), "{cause}");
            assert!(error.is_safe_to_retry());
        }
        let error = pool.run(square(1)).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Degraded), "{error}");
        // Attempts go on: once the cause is gone, so is the trouble.
        std::fs::remove_file(&broken).unwrap();
        common::eventually("a worker comes up", || pool.stats().ready == 1).await;
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        assert!(pool.stats().restarts.failed_start >= 3);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn shutdown_while_calls_of_all_kinds_are_under_way() {
    common::run(|| async {
        let pool = builder(2).stderr(Stderr::Null).build().await.unwrap();
        let gate = Gate::new("all-kinds");
        let blocking = pool.spawn(hold(gate.path(), 1));
        let asynchronous = pool.spawn(hold_async(gate.path(), 2));
        let dying = pool.spawn(die_by(Death::Kill));
        let marked = pool.map_async(mark, (0..20).map(|x| (String::new(), x)).take(0));
        gate.arrived(2).await;
        pool.close();
        gate.open();
        assert_eq!(blocking.await.unwrap(), 1);
        assert_eq!(asynchronous.await.unwrap(), 2);
        assert!(Death::Kill.is_cause_of(&dying.await.unwrap_err()));
        assert!(marked.await.is_ok_and(|all| all.is_empty()));
        pool.shutdown().await.unwrap();
    });
}
