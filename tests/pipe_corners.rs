//! Pipes where something goes wrong, or comes from a program that is none of ours.

mod common;

use futures::{SinkExt, StreamExt};
use procpool::{RecvError, SendErrorKind, pipe};

procpool::test_hook!();

const MIB: usize = 1 << 20;

/// On Windows there is always something to wait with.
#[cfg(unix)]
#[test]
fn a_message_that_fails_half_way_is_not_completed_by_the_next() {
    let (mut sender, mut receiver) = procpool::one_way::<Vec<u8>>().unwrap();
    // Its beginning leaves before there is something to wait for.
    let error = futures::executor::block_on(sender.send(vec![1; 2 * MIB])).unwrap_err();
    assert!(matches!(error.kind(), SendErrorKind::Io(_)), "{error:?}");
    let next = std::thread::spawn(move || {
        let sent = sender.blocking_send(vec![2; 2 * MIB]);
        (sent, sender.blocking_flush())
    });
    let received = receiver.blocking_recv().map(|message| message.len());
    assert!(matches!(received, Err(RecvError::Truncated)), "{received:?}");
    let (sent, flushed) = next.join().unwrap();
    assert!(sent.is_err() && flushed.is_err());
}

/// On Windows there is always something to wait with.
#[cfg(unix)]
#[test]
fn a_message_that_fails_before_it_begins_costs_only_itself() {
    let (mut sender, mut receiver) = procpool::one_way::<Vec<u8>>().unwrap();
    let mut fitting = 0;
    while sender.try_send(vec![1; 1000]).is_ok() {
        fitting += 1;
    }
    assert!(futures::executor::block_on(sender.send(vec![2; 1000])).is_err());
    for _ in 0..fitting {
        assert_eq!(receiver.blocking_recv().unwrap(), [1; 1000]);
    }
    sender.blocking_send(vec![3; 10]).unwrap();
    assert_eq!(receiver.blocking_recv().unwrap(), [3; 10]);
}

/// On Windows a direction does not end before the other one.
#[cfg(unix)]
#[test]
fn an_end_seen_while_sending_does_not_cut_messages_short() {
    let (mut a, mut b) = pipe::<Vec<u8>, u8>().unwrap();
    b.blocking_send(1).unwrap();
    b.blocking_send(2).unwrap();
    assert_eq!(a.blocking_recv().unwrap(), 1, "the second one came with it");
    let (sender, _receiver) = b.split().unwrap();
    drop(sender);
    // Finds no room, and looks what has come meanwhile.
    a.try_send(vec![0; 2 * MIB]).unwrap();
    assert_eq!(a.blocking_recv().unwrap(), 2);
    let end = a.blocking_recv().unwrap_err();
    assert!(matches!(end, RecvError::Closed), "{end:?}");
}

#[test]
fn short_messages_have_to_be_within_the_limit_too() {
    let (mut a, mut b) = pipe::<(), ()>().unwrap();
    b.set_max_message(1000);
    a.blocking_send_bytes(&[1; 1000]).unwrap();
    a.blocking_send_bytes(&[2; 1001]).unwrap();
    assert_eq!(b.blocking_recv_bytes().unwrap(), [1; 1000]);
    for _ in 0..2 {
        let error = b.blocking_recv_bytes().unwrap_err();
        assert!(matches!(error, RecvError::Broken { .. }), "{error:?}");
        assert!(error.to_string().contains("1001") && error.to_string().contains("1000"));
    }
}

#[test]
fn two_tasks_with_the_stream_and_the_sink_of_an_end_are_both_woken() {
    // One thread, so that whoever is spawned has come as far as it can after a `yield_now`.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (a, mut b) = pipe::<Vec<u8>, u32>().unwrap();
        let (mut sink, mut stream) = StreamExt::split(a);
        let receiving = tokio::spawn(async move {
            let first = stream.next().await.unwrap().unwrap();
            (first, stream)
        });
        tokio::task::yield_now().await;
        // Waits for room, and takes in what comes meanwhile.
        let sending = tokio::spawn(async move { sink.send(vec![5; 4 * MIB]).await });
        tokio::task::yield_now().await;
        b.send(7).await.unwrap();
        let received = tokio::time::timeout(common::HANG, receiving).await.unwrap();
        let (first, mut stream) = received.unwrap();
        assert_eq!(first, 7);
        // Waits for a message, and sends the rest as soon as there is room.
        let receiving = tokio::spawn(async move { stream.next().await.unwrap().unwrap() });
        tokio::task::yield_now().await;
        assert_eq!(b.recv().await.unwrap().len(), 4 * MIB);
        tokio::time::timeout(common::HANG, sending).await.unwrap().unwrap().unwrap();
        b.send(8).await.unwrap();
        let received = tokio::time::timeout(common::HANG, receiving).await.unwrap();
        assert_eq!(received.unwrap(), 8);
    });
}

#[test]
fn what_was_fed_and_cannot_leave_is_told_of() {
    common::run(|| async {
        let (mut a, b) = pipe::<u32, u32>().unwrap();
        a.feed(1).await.unwrap();
        drop(b);
        // Tries to send it, too.
        assert!(a.recv().await.unwrap_err().is_closed());
        let flushed = SinkExt::flush(&mut a).await;
        assert!(matches!(flushed, Err(SendErrorKind::Closed)), "{flushed:?}");
    });
}

/// On Windows there is always something to wait with.
#[cfg(unix)]
#[test]
fn what_cannot_be_waited_for_is_not_lost() {
    let (mut a, mut b) = pipe::<u8, u8>().unwrap();
    a.blocking_send(1).unwrap();
    let error = futures::executor::block_on(b.recv()).unwrap_err();
    assert!(matches!(error, RecvError::Wait(_)) && !error.is_final(), "{error:?}");
    assert_eq!(b.blocking_recv().unwrap(), 1);
    common::run(|| async move {
        a.send(2).await.unwrap();
        assert_eq!(b.recv().await.unwrap(), 2);
    });
}
