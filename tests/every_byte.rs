//! A worker killed at every byte of a 4 KiB frame, in both directions.

mod common;
#[path = "common/wild/mod.rs"]
mod wild;

use common::os::Death;
use procpool::{ProcessPool, Progress};

procpool::test_hook!();

/// Bytes of the call's or result's byte string, so that the frame is about 4 KiB.
const LEN: usize = 4070;
/// Frame header; tag and length of a byte string.
const HEADER: usize = 20;
const STRING: usize = 5;

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
    wild::send(&frame[..bytes]);
    Death::Kill.strike()
}

/// Reads the first bytes of whatever is sent behind it, and dies. An async task,
/// because other async calls are sent to the same worker while it runs.
#[procpool::task]
async fn swallow(begun: String, bytes: usize) {
    wild::take_over();
    std::fs::File::create(begun).unwrap();
    wild::swallow(bytes);
    Death::Kill.strike()
}

#[procpool::task]
async fn length(bytes: Vec<u8>) -> usize {
    bytes.len()
}

/// Every place in a frame to die at; under Wine, where a process takes fifty times as
/// long to start, every one in its head and its tail and some between.
fn places(whole: usize) -> impl Iterator<Item = usize> {
    let all = !common::os::is_imitated();
    (0..=whole).filter(move |k| all || *k < 64 || *k + 64 > whole || k % 17 == 0)
}

#[test]
fn of_a_result() {
    common::run_within(10 * common::HANG, || async {
        let pool = ProcessPool::builder().workers(2).build().await.unwrap();
        let whole = HEADER + STRING + LEN;
        let calls: Vec<_> = places(whole).map(|k| (k, pool.spawn(answer_partly(k)))).collect();
        for (k, call) in calls {
            match call.await {
                Ok(bytes) => {
                    assert_eq!(k, whole, "a partial result was delivered");
                    assert_eq!(bytes, vec![7; LEN]);
                }
                Err(error) => {
                    assert_ne!(k, whole, "the result was written: {error}");
                    assert!(Death::Kill.is_cause_of(&error), "byte {k}: {error}");
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
        for k in places(whole) {
            let begun = dir.0.join(k.to_string());
            let first = pool.spawn(swallow(begun.to_string_lossy().into_owned(), k));
            common::eventually("the first call begins", || begun.exists()).await;
            // From here on the worker reads what is sent only as the task does.
            let second = pool.spawn(length(vec![3; LEN]));
            let error = first.await.unwrap_err();
            assert!(Death::Kill.is_cause_of(&error), "byte {k}: {error}");
            assert_eq!(second.await.unwrap(), LEN, "byte {k}: it had not begun, so it moved");
        }
        pool.shutdown().await.unwrap();
    });
}
