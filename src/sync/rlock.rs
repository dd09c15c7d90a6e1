//! A lock that its owner can take again.

use std::fmt;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::error::SyncError;
use super::place::{self, Place, THREAD};
use super::wait::{deadline, handle};
use super::words::lock::{self, LockWait, Taken};
use super::words::{Kind, table};
use crate::hub::turn;
use crate::process::Error;

/// Who holds a lock within this process, and how many guards it has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    who: Who,
    guards: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Task(tokio::task::Id),
    Thread(ThreadId),
}

fn this() -> Who {
    tokio::task::try_id().map_or_else(|| Who::Thread(std::thread::current().id()), Who::Task)
}

/// A [`Lock`](crate::Lock) that whoever holds it can take again.
///
/// The owner is a task of a process; where code runs in no task (on a plain thread, in a blocking task of a worker, in the
/// main function of a runtime), a thread; so branches of one `join!` or `select!` are one owner. It is released when the last guard is dropped. What
/// [`Lock`](crate::Lock) says about fairness, crashes and platforms holds for it.
///
/// # Crash behaviour
/// As for a [`Lock`](crate::Lock): the next owner's first guard says [`recovered`](RLockGuard::recovered).
///
/// # Examples
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let lock = procpool::RLock::new()?;
/// let one = lock.lock().await?;
/// let another = lock.lock().await?; // at once
/// drop(one);
/// assert!(lock.is_locked());
/// drop(another);
/// assert!(!lock.is_locked());
/// # Ok(())
/// # }
/// ```
#[doc(alias = "multiprocessing.RLock")]
#[derive(Clone)]
pub struct RLock {
    place: Arc<Place>,
}

handle!(RLock, Kind::RLock);

impl RLock {
    /// A lock that nobody holds.
    ///
    /// # Errors
    /// As [`Lock::new`](crate::Lock::new).
    pub fn new() -> Result<Self, Error> {
        Place::create(Kind::RLock, |_| ()).map(|place| RLock { place })
    }

    /// Takes the lock, waiting until it is free; at once, if this task or thread holds it.
    ///
    /// # Errors
    /// As [`Lock::lock`](crate::Lock::lock).
    ///
    /// # Cancel safety
    /// As [`Lock::lock`](crate::Lock::lock).
    #[doc(alias = "acquire")]
    pub async fn lock(&self) -> Result<RLockGuard<'_>, SyncError> {
        turn().await;
        match self.at_once() {
            Ok(guard) => Ok(guard),
            Err(_) => self.place.wait(LockWait::new(true)).await.map(|taken| self.guard(taken)),
        }
    }

    /// Takes the lock if it is free, or this task or thread holds it.
    ///
    /// # Errors
    /// [`SyncError::WouldBlock`] if it is not.
    pub fn try_lock(&self) -> Result<RLockGuard<'_>, SyncError> {
        self.at_once()
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
    pub async fn lock_timeout(&self, limit: Duration) -> Result<RLockGuard<'_>, SyncError> {
        turn().await;
        match self.at_once() {
            Ok(guard) => Ok(guard),
            Err(_) => {
                let taken = self.place.wait_timeout(LockWait::new(true), limit).await?;
                Ok(self.guard(taken))
            }
        }
    }

    /// [`lock`](Self::lock) on a thread that may wait.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn blocking_lock(&self) -> Result<RLockGuard<'_>, SyncError> {
        self.at_once().or_else(|_| self.lock_slowly(None))
    }

    /// [`lock_timeout`](Self::lock_timeout) on a thread that may wait.
    ///
    /// # Errors
    /// As [`lock_timeout`](Self::lock_timeout).
    pub fn blocking_lock_timeout(&self, limit: Duration) -> Result<RLockGuard<'_>, SyncError> {
        self.at_once().or_else(|_| self.lock_slowly(Some(limit)))
    }

    /// Whether somebody holds it; in the next moment that may be wrong.
    #[must_use]
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        lock::held_by(&*self.place).is_some()
    }

    fn owner(&self) -> MutexGuard<'_, Option<Owner>> {
        self.place.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at_once(&self) -> Result<RLockGuard<'_>, SyncError> {
        if let Some(owner) = &mut *self.owner()
            && owner.who == this()
        {
            owner.guards += 1;
            return Ok(RLockGuard { lock: self, recovered: false });
        }
        let taken = lock::take(&*self.place, self.place.me()).ok_or(SyncError::WouldBlock)?;
        Ok(self.guard(taken))
    }

    #[cold]
    fn lock_slowly(&self, limit: Option<Duration>) -> Result<RLockGuard<'_>, SyncError> {
        let deadline = limit.map(deadline).unwrap_or_default();
        let taken = self.place.wait_blocking(LockWait::new(THREAD), deadline)?;
        Ok(self.guard(taken))
    }

    fn guard(&self, taken: Taken) -> RLockGuard<'_> {
        *self.owner() = Some(Owner { who: this(), guards: 1 });
        RLockGuard { lock: self, recovered: taken.recovered }
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = lock::held_by(&*self.place);
        f.debug_struct("RLock")
            .field("owner", &owner.map(|owner| table::pid(&*self.place, owner)))
            .field("guards", &self.owner().map(|owner| owner.guards))
            .field("waiting", &table::waiting(&*self.place))
            .finish()
    }
}

/// A lock that is held; dropping the last one of its owner's unlocks.
#[must_use = "the lock is released when this is dropped"]
pub struct RLockGuard<'a> {
    lock: &'a RLock,
    recovered: bool,
}

impl RLockGuard<'_> {
    /// Whether who held the lock before has ended with it. Said once, to the next.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.recovered
    }
}

impl Drop for RLockGuard<'_> {
    fn drop(&mut self) {
        let mut owner = self.lock.owner();
        if let Some(held) = &mut *owner {
            held.guards -= 1;
            if held.guards > 0 {
                return;
            }
        }
        *owner = None;
        drop(owner);
        let place = &self.lock.place;
        lock::unlock(&**place, place.me());
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLockGuard").field("recovered", &self.recovered).finish_non_exhaustive()
    }
}
