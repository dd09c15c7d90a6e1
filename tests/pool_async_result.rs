//! Handles to submitted calls: waiting, asking, stopping, callbacks; and that
//! they are plain futures for everything that combines futures.

mod common;
mod kit;

use std::time::Duration;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use kit::{Gate, boom, double, hold, hold_async, mark, pids, pool, square};
use procpool::{AsyncResult, Error, Progress};

procpool::test_hook!();

const SHORT: Duration = Duration::from_millis(5);

#[test]
fn get_gives_the_value() {
    common::run(|| async {
        let pool = pool(1).await;
        assert_eq!(pool.apply_async(square, 7).get().await.unwrap(), 49);
        assert_eq!(pool.spawn(double(7)).await.unwrap(), 14);
        let error = pool.spawn(boom("no".into())).get().await.unwrap_err();
        assert_eq!(error.panic_message(), Some("no"));
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn get_timeout_gives_nothing_and_the_call_goes_on() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("get-timeout");
        let mut handle = pool.spawn(hold(gate.path(), 5));
        for _ in 0..3 {
            assert!(handle.get_timeout(SHORT).await.is_none());
        }
        assert!(handle.get_timeout(Duration::ZERO).await.is_none());
        gate.open();
        assert_eq!(handle.get_timeout(Duration::MAX).await.unwrap().unwrap(), 5);
        assert_eq!(gate.log(), ["5"], "it was run once");
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn wait_ready_and_successful_follow_the_call() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("wait-ready");
        let mut good = pool.spawn(hold(gate.path(), 1));
        gate.arrived(1).await;
        let mut bad = pool.spawn(boom("x".into()));
        for handle in [&mut good, &mut bad] {
            assert!(!handle.ready());
            assert_eq!(handle.successful(), None);
            assert!(!handle.wait(SHORT).await);
        }
        gate.open();
        assert!(good.wait(common::HANG).await && bad.wait(common::HANG).await);
        assert!(good.ready() && bad.ready());
        assert_eq!((good.successful(), bad.successful()), (Some(true), Some(false)));
        assert!(good.wait(Duration::ZERO).await, "waiting for what is done takes no time");
        // The result is still there, once.
        assert_eq!((&mut good).await.unwrap(), 1);
        assert_eq!(good.successful(), None);
        assert!(bad.await.unwrap_err().is_panic());
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn taking_a_result_twice_is_a_panic_not_a_hang() {
    common::run(|| async {
        let pool = pool(1).await;
        let mut handle = pool.spawn(square(2));
        assert_eq!((&mut handle).await.unwrap(), 4);
        let again = tokio::spawn(handle);
        assert!(again.await.unwrap_err().is_panic());
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_waiting_call_is_cancelled_without_being_run() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("abort-queued");
        let first = pool.spawn(hold(gate.path(), 0));
        gate.arrived(1).await;
        let queued = pool.spawn(mark(gate.path(), 1));
        queued.abort();
        queued.abort();
        let error = queued.await.unwrap_err();
        assert!(error.is_cancelled(), "{error}");
        assert_eq!(error.progress(), Progress::NotBegun);
        gate.open();
        assert_eq!(first.await.unwrap(), 0);
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        assert_eq!(gate.log(), ["0"]);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_running_call_is_cancelled_with_its_worker() {
    common::run(|| async {
        let pool = pool(1).await;
        let pid = pids(&pool)[0];
        let gate = Gate::new("abort-running");
        let running = pool.spawn(hold(gate.path(), 0));
        gate.arrived(1).await;
        running.abort();
        let error = running.await.unwrap_err();
        assert!(error.is_cancelled(), "{error}");
        assert_eq!(error.progress(), Progress::MayHaveBegun);
        assert!(!error.is_safe_to_retry());
        common::eventually("the worker is killed", || !common::os::is_alive(pid)).await;
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        assert_eq!(pool.stats().restarts.cancelled, 1);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_running_async_call_is_cancelled_and_its_worker_lives() {
    common::run(|| async {
        let pool = pool(1).await;
        let pid = pids(&pool)[0];
        let gate = Gate::new("abort-async");
        let stopped = pool.spawn(hold_async(gate.path(), 0));
        let kept = pool.spawn(hold_async(gate.path(), 1));
        gate.arrived(2).await;
        stopped.abort();
        assert!(stopped.await.unwrap_err().is_cancelled());
        gate.open();
        assert_eq!(kept.await.unwrap(), 1);
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        assert_eq!(pids(&pool), [pid]);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn aborting_what_is_done_changes_nothing() {
    common::run(|| async {
        let pool = pool(1).await;
        let mut handle = pool.spawn(square(5));
        assert!(handle.wait(common::HANG).await);
        handle.abort();
        assert_eq!(handle.await.unwrap(), 25);
        let late = pool.spawn(square(6));
        common::eventually("the call is done", || pool.stats().done == 2).await;
        late.abort();
        assert_eq!(late.await.unwrap(), 36);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn an_aborted_map_is_cancelled() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("abort-map");
        let inputs: Vec<_> = (0..5).map(|x| (gate.path(), x)).collect();
        let map = pool.map_async(hold, inputs);
        gate.arrived(1).await;
        map.abort();
        assert!(map.await.unwrap_err().is_cancelled());
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn callbacks_come_once_for_values_errors_and_cancels() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("callbacks");
        let (sender, mut calls) = tokio::sync::mpsc::unbounded_channel();
        let tell = |name: &'static str| {
            let sender = sender.clone();
            move |r: Result<u64, Error>| sender.send((name, r)).unwrap()
        };
        pool.spawn(square(3)).on_done(tell("value"));
        let (name, result) = calls.recv().await.unwrap();
        assert_eq!((name, result.unwrap()), ("value", 9));

        pool.spawn(boom("bad".into())).on_done(tell("error"));
        let (name, result) = calls.recv().await.unwrap();
        assert_eq!((name, result.unwrap_err().panic_message()), ("error", Some("bad")));

        let mut done = pool.spawn(square(4));
        assert!(done.wait(common::HANG).await);
        done.on_done(tell("already done"));
        assert_eq!(calls.recv().await.unwrap().1.unwrap(), 16);

        let first = pool.spawn(hold(gate.path(), 0));
        gate.arrived(1).await;
        let cancelled = pool.spawn(square(9));
        cancelled.abort();
        cancelled.on_done(tell("cancelled"));
        assert!(calls.recv().await.unwrap().1.unwrap_err().is_cancelled());
        gate.open();
        first.await.unwrap();
        drop(sender);
        pool.shutdown().await.unwrap();
        assert!(calls.recv().await.is_none(), "each came once");
    });
}

#[test]
fn a_panicking_callback_hurts_nobody() {
    common::run(|| async {
        let pool = pool(1).await;
        let (sender, heard) = tokio::sync::oneshot::channel();
        pool.spawn(square(3)).on_done(move |result| {
            let _ = sender.send(result);
            panic!("a callback that panics");
        });
        assert_eq!(heard.await.unwrap().unwrap(), 9);
        let (sender, heard) = tokio::sync::oneshot::channel();
        pool.spawn(square(4)).on_done(move |result| drop(sender.send(result)));
        assert_eq!(heard.await.unwrap().unwrap(), 16);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_dropped_handle_detaches_its_call() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("detach");
        let first = pool.spawn(hold(gate.path(), 0));
        gate.arrived(1).await;
        drop(pool.spawn(mark(gate.path(), 1)));
        drop(first);
        gate.open();
        gate.arrived(2).await;
        assert_eq!(gate.log(), ["0", "1"]);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn all_first_and_as_completed_are_those_of_futures() {
    common::run(|| async {
        let pool = pool(2).await;
        let gate = Gate::new("select");
        // The first that completes, while others do not.
        let slow = pool.spawn(hold(gate.path(), 1));
        gate.arrived(1).await;
        let (first, _, rest) = futures::future::select_all([slow, pool.spawn(square(6))]).await;
        assert_eq!(first.unwrap(), 36);
        // The first error, while others run.
        let bad = pool.spawn(boom("bad".into()));
        let error = futures::future::try_join_all([pool.spawn(square(1)), bad]).await.unwrap_err();
        assert!(error.is_panic());
        // A limit on the wait leaves the calls alone.
        let mut waiting: FuturesUnordered<_> = rest.into_iter().collect();
        waiting.push(pool.spawn(square(2)));
        assert_eq!(waiting.next().await.unwrap().unwrap(), 4);
        assert!(tokio::time::timeout(SHORT, waiting.next()).await.is_err());
        assert_eq!(waiting.len(), 1, "one is unfinished");
        gate.open();
        assert_eq!(waiting.next().await.unwrap().unwrap(), 1);
        assert!(waiting.next().await.is_none());
        // All, failed ones included, each once.
        let calls: Vec<AsyncResult<u64>> = (0..10)
            .map(|x| if x == 4 { pool.spawn(boom("4".into())) } else { pool.spawn(square(x)) })
            .collect();
        let all = futures::future::join_all(calls).await;
        for (x, result) in all.into_iter().enumerate() {
            assert_eq!(result.ok(), (x != 4).then_some((x * x) as u64));
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn several_may_wait_for_one_result() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("shared");
        let shared = pool.spawn(hold(gate.path(), 8)).shared();
        let waiters: Vec<_> = (0..5).map(|_| tokio::spawn(shared.clone())).collect();
        gate.arrived(1).await;
        gate.open();
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap().unwrap(), 8);
        }
        // The same one twice in one set is fine too.
        let both = futures::future::join(shared.clone(), shared.clone()).await;
        assert_eq!((both.0.unwrap(), both.1.unwrap()), (8, 8));
        let failed = pool.spawn(boom("all hear it".into())).shared();
        for result in futures::future::join_all([failed.clone(), failed]).await {
            assert_eq!(result.unwrap_err().panic_message(), Some("all hear it"));
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_handle_may_be_awaited_on_another_thread() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("other-thread");
        let handle = pool.spawn(hold(gate.path(), 3));
        let waiter =
            tokio::task::spawn_blocking(move || tokio::runtime::Handle::current().block_on(handle));
        gate.arrived(1).await;
        gate.open();
        assert_eq!(waiter.await.unwrap().unwrap(), 3);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn debug_output_names_the_state() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("debug");
        let mut handle = pool.spawn(hold(gate.path(), 3));
        assert!(format!("{handle:?}").contains("known: false"), "{handle:?}");
        gate.open();
        assert!(handle.wait(common::HANG).await);
        assert!(format!("{handle:?}").contains("known: true"), "{handle:?}");
        let run = pool.run(square(1));
        assert!(format!("{run:?}").contains("new"), "{run:?}");
        assert_eq!(run.await.unwrap(), 1);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn nothing_runs_before_the_first_poll() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("lazy");
        drop(pool.run(mark(gate.path(), 1)));
        drop(pool.map(mark, [(gate.path(), 2)]));
        drop(pool.imap(mark, [(gate.path(), 3)]));
        assert_eq!(pool.run(square(2)).await.unwrap(), 4);
        assert_eq!(pool.stats().submitted, 1);
        assert!(gate.log().is_empty());
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn results_outlive_the_order_of_asking() {
    common::run(|| async {
        let pool = pool(2).await;
        let mut results = Vec::new();
        let mut handles: Vec<_> = (0..100).map(|x| pool.spawn(square(x))).collect();
        while let Some(handle) = handles.pop() {
            results.push(handle.await.unwrap());
        }
        results.reverse();
        assert_eq!(results, (0..100).map(|x| x * x).collect::<Vec<_>>());
        pool.shutdown().await.unwrap();
    });
}
