//! A lock: one process at a time.
//!
//! Shows that
//! - ten processes that print under a lock tear no line of each other's, although each prints its line in
//!   pieces,
//! - a lock goes from holder to holder, and whoever holds it is alone,
//! - when a process is killed that holds it, the next one has it, and is told.
//!
//! Run it with `cargo run --example lock`.

use std::io::Write;
use std::time::Duration;

use procpool::{Event, Lock, Process, RawValue};

#[procpool::task]
fn print_in_pieces(lock: Lock, n: u32) {
    let _guard = lock.blocking_lock().expect("the lock is there");
    for piece in ["hello ", "world ", &n.to_string(), "\n"] {
        print!("{piece}");
        std::io::stdout().flush().expect("there is somebody to print for");
        std::thread::yield_now();
    }
}

#[procpool::task]
fn hold(lock: Lock, holders: RawValue<u32>) -> bool {
    let _guard = lock.blocking_lock().expect("the lock is there");
    let alone = holders.fetch_add(1) == 0;
    println!("{}: has it", procpool::current_process().name());
    holders.fetch_sub(1);
    alone
}

#[procpool::task]
fn hold_until_killed(lock: Lock, held: Event) {
    let _guard = lock.blocking_lock().expect("the lock is free");
    held.set();
    std::thread::sleep(Duration::from_secs(60));
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lock = Lock::new()?;
    let mut printers = Vec::new();
    for n in 0..10 {
        printers.push(Process::spawn(print_in_pieces(lock.clone(), n)).await?);
    }
    for printer in &printers {
        printer.join().await;
    }

    let holders = RawValue::new(0u32)?;
    for n in 1..=5 {
        let call = hold(lock.clone(), holders.clone());
        let mut holder = Process::builder(call).name(format!("holder {n}")).start().await?;
        println!("it was alone: {}", holder.output().await?);
    }

    let held = Event::new()?;
    let holder = Process::spawn(hold_until_killed(lock.clone(), held.clone())).await?;
    held.wait().await?;
    println!("held by another process: {}", lock.try_lock().is_err());
    holder.kill();
    let guard = lock.lock().await?;
    println!("its holder has died: {}", guard.recovered());
    Ok(())
}
