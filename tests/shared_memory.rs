//! Memory that several processes read and write.

mod common;
mod kit;

use std::io;

use kit::pool;
use procpool::{Process, Queue, SharedMemory};

procpool::test_hook!();

#[procpool::task]
fn add_one(memory: SharedMemory, at: usize) {
    let mut bytes = [0; 3];
    memory.read(at, &mut bytes);
    memory.write(at, &bytes.map(|byte| byte + 1));
}

#[procpool::task]
fn make(len: usize) -> SharedMemory {
    let memory = SharedMemory::anonymous(len).unwrap();
    memory.write(len - 1, &[9]);
    memory
}

#[test]
fn all_processes_see_what_one_writes() {
    common::run(|| async {
        let pool = pool(2).await;
        let memory = SharedMemory::anonymous(100).unwrap();
        assert_eq!((memory.len(), memory.to_vec(..)), (100, vec![0; 100]));
        memory.write(97, &[1, 2, 3]);
        pool.run(add_one(memory.clone(), 97)).await.unwrap();
        Process::spawn(add_one(memory.clone(), 97)).await.unwrap().output().await.unwrap();
        assert_eq!(memory.to_vec(96..), [0, 3, 4, 5]);
        let theirs = pool.apply(make, 5000).await.unwrap();
        assert_eq!(theirs.to_vec(4998..=4999), [0, 9]);
        let queue = Queue::unbounded().unwrap();
        queue.put(memory.clone()).await.unwrap();
        queue.get().await.unwrap().write(0, b"x");
        assert_eq!(memory.to_vec(..1), b"x");
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn write_words(memory: SharedMemory, word: u64) {
    for _ in 0..200_000 {
        memory.write(8, &word.to_ne_bytes());
    }
}

#[test]
fn words_are_whole_whoever_writes_them() {
    common::run(|| async {
        let pool = pool(2).await;
        let memory = SharedMemory::anonymous(24).unwrap();
        let words = [0x1111_1111_1111_1111, 0x2222_2222_2222_2222];
        let mut calls = words.map(|word| pool.spawn(write_words(memory.clone(), word)));
        let mut seen = [0u8; 8];
        while calls.iter_mut().any(|call| !call.ready()) {
            memory.read(8, &mut seen);
            let word = u64::from_ne_bytes(seen);
            assert!(word == 0 || words.contains(&word), "{word:x}");
            tokio::task::yield_now().await;
        }
        for call in calls {
            call.get().await.unwrap();
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn what_is_outside_is_a_panic_in_words() {
    let memory = SharedMemory::anonymous(10).unwrap();
    let outside: [Box<dyn Fn() + std::panic::RefUnwindSafe>; 4] = [
        Box::new(|| memory.write(8, b"abc")),
        Box::new(|| memory.read(usize::MAX, &mut [0])),
        Box::new(|| memory.read(11, &mut [])),
        Box::new(|| drop(memory.to_vec(3..12))),
    ];
    for access in &outside {
        let panic = std::panic::catch_unwind(access).unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains("of 10 bytes of shared memory"), "{text}");
    }
    memory.write(10, &[]);
    memory.write(7, b"abc");
}

#[test]
fn there_is_none_of_no_bytes_or_too_many() {
    let error = SharedMemory::anonymous(0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(SharedMemory::anonymous(usize::MAX).is_err());
    assert!(SharedMemory::anonymous(usize::MAX - 7).is_err());
}
