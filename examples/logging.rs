//! Logging without a subscriber: a line each on standard error, with level and process.
//!
//!     cargo run --example logging

use procpool::{Process, ProcessPool};
use tracing::{Level, debug, info, warn};

#[procpool::task]
fn worker(n: u64) -> u64 {
    info!(n, "doing some work");
    if n > 2 {
        warn!("that is a lot");
    }
    debug!("nobody asked for this");
    n * n
}

#[procpool::main]
async fn main() -> Result<(), procpool::Error> {
    procpool::log_to_stderr(Level::INFO)?;
    info!("starting a process");
    let mut process = Process::spawn(worker(1)).await?;
    assert_eq!(process.output().await?, 1);
    process.join().await;

    // What workers of a pool log comes here, too.
    let pool = ProcessPool::builder().name("squares").workers(1).build().await?;
    assert_eq!(pool.map(worker, [2, 3]).await?, [4, 9]);
    pool.shutdown().await
}
