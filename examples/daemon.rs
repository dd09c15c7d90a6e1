//! What becomes of processes when the program ends.
//!
//! Shows that
//! - `join_timeout` on a daemon that runs on returns, and it lives,
//! - the end of `main` waits for an ordinary process,
//! - and ends a daemon.
//!
//! Run it with `cargo run --example daemon`.

use std::time::Duration;

use procpool::Process;

/// Goes on until it is ended.
#[procpool::task]
async fn daemon() {
    std::future::pending::<()>().await;
    println!("daemon: never said");
}

#[procpool::task]
fn ordinary() {
    std::thread::sleep(Duration::from_millis(300));
    println!("ordinary: exiting, after the end of main");
}

#[procpool::main]
async fn main() -> Result<(), procpool::Error> {
    let daemon = Process::builder(daemon()).daemon(true).start().await?;
    println!("ended within 100 ms: {}", daemon.join_timeout(Duration::from_millis(100)).await);
    println!("alive: {}, daemon: {}", daemon.is_alive(), daemon.is_daemon());
    // Nothing waits for this one but the program's end.
    let _ordinary = Process::spawn(ordinary()).await?;
    println!("main: done");
    // Dropping its handle would end the daemon; the program's end does as well.
    std::mem::forget(daemon);
    Ok(())
}
