//! Locking what nobody leaves half changed.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic of who had it: only for what is whole between any two steps.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
