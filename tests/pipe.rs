//! Pipes: messages both ways, from tasks and from threads; ends; what must not be lost.

mod common;

use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt, TryStreamExt};
use procpool::{
    Connection, DecodeLimits, MessageKind, PipeSender, RecvError, SendErrorKind, one_way, pipe,
};
use serde::{Deserialize, Serialize};

procpool::test_hook!();

const SHORT: Duration = Duration::from_millis(20);
const MIB: usize = 1 << 20;
/// Large, where it is Windows that is imitated less so: it takes 4 KiB at a time there.
const BIG: usize = if cfg!(windows) { 4 * MIB } else { 64 * MIB };

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Thing {
    Number(i64),
    Words { list: Vec<String>, nothing: Option<u8> },
}

fn things() -> Vec<Thing> {
    vec![
        Thing::Number(-7),
        Thing::Words { list: vec!["a".into(), String::new()], nothing: None },
        Thing::Words { list: vec!["long".repeat(50_000)], nothing: Some(3) },
    ]
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

/// Fills a pipe until there is no room left; how many messages that took.
fn fill(end: &mut PipeSender<Vec<u8>>, message: &[u8]) -> usize {
    let mut sent = 0;
    loop {
        match end.try_send(message.to_vec()) {
            Ok(()) => sent += 1,
            Err(error) => {
                assert!(error.is_full(), "{error}");
                assert_eq!(error.into_inner(), message, "it comes back");
                return sent;
            }
        }
    }
}

#[test]
fn values_go_both_ways_between_tasks() {
    common::run(|| async {
        let (mut a, mut b) = pipe::<Thing, u64>().unwrap();
        let echo = tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Ok(thing) = b.recv().await {
                seen.push(thing);
                b.send(seen.len() as u64).await.unwrap();
            }
            seen
        });
        for (i, thing) in things().into_iter().enumerate() {
            a.send(thing).await.unwrap();
            assert_eq!(a.recv().await.unwrap(), i as u64 + 1);
        }
        drop(a);
        assert_eq!(echo.await.unwrap(), things());
    });
}

#[test]
fn values_go_both_ways_between_threads_without_a_runtime() {
    let (mut a, mut b) = pipe::<Thing, u64>().unwrap();
    let echo = std::thread::spawn(move || {
        let mut n = 0;
        loop {
            match b.blocking_recv() {
                Ok(thing) => assert_eq!(thing, things()[n]),
                Err(error) => break assert!(matches!(error, RecvError::Closed)),
            }
            n += 1;
            b.blocking_send(n as u64).unwrap();
        }
    });
    for (i, thing) in things().into_iter().enumerate() {
        a.blocking_send(thing).unwrap();
        assert_eq!(a.blocking_recv().unwrap(), i as u64 + 1);
    }
    drop(a);
    echo.join().unwrap();
}

#[test]
fn a_task_and_a_thread_talk() {
    common::run(|| async {
        let (mut a, mut b) = pipe::<u32, u32>().unwrap();
        let thread = std::thread::spawn(move || {
            for _ in 0..100 {
                let n = b.blocking_recv().unwrap();
                b.blocking_send(n + 1).unwrap();
            }
        });
        for n in 0..100 {
            a.send(n).await.unwrap();
            assert_eq!(a.recv().await.unwrap(), n + 1);
        }
        thread.join().unwrap();
    });
}

#[test]
fn byte_strings_of_every_size_arrive() {
    common::run(|| async {
        let (mut a, mut b) = pipe::<Vec<u8>, ()>().unwrap();
        let sizes = [0, 1, 100, 16_383, 16_384, 65_536, 65_537, 70_000, 3 * MIB, 16 * MIB];
        let sending = tokio::spawn(async move {
            for n in sizes {
                a.send(pattern(n)).await.unwrap();
                a.send_bytes(&pattern(n)).await.unwrap();
            }
            a
        });
        for n in sizes {
            assert!(b.recv().await.unwrap() == pattern(n), "{n}");
            assert!(b.recv_bytes().await.unwrap() == pattern(n), "{n}");
        }
        drop(sending.await.unwrap());
        assert!(matches!(b.recv_bytes().await, Err(RecvError::Closed)));
    });
}

#[test]
fn two_tasks_send_64_mib_at_each_other() {
    common::run(|| async {
        async fn swap(mut end: Connection<Vec<u8>, Vec<u8>>) {
            let big = vec![7; BIG];
            end.send(big).await.unwrap();
            let got = end.recv().await.unwrap();
            assert_eq!((got.len(), got[BIG - 1]), (BIG, 7));
        }
        let (a, b) = pipe().unwrap();
        let (a, b) = (tokio::spawn(swap(a)), tokio::spawn(swap(b)));
        a.await.unwrap();
        b.await.unwrap();
    });
}

#[test]
fn two_threads_send_64_mib_at_each_other() {
    fn swap(mut end: Connection<Vec<u8>, Vec<u8>>) {
        end.blocking_send(vec![7; BIG]).unwrap();
        end.blocking_send_bytes(&vec![8; MIB]).unwrap();
        let got = end.blocking_recv().unwrap();
        assert_eq!((got.len(), got[BIG - 1]), (BIG, 7));
        assert_eq!(end.blocking_recv_bytes().unwrap(), vec![8; MIB]);
    }
    let (a, b) = pipe().unwrap();
    let thread = std::thread::spawn(|| swap(a));
    swap(b);
    thread.join().unwrap();
}

// Windows keeps an end open while something that it was given to write waits for room.
#[cfg(unix)]
#[test]
fn what_a_sender_takes_in_meanwhile_is_bounded() {
    // Whoever only sends is not read from for ever by an end that waits to send.
    let (mut a, b) = pipe::<Vec<u8>, Vec<u8>>().unwrap();
    a.set_max_message(MIB as u64);
    let (mut sender, receiver) = b.split().unwrap();
    let blocked = std::thread::spawn(move || {
        let error = a.blocking_send(vec![1; MIB - 10]).unwrap_err();
        assert!(error.is_closed(), "{error}");
        let mut received = 0;
        while a.blocking_recv().is_ok() {
            received += 1;
        }
        received
    });
    let mut sent = 0;
    // `a` cannot go on, since nothing is received; nor can `sender` once `a` has enough.
    let mut refused = 0;
    while refused < 200 {
        match sender.try_send(vec![2; 60_000]) {
            Ok(()) => (sent, refused) = (sent + 1, 0),
            Err(_) => {
                refused += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    assert!(sent < 200, "{sent} messages of 60,000 bytes were taken in");
    drop((sender, receiver));
    assert!(blocked.join().unwrap() <= sent);
}

#[test]
fn a_slow_receiver_stops_its_sender() {
    common::run(|| async {
        let (mut sender, mut receiver) = one_way::<Vec<u8>>().unwrap();
        let message = pattern(1000);
        let mut fitting = fill(&mut sender, &message);
        // Where the system writes by itself it may have made room since.
        while let Some(sent) = sender.send(message.clone()).now_or_never() {
            sent.unwrap();
            fitting += 1 + fill(&mut sender, &message);
            assert!(fitting < 100_000, "it never waits");
        }
        assert!(fitting > 0);
        let sending = tokio::spawn(async move {
            sender.send(pattern(5)).await.unwrap();
        });
        for _ in 0..fitting {
            assert!(receiver.recv().await.unwrap() == message);
        }
        assert_eq!(receiver.recv().await.unwrap(), pattern(5), "the dropped one was not sent");
        sending.await.unwrap();
        assert!(receiver.recv().await.unwrap_err().is_closed());
    });
}

#[test]
fn a_dropped_send_neither_tears_nor_merges() {
    common::run(|| async {
        let (mut a, mut b) = pipe::<Vec<u8>, u8>().unwrap();
        // Begun: more than fits, so that a part has left.
        assert!(a.send(pattern(5 * MIB)).now_or_never().is_none());
        // Another one, which may not begin before the first has left.
        assert!(a.send(vec![1; 10]).now_or_never().is_none());
        assert!(a.try_send(vec![2; 10]).unwrap_err().is_full());
        let receiving = tokio::spawn(async move {
            let mut got = Vec::new();
            while let Ok(message) = b.recv().await {
                b.send(1).await.unwrap();
                got.push(message);
            }
            got
        });
        // The rest leaves while this end waits for an answer.
        assert_eq!(a.recv().await.unwrap(), 1);
        a.send(vec![3; 10]).await.unwrap();
        assert_eq!(a.recv().await.unwrap(), 1);
        drop(a);
        let got = receiving.await.unwrap();
        assert!(got[0] == pattern(5 * MIB));
        assert_eq!(got[1..], [vec![3; 10]]);
    });
}

#[test]
fn what_try_send_has_begun_leaves_by_flush() {
    let (mut sender, mut receiver) = one_way::<Vec<u8>>().unwrap();
    sender.try_send(pattern(3 * MIB)).unwrap();
    let receiving = std::thread::spawn(move || receiver.blocking_recv().unwrap());
    sender.blocking_flush().unwrap();
    drop(sender);
    assert!(receiving.join().unwrap() == pattern(3 * MIB));
}

#[test]
fn a_dropped_recv_loses_nothing() {
    common::run(|| async {
        let (mut sender, mut receiver) = one_way::<Vec<u8>>().unwrap();
        let sending = tokio::spawn(async move {
            for n in 0..50 {
                sender.send(pattern(n * 10_000)).await.unwrap();
            }
        });
        for n in 0..50 {
            // Given up again and again, within messages too.
            let message = loop {
                match receiver.recv().now_or_never() {
                    Some(message) => break message.unwrap(),
                    None => tokio::task::yield_now().await,
                }
            };
            assert!(message == pattern(n * 10_000), "{n}");
        }
        sending.await.unwrap();
    });
}

#[test]
fn poll_sees_messages_and_the_end() {
    common::run(|| async {
        let (mut a, mut b) = pipe::<u8, u8>().unwrap();
        assert!(!b.poll(Duration::ZERO).await);
        assert!(!b.poll(SHORT).await);
        assert!(!b.blocking_poll(SHORT));
        a.send_bytes(b"").await.unwrap();
        for _ in 0..3 {
            assert!(b.poll(Duration::ZERO).await, "an empty message counts, and stays");
            assert!(b.blocking_poll(Duration::ZERO));
        }
        assert_eq!(b.recv_bytes().await.unwrap(), b"");
        assert!(!b.poll(Duration::ZERO).await);
        a.send(5).await.unwrap();
        assert!(b.poll(None).await && b.blocking_poll(None));
        assert_eq!(b.try_recv().unwrap(), Some(5));
        assert_eq!(b.try_recv().unwrap(), None);
        drop(a);
        assert!(b.poll(Duration::ZERO).await && b.blocking_poll(SHORT), "the end counts, too");
        assert!(matches!(b.try_recv(), Err(RecvError::Closed)));
    });
}

#[test]
fn mixed_empty_and_other_messages_arrive_one_to_one() {
    let (mut sender, mut receiver) = one_way::<()>().unwrap();
    let messages: [&[u8]; 7] = [b"hello", b"", b" ", b"", b"", b"world", b"!"];
    for message in messages {
        sender.blocking_send_bytes(message).unwrap();
    }
    for message in messages {
        assert!(receiver.blocking_poll(Duration::ZERO));
        assert_eq!(receiver.blocking_recv_bytes().unwrap(), message);
    }
    assert!(!receiver.blocking_poll(Duration::ZERO));
}

#[test]
fn half_a_message_is_none_and_stays_whole() {
    // Large enough to arrive in several pieces, polled in between.
    let (mut sender, mut receiver) = one_way::<Vec<u8>>().unwrap();
    sender.try_send(pattern(2 * MIB)).unwrap();
    assert!(!receiver.blocking_poll(Duration::ZERO), "only a part of it is there");
    assert_eq!(receiver.blocking_recv_timeout(SHORT).unwrap(), None);
    assert_eq!(receiver.try_recv().unwrap(), None);
    let rest = std::thread::spawn(move || sender.blocking_flush());
    assert!(receiver.blocking_poll(None));
    assert!(receiver.blocking_recv().unwrap() == pattern(2 * MIB));
    rest.join().unwrap().unwrap();
}

#[test]
fn time_limits() {
    common::run(|| async {
        let (mut a, mut b) = pipe::<u8, u8>().unwrap();
        assert_eq!(b.recv_timeout(SHORT).await.unwrap(), None);
        a.send(1).await.unwrap();
        assert_eq!(b.recv_timeout(common::HANG).await.unwrap(), Some(1));
        a.send(2).await.unwrap();
        assert_eq!(b.blocking_recv_timeout(Duration::MAX).unwrap(), Some(2));
        assert_eq!(b.blocking_recv_timeout(Duration::ZERO).unwrap(), None);
    });
}

#[test]
fn bytes_and_values_are_told_apart_and_nothing_is_lost() {
    common::run(|| async {
        let (mut a, mut b) = pipe::<u8, u8>().unwrap();
        a.send_bytes(b"abc").await.unwrap();
        a.send(4).await.unwrap();
        for _ in 0..2 {
            let error = b.recv().await.unwrap_err();
            assert!(
                matches!(error, RecvError::WrongKind { found: MessageKind::Bytes, len: 3 }),
                "{error:?}"
            );
            assert!(error.to_string().contains("recv_bytes") && !error.is_final(), "{error}");
        }
        assert_eq!(b.recv_bytes().await.unwrap(), b"abc");
        let error = b.recv_bytes_into(&mut [0; 9]).await.unwrap_err();
        assert!(matches!(error, RecvError::WrongKind { found: MessageKind::Value, .. }));
        assert_eq!(b.recv().await.unwrap(), 4);
    });
}

#[test]
fn the_length_of_bytes_is_checked_and_nothing_is_lost() {
    let (mut sender, mut receiver) = one_way::<()>().unwrap();
    for message in [&pattern(10), &pattern(100_000)] {
        sender.try_send(()).unwrap();
        receiver.blocking_recv().unwrap();
        let sending = std::thread::spawn({
            let message = message.clone();
            move || {
                sender.blocking_send_bytes(&message).unwrap();
                sender.blocking_send_bytes(&message).unwrap();
                sender
            }
        });
        let error = receiver.blocking_recv_bytes_max(message.len() - 1).unwrap_err();
        let len = message.len() as u64;
        assert!(
            matches!(error, RecvError::TooLong { len: l, max } if l == len && max == len - 1),
            "{error:?}"
        );
        let received = receiver.blocking_recv_bytes_max(message.len()).unwrap();
        assert!(received == *message, "it has stayed");
        match receiver.blocking_recv_bytes_into(&mut [0; 9]) {
            Err(RecvError::BufferTooShort { room: 9, message: whole }) => {
                assert!(whole == *message);
            }
            other => panic!("{other:?}"),
        }
        sender = sending.join().unwrap();
    }
    sender.blocking_send_bytes(b"fits").unwrap();
    let mut buf = [1; 6];
    assert_eq!(receiver.blocking_recv_bytes_into(&mut buf).unwrap(), 4);
    assert_eq!(&buf, b"fits\x01\x01");
}

#[test]
fn dropping_an_end_closes_it_for_the_other() {
    common::run(|| async {
        let (mut a, mut b) = pipe::<String, String>().unwrap();
        a.send("last words".into()).await.unwrap();
        drop(a);
        assert_eq!(b.recv().await.unwrap(), "last words");
        for _ in 0..2 {
            let error = b.recv().await.unwrap_err();
            assert!(matches!(error, RecvError::Closed) && error.is_closed() && error.is_final());
        }
        let error = b.send("too late".into()).await.unwrap_err();
        assert!(error.is_closed() && !error.is_full());
        assert_eq!(error.into_inner(), "too late");
        let error = b.try_send("too late".into()).unwrap_err();
        let (value, kind) = error.into_parts();
        assert!(value == "too late" && matches!(kind, SendErrorKind::Closed));
        assert!(matches!(b.send_bytes(b"x").await, Err(SendErrorKind::Closed)));
    });
}

#[test]
fn an_end_closed_with_messages_unread_does_not_hide_what_it_sent() {
    common::run(|| async {
        let (mut a, mut b) = pipe::<u8, u8>().unwrap();
        b.send(1).await.unwrap();
        a.send(2).await.unwrap();
        drop(a);
        assert_eq!(b.recv().await.unwrap(), 2);
        assert!(matches!(b.recv().await, Err(RecvError::Closed)));
        assert!(b.send(3).await.unwrap_err().is_closed());
    });
}

#[test]
fn a_large_byte_string_comes_back_as_it_was() {
    common::run(|| async {
        let (mut a, b) = pipe::<Vec<u8>, ()>().unwrap();
        let big = vec![9; 8 * MIB];
        let at = big.as_ptr();
        let sending = tokio::spawn(async move {
            let error = a.send(big).await.unwrap_err();
            assert!(error.is_closed());
            error.into_inner()
        });
        // Part of it may have left.
        tokio::task::yield_now().await;
        drop(b);
        let back = sending.await.unwrap();
        assert_eq!((back.len(), back.as_ptr()), (8 * MIB, at), "uncopied");
    });
}

#[test]
fn waiting_ends_when_the_other_end_is_dropped() {
    common::run(|| async {
        let (mut a, b) = pipe::<u8, u8>().unwrap();
        let waiting = tokio::spawn(async move { a.recv().await });
        tokio::task::yield_now().await;
        drop(b);
        assert!(waiting.await.unwrap().unwrap_err().is_closed());

        let (mut a, b) = pipe::<u8, u8>().unwrap();
        let waiting = std::thread::spawn(move || a.blocking_recv());
        drop(b);
        assert!(waiting.join().unwrap().unwrap_err().is_closed());

        let (mut sender, receiver) = one_way::<Vec<u8>>().unwrap();
        fill(&mut sender, &pattern(1000));
        let waiting = std::thread::spawn(move || sender.blocking_send(vec![1]));
        drop(receiver);
        assert!(waiting.join().unwrap().unwrap_err().is_closed());
    });
}

#[test]
fn one_end_serves_runtimes_and_threads_in_turn() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut a, mut b) = pipe::<u32, u32>().unwrap();
    let mut round_trip = |runtime: &tokio::runtime::Runtime, n: u32| {
        let (mut x, mut y) = (&mut a, &mut b);
        runtime.block_on(async {
            let both = async {
                // Both wait before anything is sent.
                let receiving = async { y.recv().await.unwrap() };
                let sending = async {
                    tokio::task::yield_now().await;
                    x.send(n).await.unwrap();
                };
                let (got, ()) = tokio::join!(receiving, sending);
                got
            };
            assert_eq!(tokio::time::timeout(common::HANG, both).await.unwrap(), n);
        });
        x.blocking_send(n + 1).unwrap();
        assert_eq!(y.blocking_recv().unwrap(), n + 1);
        (x, y) = (&mut a, &mut b);
        assert_eq!((x.try_recv().unwrap(), y.try_recv().unwrap()), (None, None));
    };
    // The first one lives on and is not driven while the second one is.
    let first = runtime();
    round_trip(&first, 10);
    let second = runtime();
    round_trip(&second, 20);
    round_trip(&first, 30);
    drop(first);
    round_trip(&second, 40);
    drop(second);
    round_trip(&runtime(), 50);
}

/// On Windows there is always something to wait with.
#[cfg(unix)]
#[test]
fn waiting_outside_of_a_runtime_is_an_error_that_says_what_to_do() {
    let (_a, mut b) = pipe::<u8, u8>().unwrap();
    let error = futures::executor::block_on(b.recv()).unwrap_err();
    assert!(error.to_string().contains("blocking_"), "{error}");
}

#[test]
fn an_end_is_a_stream_and_a_sink() {
    common::run(|| async {
        let (sender, receiver) = one_way::<u32>().unwrap();
        let feeding = tokio::spawn(async move {
            futures::stream::iter((0..100_000).map(Ok)).forward(sender).await
        });
        let sum = receiver.try_fold(0u64, async |sum, n| Ok(sum + u64::from(n))).await.unwrap();
        assert_eq!(sum, 99_999 * 50_000);
        feeding.await.unwrap().unwrap();

        let (mut a, mut b) = pipe::<u32, u32>().unwrap();
        a.feed(1).await.unwrap();
        assert_eq!(b.try_recv().unwrap(), None, "fed, not flushed");
        SinkExt::flush(&mut a).await.unwrap();
        assert_eq!(b.next().await.unwrap().unwrap(), 1);
        drop(b);
        assert!(a.next().await.is_none());
        assert!(matches!(SinkExt::send(&mut a, 2).await, Err(SendErrorKind::Closed)));
    });
}

#[test]
fn both_halves_are_used_at_a_time() {
    common::run(|| async {
        async fn stream(end: Connection<Vec<u8>, Vec<u8>>) {
            let (mut sender, mut receiver) = end.split().unwrap();
            let sending = tokio::spawn(async move {
                for n in 0..100 {
                    sender.send(pattern(n * 1000)).await.unwrap();
                }
            });
            for n in 0..100 {
                assert!(receiver.recv().await.unwrap() == pattern(n * 1000));
            }
            sending.await.unwrap();
            if cfg!(unix) {
                let end = receiver.recv().await.unwrap_err();
                assert!(end.is_closed(), "the sending half is gone");
            }
        }
        let (a, b) = pipe().unwrap();
        let (a, b) = (tokio::spawn(stream(a)), tokio::spawn(stream(b)));
        a.await.unwrap();
        b.await.unwrap();
    });
}

#[test]
fn a_split_keeps_what_was_taken_in_and_what_was_begun() {
    let (mut a, mut b) = pipe::<Vec<u8>, u32>().unwrap();
    b.blocking_send(1).unwrap();
    b.blocking_send(2).unwrap();
    assert!(a.blocking_poll(None));
    a.try_send(pattern(2 * MIB)).unwrap();
    let (mut sender, mut receiver) = a.split().unwrap();
    assert_eq!((receiver.blocking_recv().unwrap(), receiver.blocking_recv().unwrap()), (1, 2));
    let reading = std::thread::spawn(move || b.blocking_recv().unwrap());
    sender.blocking_flush().unwrap();
    assert!(reading.join().unwrap() == pattern(2 * MIB));
}

#[test]
fn what_cannot_be_encoded_is_refused_and_comes_back() {
    struct Stubborn;
    impl Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it will not"))
        }
    }
    common::run(|| async {
        let (mut a, mut b) = pipe::<Stubborn, u8>().unwrap();
        let error = a.send(Stubborn).await.unwrap_err();
        assert!(matches!(error.kind(), SendErrorKind::Encode { .. }), "{error:?}");
        assert!(error.to_string().contains("Stubborn") && error.to_string().contains("will not"));
        b.send(1).await.unwrap();
        assert_eq!(a.recv().await.unwrap(), 1, "the pipe is as good as before");
        a.send_bytes(b"x").await.unwrap();
        assert_eq!(b.recv_bytes().await.unwrap(), b"x");
    });
}

#[test]
fn limits_of_length_hold_on_both_sides() {
    let (mut sender, mut receiver) = one_way::<Vec<u8>>().unwrap();
    sender.set_max_message(100_000);
    let error = sender.try_send(vec![0; 100_001]).unwrap_err();
    assert!(matches!(error.kind(), SendErrorKind::TooLong { max: 100_000, .. }), "{error:?}");
    assert_eq!(error.into_inner().len(), 100_001);
    assert!(matches!(
        sender.blocking_send_bytes(&[0; 100_001]),
        Err(SendErrorKind::TooLong { .. })
    ));
    receiver.set_max_message(50_000);
    sender.try_send(vec![0; 90_000]).unwrap();
    for _ in 0..2 {
        let error = receiver.blocking_recv().unwrap_err();
        assert!(matches!(error, RecvError::Broken { .. }) && error.is_final(), "{error:?}");
        assert!(error.to_string().contains("50000"), "{error}");
    }
}

#[test]
fn what_a_value_may_cost_to_decode_is_limited() {
    let (mut sender, mut receiver) = one_way::<Vec<Option<u64>>>().unwrap();
    sender.blocking_send(vec![None; 1000]).unwrap();
    sender.blocking_send(vec![Some(1)]).unwrap();
    receiver.set_decode_limits(DecodeLimits { elements: 999, ..DecodeLimits::default() });
    let error = receiver.blocking_recv().unwrap_err();
    assert!(error.to_string().contains("element budget"), "{error}");
    assert_eq!(receiver.blocking_recv().unwrap(), [Some(1)]);
}

#[test]
fn ten_thousand_pipes_leave_no_descriptor() {
    common::run(|| async {
        let before = common::os::open_files().len();
        for n in 0..10_000u32 {
            let (mut a, mut b) = pipe::<u32, u32>().unwrap();
            if n % 100 == 0 {
                // Registered with the runtime, too.
                let (got, sent) = tokio::join!(b.recv(), a.send(n));
                assert_eq!(got.unwrap(), n);
                sent.unwrap();
            }
        }
        // Windows closes some of them a moment later.
        common::eventually("all are closed", || common::os::open_files().len() <= before).await;
    });
}

/// What another program might write into a pipe.
#[cfg(unix)]
mod hostile {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use procpool::PipeReceiver;

    use super::*;

    const MESSAGE: u8 = 14;
    const BYTES: u8 = 15;
    const DATA: u8 = 11;

    fn frame(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![0xB7, kind, flags, 0, 0, 0, 0, 0];
        frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
        frame.extend_from_slice(&[0; 8]);
        frame.extend_from_slice(body);
        frame
    }

    fn preamble(lens: &[u64]) -> Vec<u8> {
        let mut bytes = (lens.len() as u32).to_le_bytes().to_vec();
        lens.iter().for_each(|len| bytes.extend_from_slice(&len.to_le_bytes()));
        bytes
    }

    /// An end whose other end has written this and is gone.
    fn after<T>(bytes: &[u8]) -> PipeReceiver<T> {
        let (sender, receiver) = one_way::<T>().unwrap();
        let mut raw = UnixStream::from(sender.as_fd().try_clone_to_owned().unwrap());
        raw.write_all(bytes).unwrap();
        receiver
    }

    fn error<T: serde::de::DeserializeOwned + std::fmt::Debug + 'static>(
        receiver: &mut PipeReceiver<T>,
    ) -> RecvError {
        receiver.blocking_recv().unwrap_err()
    }

    #[test]
    fn garbage_ends_the_pipe_with_a_reason() {
        let long = preamble(&[0, u64::MAX]);
        let two = preamble(&[1, 1]);
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
            &[0; 20],
            &frame(99, 0, b""),
            &frame(MESSAGE, 0x80, b""),
            &frame(1, 0, b"hello"),
            &frame(6, 0, b"a value of a call"),
            &frame(DATA, 0, b"of nothing"),
            &frame(MESSAGE, 1, b""),
            &frame(MESSAGE, 1, &long),
            &[frame(BYTES, 1, &two), frame(DATA, 0, b"ab")].concat(),
            &[frame(MESSAGE, 1, &two), frame(DATA, 0, b"abc")].concat(),
        ] {
            let mut receiver = after::<u8>(bytes);
            assert!(receiver.blocking_poll(None));
            for _ in 0..2 {
                let error = error(&mut receiver);
                assert!(matches!(error, RecvError::Broken { .. }), "{bytes:?}: {error:?}");
                assert!(error.is_final() && !error.is_closed());
            }
        }
    }

    #[test]
    fn every_truncation_is_told_from_an_end() {
        let message = [
            frame(MESSAGE, 1, &preamble(&[1, 5])),
            frame(DATA, 0, b"\x01"),
            frame(DATA, 0, b"12345"),
        ]
        .concat();
        for cut in 0..message.len() {
            let error = error(&mut after::<Vec<u8>>(&message[..cut]));
            match error {
                RecvError::Closed => assert_eq!(cut, 0),
                RecvError::Truncated => assert_ne!(cut, 0),
                other => panic!("{cut}: {other:?}"),
            }
        }
        let mut receiver = after::<Vec<u8>>(&message);
        assert_eq!(receiver.blocking_recv().unwrap(), b"12345");
        assert!(matches!(error(&mut receiver), RecvError::Closed));
    }

    #[test]
    fn a_message_that_is_no_value_costs_only_itself() {
        let bytes = [
            frame(MESSAGE, 0, b""),
            frame(MESSAGE, 0, b"\xff\xff\xff\xff\xff"),
            frame(MESSAGE, 0, b"\x05more"),
            frame(MESSAGE, 0, b"\x06"),
        ]
        .concat();
        let mut receiver = after::<u32>(&bytes);
        for _ in 0..3 {
            let error = error(&mut receiver);
            assert!(matches!(&error, RecvError::Decode { type_name: "u32", .. }), "{error:?}");
            assert!(!error.is_final());
        }
        assert_eq!(receiver.blocking_recv().unwrap(), 6);
        assert!(matches!(error(&mut receiver), RecvError::Closed));
    }

    #[test]
    fn an_announcement_alone_takes_no_memory() {
        let mut receivers: Vec<_> = (0..64)
            .map(|_| after::<Vec<u8>>(&frame(MESSAGE, 1, &preamble(&[1, 1 << 29]))))
            .collect();
        for receiver in &mut receivers {
            assert!(matches!(error(receiver), RecvError::Truncated));
        }
    }

    #[test]
    fn a_panicking_type_is_an_error() {
        #[derive(Debug)]
        struct Panics;
        impl<'de> Deserialize<'de> for Panics {
            fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                panic!("boom")
            }
        }
        let error = error(&mut after::<Panics>(&frame(MESSAGE, 0, b"")));
        assert!(error.to_string().contains("boom"), "{error}");
    }

    #[test]
    fn a_stream_says_once_what_was_wrong() {
        let received: Vec<_> = futures::executor::block_on(async {
            let (mut receiver, mut items) = (after::<u8>(b"garbage of more than 20 bytes"), vec![]);
            receiver.blocking_poll(None);
            while let Some(item) = receiver.next().await {
                items.push(item);
            }
            items
        });
        assert!(matches!(received[..], [Err(RecvError::Broken { .. })]), "{received:?}");
    }

    /// Signals that somebody handles without restarting system calls.
    #[test]
    fn signals_interrupt_neither_sending_nor_receiving() {
        extern "C" fn ignore(_: libc::c_int) {}
        // SAFETY: a handler that does nothing, installed without SA_RESTART.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = ignore as *const () as usize;
            assert_eq!(libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()), 0);
        }
        let (mut a, mut b) = pipe::<Vec<u8>, Vec<u8>>().unwrap();
        let (tell, thread) = std::sync::mpsc::channel();
        let busy = std::thread::spawn(move || {
            // SAFETY: a plain call.
            tell.send(unsafe { libc::pthread_self() } as usize).unwrap();
            for _ in 0..20 {
                let got = b.blocking_recv().unwrap();
                assert!(b.blocking_poll(None));
                assert_eq!(b.blocking_recv_bytes().unwrap(), b"also");
                b.blocking_send(got).unwrap();
            }
        });
        let thread = thread.recv().unwrap() as libc::pthread_t;
        let interrupt = || {
            for _ in 0..20 {
                // SAFETY: the thread has not been joined.
                unsafe { libc::pthread_kill(thread, libc::SIGUSR2) };
                std::thread::yield_now();
            }
        };
        for _ in 0..20 {
            interrupt();
            a.blocking_send(pattern(MIB)).unwrap();
            interrupt();
            a.blocking_send_bytes(b"also").unwrap();
            interrupt();
            assert!(a.blocking_recv().unwrap() == pattern(MIB));
        }
        busy.join().unwrap();
    }
}
