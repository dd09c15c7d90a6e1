//! An actor: a process that keeps state and answers typed calls.
//!
//! It is a pool of one worker: its state is a static of that process, made by the
//! initializer, and its calls are tasks. One runs at a time, in the order of their coming. An
//! actor that crashes fails the call it was in and begins anew, with new state.
//!
//!     cargo run --example actor

use std::sync::{Mutex, OnceLock};

use procpool::{Error, ProcessPool};

/// The state, in the actor's process only.
static ACCOUNT: OnceLock<Mutex<i64>> = OnceLock::new();

#[procpool::task]
fn open(balance: i64) {
    ACCOUNT.get_or_init(|| Mutex::new(balance));
}

#[procpool::task]
fn deposit(amount: i64) -> i64 {
    let mut balance = ACCOUNT.get().expect("it was opened").lock().unwrap();
    *balance += amount;
    *balance
}

#[procpool::task]
fn withdraw(amount: i64) -> Result<i64, String> {
    let mut balance = ACCOUNT.get().expect("it was opened").lock().unwrap();
    if *balance < amount {
        return Err(format!("there are only {balance}"));
    }
    *balance -= amount;
    Ok(*balance)
}

#[procpool::task]
fn crash() {
    std::process::abort();
}

/// What its users hold: cheap to clone, and to be called from any task.
#[derive(Clone)]
struct Account(ProcessPool);

impl Account {
    async fn open(balance: i64) -> Result<Self, Error> {
        let actor = ProcessPool::builder().workers(1).name("account").initializer(open, balance);
        Ok(Account(actor.build().await?))
    }

    async fn deposit(&self, amount: i64) -> Result<i64, Error> {
        self.0.run(deposit(amount)).await
    }

    async fn withdraw(&self, amount: i64) -> Result<Result<i64, String>, Error> {
        self.0.run(withdraw(amount)).await
    }
}

#[procpool::main]
async fn main() -> Result<(), Error> {
    let account = Account::open(100).await?;
    println!("deposited: {}", account.deposit(20).await?);
    println!("withdrawn: {:?}", account.withdraw(50).await?);
    println!("withdrawn: {:?}", account.withdraw(500).await?);

    let payers = (0..10).map(|_| account.deposit(1));
    futures::future::try_join_all(payers).await?;
    println!("after ten at once: {}", account.deposit(0).await?);

    let error = account.0.run(crash()).await.unwrap_err();
    println!("crashed: {}", error.is_worker_died());
    println!("begun anew: {}", account.deposit(0).await?);
    assert!(ACCOUNT.get().is_none(), "it is not here");
    account.0.shutdown().await
}
