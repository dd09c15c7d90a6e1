//! Pools inside workers of pools.

mod common;
mod kit;

use common::os::{self, Death};
use kit::{pool, square};

procpool::test_hook!();

/// Squares `x` so many pools further down.
#[procpool::task]
async fn deeper(levels: u32, x: u64) -> Result<u64, String> {
    let text = |e: procpool::Error| e.to_string();
    let pool = kit::builder(1).build().await.map_err(text)?;
    let result = if levels == 0 {
        pool.run(square(x)).await.map_err(text)
    } else {
        // Written out: here the task's own name is its plain function.
        pool.run(deeper_again(levels - 1, x)).await.map_err(text)?
    };
    pool.shutdown().await.map_err(text)?;
    result
}

#[procpool::task]
async fn deeper_again(levels: u32, x: u64) -> Result<u64, String> {
    let text = |e: procpool::Error| e.to_string();
    let pool = kit::builder(1).build().await.map_err(text)?;
    let result = match levels {
        0 => pool.run(square(x)).await.map_err(text),
        _ => pool.run(deeper(levels - 1, x)).await.map_err(text)?,
    };
    pool.shutdown().await.map_err(text)?;
    result
}

/// The same from a blocking task, with a runtime of its own.
#[procpool::task]
fn from_blocking(x: u64) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = kit::pool(2).await;
        let sum = pool.map(square, 0..x).await.unwrap().into_iter().sum();
        pool.shutdown().await.unwrap();
        sum
    })
}

/// Makes a pool and dies over it.
#[procpool::task]
async fn abandons(gate: String) -> u64 {
    let pool = kit::pool(2).await;
    for pid in kit::pids(&pool) {
        kit::note(&gate, pid);
    }
    std::mem::forget(pool);
    Death::Kill.strike()
}

#[test]
fn a_worker_may_have_a_pool() {
    common::run(|| async {
        let pool = pool(2).await;
        assert_eq!(pool.run(deeper(0, 5)).await.unwrap(), Ok(25));
        assert_eq!(pool.run(from_blocking(5)).await.unwrap(), 30);
        // Several at a time.
        assert_eq!(pool.map(from_blocking, [3; 4]).await.unwrap(), [5; 4]);
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn pools_in_pools_end_at_a_limit() {
    common::run(|| async {
        let pool = pool(1).await;
        // The fourth pool, counted from here, is the last.
        assert_eq!(pool.run(deeper(2, 5)).await.unwrap(), Ok(25));
        let error = pool.run(deeper(3, 5)).await.unwrap().unwrap_err();
        assert!(error.contains("unsupported") && error.contains("4 deep"), "{error}");
        let error = pool.run(deeper(1_000, 5)).await.unwrap().unwrap_err();
        assert!(error.contains("4 deep"), "{error}");
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_dead_workers_pool_dies_with_it() {
    common::run(|| async {
        let pool = kit::builder(1).stderr(procpool::Stderr::Null).build().await.unwrap();
        let gate = kit::Gate::new("nested-abandoned");
        let error = pool.run(abandons(gate.path())).await.unwrap_err();
        assert!(Death::Kill.is_cause_of(&error), "{error}");
        let grandchildren: Vec<u32> = gate.log().iter().map(|x| x.parse().unwrap()).collect();
        assert_eq!(grandchildren.len(), 2);
        for pid in grandchildren {
            common::eventually("the grandchild is gone", || !os::is_alive(pid)).await;
        }
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        pool.shutdown().await.unwrap();
    });
}
