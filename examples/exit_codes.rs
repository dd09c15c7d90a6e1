//! What a process's exit code says.
//!
//! Shows that
//! - a task that returns makes it 0, whatever it returns, unless that is an `ExitCode`,
//! - `std::process::exit` makes it what it was given,
//! - a panic makes it 1, and its message comes with the error,
//! - a signal makes it negative.
//!
//! Run it with `cargo run --example exit_codes`.

use procpool::{ExitCode, Process, Stderr};

#[procpool::task]
fn ok() {}

#[procpool::task]
fn value() -> u64 {
    42
}

#[procpool::task]
fn code() -> ExitCode {
    ExitCode(3)
}

#[procpool::task]
fn exits() {
    std::process::exit(1)
}

#[procpool::task]
fn panics() {
    panic!("there is no one at home")
}

#[procpool::task]
async fn sleeps() {
    std::future::pending().await
}

#[procpool::main]
async fn main() -> Result<(), procpool::Error> {
    let mut value_of = Process::spawn(value()).await?;
    println!("output of value: {}", value_of.output().await?);
    // Its message is shown on standard error otherwise.
    let mut panicking = Process::builder(panics()).stderr(Stderr::Capture).start().await?;
    let error = panicking.output().await.unwrap_err();
    println!("panics: {:?}", error.panic_message().unwrap_or_default());
    let terminated = Process::spawn(sleeps()).await?;
    terminated.terminate();
    for (what, process) in [
        ("ok", Process::spawn(ok()).await?.handle()),
        ("value", value_of.handle()),
        ("code", Process::spawn(code()).await?.handle()),
        ("exits", Process::spawn(exits()).await?.handle()),
        ("panics", panicking.handle()),
        ("terminated", terminated.handle()),
    ] {
        process.join().await;
        println!("{what}: {}", process.exit_code().unwrap_or_default());
    }
    Ok(())
}
