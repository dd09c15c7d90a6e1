//! Records from several processes in one list of a manager, and a list and a dict that they change together.
//!
//! Run with `cargo run --example manager`.

use procpool::{DictProxy, ListProxy, Manager, Process};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    name: String,
    score: u32,
}

#[procpool::task]
fn insert(records: ListProxy<Record>, name: String, score: u32) {
    records.blocking_push(&Record { name, score }).expect("the manager runs");
}

#[procpool::task]
fn print(records: ListProxy<Record>) {
    for Record { name, score } in records.blocking_to_vec().expect("the manager runs") {
        println!("{name} {score}");
    }
}

#[procpool::task]
fn change(list: ListProxy<String>, squares: DictProxy<u32, u32>) {
    list.blocking_push(&"New item".to_owned()).expect("the manager runs");
    for n in 1..=3 {
        squares.blocking_set(&n, &(n * n)).expect("the manager runs");
    }
    // Added up by one request: nobody else comes between.
    squares.blocking_modify(&0, |sum| Some(sum.unwrap_or(0) + 14)).expect("the manager runs");
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = Manager::start().await?;
    let named = |name: &str, score| Record { name: name.to_owned(), score };
    let records = manager.list([named("Sam", 10), named("Adam", 9), named("Kevin", 9)]).await?;
    let writer = insert(records.clone(), "Jeff".to_owned(), 8);
    Process::spawn(writer).await?.output().await?;
    Process::spawn(print(records)).await?.output().await?;

    let list = manager.list(["1", "2", "3"].map(str::to_owned)).await?;
    let squares = manager.dict([]).await?;
    Process::spawn(change(list.clone(), squares.clone())).await?.output().await?;
    println!("{:?}", list.to_vec().await?);
    println!("{:?}", squares.items().await?);
    manager.shutdown().await?;
    Ok(())
}
