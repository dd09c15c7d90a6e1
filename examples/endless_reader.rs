//! A reader that never ends by itself: its parent ends it.
//!
//! One process writes A, B and C, with pauses; another reads for ever and says what it got.
//! Shows that
//! - two processes run side by side, each at its own pace,
//! - what is written arrives once and in order,
//! - `terminate` ends the reader, `join` waits for that, and the exit code tells it.
//!
//! Run it with `cargo run --example endless_reader`.

use std::time::Duration;

use procpool::{Process, Queue};

#[procpool::task]
fn write(to: Queue<String>) {
    for value in ["A", "B", "C"] {
        to.blocking_put(value.to_owned()).expect("the queue is open");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[procpool::task]
fn read_for_ever(from: Queue<String>, to: Queue<String>) {
    // Nothing more will come, but nobody has told it to stop.
    loop {
        let value = from.blocking_get().expect("the queue is open");
        to.blocking_put(format!("got {value}")).expect("the queue is open");
    }
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (values, said) = (Queue::unbounded()?, Queue::unbounded()?);
    let call = read_for_ever(values.clone(), said.clone());
    let reader = Process::builder(call).name("reader").start().await?;
    let writer = Process::builder(write(values)).name("writer").start().await?;
    for _ in 0..3 {
        println!("reader: {}", said.get().await?);
    }

    writer.join().await;
    println!("writer ended by itself: {:?}", writer.exit_code());
    println!("reader is alive: {}", reader.is_alive());
    reader.terminate();
    reader.join().await;
    println!("reader was ended: {}", reader.exit_code() != Some(0));
    Ok(())
}
