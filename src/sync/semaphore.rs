//! Semaphores.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::error::{SyncError, TooManyPermitsError};
use super::place::{self, Place, THREAD};
use super::wait::{deadline, handle};
use super::words::semaphore::{self, MAX_PERMITS, SemaphoreWait};
use super::words::{Kind, table};
use crate::hub::turn;
use crate::process::Error;

/// A semaphore for tasks and threads of any number of processes.
///
/// A handle is an argument, a result, or an item of a queue; clones and what arrives elsewhere are the same semaphore. What it costs, and
/// who can have it, is as for a [`Lock`](crate::Lock).
///
/// *Fairness.* Among those that wait, processes are served in turn, and within a process threads in their order and
/// tasks in theirs. [`try_acquire`](Self::try_acquire), and a permit that is there when somebody comes, overtakes whoever was woken just
/// now, but nobody that has waited for a millisecond, and no task.
///
/// # Crash behaviour
/// When a process ends, the permits that it held return, whatever it was doing. One that dies while it
/// waits is forgotten.
///
/// # Platform
/// As for a [`Lock`](crate::Lock).
///
/// # Examples
/// ```standalone_crate
/// use procpool::{ProcessPool, Semaphore};
///
/// #[procpool::task]
/// fn download(two_at_a_time: Semaphore, n: u32) -> u32 {
///     let _permit = two_at_a_time.blocking_acquire().unwrap();
///     n * n
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let two = Semaphore::new(2)?;
///     let pool = ProcessPool::builder().workers(3).build().await?;
///     let squares = pool.map(|n| download(two.clone(), n), 1..=3).await?;
///     assert_eq!(squares, [1, 4, 9]);
///     assert_eq!(two.available_permits(), 2);
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.Semaphore")]
#[derive(Clone)]
pub struct Semaphore {
    place: Arc<Place>,
}

handle!(Semaphore, Kind::Semaphore);

fn made(n: u32, most: u32) -> Result<Arc<Place>, Error> {
    if n > MAX_PERMITS {
        return Err(Error::invalid("permits", n, "at most 4,194,303"));
    }
    Place::create(Kind::Semaphore, |place| semaphore::init(place, n, most))
}

impl Semaphore {
    /// Permits that a semaphore can have.
    pub const MAX_PERMITS: u32 = MAX_PERMITS;

    /// A semaphore with so many permits, at most [`MAX_PERMITS`](Self::MAX_PERMITS).
    ///
    /// # Errors
    /// `InvalidOption` for more; and as [`Lock::new`](crate::Lock::new).
    pub fn new(permits: u32) -> Result<Self, Error> {
        made(permits, MAX_PERMITS).map(|place| Semaphore { place })
    }

    /// Takes a permit, waiting for one.
    ///
    /// # Errors
    /// As [`Lock::lock`](crate::Lock::lock).
    ///
    /// # Cancel safety
    /// Dropping the future is as if it had never waited.
    pub async fn acquire(&self) -> Result<SemaphorePermit<'_>, SyncError> {
        turn().await;
        if !semaphore::take(&*self.place, self.place.me()) {
            self.place.wait(SemaphoreWait::new(true)).await?;
        }
        Ok(SemaphorePermit { place: &self.place })
    }

    /// Takes a permit if there is one.
    ///
    /// # Errors
    /// [`SyncError::WouldBlock`] if there is none.
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_>, SyncError> {
        let taken = semaphore::take(&*self.place, self.place.me());
        taken.then(|| SemaphorePermit { place: &self.place }).ok_or(SyncError::WouldBlock)
    }

    /// [`acquire`](Self::acquire), waiting for at most so long.
    ///
    /// # Errors
    /// [`SyncError::TimedOut`], and those of [`acquire`](Self::acquire).
    ///
    /// # Panics
    /// Outside a tokio runtime with a timer.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_timeout(&self, limit: Duration) -> Result<SemaphorePermit<'_>, SyncError> {
        turn().await;
        if !semaphore::take(&*self.place, self.place.me()) {
            self.place.wait_timeout(SemaphoreWait::new(true), limit).await?;
        }
        Ok(SemaphorePermit { place: &self.place })
    }

    /// [`acquire`](Self::acquire) on a thread that may wait.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn blocking_acquire(&self) -> Result<SemaphorePermit<'_>, SyncError> {
        self.acquire_slowly(None)
    }

    /// [`acquire_timeout`](Self::acquire_timeout) on a thread that may wait.
    ///
    /// # Errors
    /// As [`acquire_timeout`](Self::acquire_timeout).
    pub fn blocking_acquire_timeout(
        &self,
        limit: Duration,
    ) -> Result<SemaphorePermit<'_>, SyncError> {
        self.acquire_slowly(Some(limit))
    }

    fn acquire_slowly(&self, limit: Option<Duration>) -> Result<SemaphorePermit<'_>, SyncError> {
        if !semaphore::take(&*self.place, self.place.me()) {
            let deadline = limit.map(deadline).unwrap_or_default();
            self.place.wait_blocking(SemaphoreWait::new(THREAD), deadline)?;
        }
        Ok(SemaphorePermit { place: &self.place })
    }

    /// Adds permits, as Python's `release` does for one that was not acquired here; to return one
    /// that was, drop it.
    ///
    /// # Errors
    /// If there would be more than [`MAX_PERMITS`](Self::MAX_PERMITS); none is added then.
    #[doc(alias = "release")]
    pub fn add_permits(&self, n: u32) -> Result<(), TooManyPermitsError> {
        add(&self.place, n, MAX_PERMITS)
    }

    /// Permits that can be had; in the next moment that may be wrong.
    #[must_use]
    #[doc(alias = "get_value")]
    pub fn available_permits(&self) -> u32 {
        semaphore::available(&*self.place) as u32
    }
}

fn add(place: &Place, added: u32, most: u32) -> Result<(), TooManyPermitsError> {
    if semaphore::release(place, added) { Ok(()) } else { Err(TooManyPermitsError { added, most }) }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available_permits", &self.available_permits())
            .field("waiting", &table::waiting(&*self.place))
            .finish()
    }
}

/// A permit; dropping it returns it.
#[must_use = "the permit returns when this is dropped"]
pub struct SemaphorePermit<'a> {
    place: &'a Place,
}

impl SemaphorePermit<'_> {
    /// Keeps the permit from returning: there is one less from now on, until one is added.
    pub fn forget(self) {
        semaphore::forget(self.place, self.place.me());
        std::mem::forget(self);
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        semaphore::give_back(self.place, self.place.me());
    }
}

impl fmt::Debug for SemaphorePermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemaphorePermit").finish_non_exhaustive()
    }
}

/// A [`Semaphore`] that never has more permits than it was made with.
///
/// That can only be tried where permits are [added](Self::release) or were [forgotten](SemaphorePermit::forget): a permit that is
/// dropped is one that was acquired.
///
/// # Crash behaviour
/// As for a [`Semaphore`].
///
/// # Examples
/// ```
/// let one = procpool::BoundedSemaphore::new(1)?;
/// one.try_acquire()?.forget();
/// assert!(one.try_acquire().is_err());
/// one.release()?;
/// assert!(one.release().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "multiprocessing.BoundedSemaphore")]
#[derive(Clone)]
pub struct BoundedSemaphore {
    permits: Semaphore,
    most: u32,
}

impl BoundedSemaphore {
    /// A semaphore with so many permits, which is as many as it ever has.
    ///
    /// # Errors
    /// As [`Semaphore::new`].
    pub fn new(permits: u32) -> Result<Self, Error> {
        let place = made(permits, permits)?;
        Ok(BoundedSemaphore { permits: Semaphore { place }, most: permits })
    }

    /// As [`Semaphore::acquire`].
    ///
    /// # Errors
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub async fn acquire(&self) -> Result<SemaphorePermit<'_>, SyncError> {
        self.permits.acquire().await
    }

    /// As [`Semaphore::try_acquire`].
    ///
    /// # Errors
    /// As [`Semaphore::try_acquire`].
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_>, SyncError> {
        self.permits.try_acquire()
    }

    /// As [`Semaphore::acquire_timeout`].
    ///
    /// # Errors
    /// As [`Semaphore::acquire_timeout`].
    ///
    /// # Panics
    /// Outside a tokio runtime with a timer.
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub async fn acquire_timeout(&self, limit: Duration) -> Result<SemaphorePermit<'_>, SyncError> {
        self.permits.acquire_timeout(limit).await
    }

    /// As [`Semaphore::blocking_acquire`].
    ///
    /// # Errors
    /// As [`Semaphore::acquire`].
    pub fn blocking_acquire(&self) -> Result<SemaphorePermit<'_>, SyncError> {
        self.permits.blocking_acquire()
    }

    /// As [`Semaphore::blocking_acquire_timeout`].
    ///
    /// # Errors
    /// As [`Semaphore::acquire_timeout`].
    pub fn blocking_acquire_timeout(
        &self,
        limit: Duration,
    ) -> Result<SemaphorePermit<'_>, SyncError> {
        self.permits.blocking_acquire_timeout(limit)
    }

    /// Adds a permit, for one that was forgotten.
    ///
    /// # Errors
    /// If all are there.
    pub fn release(&self) -> Result<(), TooManyPermitsError> {
        add(&self.permits.place, 1, self.most)
    }

    /// As [`Semaphore::available_permits`].
    #[must_use]
    #[doc(alias = "get_value")]
    pub fn available_permits(&self) -> u32 {
        self.permits.available_permits()
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedSemaphore")
            .field("available_permits", &self.available_permits())
            .field("most", &self.most)
            .field("waiting", &table::waiting(&*self.permits.place))
            .finish()
    }
}

/// Works only in what procpool itself carries.
impl Serialize for BoundedSemaphore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.permits, self.most).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BoundedSemaphore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (permits, most) = Deserialize::deserialize(deserializer)?;
        Ok(BoundedSemaphore { permits, most })
    }
}
