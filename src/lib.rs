//! multiprocessing done right for tokio: run Rust work in other processes from
//! async programs.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod link;
mod pool;
mod process;
mod session;
mod sys;
mod task;
mod wire;

pub use pool::{
    AsyncResult, Builder, Histogram, InitOutput, IntoSource, Limits, Map, OnDrop, PoolStats,
    ProcessPool, RestartPolicy, Restarts, Results, Run, Sandbox, StartMethod, Stderr, TryMap,
    TrySubmitError, WorkerInfo, WorkerStatus,
};
pub use process::{
    Error, ErrorKind, ExitReason, Obituary, Progress, ResourceUsage, TimeoutPhase, init,
};
#[cfg(feature = "macros")]
pub use procpool_macros::{main, task, task_fn, test};
pub use task::{
    Async, Blocking, Call, Context, IntoCall, Task, TaskFn, TaskKind, context, report_progress,
    try_context,
};
pub use wire::DecodeLimits;

/// CPUs of this machine that are online, at least 1.
///
/// For how many of them this process may use, which is what the default size of
/// a pool follows, see [`usable_cpu_count`].
///
/// # Examples
/// ```
/// assert!(procpool::usable_cpu_count() <= procpool::cpu_count());
/// ```
#[must_use]
pub fn cpu_count() -> usize {
    sys::online_cpus().get()
}

/// CPUs this process may use, at least 1: those of its affinity mask, and no more
/// than its cgroup's CPU quota. The default number of a pool's workers.
///
/// # Examples
/// ```
/// println!("{} workers by default", procpool::usable_cpu_count());
/// ```
#[must_use]
#[doc(alias = "process_cpu_count")]
#[doc(alias = "sched_getaffinity")]
pub fn usable_cpu_count() -> usize {
    sys::usable_cpus().get()
}

/// What the macros expand to; no part of the API.
#[doc(hidden)]
pub mod __private {
    pub use crate::pool::{Source, ViaIterator, ViaStream};
    pub use crate::process::{TestHook, run_if_worker};
    pub use crate::runtime::{RuntimeOptions, block_on};
    pub use crate::task::{
        Args, BoxFuture, CallEncoder, Entry, Fault, Output, OwnedArgs, Registration,
    };
    pub use inventory;
}

mod runtime;

/// Lets a test binary be its own worker; one line per file of tests.
///
/// Under libtest (`cargo test`, nextest) `main` is not ours, so a worker is the
/// test binary started again to run one hidden test, which this line adds.
///
/// # Examples
/// ```no_run
/// procpool::test_hook!();
/// ```
#[macro_export]
macro_rules! test_hook {
    () => {
        #[doc(hidden)]
        #[test]
        fn procpool_worker() {
            $crate::__private::run_if_worker();
        }
        $crate::__private::inventory::submit! {
            $crate::__private::TestHook(::core::concat!(
                ::core::module_path!(),
                "::procpool_worker"
            ))
        }
    };
}
