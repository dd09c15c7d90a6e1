//! How many CPUs there are, and how many of them are ours.
//!
//! Shows that
//! - `cpu_count` is what the machine has,
//! - `usable_cpu_count` is what this process may use: its affinity mask and its
//!   cgroup's CPU quota (a container's limit) are taken into account,
//! - a pool without a number of workers takes the second: more workers than that
//!   would only get in each other's way.
//!
//! Run it with `cargo run --example cpu_count`, and see the second number change
//! with `taskset -c 0 cargo run --example cpu_count`.

use procpool::ProcessPool;

#[procpool::main]
async fn main() -> Result<(), procpool::Error> {
    println!("CPUs of this machine: {}", procpool::cpu_count());
    println!("CPUs this process may use: {}", procpool::usable_cpu_count());

    let pool = ProcessPool::new().await?;
    println!("workers of a default pool: {}", pool.workers().len());
    pool.shutdown().await
}
