//! Pipes between processes: one message, values of a type, one way to an end, both ways.
//!
//! Shows that
//! - an end of a pipe is given to a process as an argument,
//! - a message is a value of any type that serde knows,
//! - one end can only send and the other only receive, until a word that ends it,
//! - dropping an end is heard at the other.
//!
//! Run it with `cargo run --example pipe`.

use std::error::Error;
use std::fmt;

use procpool::{Connection, PipeReceiver, PipeSender, Process, one_way, pipe};
use serde::{Deserialize, Serialize};

#[procpool::task]
fn greet(mut end: PipeSender<String>) {
    end.blocking_send("Hello from child".to_owned()).expect("the parent receives");
}

/// What Python would put into one list.
#[derive(Serialize, Deserialize)]
enum Item {
    Number(i64),
    Nothing,
    Text(String),
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Number(n) => n.fmt(f),
            Item::Nothing => f.write_str("null"),
            Item::Text(text) => text.fmt(f),
        }
    }
}

#[procpool::task]
async fn tell(mut end: Connection<Vec<Item>, ()>) {
    let items = vec![Item::Number(42), Item::Nothing, Item::Text("hello".to_owned())];
    end.send(items).await.expect("the parent receives");
}

#[procpool::task]
fn send_words(mut end: PipeSender<String>) {
    for word in ["first", "second", "third", "END"] {
        end.blocking_send(word.to_owned()).expect("somebody receives");
    }
}

#[procpool::task]
fn receive_words(mut end: PipeReceiver<String>) -> Vec<String> {
    let mut words = Vec::new();
    while let Ok(word) = end.blocking_recv()
        && word != "END"
    {
        words.push(word);
    }
    words
}

/// Answers until the other end is dropped.
#[procpool::task]
fn square_all(mut end: Connection<u64, u64>) -> u64 {
    let mut answered = 0;
    while let Ok(n) = end.blocking_recv() {
        end.blocking_send(n * n).expect("who asks receives");
        answered += 1;
    }
    answered
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (theirs, mut ours) = one_way()?;
    let child = Process::spawn(greet(theirs)).await?;
    println!("{}", ours.recv().await?);
    child.join().await;

    let (theirs, mut ours) = pipe::<Vec<Item>, ()>()?;
    let child = Process::spawn(tell(theirs)).await?;
    println!("{:?}", ours.recv().await?);
    child.join().await;
    println!("after its end: {}", ours.recv().await.unwrap_err());

    // Neither end is ours: they talk past us.
    let (sender, receiver) = one_way()?;
    let sending = Process::spawn(send_words(sender)).await?;
    let mut receiving = Process::spawn(receive_words(receiver)).await?;
    println!("words before END: {:?}", receiving.output().await?);
    sending.join().await;
    receiving.join().await;

    let (mut ours, theirs) = pipe()?;
    let mut squaring = Process::spawn(square_all(theirs)).await?;
    for n in 1..=4 {
        ours.send(n).await?;
        println!("{n} squared is {}", ours.recv().await?);
    }
    drop(ours);
    println!("answered: {}", squaring.output().await?);
    squaring.join().await;
    Ok(())
}
