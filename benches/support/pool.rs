//! The pool under test, its tasks, and the runtime both it and the floors run on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use procpool::ProcessPool;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::support::place::{self, Place};

/// Does nothing.
#[procpool::task]
pub fn noop() {}

/// Returns its argument.
#[procpool::task]
pub fn ident(x: u64) -> u64 {
    x
}

/// Sleeps, as a task that works does, for so many milliseconds.
#[procpool::task]
pub fn nap(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Places a worker.
#[procpool::task]
pub fn pin_to(cpus: Vec<usize>) {
    place::pin_process(&cpus);
}

/// Threads of the runtimes made from now on; 0 leaves it to tokio.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Has runtimes made from now on have `n` threads, wherever they are placed.
pub fn runtime_threads(n: usize) {
    THREADS.store(n, Ordering::Relaxed);
}

/// A runtime for either side, as tokio makes it where this thread is placed (a thread for each core it may use)
/// unless [`runtime_threads`] was called; on the current thread when `BENCH_RUNTIME` says `current_thread`.
pub fn runtime_builder() -> Builder {
    let current = std::env::var("BENCH_RUNTIME").is_ok_and(|v| v == "current_thread");
    let mut builder =
        if current { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    match THREADS.load(Ordering::Relaxed) {
        0 => {}
        n => {
            builder.worker_threads(n);
        }
    }
    builder.enable_all();
    builder
}

/// The runtime of [`runtime_builder`], made where this thread is placed.
pub fn runtime() -> Runtime {
    runtime_builder().build().expect("runtime")
}

/// A pool made on `rt`, ended when dropped.
pub struct Pool<'a> {
    pub pool: ProcessPool,
    rt: &'a Runtime,
}

impl<'a> Pool<'a> {
    /// A pool of `workers`, placed, or wherever this process is.
    pub fn new(rt: &'a Runtime, workers: usize, place: Option<&Place>) -> Pool<'a> {
        let mut builder = ProcessPool::builder().workers(workers);
        if let Some(place) = place {
            builder = builder.initializer(pin_to, place.worker.clone());
        }
        let pool = rt.block_on(async { builder.build().await });
        Pool { pool: pool.expect("a pool"), rt }
    }

    /// Seconds for `tasks` tasks that await `calls` no-ops each, one after the other.
    pub fn run(&self, tasks: usize, calls: usize) -> f64 {
        crowd(self.rt, tasks, || {
            let pool = self.pool.clone();
            async move {
                for _ in 0..calls {
                    pool.run(noop()).await.expect("a no-op");
                }
            }
        })
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.rt.block_on(async { self.pool.shutdown().await }) {
            eprintln!("shutdown: {error}");
        }
    }
}

/// The processes of the workers that are up.
pub fn pids(pool: &ProcessPool) -> Vec<u32> {
    pool.workers().iter().filter_map(|w| w.pid).collect()
}

/// Seconds that `tasks` spawned tasks of `rt` take, each doing what `work` returns.
pub fn crowd<F>(rt: &Runtime, tasks: usize, work: impl Fn() -> F) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    rt.block_on(async {
        let start = Instant::now();
        let mut crowd: JoinSet<()> = (0..tasks).map(|_| work()).collect();
        while let Some(done) = crowd.join_next().await {
            done.expect("a task of the crowd");
        }
        start.elapsed().as_secs_f64()
    })
}
