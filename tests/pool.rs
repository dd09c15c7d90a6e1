//! The pool's main ways, once each.

mod common;

use procpool::ProcessPool;

procpool::test_hook!();

#[procpool::task]
fn square(x: u64) -> u64 {
    x * x
}

#[procpool::task]
async fn slow_double(x: u64) -> u64 {
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    2 * x
}

#[procpool::task]
fn boom(text: String) -> u64 {
    panic!("{text}")
}

async fn pool(n: usize) -> ProcessPool {
    ProcessPool::builder().workers(n).build().await.unwrap()
}

#[test]
fn one_call_and_many() {
    common::run(|| async {
        let pool = pool(2).await;
        assert_eq!(pool.run(square(8)).await.unwrap(), 64);
        assert_eq!(pool.apply(square, 7).await.unwrap(), 49);
        assert_eq!(pool.map(square, 1..=5).await.unwrap(), [1, 4, 9, 16, 25]);
        let all = pool.map(square, 0..10_000).await.unwrap();
        assert!(all.iter().enumerate().all(|(i, x)| *x == (i * i) as u64));
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn async_tasks_run_several_at_a_time() {
    common::run_current_thread(|| async {
        let pool = pool(1).await;
        let doubled = pool.map(slow_double, 0..100).await.unwrap();
        assert!(doubled.iter().enumerate().all(|(i, x)| *x == 2 * i as u64));
        let handles: Vec<_> = (0..40).map(|i| pool.spawn(slow_double(i))).collect();
        for (i, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.await.unwrap(), 2 * i as u64);
        }
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_panic_is_an_error_and_the_worker_lives() {
    common::run(|| async {
        let pool = pool(1).await;
        let pid = pool.workers()[0].pid;
        let error = pool.run(boom("ouch".into())).await.unwrap_err();
        assert_eq!(error.panic_message(), Some("ouch"));
        assert_eq!(pool.run(square(2)).await.unwrap(), 4);
        assert_eq!(pool.workers()[0].pid, pid);
        pool.shutdown().await.unwrap();
    });
}

/// A worker that has not said hello yet is told to leave as soon as it has.
#[test]
fn closing_while_a_worker_starts() {
    common::run(|| async {
        for _ in 0..5 {
            let pool = pool(1).await;
            pool.resize(2).unwrap();
            pool.shutdown().await.unwrap();
            assert_eq!(pool.stats().restarts.violation, 0);
        }
    });
}
