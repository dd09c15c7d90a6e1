//! Events and barriers in a manager.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::manager::core::{Core, Source};
use crate::manager::error::ManagerError;
use crate::manager::op::{BarrierOp, EventOp, Kind};
use crate::manager::request::Request;

/// Stands for an event in a [`Manager`](crate::Manager): any process that has one sets it, or waits until it is set.
///
/// # Crash behaviour
/// As for a [`ListProxy`](crate::ListProxy).
///
/// # Examples
/// ```standalone_crate
/// use procpool::{Manager, Process, manager::EventProxy};
///
/// #[procpool::task]
/// fn start(event: EventProxy) {
///     event.blocking_set().unwrap();
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let manager = Manager::start().await?;
///     let event = manager.event().await?;
///     let starter = Process::spawn(start(event.clone())).await?;
///     event.wait().await?;
///     assert!(event.is_set().await?);
///     starter.join().await;
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.managers.EventProxy")]
pub struct EventProxy {
    core: Arc<Core>,
    types: PhantomData<()>,
}

proxy!(EventProxy, Kind::EVENT);

impl EventProxy {
    fn ask<R: DeserializeOwned + 'static>(&self, asked: EventOp) -> Request<R> {
        self.core.ask(&asked, Source::plain)
    }

    methods! {
        /// Whether it is set.
        fn is_set | blocking_is_set(&self) -> bool {
            self.ask(EventOp::IsSet)
        }

        /// Sets it: all who wait go on.
        fn set | blocking_set(&self) -> () {
            self.ask(EventOp::Set)
        }

        /// Has it not be set.
        fn clear | blocking_clear(&self) -> () {
            self.ask(EventOp::Clear)
        }

        /// Waits until it is set.
        fn wait | blocking_wait(&self) -> () {
            self.ask(EventOp::Wait).watching()
        }
    }

    /// [`wait`](Self::wait), but no longer than `limit`; whether it was set.
    ///
    /// # Errors
    /// As all requests.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn wait_timeout(&self, limit: Duration) -> Result<bool, ManagerError> {
        in_time(self.wait().within(limit).await)
    }

    /// [`wait_timeout`](Self::wait_timeout) on a thread that may wait.
    ///
    /// # Errors
    /// As [`wait_timeout`](Self::wait_timeout).
    pub fn blocking_wait_timeout(&self, limit: Duration) -> Result<bool, ManagerError> {
        in_time(self.wait().block_for(limit))
    }
}

fn in_time(waited: Result<(), ManagerError>) -> Result<bool, ManagerError> {
    match waited {
        Ok(()) => Ok(true),
        Err(ManagerError::TimedOut) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Stands for a barrier in a [`Manager`](crate::Manager): processes wait at it until all have come.
///
/// Whoever gives up waiting, by a limit or a future that is dropped, breaks it for all, until it is [reset](Self::reset).
///
/// # Crash behaviour
/// A process that dies while it waits breaks the barrier.
///
/// # Examples
/// ```standalone_crate
/// use procpool::{Manager, ProcessPool, manager::BarrierProxy};
///
/// #[procpool::task]
/// fn meet(barrier: BarrierProxy) -> usize {
///     barrier.blocking_wait().unwrap()
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let manager = Manager::start().await?;
///     let barrier = manager.barrier(3).await?;
///     let pool = ProcessPool::builder().workers(3).build().await?;
///     let mut places = pool.map(meet, vec![barrier.clone(); 3]).chunk_size(1).await?;
///     places.sort();
///     assert_eq!(places, [0, 1, 2]);
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.managers.BarrierProxy")]
pub struct BarrierProxy {
    core: Arc<Core>,
    types: PhantomData<()>,
}

proxy!(BarrierProxy, Kind::BARRIER);

impl BarrierProxy {
    fn ask<R: DeserializeOwned + 'static>(&self, asked: BarrierOp) -> Request<R> {
        self.core.ask(&asked, Source::plain)
    }

    fn ask_wait(&self, limit: Option<Duration>) -> Request<usize> {
        let limit = limit.map(|limit| u64::try_from(limit.as_micros()).unwrap_or(u64::MAX));
        let asked = BarrierOp::Wait { limit };
        let request = self.core.ask(&asked, Source::size);
        request.watching()
    }

    methods! {
        /// Waits until all have come; how many had come before.
        ///
        /// # Errors
        /// [`Broken`](ManagerError::Broken) if somebody gave up, died, or broke or reset it.
        fn wait | blocking_wait(&self) -> usize {
            self.ask_wait(None)
        }

        /// The same, but no longer than `limit`.
        ///
        /// # Errors
        /// As [`wait`](Self::wait): it is broken when the time is over.
        fn wait_timeout | blocking_wait_timeout(&self, limit: Duration) -> usize {
            self.ask_wait(Some(limit))
        }

        /// Breaks it, until it is reset.
        fn abort | blocking_abort(&self) -> () {
            self.ask(BarrierOp::Abort)
        }

        /// Has it be as new; whoever waits finds it broken.
        fn reset | blocking_reset(&self) -> () {
            self.ask(BarrierOp::Reset)
        }

        /// Whether it is broken.
        #[doc(alias = "broken")]
        fn is_broken | blocking_is_broken(&self) -> bool {
            self.ask(BarrierOp::IsBroken)
        }

        /// For how many it is.
        fn parties | blocking_parties(&self) -> usize {
            self.core.ask(&BarrierOp::Parties, Source::size)
        }

        /// How many wait.
        #[doc(alias = "n_waiting")]
        fn waiting | blocking_waiting(&self) -> usize {
            self.core.ask(&BarrierOp::Waiting, Source::size)
        }
    }
}
