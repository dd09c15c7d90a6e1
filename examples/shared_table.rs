//! A large read-only table that every worker uses and none has a copy of.
//!
//! Shows that
//! - `SharedBytes` are filled once, in place, and then sealed: nobody can change them any more;
//! - as an argument they cost each call a descriptor, whatever their length, and each worker
//!   nothing: its own memory is printed beside the table's.
//!
//! Run it with `cargo run --release --example shared_table [MiB]`; 1024 MiB if no number is given.

use procpool::{ProcessPool, SharedBytes, SharedBytesMut};

/// The table's entries: the squares of the numbers from 0 on, of eight bytes each.
fn entry(table: &[u8], n: usize) -> u64 {
    let (entries, _) = table.as_chunks::<8>();
    u64::from_le_bytes(entries[n])
}

/// Adds up the entries at some places, and says how much memory this process has of its own.
#[procpool::task]
fn look_up(table: SharedBytes, first: usize, step: usize) -> (u128, Option<u64>) {
    let sum = (first..table.len() / 8).step_by(step).map(|n| u128::from(entry(&table, n))).sum();
    (sum, own_kib())
}

/// Memory that this process shares with nobody, where the system tells.
fn own_kib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let private = text.lines().filter(|line| line.starts_with("Private_"));
    private.map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mib = std::env::args().nth(1).map_or(Ok(1024), |arg| arg.parse::<usize>())?;
    let mut table = SharedBytesMut::zeroed(mib << 20)?;
    let (entries, _) = table.as_chunks_mut::<8>();
    for (n, entry) in (0u64..).zip(entries) {
        *entry = n.wrapping_mul(n).to_le_bytes();
    }
    let table = table.freeze()?;
    println!("a table of {mib} MiB");

    let pool = ProcessPool::builder().workers(4).build().await?;
    // 512 entries are a page: each call touches all pages.
    let calls = (0..4).map(|first| (table.clone(), first, 512));
    let results = pool.starmap(look_up, calls).await?;
    for (i, (sum, own)) in results.iter().enumerate() {
        let expected = (i..table.len() / 8).step_by(512).map(|n| u128::from(entry(&table, n)));
        assert_eq!(*sum, expected.sum::<u128>());
        match own {
            Some(kib) => println!("worker {i}: {} MiB of its own", kib.div_ceil(1024)),
            None => println!("worker {i}: done"),
        }
    }
    pool.shutdown().await?;
    Ok(())
}
