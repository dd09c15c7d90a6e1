//! Memory that processes share: by its name, as a list, and lent.
//!
//! Shows that
//! - a block with a name is opened by a worker that was told no more than the name;
//! - a `SharedList` holds numbers, text and bytes that all see changing;
//! - what a `SharedScope` has made loses its names with it;
//! - a `Loan` is filled again and again in the same memory, and comes back from its readers.
//!
//! Run it with `cargo run --release --example shared_memory`.

use std::io::Write;

use procpool::{ListItem, Loan, Loaned, ProcessPool, SharedList, SharedMemory, SharedScope};

/// Turns what is in the block of that name round.
#[procpool::task]
fn turn_round(name: String) {
    let memory = SharedMemory::open(&name).expect("its maker keeps it");
    let mut bytes = memory.to_vec(..);
    bytes.reverse();
    memory.write(0, &bytes);
}

/// Doubles numbers, and shouts what is text.
#[procpool::task]
fn change(list: SharedList) {
    for (i, item) in list.iter().enumerate() {
        let changed = match item {
            ListItem::Int(n) => ListItem::Int(2 * n),
            ListItem::Str(text) => ListItem::Str(text.to_uppercase()),
            other => other,
        };
        list.set(i, changed).expect("it is no longer than before");
    }
}

#[procpool::task]
fn count_words(text: Loaned) -> usize {
    String::from_utf8_lossy(&text.to_vec(..)).split_whitespace().count()
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = ProcessPool::builder().workers(2).build().await?;

    let scope = SharedScope::new();
    let memory = scope.memory(5)?;
    memory.write(0, b"olleh");
    let name = memory.name().ok_or("it has a name")?.to_owned();
    pool.apply(turn_round, name.clone()).await?;
    println!("turned round by name: {}", String::from_utf8(memory.to_vec(..))?);

    let list = scope.list(["text".into(), ListItem::Int(21), 0.5.into(), ListItem::None])?;
    pool.apply(change, list.clone()).await?;
    println!("changed: {list:?}");
    if let Err(e) = list.set(0, "longer than its slot") {
        println!("refused: {e}");
    }

    drop(scope);
    println!("opened after its scope: {}", SharedMemory::open(&name).is_ok());

    let mut loan = Loan::new(1 << 20)?;
    for round in 1..=3 {
        let mut filling = loan.filling()?;
        for n in 0..10 * round {
            write!(filling, "word{n} ")?;
        }
        let counts = pool.map(count_words, vec![filling.lend()?; 4]).await?;
        println!("round {round}: {counts:?}");
        loan.returned().await?;
    }
    pool.shutdown().await?;
    Ok(())
}
