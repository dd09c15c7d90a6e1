//! The bounded queue: waiting for a place, being refused one, fairness.

mod common;
mod kit;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use kit::{Gate, builder, hold, mark, square};
use procpool::{ErrorKind, OnDrop, ProcessPool, Progress, TimeoutPhase, TrySubmitError};

procpool::test_hook!();

/// A pool of one worker that is busy until the gate opens, its queue filled up.
async fn full(gate: &Gate, capacity: usize) -> ProcessPool {
    let pool = builder(1).queue_capacity(capacity).build().await.unwrap();
    drop(pool.spawn(hold(gate.path(), 0)));
    gate.arrived(1).await;
    for x in 1..=capacity as u64 {
        pool.try_spawn(mark(gate.path(), x)).map(drop).unwrap();
    }
    assert_eq!(pool.stats().queued, capacity);
    pool
}

/// Polls a future once, for real: with this task's waker.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|cx| match Pin::new(&mut *future).poll(cx) {
        Poll::Ready(out) => Poll::Ready(Some(out)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[test]
fn try_spawn_gives_a_refused_call_back_and_it_can_be_submitted_again() {
    common::run(|| async {
        let gate = Gate::new("queue-full");
        let pool = full(&gate, 2).await;
        assert_eq!(pool.queue_capacity(), 2);
        let refused = pool.try_spawn(mark(gate.path(), 77)).unwrap_err();
        assert_eq!(refused.to_string(), "the queue is full");
        let TrySubmitError::Full(call) = refused else { panic!("{refused}") };
        let refused = pool.try_spawn(call).unwrap_err();
        let TrySubmitError::Full(call) = refused else { panic!("{refused}") };
        let refused = pool.try_apply_async(square, 3).unwrap_err();
        assert!(matches!(refused, TrySubmitError::Full(_)));
        assert_eq!(pool.stats().submitted, 3);
        gate.open();
        // Its arguments came back with it.
        assert_eq!(pool.run(call).await.unwrap(), 77);
        assert_eq!(gate.log(), ["0", "1", "2", "77"]);
        assert_eq!(pool.try_apply_async(square, 3).unwrap().await.unwrap(), 9);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn run_waits_for_a_place() {
    common::run(|| async {
        let gate = Gate::new("queue-run");
        let pool = full(&gate, 1).await;
        let mut run = pool.run(mark(gate.path(), 9));
        assert!(poll_once(&mut run).await.is_none());
        assert!(format!("{run:?}").contains("waiting for a place"), "{run:?}");
        assert_eq!((pool.stats().queued, pool.stats().submitted), (1, 2));
        gate.open();
        assert_eq!(run.await.unwrap(), 9);
        assert_eq!(gate.log(), ["0", "1", "9"]);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn places_are_given_first_come_first_served() {
    common::run(|| async {
        let gate = Gate::new("queue-fair");
        let pool = full(&gate, 1).await;
        let mut runs = Vec::new();
        for x in 10..30 {
            let mut run = pool.run(mark(gate.path(), x));
            assert!(poll_once(&mut run).await.is_none());
            runs.push(run);
        }
        // Whoever comes later does not overtake those who wait.
        assert!(matches!(pool.try_spawn(mark(gate.path(), 99)), Err(TrySubmitError::Full(_))));
        gate.open();
        let done = futures::future::join_all(runs).await;
        let done: Vec<u64> = done.into_iter().map(Result::unwrap).collect();
        assert_eq!(done, (10..30).collect::<Vec<_>>());
        let order: Vec<u64> = gate.log().iter().map(|x| x.parse().unwrap()).collect();
        assert_eq!(order, [0, 1].into_iter().chain(10..30).collect::<Vec<_>>());
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_dropped_waiter_leaves_the_line() {
    common::run(|| async {
        let gate = Gate::new("queue-drop");
        let pool = full(&gate, 1).await;
        let mut runs: Vec<_> = (10..15).map(|x| pool.run(mark(gate.path(), x))).collect();
        for run in &mut runs {
            assert!(poll_once(run).await.is_none());
        }
        // The first, one in the middle and the last give up.
        drop(runs.remove(4));
        drop(runs.remove(2));
        drop(runs.remove(0));
        gate.open();
        for (run, x) in runs.into_iter().zip([11, 13]) {
            assert_eq!(run.await.unwrap(), x);
        }
        assert_eq!(gate.log(), ["0", "1", "11", "13"]);
        assert_eq!(pool.run(square(2)).await.unwrap(), 4);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_place_granted_to_a_waiter_that_never_comes_goes_to_the_next() {
    common::run(|| async {
        let gate = Gate::new("queue-granted");
        let pool = full(&gate, 1).await;
        let mut first = pool.run(mark(gate.path(), 10));
        assert!(poll_once(&mut first).await.is_none());
        let mut second = pool.run(mark(gate.path(), 11));
        assert!(poll_once(&mut second).await.is_none());
        gate.open();
        // Both calls ran: the place they leave is the first waiter's, which does
        // not look.
        common::eventually("the queue is empty", || pool.stats().done == 2).await;
        assert!(matches!(pool.try_spawn(square(1)), Err(TrySubmitError::Full(_))));
        drop(first);
        assert_eq!(second.await.unwrap(), 11);
        assert_eq!(gate.log(), ["0", "1", "11"]);
        assert_eq!(pool.try_spawn(square(5)).unwrap().await.unwrap(), 25);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn spawn_does_not_wait() {
    common::run(|| async {
        let gate = Gate::new("queue-spawn");
        let pool = full(&gate, 1).await;
        let handles: Vec<_> = (10..20).map(|x| pool.spawn(mark(gate.path(), x))).collect();
        assert_eq!(pool.stats().queued, 11);
        gate.open();
        for (handle, x) in handles.into_iter().zip(10..) {
            assert_eq!(handle.await.unwrap(), x);
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn an_aborted_call_leaves_its_place() {
    common::run(|| async {
        let gate = Gate::new("queue-abort");
        let pool = builder(1).queue_capacity(1).build().await.unwrap();
        let running = pool.spawn(hold(gate.path(), 0));
        gate.arrived(1).await;
        let queued = pool.try_spawn(mark(gate.path(), 1)).unwrap();
        let mut waiting = pool.run(mark(gate.path(), 2));
        assert!(poll_once(&mut waiting).await.is_none());
        queued.abort();
        assert!(queued.await.unwrap_err().is_cancelled());
        assert!(poll_once(&mut waiting).await.is_none());
        assert_eq!((pool.stats().queued, pool.stats().submitted), (1, 3));
        gate.open();
        assert_eq!(waiting.await.unwrap(), 2);
        assert_eq!(running.await.unwrap(), 0);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn maps_and_streams_live_with_a_queue_of_one() {
    common::run(|| async {
        use futures::StreamExt;
        let pool = builder(2).queue_capacity(1).build().await.unwrap();
        let expected: Vec<u64> = (0..500).map(|x| x * x).collect();
        let (a, b, c) = tokio::join!(
            pool.map(square, 0..500).chunk_size(1),
            pool.map(square, 0..500).chunk_size(7),
            pool.imap(square, 0..500).map(Result::unwrap).collect::<Vec<_>>(),
        );
        assert_eq!((a.unwrap(), b.unwrap(), c), (expected.clone(), expected.clone(), expected));
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn who_waits_when_the_pool_closes_is_told() {
    common::run(|| async {
        let gate = Gate::new("queue-close");
        let pool = full(&gate, 1).await;
        let mut run = pool.run(mark(gate.path(), 9));
        assert!(poll_once(&mut run).await.is_none());
        pool.close();
        assert!(run.await.unwrap_err().is_closed());
        assert!(
            matches!(pool.try_spawn(square(1)), Err(TrySubmitError::Refused(e)) if e.is_closed())
        );
        assert!(pool.spawn(square(1)).now_or_never().unwrap().unwrap_err().is_closed());
        gate.open();
        pool.shutdown().await.unwrap();
        assert_eq!(gate.log(), ["0", "1"], "what was accepted is finished");
    });
}

#[test]
fn a_timeout_counts_while_a_call_waits_for_a_place() {
    common::run(|| async {
        let gate = Gate::new("queue-timeout");
        let pool = full(&gate, 1).await;
        let late = pool.run(square(2)).timeout(Duration::from_millis(50));
        let error = late.await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::TimedOut { phase: TimeoutPhase::Queued, .. }),
            "{error:?}"
        );
        assert_eq!(error.progress(), Progress::NotBegun);
        gate.open();
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_detached_call_that_waits_for_a_place_is_run_too() {
    common::run(|| async {
        let gate = Gate::new("queue-detach");
        let pool = full(&gate, 1).await;
        let mut waiting = pool.run(mark(gate.path(), 77)).on_drop(OnDrop::Detach);
        assert!(poll_once(&mut waiting).await.is_none());
        drop(waiting);
        gate.open();
        pool.shutdown().await.unwrap();
        assert!(gate.log().iter().any(|line| line.contains("77")), "{:?}", gate.log());
    });
}
