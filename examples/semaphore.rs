//! A semaphore: so many at a time, and no more.
//!
//! Five processes want to work, and there are two permits. Each notes how many are at work with it.
//!
//! Shows that
//! - whoever has a permit works, and the others wait,
//! - a permit is given back when it is dropped; when all have ended, all permits are there.
//!
//! Run it with `cargo run --example semaphore`.

use procpool::{Process, RawValue, Semaphore};

#[procpool::task]
fn work(permits: Semaphore, working: RawValue<u32>, most: RawValue<u32>) {
    let permit = permits.blocking_acquire().expect("the semaphore is there");
    let now = working.fetch_add(1) + 1;
    let _ = most.fetch_update(|most| Some(most.max(now)));
    // The first one stays until there is a second, so that it is seen that there may be two.
    while most.get() < 2 {
        std::thread::yield_now();
    }
    println!("{}: at work", procpool::current_process().name());
    working.fetch_sub(1);
    drop(permit);
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let permits = Semaphore::new(2)?;
    let (working, most) = (RawValue::new(0u32)?, RawValue::new(0u32)?);
    let mut workers = Vec::new();
    for n in 1..=5 {
        let call = work(permits.clone(), working.clone(), most.clone());
        workers.push(Process::builder(call).name(format!("worker {n}")).start().await?);
    }
    for worker in &workers {
        worker.join().await;
    }
    println!("most at a time: {}", most.get());
    println!("permits at the end: {}", permits.available_permits());
    Ok(())
}
