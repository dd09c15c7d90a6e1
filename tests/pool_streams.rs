//! Streams of results: order, laziness, bounds, errors in their place.

mod common;
mod kit;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kit::{Gate, builder, double, hold, pool, square};
use procpool::{ErrorKind, Stderr};
use serde::{Deserialize, Serialize};

procpool::test_hook!();

#[procpool::task]
fn picky(x: u64) -> u64 {
    assert_ne!(x % 5, 2, "not this one");
    x * x
}

#[procpool::task]
fn hold_odd(gate: String, x: u64) -> u64 {
    if x % 2 == 1 {
        kit::stay(&gate, x);
    }
    x
}

/// An endless input that counts how far it is read.
fn endless() -> (Arc<AtomicUsize>, impl Iterator<Item = u64> + Send + 'static) {
    let read = Arc::new(AtomicUsize::new(0));
    let count = read.clone();
    (read, (0..).inspect(move |_| _ = count.fetch_add(1, Ordering::SeqCst)))
}

#[test]
fn imap_gives_results_in_order() {
    common::run(|| async {
        let pool = pool(2).await;
        for n in [1, 3, 100, 10_000] {
            let mut results = pool.imap(square, 0..1_000).chunk_size(n);
            for x in 0..1_000 {
                assert_eq!(results.next().await.unwrap().unwrap(), x * x);
            }
            assert!(results.next().await.is_none());
            assert!(results.next().await.is_none(), "and stays at its end");
        }
        let doubled: Vec<u64> = pool.imap(double, 0..100).map(Result::unwrap).collect().await;
        assert!(doubled.iter().enumerate().all(|(i, x)| *x == 2 * i as u64));
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn imap_unordered_gives_the_same_results_in_some_order() {
    common::run(|| async {
        let pool = pool(2).await;
        let expected: BTreeSet<u64> = (0..1_000).map(|x| x * x).collect();
        for n in [1, 7, 1_000] {
            let results: Vec<u64> = pool
                .imap_unordered(square, 0..1_000)
                .chunk_size(n)
                .map(Result::unwrap)
                .collect()
                .await;
            assert_eq!(results.len(), 1_000);
            assert_eq!(results.into_iter().collect::<BTreeSet<_>>(), expected);
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn unordered_results_overtake_slow_ones_and_ordered_ones_wait() {
    common::run(|| async {
        let pool = pool(2).await;
        let gate = Gate::new("overtake");
        let inputs: Vec<_> = [1, 2, 4, 6].map(|x| (gate.path(), x)).to_vec();
        let mut results = pool.imap_unordered(hold_odd, inputs.clone());
        for _ in 0..3 {
            assert_eq!(results.next().await.unwrap().unwrap() % 2, 0);
        }
        let mut ordered = pool.imap(hold_odd, inputs);
        let error = ordered.next_timeout(Duration::from_millis(20)).await.unwrap_err();
        assert!(error.is_timeout());
        gate.open();
        assert_eq!(results.next().await.unwrap().unwrap(), 1);
        assert!(results.next().await.is_none());
        let ordered: Vec<u64> = ordered.map(Result::unwrap).collect().await;
        assert_eq!(ordered, [1, 2, 4, 6], "asking with a limit lost nothing");
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn an_endless_input_is_read_no_further_than_the_window() {
    common::run(|| async {
        let pool = pool(2).await;
        for (window, chunk) in [(1, 1), (5, 1), (5, 3), (5, 100), (64, 8)] {
            let (read, input) = endless();
            let mut results = pool.imap(square, input).window(window).chunk_size(chunk);
            assert_eq!(read.load(Ordering::SeqCst), 0, "nothing is read before the first poll");
            for given in 1..=50 {
                results.next().await.unwrap().unwrap();
                let ahead = read.load(Ordering::SeqCst) - given;
                assert!(ahead <= window, "{ahead} ahead with a window of {window}");
            }
        }
        for unordered in [false, true] {
            let (read, input) = endless();
            // By default four chunks a worker.
            let mut results = if unordered {
                pool.imap_unordered(square, input)
            } else {
                pool.imap(square, input)
            };
            for given in 1..=50 {
                results.next().await.unwrap().unwrap();
                assert!(read.load(Ordering::SeqCst) <= given + 8);
            }
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_full_window_waits_for_the_consumer_and_goes_on() {
    common::run(|| async {
        let pool = pool(2).await;
        let (read, input) = endless();
        let mut results = pool.imap(square, input).window(4);
        results.next().await.unwrap().unwrap();
        // All that may be ahead is done; nothing more is read meanwhile.
        common::eventually("the window is worked off", || {
            let stats = pool.stats();
            stats.queued == 0 && stats.running == 0
        })
        .await;
        assert!(read.load(Ordering::SeqCst) <= 5);
        for x in 1..20 {
            assert_eq!(results.next().await.unwrap().unwrap(), x * x);
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn tuples_of_endless_inputs_are_read_lazily_too() {
    common::run(|| async {
        let pool = pool(1).await;
        let ((read, a), (_, b)) = (endless(), endless());
        let mut results = pool.imap(kit::add, a.zip(b)).window(3);
        for x in 0..20 {
            assert_eq!(results.next().await.unwrap().unwrap(), 2 * x);
            assert!(read.load(Ordering::SeqCst) <= x as usize + 4);
        }
        drop(results);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_window_or_chunk_of_zero_is_refused() {
    common::run(|| async {
        let pool = pool(1).await;
        let mut zero_window = pool.imap(square, 0..5).window(0);
        let mut zero_chunk = pool.imap_unordered(square, 0..5).chunk_size(0);
        for (results, name) in [(&mut zero_window, "window"), (&mut zero_chunk, "chunk_size")] {
            let error = results.next().await.unwrap().unwrap_err();
            let ErrorKind::InvalidOption { option, value, .. } = error.kind() else {
                panic!("{error}")
            };
            assert_eq!((*option, value.as_str()), (name, "0"));
            assert!(results.next().await.is_none());
        }
        assert_eq!(pool.stats().submitted, 0);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_failed_element_is_an_error_in_its_place() {
    common::run(|| async {
        let pool = builder(2).stderr(Stderr::Null).build().await.unwrap();
        for n in [1, 4, 100] {
            let results: Vec<_> = pool.imap(picky, 0..23).chunk_size(n).collect().await;
            assert_eq!(results.len(), 23);
            for (x, result) in results.into_iter().enumerate() {
                match result {
                    Ok(value) => assert_eq!(value, (x * x) as u64),
                    Err(e) => {
                        assert_eq!(x % 5, 2);
                        assert!(e.panic_message().unwrap().contains("not this one"));
                    }
                }
            }
            let bad = pool
                .imap_unordered(picky, 0..23)
                .chunk_size(n)
                .filter(|r| std::future::ready(r.is_err()))
                .count();
            assert_eq!(bad.await, 5);
        }
        pool.shutdown().await.unwrap();
    });
}

#[derive(Debug)]
struct BadLine(usize);

impl std::fmt::Display for BadLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} is bad", self.0)
    }
}
impl std::error::Error for BadLine {}

fn lines() -> impl Iterator<Item = Result<u64, BadLine>> + Send {
    (0..20).map(|x| if x % 6 == 5 { Err(BadLine(x)) } else { Ok(x as u64) })
}

#[test]
fn errors_of_the_input_appear_in_their_place() {
    common::run(|| async {
        let pool = pool(2).await;
        for n in [1, 4, 100] {
            let results: Vec<_> = pool.try_imap(square, lines()).chunk_size(n).collect().await;
            assert_eq!(results.len(), 20);
            for (x, result) in results.into_iter().enumerate() {
                match result {
                    Ok(value) => assert_eq!(value, (x * x) as u64),
                    Err(e) => {
                        assert_eq!(x % 6, 5);
                        let ErrorKind::Input { reason } = e.kind() else { panic!("{e}") };
                        assert_eq!(*reason, format!("line {x} is bad"));
                        let source = std::error::Error::source(&e).unwrap();
                        assert_eq!(source.downcast_ref::<BadLine>().unwrap().0, x);
                        assert!(e.task_name().is_none() && !e.is_panic(), "no task did that");
                    }
                }
            }
        }
        let stream = futures::stream::iter(lines());
        let results: Vec<_> = pool.try_imap_unordered(square, stream).collect().await;
        assert_eq!(results.iter().filter(|r| r.is_err()).count(), 3);
        assert_eq!(results.len(), 20);
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_panicking_input_reaches_the_consumer_after_valid_results() {
    common::run(|| async {
        let pool = pool(1).await;
        let input = (0..10_u64).inspect(|x| assert_ne!(*x, 4, "the input is broken"));
        let mine = pool.clone();
        let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let consumer = tokio::spawn(async move {
            let mut results = mine.imap(square, input).window(1);
            while let Some(result) = results.next().await {
                sender.send(result.unwrap()).unwrap();
            }
        });
        assert!(consumer.await.unwrap_err().is_panic());
        let mut values = Vec::new();
        while let Some(value) = seen.recv().await {
            values.push(value);
        }
        assert!(values.iter().eq([0, 1, 4, 9][..values.len()].iter()), "{values:?}");
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_slow_stream_as_input_holds_nothing_up() {
    common::run(|| async {
        let pool = pool(2).await;
        let (sender, receiver) = tokio::sync::mpsc::channel::<u64>(1);
        let input = futures::stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        });
        // A large chunk is not waited for when the input has nothing to give.
        let mut results = pool.imap(square, input).chunk_size(50);
        for x in 0..10 {
            sender.send(x).await.unwrap();
            assert_eq!(results.next().await.unwrap().unwrap(), x * x);
        }
        drop(sender);
        assert!(results.next().await.is_none());
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn what_finished_comes_before_the_timeout() {
    common::run(|| async {
        let pool = pool(2).await;
        let gate = Gate::new("stream-timeout");
        let inputs: Vec<_> = [0, 1, 2].map(|x| (gate.path(), x)).to_vec();
        let mut results = pool.imap(hold_odd, inputs).timeout(Duration::from_secs(3));
        assert_eq!(results.next().await.unwrap().unwrap(), 0);
        let error = results.next().await.unwrap().unwrap_err();
        assert!(error.is_timeout(), "{error}");
        // It ends there, or after what had its own error or result by then.
        assert!(results.count().await <= 1);
        // The element that was in the way is stopped.
        assert_eq!(pool.map(square, 0..4).await.unwrap(), [0, 1, 4, 9]);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn dropping_a_stream_cancels_what_is_on_its_way() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("stream-drop");
        let inputs: Vec<_> = (0..10).map(|x| (gate.path(), x)).collect();
        let mut results = pool.imap(hold, inputs);
        tokio::select! {
            biased;
            _ = results.next() => panic!("nobody opened the gate"),
            () = gate.arrived(1) => {}
        }
        drop(results);
        assert_eq!(pool.run(square(2)).await.unwrap(), 4);
        assert_eq!(gate.log(), ["0"]);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_dead_worker_costs_a_stream_one_element() {
    common::run(|| async {
        let pool = builder(2).stderr(Stderr::Null).build().await.unwrap();
        for n in [1, 10] {
            let inputs = [0, 0, 0, 7, 0, 0];
            let results: Vec<_> = pool
                .imap(
                    procpool::task_fn!(|code: i32| -> i32 {
                        if code != 0 {
                            std::process::exit(code)
                        }
                        code
                    }),
                    inputs,
                )
                .chunk_size(n)
                .collect()
                .await;
            let ok: Vec<bool> = results.iter().map(Result::is_ok).collect();
            assert_eq!(ok, [true, true, true, false, true, true]);
        }
        pool.shutdown().await.unwrap();
    });
}

/// Counts how many of it are alive in a process.
struct Counted(u64);
static ALIVE: AtomicI64 = AtomicI64::new(0);

impl Counted {
    fn new(x: u64) -> Self {
        ALIVE.fetch_add(1, Ordering::SeqCst);
        Counted(x)
    }
}
impl Drop for Counted {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}
impl Serialize for Counted {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}
impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        u64::deserialize(d).map(Counted::new)
    }
}

#[procpool::task]
fn consume(value: Counted) -> u64 {
    value.0
}

#[procpool::task]
fn produce(x: u64) -> Counted {
    Counted::new(x)
}

#[procpool::task]
fn alive(_x: u64) -> i64 {
    ALIVE.load(Ordering::SeqCst)
}

#[test]
fn no_stale_arguments_or_results_are_kept() {
    common::run(|| async {
        let pool = pool(1).await;
        // Arguments: not here once encoded, not there once the task is over.
        let call = pool.spawn(consume(Counted::new(3)));
        assert_eq!(ALIVE.load(Ordering::SeqCst), 0);
        assert_eq!(call.await.unwrap(), 3);
        let sum: u64 = pool.map(consume, (0..10).map(Counted::new)).await.unwrap().iter().sum();
        assert_eq!(sum, 45);
        assert_eq!(ALIVE.load(Ordering::SeqCst), 0);
        assert_eq!(pool.run(alive(0)).await.unwrap(), 0);
        // Results: not there once encoded, not here once given away.
        let mut results = pool.imap(produce, 0..10);
        for x in 0..10 {
            assert_eq!(results.next().await.unwrap().unwrap().0, x);
        }
        assert_eq!(ALIVE.load(Ordering::SeqCst), 0, "the stream is still there, its results not");
        assert!(results.next().await.is_none());
        assert_eq!(pool.run(alive(0)).await.unwrap(), 0);
        drop(pool.spawn(produce(1)));
        pool.shutdown().await.unwrap();
        assert_eq!(ALIVE.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_stream_over_a_closed_pool_says_so() {
    common::run(|| async {
        let pool = pool(1).await;
        pool.shutdown().await.unwrap();
        let mut results = pool.imap(square, 0..3);
        assert!(results.next().await.unwrap().unwrap_err().is_closed());
        assert!(results.next().await.is_none());
        assert!(pool.map(square, 0..3).await.unwrap_err().is_closed());
    });
}

/// A closing pool finishes what it has accepted, a stream's elements too; then the
/// stream says why it ends.
#[test]
fn closing_a_pool_keeps_the_results_on_their_way() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("close-imap");
        let held = std::iter::repeat_with(|| (gate.path(), 7_u64));
        let mut results = pool.imap(hold, held).window(4);
        let first = tokio::time::timeout(Duration::from_millis(1), results.next()).await;
        assert!(first.is_err(), "the gate is shut");
        pool.close();
        gate.open();
        for _ in 0..4 {
            assert_eq!(results.next().await.unwrap().unwrap(), 7);
        }
        assert!(results.next().await.unwrap().unwrap_err().is_closed());
        assert!(results.next().await.is_none());
        pool.join().await.unwrap();
        // A list that is cut short is no list.
        let error = pool.try_map(square, 0..100).chunk_size(1).await.unwrap_err();
        assert!(error.is_closed());
    });
}
