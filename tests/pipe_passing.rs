//! Ends of pipes in other processes: as arguments, as results, in messages of others.

mod common;
mod kit;

use std::time::Duration;

use common::os;
use kit::Gate;
use procpool::{Connection, PipeReceiver, PipeSender, Process, RecvError, one_way, pipe};

procpool::test_hook!();

const MIB: usize = 1 << 20;

/// From a thread without a runtime.
#[procpool::task]
fn echo(mut end: Connection<Vec<u8>, Vec<u8>>) -> u64 {
    let mut n = 0;
    while let Ok(message) = end.blocking_recv() {
        end.blocking_send(message).unwrap();
        n += 1;
    }
    n
}

#[procpool::task]
async fn echo_async(mut end: Connection<Vec<u8>, Vec<u8>>) -> u64 {
    let mut n = 0;
    while let Ok(message) = end.recv().await {
        end.send(message).await.unwrap();
        n += 1;
    }
    n
}

/// Sends until it is killed; says at the gate that it has begun.
#[procpool::task]
fn chatter(gate: String, mut end: Connection<u64, ()>) {
    kit::note(&gate, "up");
    for n in 0.. {
        end.blocking_send(n).unwrap();
    }
}

/// Begins a message that is longer than what fits, and stays in it.
#[procpool::task]
fn half_a_message(gate: String, mut end: PipeSender<Vec<u8>>) {
    end.try_send(vec![1; 8 * MIB]).unwrap();
    kit::stay(&gate, "up");
}

#[procpool::task]
fn hold_end(gate: String, end: Connection<(), ()>) {
    kit::stay(&gate, "up");
    drop(end);
}

async fn talk(mut end: Connection<Vec<u8>, Vec<u8>>) {
    for n in [0, 1, 1000, 70_000, 3 * MIB] {
        end.send(vec![n as u8; n]).await.unwrap();
        assert!(end.recv().await.unwrap() == vec![n as u8; n], "{n}");
    }
}

#[test]
fn an_end_is_an_argument_of_a_process() {
    common::run(|| async {
        let (ours, theirs) = pipe().unwrap();
        let mut process = Process::spawn(echo(theirs)).await.unwrap();
        talk(ours).await;
        assert_eq!(process.output().await.unwrap(), 5, "it saw the end");
        process.join().await;
    });
}

#[test]
fn an_end_is_an_argument_of_a_call() {
    common::run(|| async {
        let pool = kit::pool(1).await;
        for _ in 0..3 {
            let (ours, theirs) = pipe().unwrap();
            let call = pool.spawn(echo(theirs));
            talk(ours).await;
            assert_eq!(call.await.unwrap(), 5);
            let (ours, theirs) = pipe().unwrap();
            let call = pool.spawn(echo_async(theirs));
            talk(ours).await;
            assert_eq!(call.await.unwrap(), 5);
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn two_processes_talk_without_this_one() {
    #[procpool::task]
    async fn ask(mut end: Connection<Vec<u8>, Vec<u8>>) -> usize {
        end.send(vec![1; 5 * MIB]).await.unwrap();
        end.recv().await.unwrap().len()
    }
    common::run(|| async {
        let (a, b) = pipe().unwrap();
        let mut asking = Process::spawn(ask(a)).await.unwrap();
        let mut answering = Process::spawn(echo(b)).await.unwrap();
        assert_eq!(asking.output().await.unwrap(), 5 * MIB);
        assert_eq!(answering.output().await.unwrap(), 1);
        asking.join().await;
        answering.join().await;
    });
}

#[test]
fn an_end_is_a_result_and_one_way_ends_keep_their_direction() {
    #[procpool::task]
    fn begin() -> (PipeReceiver<String>, PipeSender<u32>) {
        let (mut sender, receiver) = one_way().unwrap();
        sender.blocking_send("from the worker".to_owned()).unwrap();
        let (back, mut answers) = one_way::<u32>().unwrap();
        std::thread::spawn(move || {
            let n = answers.blocking_recv().unwrap();
            sender.blocking_send(format!("got {n}")).unwrap();
        });
        (receiver, back)
    }
    common::run(|| async {
        let pool = kit::pool(1).await;
        let (mut receiver, mut sender) = pool.run(begin()).await.unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "from the worker");
        sender.send(5).await.unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "got 5");
        assert!(receiver.recv().await.unwrap_err().is_closed());
        pool.shutdown().await.unwrap();
    });
}

// On Windows an end can be passed only before it is used.
#[cfg(unix)]
#[test]
fn halves_of_an_end_go_to_two_processes() {
    #[procpool::task]
    fn count(mut sender: PipeSender<u32>) {
        for n in 0..100 {
            sender.blocking_send(n).unwrap();
        }
    }
    #[procpool::task]
    fn sum(mut receiver: PipeReceiver<u32>) -> u32 {
        let mut sum = 0;
        while let Ok(n) = receiver.blocking_recv() {
            sum += n;
        }
        sum
    }
    common::run(|| async {
        let (a, mut b) = pipe::<u32, u32>().unwrap();
        let (sender, receiver) = a.split().unwrap();
        let counting = Process::spawn(count(sender)).await.unwrap();
        let mut summing = Process::spawn(sum(receiver)).await.unwrap();
        for n in 0..100 {
            assert_eq!(b.recv().await.unwrap(), n);
        }
        assert!(b.recv().await.unwrap_err().is_closed(), "its half has ended with it");
        b.send(3).await.unwrap();
        b.send(4).await.unwrap();
        drop(b);
        assert_eq!(summing.output().await.unwrap(), 7);
        counting.join().await;
        summing.join().await;
    });
}

// On Windows an end can be passed only before it is used.
#[cfg(unix)]
#[test]
fn what_was_received_and_not_taken_goes_along() {
    #[procpool::task]
    fn collect(mut end: Connection<(), Vec<u8>>) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| end.blocking_recv().ok()).collect()
    }
    common::run(|| async {
        let (mut ours, mut theirs) = pipe::<Vec<u8>, ()>().unwrap();
        let messages = [vec![], vec![1], vec![2; 100], vec![3; 40_000], vec![4]];
        for message in &messages {
            ours.send(message.clone()).await.unwrap();
        }
        assert!(theirs.poll(None).await);
        let mut process = Process::spawn(collect(theirs)).await.unwrap();
        ours.send(vec![5]).await.unwrap();
        drop(ours);
        let mut expected = messages.to_vec();
        expected.push(vec![5]);
        assert_eq!(process.output().await.unwrap(), expected);
        process.join().await;
    });
}

// On Windows an end can be passed only before it is used.
#[cfg(unix)]
#[test]
fn an_end_with_a_message_half_out_or_half_in_is_refused() {
    common::run(|| async {
        let (mut ours, mut theirs) = pipe::<Vec<u8>, Vec<u8>>().unwrap();
        theirs.try_send(vec![1; 4 * MIB]).unwrap();
        let error = Process::spawn(echo(theirs)).await.unwrap_err();
        assert!(error.to_string().contains("has not left whole"), "{error}");
        assert!(matches!(ours.recv().await, Err(RecvError::Truncated)));

        let (mut ours, mut theirs) = pipe::<Vec<u8>, Vec<u8>>().unwrap();
        ours.try_send(vec![1; 4 * MIB]).unwrap();
        assert!(!theirs.poll(Duration::ZERO).await);
        let error = Process::spawn(echo(theirs)).await.unwrap_err();
        assert!(error.to_string().contains("part of a large message"), "{error}");
    });
}

#[cfg(windows)]
#[test]
fn an_end_that_was_used_is_refused() {
    common::run(|| async {
        let (_ours, mut theirs) = pipe::<Vec<u8>, Vec<u8>>().unwrap();
        assert!(!theirs.poll(Duration::ZERO).await);
        let error = Process::spawn(echo(theirs)).await.unwrap_err();
        assert!(error.to_string().contains("before it is first used"), "{error}");
    });
}

#[cfg(windows)]
#[test]
fn an_end_in_a_message_is_unsupported() {
    common::run(|| async {
        let (mut ours, _theirs) = pipe::<Connection<u8, u8>, ()>().unwrap();
        let (end, mut other) = pipe().unwrap();
        let error = ours.send(end).await.unwrap_err();
        assert!(matches!(error.kind(), procpool::SendErrorKind::Unsupported { .. }), "{error}");
        let mut end = error.into_inner();
        end.send(1).await.unwrap();
        assert_eq!(other.recv().await.unwrap(), 1);
    });
}

#[test]
fn a_killed_process_closes_its_ends() {
    common::run(|| async {
        let gate = Gate::new("chatter");
        let (mut ours, theirs) = pipe().unwrap();
        let process = Process::spawn(chatter(gate.path(), theirs)).await.unwrap();
        gate.arrived(1).await;
        assert_eq!(ours.recv().await.unwrap(), 0);
        os::kill(process.pid());
        let mut expected = 1;
        let error = loop {
            match ours.recv().await {
                Ok(n) => assert_eq!(n, expected, "whole and in order to the end"),
                Err(error) => break error,
            }
            expected += 1;
        };
        assert!(error.is_closed(), "{error:?}");
        assert!(ours.send(()).await.unwrap_err().is_closed());
        process.join().await;
    });
}

#[test]
fn a_process_killed_within_a_message_is_told_from_one_that_has_ended() {
    common::run(|| async {
        let gate = Gate::new("half");
        let (theirs, mut ours) = one_way().unwrap();
        let process = Process::spawn(half_a_message(gate.path(), theirs)).await.unwrap();
        gate.arrived(1).await;
        assert!(!ours.poll(Duration::ZERO).await);
        os::kill(process.pid());
        assert!(matches!(ours.recv().await, Err(RecvError::Truncated)));
        process.join().await;
    });
}

#[test]
fn whoever_waits_hears_of_a_killed_process() {
    common::run(|| async {
        let gate = Gate::new("waiters");
        let mut waiting = Vec::new();
        let (mut a, theirs) = pipe().unwrap();
        let first = Process::spawn(hold_end(gate.path(), theirs)).await.unwrap();
        let (mut b, theirs) = pipe().unwrap();
        let second = Process::spawn(hold_end(gate.path(), theirs)).await.unwrap();
        gate.arrived(2).await;
        waiting.push(tokio::spawn(async move { a.recv().await }));
        let thread = std::thread::spawn(move || b.blocking_recv());
        os::kill(first.pid());
        os::kill(second.pid());
        for waiting in waiting {
            assert!(waiting.await.unwrap().unwrap_err().is_closed());
        }
        assert!(thread.join().unwrap().unwrap_err().is_closed());
        first.join().await;
        second.join().await;
    });
}

#[test]
fn a_sender_to_a_killed_process_does_not_wait_for_ever() {
    common::run(|| async {
        let gate = Gate::new("deaf");
        let (mut ours, theirs) = pipe::<(), ()>().unwrap();
        let process = Process::spawn(hold_end(gate.path(), theirs)).await.unwrap();
        gate.arrived(1).await;
        let sending = tokio::spawn(async move {
            loop {
                if let Err(error) = ours.send_bytes(&[7; 10_000]).await {
                    break error;
                }
            }
        });
        os::kill(process.pid());
        assert!(matches!(sending.await.unwrap(), procpool::SendErrorKind::Closed));
        process.join().await;
    });
}

#[cfg(unix)]
mod over_connections {
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use procpool::{PassFd, SendErrorKind};

    use super::*;

    /// Answers over every end that comes in.
    #[procpool::task]
    fn serve(mut incoming: PipeReceiver<(u32, Connection<u32, u32>)>) -> u32 {
        let mut served = 0;
        while let Ok((n, mut end)) = incoming.blocking_recv() {
            let m = end.blocking_recv().unwrap();
            end.blocking_send(n + m).unwrap();
            served += 1;
        }
        served
    }

    #[test]
    fn ends_travel_in_messages() {
        common::run(|| async {
            let (mut sender, receiver) = one_way().unwrap();
            let mut process = Process::spawn(serve(receiver)).await.unwrap();
            for n in 0..50 {
                let (mut ours, theirs) = pipe().unwrap();
                sender.send((n, theirs)).await.unwrap();
                ours.send(1000).await.unwrap();
                assert_eq!(ours.recv().await.unwrap(), 1000 + n);
                assert!(ours.recv().await.unwrap_err().is_closed());
            }
            drop(sender);
            assert_eq!(process.output().await.unwrap(), 50);
            process.join().await;
        });
    }

    #[test]
    fn messages_with_and_without_ends_mix_in_any_batch() {
        type Item = (u32, Vec<PipeSender<u32>>, Vec<u8>);
        common::run(|| async {
            use futures::{SinkExt, StreamExt};
            let (mut sender, mut receiver) = one_way::<Item>().unwrap();
            let mut results = Vec::new();
            let feeding = {
                let mut items = Vec::new();
                for n in 0..60u32 {
                    let ends = (0..n % 4).map(|_| {
                        let (end, result) = one_way().unwrap();
                        results.push((n, result));
                        end
                    });
                    let padding = vec![n as u8; n as usize * 2000];
                    items.push((n, ends.collect::<Vec<_>>(), padding));
                }
                tokio::spawn(async move {
                    for item in items {
                        sender.feed(item).await.unwrap();
                    }
                    SinkExt::flush(&mut sender).await.unwrap();
                })
            };
            let mut next = 0;
            while let Some(item) = receiver.next().await {
                let (n, ends, padding) = item.unwrap();
                assert_eq!((n, ends.len() as u32), (next, n % 4));
                assert!(padding == vec![n as u8; n as usize * 2000]);
                for mut end in ends {
                    end.send(n).await.unwrap();
                }
                next += 1;
            }
            assert_eq!(next, 60);
            feeding.await.unwrap();
            for (n, mut result) in results {
                assert_eq!(result.recv().await.unwrap(), n, "each end is the right one");
                assert!(result.recv().await.unwrap_err().is_closed());
            }
        });
    }

    #[test]
    fn ends_taken_in_while_sending_are_not_lost() {
        type Item = (Vec<u8>, Option<PipeSender<u32>>);
        common::run(|| async {
            async fn swap(mut end: Connection<Item, Item>, n: u32) {
                let (theirs, mut ours) = one_way().unwrap();
                end.send((vec![0; 10], Some(theirs))).await.unwrap();
                end.send((vec![n as u8; 5 * MIB], None)).await.unwrap();
                let (_, back) = end.recv().await.unwrap();
                back.unwrap().send(n).await.unwrap();
                assert_eq!(end.recv().await.unwrap().0.len(), 5 * MIB);
                assert_eq!(ours.recv().await.unwrap(), 1 - n);
            }
            let (a, b) = pipe().unwrap();
            let (a, b) = (tokio::spawn(swap(a, 0)), tokio::spawn(swap(b, 1)));
            a.await.unwrap();
            b.await.unwrap();
        });
    }

    #[test]
    fn open_files_travel_in_messages() {
        common::run(|| async {
            #[procpool::task]
            fn append(mut files: PipeReceiver<PassFd<File>>) {
                while let Ok(file) = files.blocking_recv() {
                    file.into_inner().unwrap().write_all(b"from the other process").unwrap();
                }
            }
            let (mut sender, receiver) = one_way().unwrap();
            let process = Process::spawn(append(receiver)).await.unwrap();
            let dir = common::TempDir::new("travelling-file");
            let path = dir.0.join("file");
            let mut file =
                File::options().read(true).write(true).create_new(true).open(&path).unwrap();
            sender.send(PassFd::new(file.try_clone().unwrap())).await.unwrap();
            drop(sender);
            process.join().await;
            let mut text = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "from the other process");
        });
    }

    #[test]
    fn a_message_takes_sixteen_handles() {
        common::run(|| async {
            let (mut a, mut b) = pipe::<Vec<PipeSender<()>>, ()>().unwrap();
            let many = |n: usize| (0..n).map(|_| one_way().unwrap().0).collect::<Vec<_>>();
            a.send(many(16)).await.unwrap();
            assert_eq!(b.recv().await.unwrap().len(), 16);
            let error = a.send(many(17)).await.unwrap_err();
            assert!(matches!(error.kind(), SendErrorKind::Encode { .. }), "{error:?}");
            assert!(error.to_string().contains("17 handles"), "{error}");
            assert_eq!(error.into_inner().len(), 17);
            a.send(vec![]).await.unwrap();
            assert!(b.recv().await.unwrap().is_empty());
        });
    }

    #[test]
    fn an_end_that_was_not_sent_comes_back_usable() {
        common::run(|| async {
            let (mut a, b) = pipe::<Connection<u8, u8>, ()>().unwrap();
            drop(b);
            let (end, mut other) = pipe::<u8, u8>().unwrap();
            let mut end = a.send(end).await.unwrap_err().into_inner();
            end.send(3).await.unwrap();
            assert_eq!(other.recv().await.unwrap(), 3);
            drop(end);
            assert!(other.recv().await.unwrap_err().is_closed(), "no copy of it is left");
        });
    }

    #[test]
    fn handles_that_find_no_room_cost_only_their_message() {
        #[procpool::task]
        fn crowded(mut ends: Connection<String, PipeSender<u32>>) {
            let mut files = Vec::new();
            // SAFETY: a plain call.
            unsafe {
                let few = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
                assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &few), 0);
            }
            while let Ok(file) = File::open("/dev/null") {
                files.push(file);
            }
            let error = ends.blocking_recv().unwrap_err();
            assert!(matches!(error, RecvError::HandlesLost { lost: 1 }), "{error:?}");
            assert!(!error.is_final());
            files.clear();
            ends.blocking_send(error.to_string()).unwrap();
            let mut end = ends.blocking_recv().unwrap();
            end.blocking_send(7).unwrap();
        }
        common::run(|| async {
            let (mut ours, theirs) = pipe().unwrap();
            let process = Process::spawn(crowded(theirs)).await.unwrap();
            let (lost, mut other) = one_way().unwrap();
            ours.send(lost).await.unwrap();
            assert!(ours.recv().await.unwrap().contains("limit of open files"));
            assert!(other.recv().await.unwrap_err().is_closed(), "nobody has it");
            let (end, mut other) = one_way().unwrap();
            ours.send(end).await.unwrap();
            assert_eq!(other.recv().await.unwrap(), 7);
            process.join().await;
        });
    }

    #[test]
    fn an_end_is_waited_for_by_its_descriptor() {
        let (mut a, mut b) = pipe::<u8, u8>().unwrap();
        assert!(!os::is_ready(&b, Duration::ZERO));
        a.blocking_send(1).unwrap();
        assert!(os::is_ready(&b, common::HANG));
        assert_eq!(b.blocking_recv().unwrap(), 1);
        assert!(!os::is_ready(&b, Duration::ZERO));
        drop(a);
        assert!(os::is_ready(&b, common::HANG));
    }

    /// Descriptors that no message speaks of, or that a message speaks of and that do not come.
    #[test]
    fn descriptors_out_of_place_are_refused_and_closed() {
        use std::io::IoSlice;
        use std::mem::MaybeUninit;
        use std::os::fd::{AsFd, BorrowedFd};

        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

        fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
            let mut frame = vec![0xB7, 14, flags, 0, 0, 0, 0, 0];
            frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
            frame.extend_from_slice(&[0; 8]);
            frame.extend_from_slice(body);
            frame
        }
        fn write(end: &impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() {
                assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
            }
            let flags = SendFlags::empty();
            let sent = sendmsg(end, &[IoSlice::new(bytes)], &mut control, flags).unwrap();
            assert_eq!(sent, bytes.len());
        }
        const BRINGS: u8 = 4;
        let one = [&1u16.to_le_bytes()[..], &[0, 0], &[0; 8], &[0]].concat();
        let many = [&100u16.to_le_bytes()[..], &[0, 0], &[0; 800], &[0]].concat();
        let object = [&0u16.to_le_bytes()[..], &[1, 0], &[0; 8], &[0]].concat();

        let (reader, writer) = std::io::pipe().unwrap();
        // A message that says it brings one, and does not.
        let (raw, mut end) = one_way::<PassFd<File>>().unwrap();
        write(&raw, &frame(BRINGS, &one), &[]);
        assert!(matches!(end.blocking_recv(), Err(RecvError::Decode { .. })));
        // Ones that bring what no pipe carries.
        for body in [&many, &object, &vec![1]] {
            let (raw, mut end) = one_way::<PassFd<File>>().unwrap();
            write(&raw, &frame(BRINGS, body), &[]);
            assert!(matches!(end.blocking_recv(), Err(RecvError::Broken { .. })), "{body:?}");
        }
        // More at once than a message may have.
        let (raw, mut end) = one_way::<PassFd<File>>().unwrap();
        write(&raw, &frame(BRINGS, &one), &[writer.as_fd(); 64]);
        drop(end.blocking_recv());
        // Ever more that belong to nothing.
        let (raw, mut end) = one_way::<PassFd<File>>().unwrap();
        for byte in frame(0, &[0; 40]) {
            write(&raw, &[byte], &[writer.as_fd(); 16]);
        }
        assert!(matches!(end.blocking_recv(), Err(RecvError::Broken { .. })));
        drop((raw, end, writer));
        let mut rest = Vec::new();
        let mut reader = reader;
        reader.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "all copies of the writer are closed");
    }
}
