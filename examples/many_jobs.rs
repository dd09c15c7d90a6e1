//! More jobs than workers: nine jobs on eight workers.
//!
//! Shows that
//! - eight jobs start at once and the ninth waits until a worker is free,
//! - `close` lets everything that was accepted finish, and `join` waits for it,
//! - after `join` every result is there already.
//!
//! Run it with `cargo run --example many_jobs`.

use std::collections::BTreeSet;
use std::time::Duration;

use procpool::ProcessPool;

/// Stands for a job of some length; tells which worker ran it.
#[procpool::task]
fn job(n: u32) -> (u32, String) {
    std::thread::sleep(Duration::from_millis(200));
    (n, procpool::context().worker_name().to_owned())
}

#[procpool::main]
async fn main() -> Result<(), procpool::Error> {
    let pool = ProcessPool::builder().workers(8).name("worker").build().await?;

    // `spawn` submits at once, without an `await`.
    let jobs: Vec<_> = (1..=9).map(|n| pool.spawn(job(n))).collect();
    println!("submitted: {}", pool.stats().submitted);

    pool.close();
    pool.join().await?;
    println!("joined: {} workers are left", pool.workers().len());

    let mut workers = BTreeSet::new();
    for mut job in jobs {
        // Known without waiting: `join` waited for all of them.
        let ready = job.ready();
        let (n, worker) = job.await?;
        println!("job {n}: ready {ready}");
        workers.insert(worker);
    }
    println!("workers that had a job: {}", Vec::from_iter(workers).join(" "));
    Ok(())
}
