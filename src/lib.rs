//! `multiprocessing` done right for tokio: an async pool of worker processes for
//! Rust work that is CPU-bound, crash-prone, leaky or untrusted.
//!
//! ```standalone_crate
//! use procpool::ProcessPool;
//!
//! #[procpool::task]
//! fn square(x: u64) -> u64 {
//!     x * x
//! }
//!
//! #[procpool::main] // tokio::main plus the worker hook
//! async fn main() -> Result<(), procpool::Error> {
//!     let pool = ProcessPool::builder().workers(2).build().await?;
//!     assert_eq!(pool.map(square, 1..=5).await?, [1, 4, 9, 16, 25]);
//!     assert_eq!(pool.run(square(8)).await?, 64);
//!     pool.shutdown().await
//! }
//! ```
//!
//! Workers are this program, started again: hence the hook at the start of `main`
//! ([`macro@main`], [`init`], in test binaries [`test_hook!`]). A [task](macro@task)
//! is a function found by its name on both sides; calling it makes a [`Call`],
//! which a [`ProcessPool`] runs.
//!
//! # What happens when
//!
//! * a task **panics**: the call fails with message, location and backtrace; the
//!   worker lives on (with `panic = "abort"` in the profile it dies, by SIGABRT);
//! * a worker **dies** (a signal, `exit`, a stack overflow): the calls it was in fail,
//!   each with an [`Obituary`]; calls that had not begun go elsewhere; it is replaced;
//! * a future is **dropped**, or its deadline passes: the work stops;
//! * the **parent** dies: its workers are killed;
//! * the pool is **dropped**: the same.
//!
//! # What a worker is
//!
//! A process of this program: with its environment and working directory
//! ([`Builder::env`], [`Builder::env_clear`]), an empty standard input, its standard
//! output, and a standard error that goes through the parent ([`Stderr`]). Blocking tasks run
//! on its main thread, one at a time; async ones on a tokio runtime with timers and
//! I/O, several at a time. Nothing of `main` after the hook is run: what every worker
//! needs first (a logger, a model) goes into [`Builder::initializer`]. A task may
//! build pools of its own.
//!
//! # Queues
//!
//! A [`Queue`] is for any number of processes on either side, with bounds by items and bytes, as futures,
//! blocking calls, streams and sinks. [`JoinableQueue`] knows when all work is done, [`PriorityQueue`]
//! gives the most urgent first. What was put survives whoever put it; what a process had taken when
//! it died comes back. Handles are arguments, results, and items of other queues.
//!
//! # Locks
//!
//! [`Lock`], [`RLock`], [`Semaphore`], [`BoundedSemaphore`], [`Event`], [`Condition`] and [`Barrier`] are for tasks and threads of any
//! number of processes, by guards and permits. What a process held that dies passes on. [`SharedValue`] and
//! [`SharedArray`] are plain values in memory that all see, with such a lock.
//!
//! # Shared memory
//!
//! [`SharedBytes`] are filled once and read by any number of processes without a copy; a [`Loan`] is filled again
//! and again. [`SharedMemory`] is a block that several processes read and write, by handle or by name;
//! [`SharedList`], [`RawArray`] and [`RawValue`] are values in one, [`SharedValue`] and [`SharedArray`] values with a lock.
//! Whatever dies, nothing of them is left when the last process that had it is gone.
//!
//! # Pipes
//!
//! [`pipe()`] makes two connected ends, [`Connection`]s, which send and receive values or bytes,
//! from tasks and from plain threads. An end is given to another process as an argument, a
//! result or a message. [`one_way`] is for one direction; [`Listener`] for processes that know an
//! address only.
//!
//! # Logging
//!
//! What workers and processes log, by `tracing` or by the `log` crate, arrives in the
//! subscriber that was in force when the pool was built or the process started (if none
//! was, in the one the program sets later): every event and span with its own level, target,
//! file, line and fields, and with these:
//!
//! | field | |
//! |---|---|
//! | `process.name`, `process.pid` | who logged it |
//! | `task.name`, `task.call` | in which call; [`Context::call_id`] is the number, one for a whole chunk of a map |
//! | `process.via`, `process.via_pid` | where those are claimed by a child of ours, as for a child of its own: which one |
//!
//! *Spans.* What a call logs is inside the span that was current when it was submitted (`spawn`,
//! `apply_async`, `map_async`) or first polled (`run`, `map`, `imap`, `Process::spawn`). In the worker
//! itself no span is current at first: what a task hands to threads and to `tokio::spawn` belongs to
//! it only by a span of its own (`#[tracing::instrument]` on the task).
//!
//! *Filters.* Children follow the subscriber's filter, by level and by callsite, also when it
//! changes (within a few milliseconds). An event that is not wanted costs about ten
//! nanoseconds.
//!
//! *Losses.* Logging is a copy into shared memory: it never waits, and what was
//! logged before a crash arrives. What finds no room (256 KiB a child), because the subscriber is
//! slower than the child, is left out: the latest first, so in a flood that may be the last words. A
//! `WARN` event of the target `procpool` says how many (field `lost`); a filter by targets must let it through. A value takes
//! at most 8 KiB (then "…"), an event 28 fields with its message, a program 8192 callsites of
//! children and one child 1024 (the others' events come in words, under the target `procpool`).
//!
//! *Time.* One thread, `procpool-log`, hands everything on, a millisecond or so after it was
//! logged, with the time of that moment. A subscriber that blocks costs events and the memory of
//! the children that have ended meanwhile, but no task, no result and no deadline.
//! [`ProcessPool::join`] and [`ProcessHandle::join`] return when all is handed on, or after a second;
//! so does the program's end.
//!
//! A pool keeps its subscriber alive. A worker whose initializer sets a subscriber keeps what it
//! logs from then on to itself, one that sets a `log` logger keeps the records; in a task or a
//! [`Process`] it is too late for that, and setting one fails.
//!
//! The pool tells by events of its own, with the same fields, of workers at `DEBUG`, of
//! calls at `TRACE`, and at `WARN` of what went wrong and no caller hears of; a [`Process`] itself at
//! `INFO` of its begin and of its end, if it comes to that; how it ended its parent tells at `DEBUG`.
//!
//! # Platform
//!
//! Linux (kernel 5.10 or newer) and Windows (10 or newer); macOS is compiled, but never
//! run by us. On Windows workers are connected by named pipes and end with a job
//! object, a crash is an [`ExitReason::Exception`], nobody can be asked to end, and
//! [`Limits::files`] is `Unsupported`. The README has a table of the differences.
#![deny(unsafe_code)]
#![warn(missing_docs)]

// The macros name the crate from outside, in its own tests too.
#[cfg(test)]
extern crate self as procpool;

mod channel;
mod hub;
mod link;
mod log;
pub mod manager;
mod pool;
mod process;
mod session;
mod shared;
mod sync;
mod sys;
mod task;
mod wire;

pub use channel::{
    Address, AddressError, Connection, Delivery, GetError, JoinableQueue, Listener, MessageKind,
    PassFd, Peer, PipeReceiver, PipeSender, PriorityQueue, PutError, PutErrorKind, Queue,
    RecvError, Select, SendError, SendErrorKind, SimpleQueue, Source, TaskDoneError, one_way, pipe,
    select, select_all,
};
pub use manager::{
    ArrayProxy, DictProxy, ListProxy, Manager, ManagerError, ManagerHandle, NamespaceProxy,
    SetProxy, ValueProxy,
};
pub use pool::{
    AsyncResult, Builder, Histogram, InitOutput, IntoSource, Map, OnDrop, PoolStats, ProcessPool,
    RestartPolicy, Restarts, Results, Run, Sandbox, StartMethod, TryMap, TrySubmit, TrySubmitError,
    WorkerInfo, WorkerStatus,
};
pub use process::{
    CurrentProcess, Error, ErrorKind, ExitReason, Limits, Obituary, ParentProcess, Process,
    ProcessBuilder, ProcessHandle, Progress, ResourceUsage, Sentinel, Stderr, Stdout, TimeoutPhase,
    active_children, current_process, init, log_to_stderr, on_exit, parent_process,
};
#[cfg(feature = "macros")]
pub use procpool_macros::{main, shared, task, task_fn, test};
pub use shared::{
    ArrayGuard, Integer, ItemTooLong, ListItem, Loan, LoanFilling, Loaned, RawArray, RawValue,
    SharedArray, SharedBytes, SharedBytesMut, SharedList, SharedMemory, SharedScope, SharedValue,
    ValueGuard,
};
pub use sync::{
    Barrier, BarrierError, BarrierPassed, BoundedSemaphore, Condition, Event, Lock, LockGuard,
    NotLockedError, RLock, RLockGuard, Semaphore, SemaphorePermit, SyncError, TooManyPermitsError,
};
pub use sys::AddressFamily;
pub use task::{
    Async, AsyncTask, Blocking, Call, Context, ExitCode, IntoCall, Task, TaskFn, TaskKind, context,
    report_progress, try_context,
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
    pub use crate::manager::own::*;
    pub use crate::pool::{Source, ViaIterator, ViaStream};
    pub use crate::process::{TestHook, run_if_worker};
    pub use crate::runtime::{RuntimeOptions, block_on};
    pub use crate::task::{
        Args, ArgsEncoder, BoxFuture, CallEncoder, Encoded, Entry, Fault, Output, OwnedArgs,
        Registration,
    };
    pub use inventory;
    pub use serde;
}

mod runtime;

/// Lets a test binary be its own worker: one line, once per test binary, anywhere in it.
///
/// Each file in `tests/` is a binary; for the unit tests of a crate one module with
/// `#[cfg(test)]` is the place. Under libtest (`cargo test`, nextest) `main` is not
/// ours, so a worker is the test binary started again to run one test, which this line
/// adds: `procpool_worker`, which passes at once when it is run as a test. What libtest
/// prints at the start ("running 1 test") each worker prints too.
///
/// # Examples
/// A whole file of tests:
/// ```no_run
/// procpool::test_hook!();
///
/// #[procpool::task]
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// #[procpool::test]
/// async fn squares() -> Result<(), procpool::Error> {
///     let pool = procpool::ProcessPool::new().await?;
///     assert_eq!(pool.run(square(8)).await?, 64);
///     pool.shutdown().await
/// }
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

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
