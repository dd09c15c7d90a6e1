//! Named processes, and the list of those that run.
//!
//! Shows that
//! - a process has the name it is given, or one by its number,
//! - `active_children` lists the processes that run, and none that has ended.
//!
//! Run it with `cargo run --example process_names`.

use procpool::{Process, active_children, current_process};

#[procpool::task]
fn service() -> String {
    current_process().name().to_owned()
}

/// Runs until it is told to end.
#[procpool::task]
async fn idle() {
    std::future::pending().await
}

#[procpool::main]
async fn main() -> Result<(), procpool::Error> {
    println!("this is {}", current_process().name());
    for name in [Some("my_service"), Some("worker 1"), None] {
        let mut process = Process::builder(service());
        if let Some(name) = name {
            process = process.name(name);
        }
        let mut process = process.start().await?;
        println!("started {}", process.output().await?);
        process.join().await;
    }

    let one = Process::spawn(idle()).await?;
    let two = Process::spawn(idle()).await?;
    let mut names: Vec<_> = active_children().iter().map(|p| p.name().to_owned()).collect();
    names.sort();
    println!("active: {names:?}");
    for process in [one, two] {
        process.terminate();
        process.join().await;
    }
    println!("active after join: {}", active_children().len());
    Ok(())
}
