//! Timers of a runtime that is known to have some, whatever executor polls them.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Sleep, Timeout};

pub(crate) fn sleep(runtime: &Handle, limit: Duration) -> Pin<Box<Sleep>> {
    let _in_runtime = runtime.enter();
    Box::pin(tokio::time::sleep(limit))
}

pub(crate) fn timeout<F: Future>(runtime: &Handle, limit: Duration, future: F) -> Timeout<F> {
    let _in_runtime = runtime.enter();
    tokio::time::timeout(limit, future)
}
