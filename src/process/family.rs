//! The processes this one has started and that have not ended.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::at_exit;
use super::handle::ProcessHandle;
use super::running::Running;

struct Family {
    children: Vec<Arc<Running>>,
    /// This process ends: it takes in no more.
    ending: bool,
}

static FAMILY: Mutex<Family> = Mutex::new(Family { children: Vec::new(), ending: false });
static ENDED: Condvar = Condvar::new();

fn family() -> MutexGuard<'static, Family> {
    FAMILY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// False once this process is ending: nobody would wait for the child, or end it.
pub(super) fn add(child: Arc<Running>) -> bool {
    at_exit::arm();
    let mut family = family();
    if !family.ending {
        family.children.push(child);
    }
    !family.ending
}

pub(super) fn remove(child: &Running) {
    family().children.retain(|c| !std::ptr::eq(&raw const **c, child));
    ENDED.notify_all();
}

/// The processes that this one has started with [`Process`](crate::Process) and that
/// have not ended. (Ended ones are collected by themselves.)
///
/// A pool's workers are not among them; see [`ProcessPool::workers`](crate::ProcessPool::workers).
#[must_use]
#[doc(alias = "multiprocessing.active_children")]
pub fn active_children() -> Vec<ProcessHandle> {
    // One that is only being started has no number yet.
    let family = family();
    let started = family.children.iter().filter(|child| child.child().is_some());
    started.cloned().map(ProcessHandle::new).collect()
}

/// Ends the daemons and waits for the others.
pub(super) fn end() {
    let mut left = family();
    left.ending = true;
    let all = left.children.clone();
    drop(left);
    for child in all {
        // The thread that drove it may be the one that waits here.
        child.serve_here();
        if child.is_daemon() {
            child.end_soon();
        }
    }
    left = family();
    while !left.children.is_empty() {
        left = ENDED.wait(left).unwrap_or_else(PoisonError::into_inner);
    }
}
