//! Consumers that take tasks from one queue and put results into another, until each has got a
//! poison pill.
//!
//! Shows that
//! - several processes may take from one queue: each item goes to one of them,
//! - `join` of a `JoinableQueue` returns when all that was put is done, not only taken,
//! - a pill for each consumer ends them all: each takes one and no more.
//!
//! A `ProcessPool` does all of this by itself; this is how it is done by hand. (And closing the
//! queue would end the consumers, without pills.)
//!
//! Run it with `cargo run --example task_queue`.

use procpool::{JoinableQueue, Process, Queue};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Multiply {
    a: u32,
    b: u32,
}

impl Multiply {
    fn run(&self) -> String {
        format!("{} * {} = {}", self.a, self.b, self.a * self.b)
    }
}

#[procpool::task]
fn consume(tasks: JoinableQueue<Option<Multiply>>, results: Queue<String>) {
    loop {
        let task = tasks.blocking_get().expect("the queue is open");
        if let Some(task) = &task {
            results.blocking_put(task.run()).expect("the queue is open");
        }
        tasks.task_done().expect("one was taken");
        if task.is_none() {
            return;
        }
    }
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (tasks, results) = (JoinableQueue::unbounded()?, Queue::unbounded()?);
    let mut consumers = Vec::new();
    for _ in 0..2 * procpool::usable_cpu_count() {
        consumers.push(Process::spawn(consume(tasks.clone(), results.clone())).await?);
    }
    for i in 0..10 {
        tasks.put(Some(Multiply { a: i, b: i })).await?;
    }
    for _ in &consumers {
        tasks.put(None).await?;
    }
    tasks.join().await;
    println!("all tasks are done: {} results", results.len().await);

    let mut lines = Vec::new();
    for _ in 0..10 {
        lines.push(results.get().await?);
    }
    // Consumers work side by side: results come in any order.
    lines.sort();
    lines.iter().for_each(|line| println!("{line}"));
    for consumer in &consumers {
        consumer.join().await;
    }
    println!("consumers ended: {}", consumers.iter().all(|c| c.exit_code() == Some(0)));
    Ok(())
}
