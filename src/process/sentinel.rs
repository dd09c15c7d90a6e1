//! What becomes ready when a process ends.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::sys::{Handle, handle_access};

type Ended = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// The end of a process: a future, and a handle of the operating system for other event
/// loops.
///
/// The handle is readable (on Windows signalled) once the process has ended, for as long
/// as the sentinel lives. As a future it is ready a moment later, when the
/// [exit code](crate::ProcessHandle::exit_code) is known.
///
/// # Platform
/// On Linux it is a pidfd (`AsFd`), on macOS a kqueue (`AsFd`), on Windows a process
/// handle (`AsHandle`).
pub struct Sentinel {
    ended: Ended,
    handle: Handle,
}

impl Sentinel {
    pub(super) fn new(ended: Ended, handle: Handle) -> Self {
        Sentinel { ended, handle }
    }
}

handle_access!(Sentinel, handle);

impl Future for Sentinel {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.ended.as_mut().poll(cx)
    }
}

impl fmt::Debug for Sentinel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentinel").field("handle", &self.handle).finish_non_exhaustive()
    }
}
