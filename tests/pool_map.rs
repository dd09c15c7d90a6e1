//! Maps of all kinds: order, chunks, failures, callbacks.

mod common;
mod kit;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::os::Death;
use kit::{Gate, add, boom, builder, double, hold, mark, pid, pids, pool, square};
use procpool::{ErrorKind, Stderr};

procpool::test_hook!();

#[procpool::task]
fn answer() -> u64 {
    42
}

#[procpool::task]
fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

/// Panics, dies or squares, as its argument says.
#[procpool::task]
fn moody(x: u64) -> u64 {
    match x % 10 {
        3 => panic!("no threes: {x}"),
        7 => Death::Kill.strike(),
        _ => x * x,
    }
}

#[procpool::task]
fn boom_or_mark(gate: String, x: u64) -> u64 {
    match x {
        0 => panic!("first"),
        1 => kit::stay(&gate, x),
        _ => kit::note(&gate, x),
    }
    x
}

#[procpool::task]
fn loud_boom(gate: String, x: u64) -> u64 {
    kit::note(&gate, x);
    panic!("{x} {}", "very loud ".repeat(20_000))
}

#[test]
fn apply_gives_the_functions_value() {
    common::run(|| async {
        let pool = pool(2).await;
        assert_eq!(pool.apply(square, 5).await.unwrap(), 25);
        assert_eq!(pool.apply(add, (4, 5)).await.unwrap(), 9);
        assert_eq!(pool.apply(answer, ()).await.unwrap(), 42);
        assert_eq!(pool.apply(double, 21).await.unwrap(), 42);
        assert_eq!(pool.run(add(1, 2)).await.unwrap(), 3);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn map_keeps_order_with_and_without_chunk_size() {
    common::run(|| async {
        let pool = pool(2).await;
        let expected: Vec<u64> = (0..100).map(|x| x * x).collect();
        assert_eq!(pool.map(square, 0..100).await.unwrap(), expected);
        for n in [1, 7, 20, 99, 100, 101, usize::MAX] {
            let got = pool.map(square, 0..100).chunk_size(n).await.unwrap();
            assert_eq!(got, expected, "chunk size {n}");
        }
        let from_a_list = pool.map(square, vec![3, 1, 2]).await.unwrap();
        assert_eq!(from_a_list, [9, 1, 4]);
        let doubled = pool.map(double, 0..100).await.unwrap();
        assert!(doubled.iter().enumerate().all(|(i, x)| *x == 2 * i as u64));
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn starmap_unpacks_tuples() {
    common::run(|| async {
        let pool = pool(2).await;
        let pairs: Vec<(u64, u64)> = (0..50).map(|x| (x, 49 - x)).collect();
        assert_eq!(pool.starmap(add, pairs.clone()).await.unwrap(), [49; 50]);
        assert_eq!(pool.starmap(add, pairs.clone()).chunk_size(20).await.unwrap(), [49; 50]);
        assert_eq!(pool.map(add, pairs.clone()).await.unwrap(), [49; 50]);
        assert_eq!(pool.starmap_async(add, pairs).await.unwrap(), [49; 50]);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn map_async_gives_a_handle_to_the_list() {
    common::run(|| async {
        let pool = pool(2).await;
        let mut handle = pool.map_async(square, 0..10);
        assert!(handle.wait(common::HANG).await);
        assert_eq!(handle.successful(), Some(true));
        assert_eq!(handle.get().await.unwrap(), [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
        // Dropping the handle lets the map go on.
        let gate = Gate::new("map-async-detached");
        drop(pool.starmap_async(mark, (0..8).map(|x| (gate.path(), x)).collect::<Vec<_>>()));
        gate.arrived(8).await;
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn map_async_callbacks_come_once() {
    common::run(|| async {
        let pool = pool(2).await;
        let (sender, mut calls) = tokio::sync::mpsc::unbounded_channel();
        let good = sender.clone();
        pool.map_async(square, 1..4).on_done(move |r| good.send(r).unwrap());
        assert_eq!(calls.recv().await.unwrap().unwrap(), [1, 4, 9]);
        pool.map_async(boom, ["one".to_owned()]).on_done(move |r| sender.send(r).unwrap());
        let error = calls.recv().await.unwrap().unwrap_err();
        assert_eq!(error.panic_message(), Some("one"));
        // Both senders are gone: nothing was and will be called twice.
        assert!(calls.recv().await.is_none());
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn nothing_gives_nothing() {
    common::run(|| async {
        let pool = pool(1).await;
        let nothing = || std::iter::empty::<u64>();
        assert!(pool.map(square, nothing()).await.unwrap().is_empty());
        assert!(pool.map(square, nothing()).chunk_size(2).await.unwrap().is_empty());
        assert!(pool.map_async(square, nothing()).await.unwrap().is_empty());
        assert!(pool.try_map(square, nothing()).await.unwrap().is_empty());
        assert!(pool.imap(square, nothing()).next().await.is_none());
        assert!(pool.imap_unordered(square, nothing()).next().await.is_none());
        let stream = futures::stream::empty::<u64>();
        assert!(pool.map(square, stream).await.unwrap().is_empty());
        assert_eq!(pool.stats().submitted, 0);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn the_default_chunks_are_four_for_each_worker() {
    common::run(|| async {
        let pool = pool(2).await;
        pool.map(square, 0..100).await.unwrap();
        // ceil(100 / (4 * 2)) = 13 elements each.
        assert_eq!(pool.stats().submitted, 8);
        pool.map(square, 0..100).chunk_size(30).await.unwrap();
        assert_eq!(pool.stats().submitted, 8 + 4);
        // Calls of async tasks are sent one by one.
        pool.map(double, 0..10).await.unwrap();
        assert_eq!(pool.stats().submitted, 8 + 4 + 10);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn an_input_of_unknown_length_is_mapped_too() {
    common::run(|| async {
        let pool = pool(2).await;
        let odd = (0..10_000_u64).filter(|x| x % 2 == 1);
        let got = pool.map(square, odd).await.unwrap();
        assert_eq!(got.len(), 5_000);
        assert!(got.iter().enumerate().all(|(i, x)| *x == (2 * i as u64 + 1).pow(2)));
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn the_first_error_cancels_the_rest() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("map-failfast");
        let inputs: Vec<_> = (0..40).map(|x| (gate.path(), x)).collect();
        // The only worker stays in the second element until it is killed.
        let error = pool.map(boom_or_mark, inputs).chunk_size(1).await.unwrap_err();
        assert_eq!(error.panic_message(), Some("first"));
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        assert!(gate.log().iter().all(|x| x == "1"), "{:?}", gate.log());
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn wait_all_runs_every_element_after_a_failure() {
    common::run(|| async {
        let pool = builder(2).stderr(Stderr::Null).build().await.unwrap();
        let gate = Gate::new("map-wait-all");
        let inputs: Vec<_> = (0..30).map(|x| (gate.path(), x)).collect();
        let error = pool.starmap(loud_boom, inputs).chunk_size(2).wait_all().await.unwrap_err();
        assert!(error.panic_message().unwrap().contains("very loud"));
        let ran: HashSet<_> = gate.log().into_iter().collect();
        assert_eq!(ran.len(), 30);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn try_map_gives_every_element_its_own_result() {
    common::run(|| async {
        let pool = pool(2).await;
        for n in [1, 4, 40] {
            let results = pool.try_map(moody, 0..40).chunk_size(n).await.unwrap();
            assert_eq!(results.len(), 40);
            for (x, result) in results.into_iter().enumerate() {
                match (x % 10, result) {
                    (3, Err(e)) => assert_eq!(e.panic_message(), Some(&*format!("no threes: {x}"))),
                    (7, Err(e)) => assert!(Death::Kill.is_cause_of(&e), "{e}"),
                    (_, result) => assert_eq!(result.unwrap(), (x * x) as u64),
                }
            }
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_panicking_input_reaches_whoever_awaits_and_the_pool_goes_on() {
    common::run(|| async {
        let pool = pool(1).await;
        let bad = |at: u64| (0..20_u64).inspect(move |x| assert_ne!(*x, at, "the input is broken"));
        for at in [0, 1, 19] {
            for chunk in [1, 5] {
                let mine = pool.clone();
                let input = bad(at);
                let task = async move { mine.map(square, input).chunk_size(chunk).await };
                let error = tokio::spawn(task).await.unwrap_err();
                assert!(error.is_panic());
            }
        }
        assert_eq!(pool.run(square(4)).await.unwrap(), 16);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn large_elements_come_back_whole() {
    common::run(|| async {
        let pool = pool(2).await;
        let inputs: Vec<Vec<u8>> = (0..12).map(|i| vec![i as u8; 1_500_000 + i]).collect();
        assert_eq!(pool.map(echo, inputs.clone()).await.unwrap(), inputs);
        assert_eq!(pool.map(echo, inputs.clone()).chunk_size(12).await.unwrap(), inputs);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn progress_counts_up_to_the_whole() {
    common::run(|| async {
        let pool = pool(2).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        pool.map(square, 0..20)
            .chunk_size(3)
            .progress(move |done, total| log.lock().unwrap().push((done, total)))
            .await
            .unwrap();
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert!(seen.is_sorted(), "{seen:?}");
        assert_eq!(seen.last(), Some(&(20, 20)));
        let calls = Arc::new(AtomicUsize::new(0));
        let n = calls.clone();
        pool.try_map(square, 0..5)
            .progress(move |_, total| {
                assert_eq!(total, 5);
                n.fetch_add(1, Ordering::Relaxed);
            })
            .await
            .unwrap();
        assert!(calls.load(Ordering::Relaxed) > 0);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_stream_can_be_mapped() {
    common::run(|| async {
        let pool = pool(2).await;
        let (sender, receiver) = tokio::sync::mpsc::channel(2);
        let input = futures::stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        });
        let map = pool.map_async(square, input);
        for x in 0..50 {
            sender.send(x).await.unwrap();
        }
        drop(sender);
        let squares = map.await.unwrap();
        assert!(squares.iter().enumerate().all(|(i, x)| *x == (i * i) as u64));
        assert_eq!(squares.len(), 50);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn both_workers_get_a_share_of_slow_elements() {
    common::run(|| async {
        let pool = pool(2).await;
        let gate = Gate::new("map-share");
        let inputs: Vec<_> = (0..2).map(|x| (gate.path(), x)).collect();
        let map = pool.map_async(hold, inputs);
        // Both are inside at one time: neither waits for the other.
        gate.arrived(2).await;
        gate.open();
        assert_eq!(map.await.unwrap(), [0, 1]);
        let ran: HashSet<u32> = pool.map(pid, 0..100).await.unwrap().into_iter().collect();
        let workers = pids(&pool);
        assert!(ran.iter().all(|pid| workers.contains(pid)));
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn dropping_a_map_cancels_it() {
    common::run(|| async {
        let pool = pool(1).await;
        let gate = Gate::new("map-drop");
        let inputs: Vec<_> = (0..10).map(|x| (gate.path(), x)).collect();
        let mut map = pool.map(hold, inputs).chunk_size(1);
        tokio::select! {
            biased;
            _ = &mut map => panic!("nobody opened the gate"),
            () = gate.arrived(1) => {}
        }
        drop(map);
        assert_eq!(pool.run(square(2)).await.unwrap(), 4);
        assert_eq!(gate.log(), ["0"], "only the first element ever ran");
        assert_eq!(pool.stats().queued, 0);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn chunk_size_zero_is_refused() {
    common::run(|| async {
        let pool = pool(1).await;
        for error in [
            pool.map(square, 0..3).chunk_size(0).await.unwrap_err(),
            pool.map(square, 0..3).chunk_size(0).spawn().await.unwrap_err(),
            pool.try_map(square, 0..3).chunk_size(0).await.unwrap_err(),
            pool.imap(square, 0..3).chunk_size(0).next().await.unwrap().unwrap_err(),
        ] {
            let ErrorKind::InvalidOption { option, value, allowed } = error.kind() else {
                panic!("{error}")
            };
            assert_eq!((*option, value.as_str()), ("chunk_size", "0"));
            assert!(allowed.contains("at least 1"));
        }
        assert_eq!(pool.map(square, 0..3).await.unwrap(), [0, 1, 4]);
        pool.shutdown().await.unwrap();
    });
}
