//! A worker killed at every byte of a 4 KiB frame, in both directions.

#![allow(unsafe_code)]

mod common;

use std::io::{Read, Write};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;

use procpool::{ProcessPool, Progress};

procpool::test_hook!();

/// Bytes of the call's or result's byte string, so that the frame is about 4 KiB.
const LEN: usize = 4070;
/// Frame header; tag and length of a byte string.
const HEADER: usize = 20;
const STRING: usize = 5;

/// The pool's socket, as user code that goes astray may find it.
fn socket() -> UnixStream {
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let Ok(to) = std::fs::read_link(entry.path()) else { continue };
        if to.to_string_lossy().starts_with("socket:") {
            let fd: i32 = entry.file_name().to_string_lossy().parse().unwrap();
            // SAFETY: the descriptor is open, and given back by `into_raw_fd`.
            return unsafe { UnixStream::from_raw_fd(fd) };
        }
    }
    panic!("a worker has a socket");
}

fn kill_myself() -> ! {
    // SAFETY: always sound.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    unreachable!("SIGKILL cannot be survived")
}

/// Writes the first bytes of its own result by itself, and dies.
#[procpool::task]
fn answer_partly(bytes: usize) -> Vec<u8> {
    let id = procpool::context().call_id();
    let mut frame = vec![0xB7, 6, 0, 0, 0, 0, 0, 0];
    frame.extend_from_slice(&((STRING + LEN) as u32).to_le_bytes());
    frame.extend_from_slice(&id.to_le_bytes());
    frame.push(0);
    frame.extend_from_slice(&(LEN as u32).to_le_bytes());
    frame.extend(std::iter::repeat_n(7, LEN));
    assert_eq!(frame.len(), HEADER + STRING + LEN);
    let mut socket = socket();
    socket.write_all(&frame[..bytes]).unwrap();
    let _ = socket.into_raw_fd();
    kill_myself()
}

/// Reads the first bytes of whatever is sent behind it, and dies. An async task,
/// because other async calls are sent to the same worker while it runs.
#[procpool::task]
async fn swallow(begun: String, bytes: usize) {
    std::fs::File::create(begun).unwrap();
    let mut socket = socket();
    let mut left = vec![0; bytes];
    let mut left = &mut left[..];
    while !left.is_empty() {
        match socket.read(left) {
            Ok(n) => left = &mut left[n..],
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(e) => panic!("{e}"),
        }
    }
    let _ = socket.into_raw_fd();
    kill_myself()
}

#[procpool::task]
async fn length(bytes: Vec<u8>) -> usize {
    bytes.len()
}

#[test]
fn of_a_result() {
    common::run_within(10 * common::HANG, || async {
        let pool = ProcessPool::builder().workers(2).build().await.unwrap();
        let whole = HEADER + STRING + LEN;
        let calls: Vec<_> = (0..=whole).map(|k| pool.spawn(answer_partly(k))).collect();
        for (k, call) in calls.into_iter().enumerate() {
            match call.await {
                Ok(bytes) => {
                    assert_eq!(k, whole, "a partial result was delivered");
                    assert_eq!(bytes, vec![7; LEN]);
                }
                Err(error) => {
                    assert_ne!(k, whole, "the result was written: {error}");
                    assert_eq!(error.signal(), Some(9), "byte {k}: {error}");
                    assert_eq!(error.progress(), Progress::MayHaveBegun);
                }
            }
        }
        assert_eq!(pool.run(length(vec![1; 10])).await.unwrap(), 10);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn of_an_argument() {
    common::run_within(10 * common::HANG, || async {
        let pool = ProcessPool::builder().workers(1).build().await.unwrap();
        let dir = common::TempDir::new("every-byte");
        let whole = HEADER + 16 + STRING + LEN;
        for k in 0..=whole {
            let begun = dir.0.join(k.to_string());
            let first = pool.spawn(swallow(begun.to_string_lossy().into_owned(), k));
            common::eventually("the first call begins", || begun.exists()).await;
            // From here on the worker reads what is sent only as the task does.
            let second = pool.spawn(length(vec![3; LEN]));
            let error = first.await.unwrap_err();
            assert_eq!(error.signal(), Some(9), "byte {k}: {error}");
            assert_eq!(second.await.unwrap(), LEN, "byte {k}: it had not begun, so it moved");
        }
        pool.shutdown().await.unwrap();
    });
}
