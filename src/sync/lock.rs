//! A lock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::error::{NotLockedError, SyncError};
use super::place::{self, Place, THREAD};
use super::wait::{deadline, handle};
use super::words::lock::{self, LockWait, Taken};
use super::words::{Kind, table};
use crate::hub::turn;
use crate::process::Error;

/// A lock for tasks and threads of any number of processes.
///
/// It protects nothing by itself: what it is for is up to who uses it. (For a value, see
/// [`SharedValue`](crate::SharedValue).) A handle is an argument, a result, or an item of a queue;
/// clones and what arrives elsewhere are the same lock. It costs a descriptor and some kilobytes of memory in each process
/// that has it, of which there are 1023 at most; 128 fit one message. Messages of pipes carry none.
///
/// *Fairness.* Whoever comes takes a lock that is free, also one for which others wait that were woken just now. Among those
/// that wait, processes are served in turn, and within a process threads in their order and tasks in theirs. One
/// that has waited for a millisecond, and every task, is handed the lock by whoever unlocks next: nobody
/// starves.
///
/// Locking and unlocking a lock that nobody else wants is an atomic instruction each, without a message or
/// a system call.
///
/// # Crash behaviour
/// When a process ends that holds it, the lock passes to the next, whose guard says
/// [`recovered`](LockGuard::recovered): what the lock protects may be half changed. (A task that panics or is cancelled drops its guard,
/// which says nothing.) One that dies while it waits is
/// forgotten. One that is stopped (SIGSTOP) keeps what it has, or is handed as one that waits, until it goes on or is killed. All objects are owned by the program's main process, and end with it.
///
/// # Platform
/// On Linux a thread that waits is woken by whoever unlocks. On Windows and macOS, and wherever a task waits in another
/// process than the main one, the main process passes the wake on. On Windows handles of locks
/// travel as [`PassFd`](crate::PassFd) does: to children, not to children of children.
///
/// # Examples
/// ```standalone_crate
/// use procpool::{Lock, ProcessPool};
///
/// #[procpool::task]
/// fn print(lock: Lock, n: u32) {
///     let _guard = lock.blocking_lock().unwrap();
///     println!("line {n}: nobody else prints now");
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let lock = Lock::new()?;
///     let pool = ProcessPool::builder().workers(2).build().await?;
///     pool.map(|n| print(lock.clone(), n), 0..10).await?;
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.Lock")]
#[derive(Clone)]
pub struct Lock {
    pub(super) place: Arc<Place>,
}

handle!(Lock, Kind::Lock);

impl Lock {
    /// A lock that nobody holds.
    ///
    /// # Errors
    /// `Create` if the system has no memory or descriptor left for it; `Unsupported` in a process that has no way for
    /// descriptors to the main process (on Windows, children of children).
    pub fn new() -> Result<Self, Error> {
        Place::create(Kind::Lock, |_| ()).map(|place| Lock { place })
    }

    /// Takes the lock, waiting until it is free.
    ///
    /// # Errors
    /// [`SyncError::Gone`] if there is no such lock any more; [`SyncError::TooMany`] if a million wait in this process.
    ///
    /// # Cancel safety
    /// Dropping the future is as if it had never waited; a lock that it was just handed passes on.
    #[doc(alias = "acquire")]
    pub async fn lock(&self) -> Result<LockGuard<'_>, SyncError> {
        turn().await;
        match self.at_once() {
            Some(guard) => Ok(guard),
            None => self.place.wait(LockWait::new(true)).await.map(|taken| self.guard(taken)),
        }
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// [`SyncError::WouldBlock`] if it is not.
    pub fn try_lock(&self) -> Result<LockGuard<'_>, SyncError> {
        let taken = lock::take(&*self.place, self.place.me()).ok_or(SyncError::WouldBlock)?;
        Ok(self.guard(taken))
    }

    /// [`lock`](Self::lock), waiting for at most so long.
    ///
    /// # Errors
    /// [`SyncError::TimedOut`], and those of [`lock`](Self::lock).
    ///
    /// # Panics
    /// Outside a tokio runtime with a timer.
    ///
    /// # Cancel safety
    /// As [`lock`](Self::lock).
    pub async fn lock_timeout(&self, limit: Duration) -> Result<LockGuard<'_>, SyncError> {
        turn().await;
        match self.at_once() {
            Some(guard) => Ok(guard),
            None => {
                let taken = self.place.wait_timeout(LockWait::new(true), limit).await?;
                Ok(self.guard(taken))
            }
        }
    }

    /// [`lock`](Self::lock) on a thread that may wait: in a blocking task, outside async code.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    #[inline]
    pub fn blocking_lock(&self) -> Result<LockGuard<'_>, SyncError> {
        match self.at_once() {
            Some(guard) => Ok(guard),
            None => self.lock_slowly(None),
        }
    }

    /// [`lock_timeout`](Self::lock_timeout) on a thread that may wait.
    ///
    /// # Errors
    /// As [`lock_timeout`](Self::lock_timeout).
    pub fn blocking_lock_timeout(&self, limit: Duration) -> Result<LockGuard<'_>, SyncError> {
        match self.at_once() {
            Some(guard) => Ok(guard),
            None => self.lock_slowly(Some(limit)),
        }
    }

    /// Whether somebody holds it; in the next moment that may be wrong.
    #[must_use]
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        lock::held_by(&*self.place).is_some()
    }

    /// Releases the lock, whoever holds it, as Python's `release` does; for a lock whose guard was
    /// [leaked](LockGuard::leak). A guard that is still there releases nothing then, unless its process has taken the
    /// lock again.
    ///
    /// # Errors
    /// If nobody holds it.
    pub fn release(&self) -> Result<(), NotLockedError> {
        if lock::release_anyones(&*self.place) { Ok(()) } else { Err(NotLockedError(())) }
    }

    #[inline]
    fn at_once(&self) -> Option<LockGuard<'_>> {
        let taken = lock::take_at_once(&*self.place, self.place.me());
        taken.then(|| self.guard(Taken { recovered: false }))
    }

    #[cold]
    fn lock_slowly(&self, limit: Option<Duration>) -> Result<LockGuard<'_>, SyncError> {
        let deadline = limit.map(deadline).unwrap_or_default();
        let taken = self.place.wait_blocking(LockWait::new(THREAD), deadline)?;
        Ok(self.guard(taken))
    }

    #[inline]
    fn guard(&self, taken: Taken) -> LockGuard<'_> {
        LockGuard { lock: self, recovered: taken.recovered }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = lock::held_by(&*self.place);
        f.debug_struct("Lock")
            .field("owner", &owner.map(|owner| table::pid(&*self.place, owner)))
            .field("waiting", &table::waiting(&*self.place))
            .finish()
    }
}

/// A lock that is held; dropping it unlocks.
#[must_use = "the lock is released when this is dropped"]
pub struct LockGuard<'a> {
    lock: &'a Lock,
    recovered: bool,
}

impl<'a> LockGuard<'a> {
    /// Whether who held the lock before has ended with it: what it protects may be half changed. Said once, to
    /// the next.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.recovered
    }

    /// The lock that it holds.
    #[must_use]
    pub fn lock(this: &Self) -> &'a Lock {
        this.lock
    }

    /// Holds the lock until [`Lock::release`], by whatever process, or until this one ends or drops its last handle
    /// of the lock.
    pub fn leak(this: Self) {
        std::mem::forget(this);
    }
}

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        let place = &self.lock.place;
        lock::unlock(&**place, place.me());
    }
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard").field("recovered", &self.recovered).finish_non_exhaustive()
    }
}
