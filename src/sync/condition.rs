//! A condition.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::error::SyncError;
use super::event::in_time;
use super::lock::{Lock, LockGuard};
use super::place::{self, Place, THREAD};
use super::wait::deadline;
use super::words::Kind;
use super::words::condition::{self, ConditionWait};
use crate::hub::turn;
use crate::process::Error;

/// What tasks and threads of any number of processes wait for that is not a flag, but something
/// that a [`Lock`] protects.
///
/// Whoever waits lets go of the lock, is notified, and takes the lock again. Each notice wakes exactly one, of those that waited
/// when it was given; nobody is woken without one. Processes are notified in turn, whoever has waited longest first.
///
/// # Crash behaviour
/// One that dies while it waits is forgotten; a notice that it had been given and not acted on goes to another.
///
/// # Platform
/// As for a [`Lock`].
///
/// # Examples
/// ```standalone_crate
/// use procpool::{Condition, Lock, Process, RawValue};
///
/// #[procpool::task]
/// fn finish(done: RawValue<u32>, condition: Condition) {
///     let _guard = condition.lock().blocking_lock().unwrap();
///     done.set(1);
///     condition.notify_all();
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let (done, condition) = (RawValue::new(0u32)?, Condition::new(&Lock::new()?)?);
///     let child = Process::spawn(finish(done.clone(), condition.clone())).await?;
///     let guard = condition.lock().lock().await?;
///     let _guard = condition.wait_for(guard, || done.get() == 1).await?;
///     child.join().await;
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.Condition")]
#[derive(Clone)]
pub struct Condition {
    place: Arc<Place>,
    lock: Lock,
}

impl Condition {
    /// A condition of what that lock protects.
    ///
    /// # Errors
    /// As [`Lock::new`].
    pub fn new(lock: &Lock) -> Result<Self, Error> {
        let place = Place::create(Kind::Condition, |_| ())?;
        Ok(Condition { place, lock: lock.clone() })
    }

    /// The lock.
    #[must_use]
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Lets go of the lock, waits to be notified, and takes the lock again.
    ///
    /// # Errors
    /// As [`Lock::lock`]; the lock is not held then.
    ///
    /// # Panics
    /// If the guard is of another lock.
    ///
    /// # Cancel safety
    /// Dropping the future is as if it had never waited, but the lock is not held; a notice that it was just given
    /// goes to another.
    pub async fn wait<'a>(&self, guard: LockGuard<'a>) -> Result<LockGuard<'a>, SyncError> {
        turn().await;
        let (lock, wait) = self.begin(guard, true)?;
        self.place.wait(wait).await?;
        let notice = Notice(self);
        notice.act(lock.lock().await)
    }

    /// [`wait`](Self::wait), to be notified within that time; whether it was.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// As [`wait`](Self::wait), and outside a tokio runtime with a timer.
    ///
    /// # Cancel safety
    /// As [`wait`](Self::wait).
    pub async fn wait_timeout<'a>(
        &self,
        guard: LockGuard<'a>,
        limit: Duration,
    ) -> Result<(LockGuard<'a>, bool), SyncError> {
        turn().await;
        let (lock, wait) = self.begin(guard, true)?;
        if in_time(self.place.wait_timeout(wait, limit).await)? {
            let notice = Notice(self);
            Ok((notice.act(lock.lock().await)?, true))
        } else {
            Ok((lock.lock().await?, false))
        }
    }

    /// Waits until `is_so`, which is asked with the lock held: at first, and whenever this was notified.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    ///
    /// # Cancel safety
    /// As [`wait`](Self::wait).
    pub async fn wait_for<'a>(
        &self,
        mut guard: LockGuard<'a>,
        mut is_so: impl FnMut() -> bool,
    ) -> Result<LockGuard<'a>, SyncError> {
        while !is_so() {
            guard = self.wait(guard).await?;
        }
        Ok(guard)
    }

    /// [`wait_for`](Self::wait_for), for at most so long; whether it is so.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// As [`wait_timeout`](Self::wait_timeout).
    ///
    /// # Cancel safety
    /// As [`wait`](Self::wait).
    pub async fn wait_for_timeout<'a>(
        &self,
        mut guard: LockGuard<'a>,
        limit: Duration,
        mut is_so: impl FnMut() -> bool,
    ) -> Result<(LockGuard<'a>, bool), SyncError> {
        let until = deadline(limit);
        loop {
            if is_so() {
                return Ok((guard, true));
            }
            let left = left(until);
            if left.is_zero() {
                return Ok((guard, false));
            }
            (guard, _) = self.wait_timeout(guard, left).await?;
        }
    }

    /// [`wait`](Self::wait) on a thread that may wait.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn blocking_wait<'a>(&self, guard: LockGuard<'a>) -> Result<LockGuard<'a>, SyncError> {
        let (lock, wait) = self.begin(guard, THREAD)?;
        self.place.wait_blocking(wait, None)?;
        Notice(self).act(lock.blocking_lock())
    }

    /// [`wait_timeout`](Self::wait_timeout) on a thread that may wait.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn blocking_wait_timeout<'a>(
        &self,
        guard: LockGuard<'a>,
        limit: Duration,
    ) -> Result<(LockGuard<'a>, bool), SyncError> {
        let (lock, wait) = self.begin(guard, THREAD)?;
        if in_time(self.place.wait_blocking(wait, deadline(limit)))? {
            Ok((Notice(self).act(lock.blocking_lock())?, true))
        } else {
            Ok((lock.blocking_lock()?, false))
        }
    }

    /// [`wait_for`](Self::wait_for) on a thread that may wait.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn blocking_wait_for<'a>(
        &self,
        mut guard: LockGuard<'a>,
        mut is_so: impl FnMut() -> bool,
    ) -> Result<LockGuard<'a>, SyncError> {
        while !is_so() {
            guard = self.blocking_wait(guard)?;
        }
        Ok(guard)
    }

    /// [`wait_for_timeout`](Self::wait_for_timeout) on a thread that may wait.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn blocking_wait_for_timeout<'a>(
        &self,
        mut guard: LockGuard<'a>,
        limit: Duration,
        mut is_so: impl FnMut() -> bool,
    ) -> Result<(LockGuard<'a>, bool), SyncError> {
        let until = deadline(limit);
        loop {
            if is_so() {
                return Ok((guard, true));
            }
            let left = left(until);
            if left.is_zero() {
                return Ok((guard, false));
            }
            (guard, _) = self.blocking_wait_timeout(guard, left)?;
        }
    }

    /// Notifies one that waits; whether one did. Unlike in Python the lock need not be held, but where it
    /// is not, a notice may come just before somebody waits.
    pub fn notify_one(&self) -> bool {
        condition::notify(&*self.place, 1) == 1
    }

    /// Notifies at most `n` that wait; how many there were.
    #[doc(alias = "notify")]
    pub fn notify_n(&self, n: usize) -> usize {
        condition::notify(&*self.place, n as u64) as usize
    }

    /// Notifies all that wait; how many there were.
    pub fn notify_all(&self) -> usize {
        // Those that come while this notifies are not among them.
        self.notify_n(condition::waiting(&*self.place) as usize)
    }

    /// From here on it is notified; the lock is not held any more.
    fn begin<'a>(
        &self,
        guard: LockGuard<'a>,
        task: bool,
    ) -> Result<(&'a Lock, ConditionWait), SyncError> {
        let lock = LockGuard::lock(&guard);
        let same = Arc::ptr_eq(&lock.place, &self.lock.place);
        assert!(same, "the guard is of {lock:?}, the condition of {:?}", self.lock);
        let wait = ConditionWait::enter(&*self.place, self.place.me(), task);
        let wait = wait.ok_or(SyncError::TooMany)?;
        drop(guard);
        Ok((lock, wait))
    }
}

fn left(until: Option<Instant>) -> Duration {
    until.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
}

/// A notice on which nobody has acted yet. If nobody does, another is to have it.
struct Notice<'a>(&'a Condition);

impl Notice<'_> {
    /// It is acted on, if the lock has been taken again.
    fn act<'a>(self, guard: Result<LockGuard<'a>, SyncError>) -> Result<LockGuard<'a>, SyncError> {
        let guard = guard?;
        condition::act(&*self.0.place, self.0.place.me());
        std::mem::forget(self);
        Ok(guard)
    }
}

impl Drop for Notice<'_> {
    fn drop(&mut self) {
        condition::pass_on(&*self.0.place, self.0.place.me());
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition")
            .field("lock", &self.lock)
            .field("waiting", &condition::waiting(&*self.place))
            .finish()
    }
}

/// Works only in what procpool itself carries.
impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Own<'a>(&'a Arc<Place>);
        impl Serialize for Own<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                place::serialize(self.0, serializer)
            }
        }
        (Own(&self.place), &self.lock).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Own(Arc<Place>);
        impl<'de> Deserialize<'de> for Own {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                place::deserialize(Kind::Condition, deserializer).map(Own)
            }
        }
        let (Own(place), lock) = Deserialize::deserialize(deserializer)?;
        Ok(Condition { place, lock })
    }
}

impl std::panic::UnwindSafe for Condition {}
impl std::panic::RefUnwindSafe for Condition {}
