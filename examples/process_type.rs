//! A process defined by a type: its fields are what it is given, `run` is what it does.
//!
//! Shows that
//! - a value of a type that is a `Task` is all a process needs, as Python's subclasses
//!   of `Process` with a `run` method,
//! - five of them run at once, each with its own state.
//!
//! Run it with `cargo run --example process_type`.

use procpool::{Process, Task, current_process};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Greeter {
    whom: String,
    times: u32,
}

#[procpool::task]
impl Task for Greeter {
    type Output = String;

    fn run(self) -> String {
        let words: Vec<_> = (0..self.times).map(|_| format!("Hello {}!", self.whom)).collect();
        format!("{}: {}", current_process().name(), words.join(" "))
    }
}

#[procpool::main]
async fn main() -> Result<(), procpool::Error> {
    let mut processes = Vec::new();
    for (times, whom) in (1..).zip(["Ann", "Bob", "Cid", "Dee", "Eve"]) {
        processes.push(Process::spawn(Greeter { whom: whom.to_owned(), times }).await?);
    }
    for mut process in processes {
        println!("{}", process.output().await?);
        process.join().await;
    }
    Ok(())
}
