//! A pool's `map`: the results in the order of the inputs, as often as you like,
//! then an orderly end.
//!
//! Shows that
//! - four workers square and add, and the results keep the order of the inputs,
//! - one pool serves many maps: starting processes is paid for once,
//! - a closed pool refuses new calls but finishes what it has,
//! - after `join` no worker is left.
//!
//! Run it with `cargo run --example pool_map`.

use procpool::ProcessPool;

#[procpool::task]
fn square(x: u64) -> u64 {
    x * x
}

#[procpool::task]
fn add_three(n: i64) -> i64 {
    n + 3
}

#[procpool::main]
async fn main() -> Result<(), procpool::Error> {
    let pool = ProcessPool::builder().workers(4).build().await?;
    println!("{} workers", pool.workers().len());

    // Any `IntoIterator` will do as input, and so will any `Stream`.
    println!("squares: {:?}", pool.map(square, [1, 2, 3, 4, 5]).await?);
    println!("n + 3:   {:?}", pool.map(add_three, 1..=5).await?);

    for round in 1..=5 {
        println!("round {round}: {:?}", pool.map(square, 1..=5).await?);
    }

    // Accepted before `close`, so it is finished although nobody awaits it yet.
    let accepted = pool.apply_async(square, 12);
    pool.close();
    match pool.apply(square, 13).await {
        Ok(_) => println!("a closed pool took a call"),
        Err(error) => println!("after close: {}", error),
    }
    pool.join().await?;
    println!("accepted before close: {}", accepted.await?);
    println!("workers after join: {}", pool.workers().len());
    Ok(())
}
