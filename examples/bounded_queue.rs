//! A bounded queue between a producer and a poller.
//!
//! The producer puts twelve items into a queue for five; the main program looks at the queue
//! while it changes, and takes one item after the other.
//!
//! Shows that
//! - a `put` into a full queue waits, and a `try_put` gives the item back,
//! - `len` and `is_full` tell how the queue stands, whoever has changed it,
//! - a poller that finds nothing does something else, and comes back.
//!
//! Run it with `cargo run --example bounded_queue`.

use std::time::Duration;

use procpool::{Event, GetError, Process, Queue};

#[procpool::task]
fn produce(queue: Queue<u32>, filled: Event) -> String {
    for n in 1..=5 {
        queue.blocking_put(n).expect("there is room for five");
    }
    let refused = queue.blocking_try_put(6).expect_err("there is no room for a sixth");
    let said = format!("{refused}: {} came back", refused.clone().into_inner());
    filled.set();
    for n in 6..=12 {
        queue.blocking_put(n).expect("the queue is open");
    }
    queue.close();
    said
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = Queue::bounded(5)?;
    println!("at first: {} of 5", queue.len().await);
    let filled = Event::new()?;
    let mut producer = Process::spawn(produce(queue.clone(), filled.clone())).await?;
    filled.wait().await?;
    println!("filled: {} of 5, full: {}", queue.len().await, queue.is_full().await);

    let (mut got, mut fullest) = (Vec::new(), 0);
    loop {
        fullest = fullest.max(queue.len().await);
        match queue.try_get().await {
            Ok(n) => got.push(n),
            Err(GetError::Empty) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(GetError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
    }
    println!("poller: {got:?}");
    println!("never more than {fullest}");
    println!("at the end: {} of 5", queue.len().await);
    println!("producer: {}", producer.output().await?);
    Ok(())
}
