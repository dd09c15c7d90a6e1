//! Five ways to die, none of which reaches the program.
//!
//! Each round submits eight honest calls and, in their midst, one that ends badly:
//! it writes to memory that is not its own, aborts, exits in mid-task, overflows
//! its stack, or panics. Shows that
//! - only that call fails, with the true cause: the signal or exit code, what the
//!   worker wrote to standard error last, and what it had used,
//! - the results of the others are intact,
//! - a dead worker is replaced, and a panic does not even cost its worker.
//!
//! Run it with `cargo run --example crash_isolation`.

use procpool::{ExitReason, ProcessPool, Stderr};
use serde::{Deserialize, Serialize};

#[procpool::task]
fn square(x: u64) -> u64 {
    x * x
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Death {
    Segfault,
    Abort,
    Exit,
    StackOverflow,
    Panic,
}

#[procpool::task]
fn die(how: Death) -> u64 {
    eprintln!("about to die: {how:?}");
    match how {
        Death::Segfault => segfault(),
        Death::Abort => std::process::abort(),
        // Code 0 says "all is well", and yet the call has no result.
        Death::Exit => std::process::exit(0),
        Death::StackOverflow => overflow(1),
        Death::Panic => panic!("no way out"),
    }
}

/// What a bug in a C library does: a field of a structure at a null pointer.
fn segfault() -> u64 {
    let field = std::ptr::null_mut::<u64>().wrapping_add(1);
    // SAFETY: none; that is the point. The first page of memory is never mapped,
    // so the kernel answers the (volatile, hence not optimised away) write with
    // SIGSEGV, and this worker process ends here.
    unsafe { field.write_volatile(1) };
    0
}

/// In steps of a megabyte: with small ones there may be no room left for the report (Wine
/// keeps none).
fn overflow(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 1 << 17]);
    if n == 0 { 0 } else { overflow(n + 1) + frame[n as usize % 512] }
}

#[procpool::main]
async fn main() -> Result<(), procpool::Error> {
    // `Capture` keeps what workers write for the errors; the default also shows it.
    let pool = ProcessPool::builder().workers(2).stderr(Stderr::Capture).build().await?;

    let deaths = [Death::Segfault, Death::Abort, Death::Exit, Death::StackOverflow, Death::Panic];
    for how in deaths {
        println!("{how:?}");
        let before: Vec<_> = (1..=4).map(|x| pool.spawn(square(x))).collect();
        let doomed = pool.spawn(die(how));
        let after: Vec<_> = (5..=8).map(|x| pool.spawn(square(x))).collect();

        let error = doomed.await.expect_err("it was meant to die");
        println!("  error: {error}");
        match error.exit_reason() {
            Some(ExitReason::Signaled { signal, .. }) => println!("  cause: signal {signal}"),
            Some(ExitReason::Exited(code)) => println!("  cause: exit code {code}"),
            // Windows: a crash is an exception.
            Some(reason) => println!("  cause: {reason}"),
            None => println!("  cause: no process ended"),
        }
        if let Some(obituary) = error.obituary() {
            let tail = String::from_utf8_lossy(&obituary.stderr_tail);
            let first = tail.lines().find(|line| !line.trim().is_empty());
            println!("  its standard error began: {}", first.unwrap_or("(nothing)"));
            println!("  a stack overflow: {}", obituary.is_stack_overflow());
            println!(
                "  it had used {:.1?} of CPU time and at most {} KiB of memory",
                obituary.usage.user_time + obituary.usage.system_time,
                obituary.usage.peak_resident / 1024,
            );
        }
        // The task may have run in part, so it is not run again unless
        // `.retries(n)` was asked for.
        println!("  safe to retry: {}", error.is_safe_to_retry());

        let mut squares = Vec::new();
        for call in before.into_iter().chain(after) {
            squares.push(call.await?);
        }
        println!("  the others: {squares:?}");
    }

    let stats = pool.stats();
    println!("calls done: {}, failed: {}", stats.done, stats.failed);
    println!("workers lost in a call: {}", stats.restarts.crashed);
    println!("and still: {:?}", pool.map(square, 1..=5).await?);
    pool.shutdown().await
}
