//! An event.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::error::SyncError;
use super::place::{self, Place, THREAD};
use super::wait::{deadline, handle};
use super::words::event::{self, EventWait};
use super::words::{Kind, table};
use crate::hub::turn;
use crate::process::Error;

/// A flag that tasks and threads of any number of processes wait for.
///
/// A handle is an argument, a result, or an item of a queue; clones and what arrives elsewhere are the same event. What it costs, and
/// who can have it, is as for a [`Lock`](crate::Lock).
///
/// Whoever waits when it is set is woken, even if it is cleared at once.
///
/// # Crash behaviour
/// A process that ends leaves the flag as it is.
///
/// # Platform
/// As for a [`Lock`](crate::Lock).
///
/// # Examples
/// ```standalone_crate
/// use procpool::{Event, Process};
///
/// #[procpool::task]
/// fn work(ready: Event, go: Event) {
///     ready.set();
///     go.blocking_wait().unwrap();
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let (ready, go) = (Event::new()?, Event::new()?);
///     let child = Process::spawn(work(ready.clone(), go.clone())).await?;
///     ready.wait().await?;
///     go.set();
///     child.join().await;
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.Event")]
#[derive(Clone)]
pub struct Event {
    place: Arc<Place>,
}

handle!(Event, Kind::Event);

impl Event {
    /// An event that is not set.
    ///
    /// # Errors
    /// As [`Lock::new`](crate::Lock::new).
    pub fn new() -> Result<Self, Error> {
        Place::create(Kind::Event, |_| ()).map(|place| Event { place })
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        event::is_set(&*self.place)
    }

    /// Sets it, and wakes all who wait.
    pub fn set(&self) {
        event::set(&*self.place);
    }

    /// Clears it.
    pub fn clear(&self) {
        event::clear(&*self.place);
    }

    /// Waits until it is set; at once, if it is.
    ///
    /// # Errors
    /// As [`Lock::lock`](crate::Lock::lock).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn wait(&self) -> Result<(), SyncError> {
        turn().await;
        if self.is_set() { Ok(()) } else { self.place.wait(EventWait::new(true)).await }
    }

    /// [`wait`](Self::wait) for at most so long; whether it was set.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// Outside a tokio runtime with a timer.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn wait_timeout(&self, limit: Duration) -> Result<bool, SyncError> {
        turn().await;
        if self.is_set() {
            return Ok(true);
        }
        in_time(self.place.wait_timeout(EventWait::new(true), limit).await)
    }

    /// [`wait`](Self::wait) on a thread that may wait.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn blocking_wait(&self) -> Result<(), SyncError> {
        self.place.wait_blocking(EventWait::new(THREAD), None)
    }

    /// [`wait_timeout`](Self::wait_timeout) on a thread that may wait.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn blocking_wait_timeout(&self, limit: Duration) -> Result<bool, SyncError> {
        in_time(self.place.wait_blocking(EventWait::new(THREAD), deadline(limit)))
    }
}

/// Whether it came before the time was over.
pub(super) fn in_time(done: Result<(), SyncError>) -> Result<bool, SyncError> {
    match done {
        Ok(()) => Ok(true),
        Err(SyncError::TimedOut) => Ok(false),
        Err(e) => Err(e),
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("is_set", &self.is_set())
            .field("waiting", &table::waiting(&*self.place))
            .finish()
    }
}
