//! Named memory that goes with a scope.

mod common;
mod kit;

use std::io;

use common::os::Death;
use kit::pool;
use procpool::{ListItem, SharedList, SharedMemory, SharedScope};

procpool::test_hook!();

fn is_gone(name: &str) -> bool {
    SharedMemory::open(name).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

#[procpool::task]
fn add_up(name: String, to: String) {
    let list = SharedList::open(&name).unwrap();
    let sum: i64 = list.iter().map(|item| if let ListItem::Int(n) = item { n } else { 0 }).sum();
    SharedMemory::open(&to).unwrap().write(0, &sum.to_le_bytes());
}

#[test]
fn all_names_go_with_it_and_the_memory_stays() {
    common::run(|| async {
        let pool = pool(1).await;
        let scope = SharedScope::new();
        let list = scope.list(1..=100).unwrap();
        let sum = scope.memory(8).unwrap();
        let names = [list.memory(), &sum].map(|memory| memory.name().unwrap().to_owned());
        let [from, to] = names.clone();
        pool.run(add_up(from, to)).await.unwrap();
        assert_eq!(sum.to_vec(..), 5050i64.to_le_bytes());
        scope.shutdown();
        assert!(names.iter().all(|name| is_gone(name)));
        assert_eq!(
            (list.get(99), sum.to_vec(..)),
            (Some(100.into()), 5050i64.to_le_bytes().into())
        );
        // It goes on, for others.
        let next = scope.memory(1).unwrap().name().unwrap().to_owned();
        assert!(SharedMemory::open(&next).is_ok(), "it is kept, although nobody else has it");
        assert!(scope.memory(0).is_err());
        drop(scope);
        assert!(is_gone(&next));
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_name_that_was_taken_away_before_is_no_matter() {
    common::run(|| async {
        let scope = SharedScope::new();
        let memory = scope.memory(10).unwrap();
        memory.unlink().unwrap();
        assert_eq!(memory.unlink().unwrap_err().kind(), io::ErrorKind::NotFound);
        scope.shutdown();
        scope.shutdown();
    });
}

#[procpool::task]
fn panic_with_one(tell: SharedMemory) {
    let scope = SharedScope::new();
    let memory = scope.memory(10).unwrap();
    // Somebody else keeps the block, so that only its name can go.
    std::mem::forget(memory.clone());
    tell.write(0, memory.name().unwrap().as_bytes());
    panic!("in the middle");
}

#[procpool::task]
fn die_with_one(tell: SharedMemory, death: Death) -> u64 {
    let scope = SharedScope::new();
    let (memory, list) = (scope.memory(10).unwrap(), scope.list(["text"]).unwrap());
    assert_eq!(list.len(), 1);
    tell.write(0, memory.name().unwrap().as_bytes());
    death.strike()
}

#[test]
fn it_ends_with_a_panic_and_with_its_process() {
    common::run(|| async {
        let pool = pool(1).await;
        let tell = SharedMemory::anonymous(32).unwrap();
        let told = || String::from_utf8(tell.to_vec(..)).unwrap();
        let error = pool.run(panic_with_one(tell.clone())).await.unwrap_err();
        assert!(error.to_string().contains("in the middle"), "{error}");
        assert!(is_gone(&told()));
        let death = Death::Kill;
        let error = pool.run(die_with_one(tell.clone(), death)).await.unwrap_err();
        assert!(death.is_cause_of(&error), "{error}");
        assert!(is_gone(&told()));
        pool.shutdown().await.unwrap();
    });
}
