//! Floor in the same process: no-ops handed to tokio's blocking threads.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::{JoinSet, spawn_blocking};

use crate::support::place::{self, Place};
use crate::support::pool::{crowd, runtime_builder};

/// As many as tokio starts when nobody says how many.
pub const DEFAULT_THREADS: usize = 512;

/// A runtime of our flavour with blocking threads that are placed as a worker process would be.
pub struct SpawnBlocking(Runtime);

impl SpawnBlocking {
    pub fn new(place: &Place, threads: usize) -> SpawnBlocking {
        let rt = runtime_builder()
            .max_blocking_threads(threads)
            .thread_keep_alive(Duration::from_secs(3600))
            .build()
            .expect("runtime");
        let all = Arc::new(Barrier::new(threads));
        let pinned: JoinSet<()> = (0..threads).fold(JoinSet::new(), |mut pinned, _| {
            let (all, cpus) = (all.clone(), place.worker.clone());
            let pin = move || {
                place::pin_thread(&cpus);
                // Each of them holds its thread until all are there.
                all.wait();
            };
            pinned.spawn_blocking_on(pin, rt.handle());
            pinned
        });
        rt.block_on(pinned.join_all());
        SpawnBlocking(rt)
    }

    /// Seconds for `tasks` tasks that await `calls` no-ops each, one after the other.
    pub fn run(&self, tasks: usize, calls: usize) -> f64 {
        crowd(&self.0, tasks, move || async move {
            for _ in 0..calls {
                spawn_blocking(|| ()).await.expect("a no-op");
            }
        })
    }
}
