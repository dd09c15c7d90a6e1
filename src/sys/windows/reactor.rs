//! The runtime that completes what waits on named pipes.
//!
//! A thread of our own, and not the user's runtime: a read that the system has
//! completed is seen only once the driver has looked, and what a dead worker wrote
//! must be had even while the user blocks every thread of the runtime.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use tokio::net::windows::named_pipe::NamedPipeServer;
use tokio::runtime::{Builder, Handle};

/// The program's reactor, started at first use.
pub(super) fn reactor() -> io::Result<Handle> {
    static REACTOR: Mutex<Option<Handle>> = Mutex::new(None);
    let mut known = REACTOR.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*known {
        return Ok(handle.clone());
    }
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("procpool-pipes".into())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(known.insert(handle).clone())
}

/// Polls on a plain thread until it is ready; `None` when the time comes first.
pub(crate) fn park_until<R>(
    deadline: Option<Instant>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>,
) -> Option<R> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        if let Poll::Ready(done) = poll(&mut Context::from_waker(&waker)) {
            return Some(done);
        }
        match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            None => std::thread::park(),
            Some(left) if left.is_zero() => return None,
            Some(left) => std::thread::park_timeout(left),
        }
    }
}

/// Repeats a read that would block, on a plain thread, until it gives something else
/// or the time is over.
pub(crate) fn read_until(
    deadline: Instant,
    pipe: &NamedPipeServer,
    mut read: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    let done = park_until(Some(deadline), |cx| {
        loop {
            match read() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
            if pipe.poll_read_ready(cx).is_pending() {
                return Poll::Pending;
            }
        }
    });
    done.unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
}
