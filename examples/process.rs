//! A process of one's own: start, join, join with a time limit, who it is, its end.
//!
//! Shows that
//! - a process runs one task and ends, and `join` waits for that,
//! - `join_timeout` gives up waiting and changes nothing else,
//! - a process knows its name, its id, and its parent's,
//! - `terminate` ends it; `is_alive` says whether it still runs.
//!
//! Run it with `cargo run --example process`.

use std::time::Duration;

use procpool::{Process, current_process, parent_process};

#[procpool::task]
fn count(n: u32) {
    for i in 0..n {
        println!("child: {i}");
    }
}

#[procpool::task]
fn identify() -> (String, u32, Option<u32>) {
    let me = current_process();
    (me.name().to_owned(), me.pid(), parent_process().map(|parent| parent.pid()))
}

/// Stands for a long job.
#[procpool::task]
async fn forever() {
    std::future::pending().await
}

#[procpool::main]
async fn main() -> Result<(), procpool::Error> {
    let counting = Process::spawn(count(5)).await?;
    counting.join().await;
    println!("parent: goes on after join");

    let mut who = Process::spawn(identify()).await?;
    let (name, pid, parent) = who.output().await?;
    println!("child: I am {name}");
    println!("its pid is another: {}", pid != std::process::id() && pid == who.pid());
    println!("its parent's is ours: {}", parent == Some(std::process::id()));

    let long = Process::spawn(forever()).await?;
    println!("ended within 50 ms: {}", long.join_timeout(Duration::from_millis(50)).await);
    println!("alive after that: {}", long.is_alive());
    long.terminate();
    long.join().await;
    println!("alive after terminate and join: {}", long.is_alive());
    println!("exit code: {:?}", long.exit_code());
    Ok(())
}
