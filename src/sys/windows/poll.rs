//! Waiting for many processes and pipes at once on a plain thread.
//!
//! The system's own call waits for 64 things at most; its thread pool waits for any
//! number, and a callback of it or a waker puts what is ready into one queue.

use std::collections::HashMap;
use std::ffi::c_void;
use std::io;
use std::os::windows::io::AsRawHandle;
use std::ptr::null_mut;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEINWAITTHREAD,
    WT_EXECUTEONLYONCE,
};

use super::error::check;
use super::{HandleRef, OutputPipe};
use crate::sys::Ready;

/// A set of things to wait for, with a doorbell that other threads ring.
#[derive(Debug, Default)]
pub(crate) struct Poller {
    queue: Arc<Queue>,
    /// By the number of the handle.
    waits: Mutex<HashMap<usize, Wait>>,
}

#[derive(Debug, Default)]
struct Queue {
    found: Mutex<Found>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Found {
    rung: bool,
    keys: Vec<u64>,
}

/// What the callback or the waker of one key is given.
#[derive(Debug)]
struct Signal {
    queue: Arc<Queue>,
    key: u64,
}

impl Signal {
    fn send(&self) {
        let mut found = self.queue.lock();
        if !found.keys.contains(&self.key) {
            found.keys.push(self.key);
        }
        self.queue.more.notify_one();
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.send();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wait of the system's thread pool; ended when dropped.
#[derive(Debug)]
struct Wait {
    wait: HANDLE,
    /// Lent to the callback.
    _signal: Arc<Signal>,
}

// SAFETY: the handle of a wait may be used from any thread.
unsafe impl Send for Wait {}

impl Drop for Wait {
    fn drop(&mut self) {
        // SAFETY: unregistered once; with this argument the call returns when no
        // callback runs any more, so that the signal can go.
        unsafe { UnregisterWaitEx(self.wait, INVALID_HANDLE_VALUE) };
    }
}

unsafe extern "system" fn signalled(context: *mut c_void, _timed_out: bool) {
    // SAFETY: what the `Wait` holds, which outlives the callback.
    unsafe { &*context.cast::<Signal>() }.send();
}

impl Poller {
    #[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Poller::default())
    }

    /// Watches a process under `key` until [`Poller::remove`].
    pub(crate) fn add(&self, handle: HandleRef<'_>, key: u64) -> io::Result<()> {
        self.register(handle, key, WT_EXECUTEONLYONCE)
    }

    pub(super) fn register(
        &self,
        handle: HandleRef<'_>,
        key: u64,
        how_often: u32,
    ) -> io::Result<()> {
        let signal = Arc::new(Signal { queue: self.queue.clone(), key });
        let mut wait = null_mut();
        // SAFETY: the handle stays open until it is removed, and the context lives in
        // the `Wait`.
        check(unsafe {
            RegisterWaitForSingleObject(
                &mut wait,
                handle.as_raw_handle(),
                Some(signalled),
                Arc::as_ptr(&signal).cast(),
                INFINITE,
                how_often | WT_EXECUTEINWAITTHREAD,
            )
        })?;
        self.waits().insert(handle.as_raw_handle() as usize, Wait { wait, _signal: signal });
        Ok(())
    }

    pub(crate) fn remove(&self, handle: HandleRef<'_>) {
        let wait = self.waits().remove(&(handle.as_raw_handle() as usize));
        drop(wait);
    }

    /// Watches a pipe under `key` until [`Poller::remove_pipe`].
    #[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn add_pipe(&self, pipe: &OutputPipe, key: u64) -> io::Result<()> {
        pipe.watch(Waker::from(Arc::new(Signal { queue: self.queue.clone(), key })));
        Ok(())
    }

    /// A pipe that nobody reads any more tells nobody either.
    #[allow(clippy::unused_self, reason = "elsewhere it does something")]
    pub(crate) fn remove_pipe(&self, _pipe: &OutputPipe) {}

    /// Makes the current or next wait return; callable from any thread.
    pub(crate) fn ring(&self) {
        self.queue.lock().rung = true;
        self.queue.more.notify_one();
    }

    /// Waits at most `timeout` (for ever when `None`) and appends what is
    /// ready to `found`.
    #[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn wait(&self, timeout: Option<Duration>, found: &mut Vec<Ready>) -> io::Result<()> {
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        let mut ready = self.queue.lock();
        while !ready.rung && ready.keys.is_empty() {
            let Some(deadline) = deadline else {
                ready = self.queue.more.wait(ready).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.queue.more.wait_timeout(ready, left);
            ready = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if std::mem::take(&mut ready.rung) {
            found.push(Ready::Bell);
        }
        found.extend(ready.keys.drain(..).map(Ready::Key));
        Ok(())
    }

    fn waits(&self) -> MutexGuard<'_, HashMap<usize, Wait>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
