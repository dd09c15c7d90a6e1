//! An event: one process tells others that something has happened.
//!
//! One process waits for the event as long as it takes, another one not so long, and a third one sets it.
//!
//! Shows that
//! - whoever waits is woken when the event is set, in whatever process it is,
//! - a wait may have a limit, and says whether the event was set in time,
//! - the event stays set, for all to see.
//!
//! Run it with `cargo run --example event`.

use std::time::Duration;

use procpool::{Event, Process};

#[procpool::task]
fn wait_for(event: Event) {
    println!("waiter: is_set {}", event.is_set());
    event.blocking_wait().expect("the event is there");
    println!("waiter: is_set {}", event.is_set());
}

#[procpool::task]
fn wait_not_so_long(event: Event) {
    let set = event.blocking_wait_timeout(Duration::from_millis(50)).expect("the event is there");
    println!("waiter with a limit: set in time {set}, is_set {}", event.is_set());
}

#[procpool::task]
fn set(event: Event) {
    println!("setter: is_set {}", event.is_set());
    event.set();
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let event = Event::new()?;
    let waiter = Process::spawn(wait_for(event.clone())).await?;
    // Debug tells who waits: nobody else begins before that.
    while format!("{event:?}").contains("waiting: 0") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let hasty = Process::spawn(wait_not_so_long(event.clone())).await?;
    hasty.join().await;
    let setter = Process::spawn(set(event.clone())).await?;
    setter.join().await;
    waiter.join().await;
    println!("main: is_set {}", event.is_set());
    Ok(())
}
