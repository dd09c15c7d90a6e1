//! The main job: squares, one by one and a million at once, in other processes.
//!
//! Run it with `cargo run --release --example quickstart`.

use std::time::Instant;

use procpool::ProcessPool;

#[procpool::task]
fn square(x: u64) -> u64 {
    x * x
}

#[procpool::main]
async fn main() -> Result<(), procpool::Error> {
    let start = Instant::now();
    let pool = ProcessPool::builder().workers(2).build().await?;
    println!("2 workers ready after {:.1?}", start.elapsed());

    let squares = pool.map(square, 1..=5).await?;
    println!("map(square, 1..=5) = {squares:?}");
    println!("apply(square, 7) = {}", pool.apply(square, 7).await?);
    println!("run(square(8)) = {}", pool.run(square(8)).await?);

    let n = 1_000_000_u64;
    let start = Instant::now();
    let sum: u64 = pool.map(square, 0..n).await?.into_iter().sum();
    let took = start.elapsed();
    println!("the sum of {n} squares = {sum}");
    println!("that took {took:.1?}, {:.1} M calls a second", n as f64 / took.as_secs_f64() / 1e6);

    pool.shutdown().await?;
    println!("all workers are gone");
    Ok(())
}
