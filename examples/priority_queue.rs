//! A priority queue that feeds three workers.
//!
//! Shows that
//! - the lowest number is got first, in whatever order items were put,
//! - a worker that is started while the queue is being filled does not begin with what happens to
//!   be there: it waits for the sign, an item of a second queue,
//! - the workers share the items, each goes to one of them, and they end when nothing is left.
//!
//! Run it with `cargo run --example priority_queue`.

use procpool::{PriorityQueue, Process, Queue};

#[procpool::task]
fn work(begin: Queue<()>, jobs: PriorityQueue<String>, done: Queue<String>) {
    begin.blocking_get().expect("the sign comes");
    while let Ok(job) = jobs.blocking_try_get() {
        done.blocking_put(job).expect("the queue is open");
    }
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (begin, done) = (Queue::unbounded()?, Queue::unbounded()?);
    let jobs = PriorityQueue::unbounded()?;
    let mut workers = Vec::new();
    for _ in 0..3 {
        let call = work(begin.clone(), jobs.clone(), done.clone());
        workers.push(Process::spawn(call).await?);
    }
    for (job, priority) in [("five", 5), ("one", 1), ("four", 4), ("two", 2), ("three", 3)] {
        jobs.put(job.to_owned(), priority).await?;
    }
    println!("most urgent of {}: {}", jobs.len().await, jobs.get().await?);

    for _ in &workers {
        begin.put(()).await?;
    }
    for worker in &workers {
        worker.join().await;
    }
    println!("left: {}", jobs.len().await);
    let mut jobs_done = Vec::new();
    while let Ok(job) = done.try_get().await {
        jobs_done.push(job);
    }
    // Three that work side by side finish in any order.
    jobs_done.sort();
    println!("done by the workers: {}", jobs_done.join(" "));
    Ok(())
}
