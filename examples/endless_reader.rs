//! A reader that never ends by itself: its parent ends it.
//!
//! One process writes A, B and C, with pauses; another reads for ever and says what it got.
//! Shows that
//! - two processes run side by side, each at its own pace,
//! - what is written arrives once and in order,
//! - `terminate` ends the reader, `join` waits for that, and the exit code tells it.
//!
//! What they say goes over a local socket, through the parent.
//!
//! Run it with `cargo run --example endless_reader`.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use procpool::Process;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).expect("the parent listens")
}

#[procpool::task]
fn write(port: u16) {
    let mut to = connect(port);
    for value in ["A", "B", "C"] {
        writeln!(to, "{value}").expect("the parent reads");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[procpool::task]
fn read_for_ever(port: u16) {
    let mut to = connect(port);
    let from = BufReader::new(to.try_clone().expect("a second handle"));
    for value in from.lines() {
        writeln!(to, "got {}", value.expect("text")).expect("the parent reads");
    }
    // Nothing more will come, but nobody has told it to stop.
    loop {
        std::thread::park();
    }
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let reader = Process::builder(read_for_ever(port)).name("reader").start().await?;
    let (reads, mut read) = listener.accept().await?.0.into_split();
    let writer = Process::builder(write(port)).name("writer").start().await?;
    let (mut written, _) = listener.accept().await?;

    tokio::io::copy(&mut written, &mut read).await?;
    read.shutdown().await?;
    let mut said = tokio::io::BufReader::new(reads).lines();
    for _ in 0..3 {
        println!("reader: {}", said.next_line().await?.unwrap_or_default());
    }

    writer.join().await;
    println!("writer ended by itself: {:?}", writer.exit_code());
    println!("reader is alive: {}", reader.is_alive());
    reader.terminate();
    reader.join().await;
    println!("reader was ended: {}", reader.exit_code() != Some(0));
    Ok(())
}
