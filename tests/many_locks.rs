//! Many locks made by a child of a program that has none itself, and so has not heard of any.

mod common;
mod kit;

use kit::pool;
use procpool::Lock;

procpool::test_hook!();

/// Fewer than descriptors that a process may have, more than are on their way at a time.
const MANY: usize = 600;

#[procpool::task]
fn make_locks() -> usize {
    let locks: Vec<_> = (0..MANY).map(|_| Lock::new().unwrap()).collect();
    locks.len()
}

#[test]
fn a_child_makes_many() {
    common::run(|| async {
        let pool = pool(1).await;
        assert_eq!(pool.run(make_locks()).await.unwrap(), MANY);
        pool.shutdown().await.unwrap();
    });
}
