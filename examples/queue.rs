//! Queues: what one process puts, another gets.
//!
//! Shows that
//! - a queue is passed to a process like any argument, and items keep their order,
//! - one item may hold values of several types, and a value of a type of one's own brings its
//!   methods along: they run where it is got,
//! - what was put is there as soon as `put` has returned: a queue can be drained until it is
//!   empty, also after the process that filled it has ended,
//! - a reader of a queue that is closed gets what is left, and then learns of the end.
//!
//! Run it with `cargo run --example queue`.

use procpool::{GetError, Process, Queue};
use serde::{Deserialize, Serialize};

#[procpool::task]
fn put_list(queue: Queue<Vec<u32>>) {
    queue.blocking_put(vec![1, 2, 3]).expect("the queue is open");
}

#[procpool::task]
fn print_list(queue: Queue<Vec<u32>>) {
    println!("reader: {:?}", queue.blocking_get().expect("a list comes"));
}

type Mixed = (u32, Option<u32>, String);

#[procpool::task]
fn send_mixed(queue: Queue<Mixed>) {
    queue.blocking_put((42, None, "hello".into())).expect("the queue is open");
}

#[procpool::task]
fn put_squares(queue: Queue<u32>, numbers: Vec<u32>) {
    for n in numbers {
        queue.blocking_put(n * n).expect("the queue is open");
    }
}

#[derive(Serialize, Deserialize)]
struct Fancy {
    name: String,
}

impl Fancy {
    fn do_something(&self) {
        println!("{}: doing something for {}", procpool::current_process().name(), self.name);
    }
}

#[procpool::task]
fn work(queue: Queue<Fancy>) {
    loop {
        match queue.blocking_get() {
            Ok(fancy) => fancy.do_something(),
            Err(GetError::Closed) => return println!("the queue is closed"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lists = Queue::unbounded()?;
    let reader = Process::spawn(print_list(lists.clone())).await?;
    let writer = Process::spawn(put_list(lists)).await?;
    writer.join().await;
    reader.join().await;

    let mixed = Queue::unbounded()?;
    let _sender = Process::spawn(send_mixed(mixed.clone())).await?;
    println!("mixed: {:?}", mixed.get().await?);

    let squares = Queue::unbounded()?;
    let child = Process::spawn(put_squares(squares.clone(), vec![1, 2, 3, 4])).await?;
    child.join().await;
    while !squares.is_empty().await {
        println!("square: {}", squares.get().await?);
    }

    let fancies = Queue::unbounded()?;
    let worker = Process::builder(work(fancies.clone())).name("worker").start().await?;
    fancies.put(Fancy { name: "Dan".into() }).await?;
    fancies.put(Fancy { name: "Frankie".into() }).await?;
    fancies.close();
    worker.join().await;
    println!("worker ended: {:?}", worker.exit_code());
    Ok(())
}
