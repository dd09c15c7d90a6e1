//! What one call can be told: limits in time, retries, priority, a label,
//! progress, and what dropping it means.

mod common;
mod kit;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::{Gate, boom, builder, double, hold, hold_async, mark, pids, pool, square};
use procpool::{Error, ErrorKind, OnDrop, Progress, Stderr, TimeoutPhase, context};

procpool::test_hook!();

const SHORT: Duration = Duration::from_millis(20);

fn phase(error: &Error) -> TimeoutPhase {
    let ErrorKind::TimedOut { phase, .. } = error.kind() else { panic!("{error}") };
    *phase
}

#[procpool::task]
fn spin() -> u64 {
    let mut x = 1_u64;
    loop {
        x = std::hint::black_box(x.wrapping_mul(3));
        if x == 0 {
            return x;
        }
    }
}

#[procpool::task]
fn spin_if(x: u64) -> u64 {
    if x == 3 {
        loop {
            std::hint::spin_loop();
        }
    }
    x
}

#[procpool::task]
async fn wait_if(x: u64) -> u64 {
    if x == 3 {
        std::future::pending::<()>().await;
    }
    x
}

/// Fails in its own way until the attempt it is told.
#[procpool::task]
fn works_at(attempt: u32, dies: bool) -> u32 {
    let this = context().attempt();
    if this < attempt {
        if dies {
            std::process::exit(2);
        }
        panic!("attempt {this}");
    }
    this
}

#[test]
fn a_timeout_while_waiting_means_it_never_ran() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("timeout-queued");
        let first = pool.spawn(hold(gate.path(), 0));
        gate.arrived(1).await;
        let error = pool.run(mark(gate.path(), 1)).timeout(SHORT).await.unwrap_err();
        assert_eq!(phase(&error), TimeoutPhase::Queued);
        assert_eq!(error.progress(), Progress::NotBegun);
        assert!(error.is_safe_to_retry());
        assert!(error.to_string().contains("still waiting for a worker"), "{error}");
        let ErrorKind::TimedOut { limit, .. } = error.kind() else { unreachable!() };
        assert_eq!(*limit, SHORT);
        gate.open();
        assert_eq!(first.await.unwrap(), 0);
        assert_eq!(pool.run(square(2)).await.unwrap(), 4);
        assert_eq!(gate.log(), ["0"]);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_timeout_while_running_stops_the_call() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("timeout-running");
        // On a machine so loaded that it does not even begin, once more with more time.
        let mut limit = Duration::from_millis(100);
        let error = loop {
            let error = pool.run(hold(gate.path(), 0)).timeout(limit).await.unwrap_err();
            if phase(&error) == TimeoutPhase::Running {
                break error;
            }
            limit *= 2;
        };
        assert_eq!(error.progress(), Progress::MayHaveBegun);
        assert_eq!(pool.run(square(2)).await.unwrap(), 4);
        assert_eq!(pool.stats().restarts.cancelled, 1);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn run_timeout_counts_the_run_only() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("run-timeout");
        let limit = Duration::from_secs(1);
        let first = pool.spawn(hold(gate.path(), 0));
        gate.arrived(1).await;
        let patient = pool.run(square(3)).run_timeout(limit).spawn();
        // Longer than its limit, but waiting.
        tokio::time::sleep(limit + limit / 10).await;
        gate.open();
        assert_eq!(first.await.unwrap(), 0);
        assert_eq!(patient.await.unwrap(), 9);
        let stuck = Gate::new("run-timeout-stuck");
        let error = pool.run(hold(stuck.path(), 0)).run_timeout(SHORT).await.unwrap_err();
        assert_eq!(phase(&error), TimeoutPhase::Running);
        let error = pool.run(hold_async(stuck.path(), 0)).run_timeout(SHORT).await.unwrap_err();
        assert_eq!(phase(&error), TimeoutPhase::Running);
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn the_pools_call_timeout_is_the_default() {
    common::run(|| async {
        let pool = builder(1).call_timeout(SHORT).build().await.unwrap();
        let gate = Gate::new("call-timeout");
        let error = pool.run(hold(gate.path(), 0)).await.unwrap_err();
        assert_eq!(phase(&error), TimeoutPhase::Running);
        gate.open();
        let longer = pool.run(hold(gate.path(), 5)).run_timeout(common::HANG);
        assert_eq!(longer.await.unwrap(), 5);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn run_timeout_counts_for_every_element_of_a_map() {
    common::run(|| async {
        let pool = pool(1).await;
        // Together they take longer than one of them may.
        let nap = procpool::task_fn!(|ms: u64| -> u64 {
            std::thread::sleep(std::time::Duration::from_millis(ms));
            ms
        });
        let limit = Duration::from_millis(1_500);
        let done = pool.map(nap, [200; 10]).chunk_size(10).run_timeout(limit).await.unwrap();
        assert_eq!(done, [200; 10]);
        for n in [1, 6] {
            let results =
                pool.try_map(spin_if, 0..6).chunk_size(n).run_timeout(Duration::from_secs(1)).await;
            for (x, result) in results.unwrap().into_iter().enumerate() {
                match result {
                    Ok(value) => assert_eq!(value, x as u64),
                    Err(e) => assert_eq!((x, phase(&e)), (3, TimeoutPhase::Running)),
                }
            }
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn run_timeout_counts_for_every_element_of_an_async_map() {
    common::run(|| async {
        let pool = pool(1).await;
        let limit = Duration::from_secs(1);
        let results = pool.try_map(wait_if, 0..6).run_timeout(limit).await.unwrap();
        for (x, result) in results.into_iter().enumerate() {
            match result {
                Ok(value) => assert!(value == x as u64 && x != 3),
                Err(e) => assert_eq!((x, phase(&e)), (3, TimeoutPhase::Running)),
            }
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn cpu_timeout_stops_who_computes_and_not_who_waits() {
    common::run(|| async {
        let pool = pool(1).await;
        let limit = Duration::from_millis(100);
        let error = pool.run(spin()).cpu_timeout(limit).await.unwrap_err();
        assert_eq!(phase(&error), TimeoutPhase::Cpu);
        assert!(error.to_string().contains("CPU"), "{error}");
        let sleep = procpool::task_fn!(|ms: u64| -> u64 {
            std::thread::sleep(std::time::Duration::from_millis(ms));
            ms
        });
        assert_eq!(pool.apply(sleep, 300).cpu_timeout(limit).await.unwrap(), 300);
        let error = pool.run(double(1)).cpu_timeout(limit).await.unwrap_err();
        assert!(error.is_unsupported(), "{error}");
        assert!(error.to_string().contains("run_timeout"), "it says what to use: {error}");
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn retries_run_what_failed_again() {
    common::run(|| async {
        let pool = builder(1).stderr(Stderr::Null).build().await.unwrap();
        for dies in [false, true] {
            assert_eq!(pool.run(works_at(3, dies)).retries(2).await.unwrap(), 3);
            assert_eq!(pool.run(works_at(1, dies)).retries(2).await.unwrap(), 1);
            let error = pool.run(works_at(3, dies)).retries(1).await.unwrap_err();
            assert_eq!((error.is_panic(), error.is_worker_died()), (!dies, dies));
            if !dies {
                assert_eq!(error.panic_message(), Some("attempt 2"));
            }
            assert!(pool.run(works_at(2, dies)).await.is_err(), "not unless asked for");
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn retries_after_a_death_count_for_every_element_of_a_map() {
    common::run(|| async {
        let pool = builder(1).stderr(Stderr::Null).build().await.unwrap();
        let inputs = [(1, true), (2, true), (1, true), (3, true), (1, true)];
        for n in [1, 5] {
            let done = pool.map(works_at, inputs).chunk_size(n).retries(2).await.unwrap();
            assert_eq!(done, [1, 2, 1, 3, 1], "chunks of {n}");
            let results = pool.try_map(works_at, inputs).chunk_size(n).retries(1).await.unwrap();
            let ok: Vec<bool> = results.iter().map(Result::is_ok).collect();
            assert_eq!(ok, [true, true, true, false, true]);
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn retries_after_a_panic_count_for_every_element_of_a_map() {
    common::run(|| async {
        let pool = builder(1).stderr(Stderr::Null).build().await.unwrap();
        let inputs = [(1, false), (2, false), (2, true), (3, false), (1, true)];
        for n in [1, 5] {
            let done = pool.map(works_at, inputs).chunk_size(n).retries(2).await.unwrap();
            assert_eq!(done, [1, 2, 2, 3, 1], "chunks of {n}");
            let results = pool.try_map(works_at, inputs).chunk_size(n).retries(1).await.unwrap();
            let ok: Vec<bool> = results.iter().map(Result::is_ok).collect();
            assert_eq!(ok, [true, true, true, false, true]);
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn higher_priority_goes_first_and_equals_keep_their_order() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("priority");
        let first = pool.spawn(hold(gate.path(), 100));
        gate.arrived(1).await;
        let calls: Vec<_> = [(1, 0), (2, -5), (3, 7), (4, 0), (5, 7), (6, i32::MIN), (7, i32::MAX)]
            .map(|(x, priority)| pool.run(mark(gate.path(), x)).priority(priority).spawn())
            .into_iter()
            .collect();
        gate.open();
        first.await.unwrap();
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(gate.log(), ["100", "7", "3", "5", "1", "4", "2", "6"]);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_label_is_in_the_error() {
    common::run(|| async {
        let pool = builder(1).stderr(Stderr::Null).build().await.unwrap();
        let error = pool.run(boom("x".into())).label("invoice 17").await.unwrap_err();
        assert_eq!(error.label(), Some("invoice 17"));
        assert!(error.to_string().contains("(invoice 17)"), "{error}");
        assert!(error.to_string().contains("kit::boom"), "{error}");
        let error = pool.map(boom, ["x".to_owned()]).label("a batch").await.unwrap_err();
        assert_eq!(error.label(), Some("a batch"));
        let error = pool.run(kit::exit(1)).label("fatal").await.unwrap_err();
        assert_eq!(error.label(), Some("fatal"));
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn report(n: u64) -> u64 {
    for i in 1..=n {
        procpool::report_progress(i, n);
    }
    n
}

#[procpool::task]
async fn report_async(n: u64) -> u64 {
    for i in 1..=n {
        procpool::report_progress(i, n);
        tokio::task::yield_now().await;
    }
    n
}

#[test]
fn reports_of_progress_reach_the_caller_in_order() {
    common::run(|| async {
        let pool = pool(1).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = || {
            let seen = seen.clone();
            move |done, total| seen.lock().unwrap().push((done, total))
        };
        let expected: Vec<_> = (1..=50).map(|i| (i, 50)).collect();
        assert_eq!(pool.run(report(50)).progress(log()).await.unwrap(), 50);
        assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), expected);
        assert_eq!(pool.run(report_async(50)).progress(log()).await.unwrap(), 50);
        assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), expected);
        // Nobody listens, nobody minds.
        assert_eq!(pool.run(report(50)).await.unwrap(), 50);
        assert!(seen.lock().unwrap().is_empty());
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn on_drop_says_what_becomes_of_a_call() {
    common::run(|| async {
        let pool = pool(1).await;
        let before = pids(&pool);
        let gate = Gate::new("on-drop");
        let mut run = pool.run(hold(gate.path(), 0)).on_drop(OnDrop::Detach);
        tokio::select! {
            biased;
            _ = &mut run => panic!("nobody opened the gate"),
            () = gate.arrived(1) => {}
        }
        drop(run);
        gate.open();
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        assert_eq!(pids(&pool), before, "it was left to finish");
        let gate = Gate::new("on-drop-cancel");
        let mut run = pool.run(hold(gate.path(), 0));
        tokio::select! {
            biased;
            _ = &mut run => panic!("nobody opened the gate"),
            () = gate.arrived(1) => {}
        }
        drop(run);
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        assert_ne!(pids(&pool), before);
        // A map too.
        let gate = Gate::new("on-drop-map");
        let inputs: Vec<_> = (0..3).map(|x| (gate.path(), x)).collect();
        let mut map = pool.map(hold, inputs).chunk_size(1).on_drop(OnDrop::Detach);
        tokio::select! {
            biased;
            _ = &mut map => panic!("nobody opened the gate"),
            () = gate.arrived(1) => {}
        }
        drop(map);
        gate.open();
        gate.arrived(3).await;
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn until_cancelled(gate: String) -> u64 {
    kit::note(&gate, "in");
    while !context().is_cancelled() {
        std::thread::sleep(Duration::from_millis(1));
    }
    kit::note(&gate, "out");
    0
}

#[test]
fn a_task_that_looks_for_its_cancellation_keeps_its_worker() {
    common::run(|| async {
        let pool = builder(1).cancel_grace(common::HANG).build().await.unwrap();
        let before = pids(&pool);
        let gate = Gate::new("cooperative");
        let call = pool.spawn(until_cancelled(gate.path()));
        gate.arrived(1).await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        gate.arrived(2).await;
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        assert_eq!(pids(&pool), before);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_task_knows_its_call() {
    common::run(|| async {
        let pool = builder(1).name("thumbs").build().await.unwrap();
        let about = procpool::task_fn!(|_x: u8| -> (u32, String, Option<u64>) {
            let context = procpool::context();
            let left = context.remaining().map(|t| t.as_secs());
            (context.attempt(), context.worker_name().to_owned(), left)
        });
        let (attempt, name, left) = pool.apply(about, 0).await.unwrap();
        assert_eq!((attempt, name.as_str(), left), (1, "thumbs-1", None));
        let (.., left) = pool.apply(about, 0).timeout(Duration::from_secs(3_000)).await.unwrap();
        assert!(left.unwrap() <= 3_000 && left.unwrap() > 2_000);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn times_that_make_no_sense_are_refused() {
    common::run(|| async {
        let pool = pool(1).await;
        let bad = [Duration::ZERO, Duration::MAX];
        for time in bad {
            for (name, error) in [
                ("timeout", pool.run(square(1)).timeout(time).await.unwrap_err()),
                ("run_timeout", pool.run(square(1)).run_timeout(time).await.unwrap_err()),
                ("cpu_timeout", pool.run(square(1)).cpu_timeout(time).spawn().await.unwrap_err()),
                ("timeout", pool.map(square, 0..3).timeout(time).await.unwrap_err()),
                ("run_timeout", pool.try_map(square, 0..3).run_timeout(time).await.unwrap_err()),
            ] {
                let ErrorKind::InvalidOption { option, value, allowed } = error.kind() else {
                    panic!("{error}")
                };
                assert_eq!(*option, name);
                assert_eq!(*value, format!("{time:?}"));
                assert!(allowed.contains("above zero"));
            }
        }
        // A century is fine.
        let century = Duration::from_secs(100 * 365 * 24 * 3600);
        let run = pool.run(square(2)).timeout(century).run_timeout(century).cpu_timeout(century);
        assert_eq!(run.await.unwrap(), 4);
        assert_eq!(pool.map(square, 0..3).timeout(century).await.unwrap(), [0, 1, 4]);
        pool.shutdown().await.unwrap();
    });
}
