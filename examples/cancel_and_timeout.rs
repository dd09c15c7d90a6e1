//! Ending work that is no longer wanted, really: in the worker, not just here.
//!
//! Shows that
//! - a call that waits in the queue vanishes when its future is dropped,
//! - a blocking loop is stopped by a timeout; its worker is replaced and the next
//!   call finds a fresh one,
//! - an async task is dropped in its worker (its destructors run), which lives on,
//! - `abort` stops a running call from another place in the program,
//! - a task that looks at `context().is_cancelled()` ends by itself and keeps its
//!   worker,
//! - a limit on CPU time stops who computes and leaves alone who waits.
//!
//! Run it with `cargo run --example cancel_and_timeout`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use procpool::{ErrorKind, ProcessPool, TimeoutPhase};

const MS: Duration = Duration::from_millis(1);

#[procpool::task]
fn square(x: u64) -> u64 {
    x * x
}

/// In which worker a call runs now.
#[procpool::task]
fn worker_pid() -> u32 {
    std::process::id()
}

/// Leaves a file behind, so that one can tell whether it ran.
#[procpool::task]
fn leave_mark(mark: &Path) {
    fs::write(mark, "").expect("the mark can be written");
}

/// Waits until the file `gate` is there.
#[procpool::task]
fn wait_for(gate: &Path) {
    while !gate.exists() {
        std::thread::sleep(MS);
    }
}

/// A loop without end, such as a bug or a hostile input makes. No thread of this
/// process could be stopped in it; a process can.
#[procpool::task]
fn loop_for_ever(started: &Path) {
    fs::write(started, "").expect("the mark can be written");
    loop {
        std::hint::spin_loop();
    }
}

/// Waits for ever, but asks now and then whether anybody still wants the result.
#[procpool::task]
fn loop_until_cancelled(started: &Path, tidied: &Path) {
    fs::write(started, "").expect("the mark can be written");
    while !procpool::context().is_cancelled() {
        std::thread::sleep(MS);
    }
    // Time to put things in order: the pool's `cancel_grace`.
    fs::write(tidied, "").expect("the mark can be written");
}

#[procpool::task]
fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}

/// Leaves a file behind when it is dropped.
struct MarkOnDrop(PathBuf);

impl Drop for MarkOnDrop {
    fn drop(&mut self) {
        let _ = fs::write(&self.0, "");
    }
}

#[procpool::task]
async fn wait_for_ever(started: PathBuf, dropped: PathBuf) {
    let _mark = MarkOnDrop(dropped);
    fs::write(started, "").expect("the mark can be written");
    std::future::pending::<()>().await;
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let marks = Marks::new()?;
    // One worker, so that it is plain who is replaced and who is not.
    let pool = ProcessPool::builder().workers(1).build().await?;

    println!("a queued call, dropped");
    let gate = marks.path("gate");
    let mark = marks.path("queued");
    let running = pool.spawn(wait_for(&gate));
    // Dropping a call's future cancels the call. So everything that drops futures
    // cancels calls: `timeout`, `select!`, a connection that is closed.
    let call = pool.run(leave_mark(&mark));
    let given_up = tokio::time::timeout(50 * MS, call).await.is_err();
    println!("  given up while it waited: {given_up}");
    fs::write(&gate, "")?;
    running.await?;
    // Calls begin in their order, so by now it would have run.
    pool.run(square(1)).await?;
    println!("  it ever ran: {}", mark.exists());

    println!("a blocking loop, stopped by a timeout");
    let worker = pool.run(worker_pid()).await?;
    let call = pool.run(loop_for_ever(&marks.path("loop"))).run_timeout(100 * MS);
    let error = call.await.expect_err("the loop has no end");
    println!("  {error}");
    println!("  the next call: {}", pool.run(square(7)).await?);
    println!("  the worker was replaced: {}", pool.run(worker_pid()).await? != worker);

    println!("a running blocking loop, aborted");
    let worker = pool.run(worker_pid()).await?;
    let started = marks.path("aborted");
    let handle = pool.spawn(loop_for_ever(&started));
    appears(&started).await;
    handle.abort();
    let error = handle.await.expect_err("it was aborted");
    println!("  {error}");
    println!("  the next call: {}", pool.run(square(8)).await?);
    println!("  the worker was replaced: {}", pool.run(worker_pid()).await? != worker);

    println!("an async task, dropped in its worker");
    let worker = pool.run(worker_pid()).await?;
    let (started, dropped) = (marks.path("async"), marks.path("async-dropped"));
    let call = pool.run(wait_for_ever(started.clone(), dropped.clone()));
    tokio::select! {
        _ = call => println!("  it came to an end by itself"),
        () = appears(&started) => println!("  it runs; now its future is dropped here"),
    }
    appears(&dropped).await;
    println!("  and there: its destructors have run");
    println!("  the next call: {}", pool.run(square(9)).await?);
    println!("  the worker lives on: {}", pool.run(worker_pid()).await? == worker);

    println!("a limit on CPU time");
    let limit = 100 * MS;
    pool.run(sleep(3 * limit)).cpu_timeout(limit).await?;
    println!("  a task that waits three times as long is left alone");
    let call = pool.run(loop_for_ever(&marks.path("cpu"))).cpu_timeout(limit);
    let error = call.await.expect_err("the loop has no end");
    println!("  {error}");
    let by_cpu = matches!(error.kind(), ErrorKind::TimedOut { phase: TimeoutPhase::Cpu, .. });
    println!("  stopped for its CPU time: {by_cpu}");
    pool.shutdown().await?;

    println!("a cooperative task");
    // With a long grace a blocking task may end its own way.
    let pool = ProcessPool::builder().workers(1).cancel_grace(30_000 * MS).build().await?;
    let worker = pool.run(worker_pid()).await?;
    let (started, tidied) = (marks.path("asking"), marks.path("tidied"));
    let handle = pool.spawn(loop_until_cancelled(&started, &tidied));
    appears(&started).await;
    handle.abort();
    println!("  {}", handle.await.expect_err("it was aborted"));
    println!("  the next call: {}", pool.run(square(10)).await?);
    println!("  the task had put things in order: {}", tidied.exists());
    println!("  the worker lives on: {}", pool.run(worker_pid()).await? == worker);
    pool.shutdown().await?;
    Ok(())
}

/// Waits until there is such a file.
async fn appears(path: &Path) {
    while !path.exists() {
        tokio::time::sleep(MS).await;
    }
}

/// A directory for the files the tasks leave behind; removed when dropped.
struct Marks(PathBuf);

impl Marks {
    fn new() -> std::io::Result<Self> {
        let name = format!("procpool-cancel-and-timeout-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path)?;
        Ok(Marks(path))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
