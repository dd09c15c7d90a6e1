//! What a pool tells about itself.

use super::histogram::Histogram;

/// A picture of the pool at one moment, with totals since it was built.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PoolStats {
    /// Workers there should be.
    pub workers: usize,
    /// Workers that take calls now.
    pub ready: usize,
    /// Calls waiting for a worker. A chunk of a map counts as one call.
    pub queued: usize,
    /// Calls at workers, running or next in line.
    pub running: usize,
    /// Calls accepted so far.
    pub submitted: u64,
    /// Calls that gave a result.
    pub done: u64,
    /// Calls that failed: panics, lost workers, timeouts, bad values.
    pub failed: u64,
    /// Calls that were cancelled.
    pub cancelled: u64,
    /// Workers lost, by cause.
    pub restarts: Restarts,
    /// How long calls waited for a worker.
    pub wait: Histogram,
    /// How long calls ran, measured between results.
    pub run: Histogram,
}

/// Why workers were lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restarts {
    /// Died in a call.
    pub crashed: u64,
    /// Died with nothing to do.
    pub idle: u64,
    /// Killed to stop a call that was cancelled or took too long.
    pub cancelled: u64,
    /// Retired: tasks, memory, age, or a smaller pool.
    pub recycled: u64,
    /// Did not come up.
    pub failed_start: u64,
    /// Killed for breaking the protocol.
    pub violation: u64,
}

impl Restarts {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.crashed
            + self.idle
            + self.cancelled
            + self.recycled
            + self.failed_start
            + self.violation
    }
}

/// One worker at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its name, such as `"thumbs-3"`.
    pub name: String,
    /// Its process id, once it is started.
    pub pid: Option<u32>,
    /// What it is doing.
    pub status: WorkerStatus,
    /// Calls it has, running or next in line.
    pub calls: usize,
    /// Calls it has finished.
    pub served: u64,
}

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerStatus {
    /// Started, not ready yet.
    Starting,
    /// Waiting for a call.
    Idle,
    /// Running calls.
    Busy,
    /// Finishing what it has; it will be replaced.
    Draining,
    /// On its way out.
    Stopping,
}
