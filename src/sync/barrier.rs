//! A barrier.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::error::{BarrierError, SyncError};
use super::place::{self, Place, THREAD};
use super::wait::{deadline, handle};
use super::words::Kind;
use super::words::barrier::{self, BarrierWait, End, MAX_PARTIES};
use super::words::table::{MADE_WITH_TOO, Table as _};
use crate::hub::turn;
use crate::process::Error;

/// Where tasks and threads of any number of processes wait for each other.
///
/// When as many have come as the barrier is for, all go on, and it is as new. A handle is an argument, a result, or an item of a
/// queue; clones and what arrives elsewhere are the same barrier.
///
/// A barrier is *broken* when somebody aborts it, waits too long, or dies while it waits: then all who wait, and all who come, get
/// [`BarrierError::Broken`], until it is [`reset`](Self::reset).
///
/// # Crash behaviour
/// A process that ends while one of its own waits, or runs the action, breaks the barrier.
///
/// # Platform
/// As for a [`Lock`](crate::Lock).
///
/// # Examples
/// ```standalone_crate
/// use procpool::{Barrier, Process};
///
/// #[procpool::task]
/// fn step(barrier: Barrier) -> bool {
///     barrier.blocking_wait().unwrap().is_leader()
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let barrier = Barrier::new(2)?;
///     let mut child = Process::spawn(step(barrier.clone())).await?;
///     let here = barrier.wait().await?.is_leader();
///     assert_ne!(child.output().await?, here); // one of them leads
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.Barrier")]
#[derive(Clone)]
pub struct Barrier {
    place: Arc<Place>,
}

handle!(Barrier, Kind::Barrier);

/// How one has passed a barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarrierPassed {
    index: usize,
    leader: bool,
}

impl BarrierPassed {
    /// How many had come before it in that trip: each number from 0 on is given once.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether it came last, which of each trip one does.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leader
    }
}

impl Barrier {
    /// A barrier for so many, 1 to 4095.
    ///
    /// # Errors
    /// `InvalidOption` for 0 or more; and as [`Lock::new`](crate::Lock::new).
    #[doc(alias = "parties")]
    pub fn new(parties: usize) -> Result<Self, Error> {
        Self::made(parties, 0)
    }

    /// A barrier at which nobody waits for longer than that, unless it says so: then it breaks. Measured in milliseconds, and
    /// rounded up to one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_timeout(parties: usize, limit: Duration) -> Result<Self, Error> {
        Self::made(parties, u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1))
    }

    fn made(parties: usize, millis: u64) -> Result<Self, Error> {
        let fits = u32::try_from(parties).ok().filter(|n| (1..=MAX_PARTIES).contains(n));
        let n = fits.ok_or_else(|| Error::invalid("parties", parties, "1 to 4095"))?;
        let place = Place::create(Kind::Barrier, |place| {
            barrier::init(place, n);
            place.store(MADE_WITH_TOO, millis);
        })?;
        Ok(Barrier { place })
    }

    /// Waits until all have come.
    ///
    /// # Errors
    /// [`BarrierError::Broken`]; and as [`Lock::lock`](crate::Lock::lock).
    ///
    /// # Panics
    /// Outside a tokio runtime with a timer, if the barrier was made with a limit.
    ///
    /// # Cancel safety
    /// Dropping the future is as if it had not come, unless all have.
    pub async fn wait(&self) -> Result<BarrierPassed, BarrierError> {
        self.wait_with(|| ()).await
    }

    /// [`wait`](Self::wait); if it comes last, `action` is run before anybody goes on. If that panics, the barrier breaks.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    ///
    /// # Cancel safety
    /// As [`wait`](Self::wait).
    #[doc(alias = "action")]
    pub async fn wait_with(&self, action: impl FnOnce()) -> Result<BarrierPassed, BarrierError> {
        turn().await;
        let end = match self.limit() {
            None => self.place.wait(BarrierWait::new(true)).await,
            Some(limit) => self.place.wait_timeout(BarrierWait::new(true), limit).await,
        };
        self.ended(end, true, action)
    }

    /// [`wait`](Self::wait) for at most so long; if the others have not come by then, the barrier breaks.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// Outside a tokio runtime with a timer.
    ///
    /// # Cancel safety
    /// As [`wait`](Self::wait).
    pub async fn wait_timeout(&self, limit: Duration) -> Result<BarrierPassed, BarrierError> {
        let end = self.place.wait_timeout(BarrierWait::new(true), limit).await;
        self.ended(end, true, || ())
    }

    /// [`wait`](Self::wait) on a thread that may wait.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn blocking_wait(&self) -> Result<BarrierPassed, BarrierError> {
        self.blocking_wait_with(|| ())
    }

    /// [`wait_with`](Self::wait_with) on a thread that may wait.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn blocking_wait_with(&self, action: impl FnOnce()) -> Result<BarrierPassed, BarrierError> {
        let until = self.limit().and_then(deadline);
        self.ended(self.place.wait_blocking(BarrierWait::new(THREAD), until), THREAD, action)
    }

    /// [`wait_timeout`](Self::wait_timeout) on a thread that may wait.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn blocking_wait_timeout(&self, limit: Duration) -> Result<BarrierPassed, BarrierError> {
        let until = deadline(limit);
        self.ended(self.place.wait_blocking(BarrierWait::new(THREAD), until), THREAD, || ())
    }

    /// Breaks the barrier, until it is reset.
    pub fn abort(&self) {
        barrier::abort(&*self.place, None);
    }

    /// Makes it as new; whoever waits now finds it broken.
    pub fn reset(&self) {
        barrier::reset(&*self.place);
    }

    /// Whether it is broken.
    #[must_use]
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> bool {
        barrier::is_broken(&*self.place)
    }

    /// For how many it is.
    #[must_use]
    pub fn parties(&self) -> usize {
        barrier::parties(&*self.place) as usize
    }

    /// How many wait now.
    #[must_use]
    #[doc(alias = "n_waiting")]
    pub fn waiting(&self) -> usize {
        if self.is_broken() { 0 } else { barrier::come(&*self.place) as usize }
    }

    fn limit(&self) -> Option<Duration> {
        match self.place.load(MADE_WITH_TOO) {
            0 => None,
            millis => Some(Duration::from_millis(millis)),
        }
    }

    fn ended(
        &self,
        end: Result<End, SyncError>,
        task: bool,
        action: impl FnOnce(),
    ) -> Result<BarrierPassed, BarrierError> {
        match end {
            Ok(End::Passed(before)) => Ok(BarrierPassed { index: before as usize, leader: false }),
            Ok(End::Last(trip)) => {
                let leading = Leading { place: &self.place, task, trip };
                action();
                if leading.depart() {
                    Ok(BarrierPassed { index: self.parties().saturating_sub(1), leader: true })
                } else {
                    Err(BarrierError::Broken)
                }
            }
            // Who has waited too long for its turn has broken nothing, but found it in use.
            Ok(End::Broken) => Err(BarrierError::Broken),
            Err(e) => Err(e.into()),
        }
    }
}

/// The others wait for this one.
struct Leading<'a> {
    place: &'a Place,
    task: bool,
    trip: u64,
}

impl Leading<'_> {
    fn depart(self) -> bool {
        let passed = barrier::depart(self.place, self.place.me(), self.task, self.trip);
        std::mem::forget(self);
        passed
    }
}

/// The action has panicked.
impl Drop for Leading<'_> {
    fn drop(&mut self) {
        barrier::abort(self.place, Some(self.trip));
        barrier::depart(self.place, self.place.me(), self.task, self.trip);
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("waiting", &self.waiting())
            .field("broken", &self.is_broken())
            .finish()
    }
}
