//! Timers for whatever executor polls them.
//!
//! Of the runtime that polls, where there is one: somebody drives it, while that of a
//! pool or a process may have ended, and its timers panic then. Elsewhere of the given
//! one.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Sleep, Timeout};

pub(crate) fn sleep(runtime: &Handle, limit: Duration) -> Pin<Box<Sleep>> {
    within(runtime, || Box::pin(tokio::time::sleep(limit)))
}

pub(crate) fn timeout<F: Future>(runtime: &Handle, limit: Duration, future: F) -> Timeout<F> {
    within(runtime, || tokio::time::timeout(limit, future))
}

fn within<T>(runtime: &Handle, make: impl FnOnce() -> T) -> T {
    let _in_runtime = Handle::try_current().is_err().then(|| runtime.enter());
    make()
}
