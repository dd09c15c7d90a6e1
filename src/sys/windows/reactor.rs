//! The runtime that completes what waits on named pipes.
//!
//! A thread of our own, and not the user's runtime: a read that the system has
//! completed is seen only once the driver has looked, and what a dead worker wrote
//! must be had even while the user blocks every thread of the runtime.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
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

/// Repeats a read that would block, on a plain thread, until it gives something else
/// or the time is over.
pub(crate) fn read_until(
    deadline: Instant,
    pipe: &NamedPipeServer,
    mut read: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match read() {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if pipe.poll_read_ready(&mut Context::from_waker(&waker)).is_pending() {
            std::thread::park_timeout(left);
        }
    }
}
