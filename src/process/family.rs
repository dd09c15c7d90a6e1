//! The processes this one has started and that have not ended.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::at_exit;
use super::handle::ProcessHandle;
use super::running::Running;

static CHILDREN: Mutex<Vec<Arc<Running>>> = Mutex::new(Vec::new());
static ENDED: Condvar = Condvar::new();

fn children() -> MutexGuard<'static, Vec<Arc<Running>>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn add(child: Arc<Running>) {
    at_exit::arm();
    children().push(child);
}

pub(super) fn remove(child: &Running) {
    children().retain(|c| !std::ptr::eq(&raw const **c, child));
    ENDED.notify_all();
}

/// The processes that this one has started with [`Process`](crate::Process) and that
/// have not ended. (Ended ones are collected by themselves.)
///
/// A pool's workers are not among them; see [`ProcessPool::workers`](crate::ProcessPool::workers).
#[must_use]
#[doc(alias = "multiprocessing.active_children")]
pub fn active_children() -> Vec<ProcessHandle> {
    children().iter().cloned().map(ProcessHandle::new).collect()
}

/// Ends the daemons and waits for the others.
pub(super) fn end() {
    let mut left = children();
    let daemons: Vec<_> = left.iter().filter(|c| c.is_daemon()).cloned().collect();
    drop(left);
    for daemon in daemons {
        daemon.end_soon();
    }
    left = children();
    while !left.is_empty() {
        left = ENDED.wait(left).unwrap_or_else(PoisonError::into_inner);
    }
}
