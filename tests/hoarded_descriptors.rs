//! Workers do not get a main program's last descriptors. One test, since the limit is the whole process's.

#![cfg(target_os = "linux")]

mod common;
mod kit;

use std::fs::File;
use std::io::{PipeWriter, pipe};

use procpool::{GetError, PassFd, Queue};

procpool::test_hook!();

type Files = Queue<Vec<PassFd<PipeWriter>>>;

/// Gives back the queue, for which what was said of it before must be heard at once.
#[procpool::task]
fn put_many(queue: Files, writer: PassFd<PipeWriter>) -> Files {
    for _ in 0..2 {
        queue.blocking_put(vec![writer.clone(); 120]).unwrap();
    }
    queue
}

#[test]
fn the_last_descriptors_stay_with_this_process() {
    let few = libc::rlimit { rlim_cur: 192, rlim_max: 192 };
    // SAFETY: a plain struct, of this process alone.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &few) }, 0);
    common::run(|| async {
        let pool = kit::pool(1).await;
        let (_reader, writer) = pipe().unwrap();
        let queue: Files = Queue::unbounded().unwrap();
        let same = pool.run(put_many(queue.clone(), PassFd::new(writer))).await.unwrap();
        assert_eq!(same.len().await, 2);
        // What there was no room for is closed by a thread.
        common::eventually("there are some left", || {
            let opened: Result<Vec<_>, _> = (0..3).map(|_| File::open("Cargo.toml")).collect();
            opened.is_ok()
        })
        .await;
        assert_eq!(queue.get().await.unwrap().len(), 120);
        let error = queue.get().await.unwrap_err();
        assert!(matches!(error, GetError::Decode { .. }), "{error:?}");
        pool.shutdown().await.unwrap();
    });
}
