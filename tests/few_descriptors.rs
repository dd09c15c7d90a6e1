//! A main program with hardly any descriptors. One test, since the limit is the whole process's.

#![cfg(unix)]

mod common;
mod kit;

use std::fs::File;
use std::io::{PipeWriter, Read, Write, pipe};

use procpool::{GetError, PassFd, Queue};

procpool::test_hook!();

const ITEMS: usize = 600;

#[procpool::task]
fn put_files(queue: Queue<PassFd<PipeWriter>>, writer: PassFd<PipeWriter>) {
    let writer = writer.into_inner().unwrap();
    for _ in 0..ITEMS {
        queue.blocking_put(PassFd::new(writer.try_clone().unwrap())).unwrap();
    }
}

/// Items wait where they are put, and nothing that was put is lost.
#[test]
fn items_that_bring_descriptors_wait_for_room() {
    let few = libc::rlimit { rlim_cur: 192, rlim_max: 192 };
    // SAFETY: a plain struct, of this process alone.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &few) }, 0);
    common::run(|| async {
        let pool = kit::pool(1).await;
        let queue = Queue::unbounded().unwrap();
        let (mut reader, writer) = pipe().unwrap();
        let call = pool.spawn(put_files(queue.clone(), PassFd::new(writer)));
        let own: Vec<PassFd<PipeWriter>> = async {
            let mut own = Vec::new();
            // Until hardly any are left: the rest is not here yet.
            while own.len() < 100 {
                own.push(queue.get().await.unwrap());
            }
            own
        }
        .await;
        let opened: Vec<File> = (0..5).map(|_| File::open("Cargo.toml").unwrap()).collect();
        drop(opened);
        let mut got = 0;
        for file in own {
            write!(file.into_inner().unwrap(), "x").unwrap();
            got += 1;
        }
        while got < ITEMS {
            let file = queue.get().await.unwrap();
            write!(file.into_inner().unwrap(), "x").unwrap();
            got += 1;
        }
        call.get().await.unwrap();
        queue.close();
        assert_eq!(queue.get().await.map(|_| ()), Err(GetError::Closed));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text.len(), ITEMS);
        pool.shutdown().await.unwrap();
    });
}
