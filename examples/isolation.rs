//! A process shares nothing with its parent.
//!
//! Shows that a `static` is each process's own: what the child puts in is not in the
//! parent's, and comes back as a value only.
//!
//! Run it with `cargo run --example isolation`.

use std::sync::Mutex;

use procpool::Process;

static SQUARES: Mutex<Vec<u64>> = Mutex::new(Vec::new());

#[procpool::task]
fn collect(xs: Vec<u64>) -> Vec<u64> {
    let mut squares = SQUARES.lock().unwrap();
    squares.extend(xs.iter().map(|x| x * x));
    squares.clone()
}

#[procpool::main]
async fn main() -> Result<(), procpool::Error> {
    let mut process = Process::spawn(collect(vec![1, 2, 3, 4])).await?;
    println!("in the child:  {:?}", process.output().await?);
    println!("in the parent: {:?}", SQUARES.lock().unwrap());
    process.join().await;
    Ok(())
}
