//! Values and arrays that several processes share.
//!
//! Shows that
//! - what a child writes into a shared value and a shared array its parent sees,
//! - increments under the value's lock are not lost, however many processes add at once,
//! - a struct of one's own can be shared (`bytemuck` checks that it is plain), and integers can be added to
//!   without a lock.
//!
//! Run it with `cargo run --example values`.

use bytemuck::{Pod, Zeroable};
use procpool::{Process, ProcessPool, RawValue, SharedArray, SharedValue};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Point {
    x: f64,
    y: f64,
}

#[procpool::task]
fn squares(numbers: Vec<i32>, results: SharedArray<i32>, sum: SharedValue<i32>) {
    for (i, n) in numbers.iter().enumerate() {
        results.raw().set(i, n * n);
    }
    let total = results.raw().iter().sum();
    println!("child: the squares are {:?}, their sum {total}", results.raw().to_vec(..));
    sum.blocking_set(total).expect("the main process has it");
}

#[procpool::task]
fn add_one(counter: SharedValue<u32>) {
    counter.blocking_update(|n| *n += 1).expect("the main process has it");
}

#[procpool::task]
fn add_many(counter: SharedValue<u32>, n: u32) {
    for _ in 0..n {
        let counter = counter.blocking_lock().expect("the main process has it");
        // Two steps, between which nobody can come.
        counter.set(counter.get() + 1);
    }
}

#[procpool::task]
fn move_it(point: SharedValue<Point>, moves: RawValue<u64>) {
    point.blocking_update(|point| point.x += 1.5).expect("the main process has it");
    moves.fetch_add(1);
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (results, sum) = (SharedArray::zeroed(4)?, SharedValue::new(10)?);
    println!("the sum is {} at first", sum.get().await?);
    let mut child = Process::spawn(squares(vec![1, 2, 3, 4], results.clone(), sum.clone())).await?;
    child.output().await?;
    println!("parent: {:?}, sum {}", results.lock().await?.to_vec(..), sum.get().await?);

    let counter = SharedValue::new(0)?;
    let mut adding = Vec::new();
    for _ in 0..10 {
        adding.push(Process::spawn(add_one(counter.clone())).await?);
    }
    for process in adding {
        process.join().await;
    }
    println!("ten processes add one: {}", counter.get().await?);

    let pool = ProcessPool::builder().workers(4).build().await?;
    counter.set(0).await?;
    pool.starmap(add_many, vec![(counter.clone(), 10_000); 4]).await?;
    println!("four add 10,000 each: {}", counter.get().await?);

    let (point, moves) = (SharedValue::new(Point { x: 0.0, y: 2.0 })?, RawValue::new(0u64)?);
    pool.starmap(move_it, vec![(point.clone(), moves.clone()); 4]).await?;
    let Point { x, y } = point.get().await?;
    println!("after {} moves the point is at ({x}, {y})", moves.get());
    pool.shutdown().await?;
    Ok(())
}
