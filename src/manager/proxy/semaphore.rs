//! Semaphores in a manager.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::manager::client::Client;
use crate::manager::core::{Core, Source};
use crate::manager::error::ManagerError;
use crate::manager::op::{self, Kind, SemaphoreOp};
use crate::manager::request::Request;

fn let_go(core: &Core, client: &Client, asked: SemaphoreOp) {
    if let Ok(asked) = op::encode(&asked) {
        client.tell_object((core.reference.id, core.reference.kind), asked);
    }
}

/// Takes a permit; on which connection.
fn acquire(core: &Arc<Core>, asked: SemaphoreOp) -> Request<u64> {
    let held = core.clone();
    core.ask(&asked, |source, _| Ok(source.client.session))
        .waiting(move |client, _| let_go(&held, client, SemaphoreOp::Release(1)))
}

/// A permit of a manager's semaphore; dropping it gives it back.
#[must_use = "the permit is given back when this is dropped"]
pub struct SemaphoreProxyPermit<'a> {
    core: &'a Arc<Core>,
    /// On which connection it was taken: once that is lost, it was given back.
    session: u64,
}

impl SemaphoreProxyPermit<'_> {
    fn tell(&self, asked: SemaphoreOp) {
        if let Some(client) = self.core.live().filter(|client| client.session == self.session) {
            let_go(self.core, &client, asked);
        }
    }

    /// Keeps it for good: it is not given back, also not when this process ends.
    pub fn forget(self) {
        self.tell(SemaphoreOp::Forget);
        std::mem::forget(self);
    }
}

impl Drop for SemaphoreProxyPermit<'_> {
    fn drop(&mut self) {
        self.tell(SemaphoreOp::Release(1));
    }
}

impl fmt::Debug for SemaphoreProxyPermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SemaphoreProxyPermit({:?})", self.core)
    }
}

/// What both kinds do.
macro_rules! semaphore {
    ($name:ident, $kind:expr, $make:literal, $doc:literal) => {
        #[doc = $doc]
        ///
        /// Whoever waits is served in turn.
        ///
        /// # Crash behaviour
        /// Permits of a process that dies are given back.
        ///
        /// # Examples
        /// ```standalone_crate
        /// use procpool::Manager;
        ///
        /// #[procpool::main]
        /// async fn main() -> Result<(), Box<dyn std::error::Error>> {
        ///     let manager = Manager::start().await?;
        #[doc = concat!("    let seats = manager.", $make, "(2).await?;")]
        ///     let (first, second) = (seats.acquire().await?, seats.acquire().await?);
        ///     assert!(seats.try_acquire().await.is_err());
        ///     drop(first);
        ///     let third = seats.acquire().await?;
        ///     assert_eq!(seats.available_permits().await?, 0);
        /// #   drop((second, third));
        ///     Ok(())
        /// }
        /// ```
        pub struct $name {
            core: Arc<Core>,
            types: PhantomData<()>,
        }

        proxy!($name, $kind);

        impl $name {
            /// Takes a permit, waiting until there is one.
            ///
            /// # Errors
            /// As all requests.
            ///
            /// # Cancel safety
            /// Dropped, it has taken none, or gives it back.
            pub async fn acquire(&self) -> Result<SemaphoreProxyPermit<'_>, ManagerError> {
                let session = acquire(&self.core, SemaphoreOp::Acquire).await?;
                Ok(SemaphoreProxyPermit { core: &self.core, session })
            }

            /// [`acquire`](Self::acquire) on a thread that may wait.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            pub fn blocking_acquire(&self) -> Result<SemaphoreProxyPermit<'_>, ManagerError> {
                let session = acquire(&self.core, SemaphoreOp::Acquire).block()?;
                Ok(SemaphoreProxyPermit { core: &self.core, session })
            }

            /// Takes a permit if there is one.
            ///
            /// # Errors
            /// [`WouldBlock`](ManagerError::WouldBlock) if there is none.
            ///
            /// # Cancel safety
            /// As [`acquire`](Self::acquire).
            pub async fn try_acquire(&self) -> Result<SemaphoreProxyPermit<'_>, ManagerError> {
                let session = acquire(&self.core, SemaphoreOp::TryAcquire).await?;
                Ok(SemaphoreProxyPermit { core: &self.core, session })
            }

            /// [`try_acquire`](Self::try_acquire) on a thread that may wait for the manager.
            ///
            /// # Errors
            /// As [`try_acquire`](Self::try_acquire).
            pub fn blocking_try_acquire(&self) -> Result<SemaphoreProxyPermit<'_>, ManagerError> {
                let session = acquire(&self.core, SemaphoreOp::TryAcquire).block()?;
                Ok(SemaphoreProxyPermit { core: &self.core, session })
            }

            /// [`acquire`](Self::acquire), but waits no longer than `limit`.
            ///
            /// # Errors
            /// [`TimedOut`](ManagerError::TimedOut), and as [`acquire`](Self::acquire).
            ///
            /// # Cancel safety
            /// As [`acquire`](Self::acquire).
            pub async fn acquire_timeout(
                &self,
                limit: Duration,
            ) -> Result<SemaphoreProxyPermit<'_>, ManagerError> {
                let session = acquire(&self.core, SemaphoreOp::Acquire).within(limit).await?;
                Ok(SemaphoreProxyPermit { core: &self.core, session })
            }

            /// [`acquire_timeout`](Self::acquire_timeout) on a thread that may wait.
            ///
            /// # Errors
            /// As [`acquire_timeout`](Self::acquire_timeout).
            pub fn blocking_acquire_timeout(
                &self,
                limit: Duration,
            ) -> Result<SemaphoreProxyPermit<'_>, ManagerError> {
                let session = acquire(&self.core, SemaphoreOp::Acquire).block_for(limit)?;
                Ok(SemaphoreProxyPermit { core: &self.core, session })
            }

            methods! {
                /// Gives back so many permits: those that this process has, and new ones beyond.
                ///
                /// # Errors
                /// [`TooMany`](ManagerError::TooMany) if there would be more than there may be.
                #[doc(alias = "release")]
                fn add_permits | blocking_add_permits(&self, n: u32) -> () {
                    self.core.ask(&SemaphoreOp::Release(n), Source::plain)
                }

                /// How many there are now.
                #[doc(alias = "get_value")]
                fn available_permits | blocking_available_permits(&self) -> usize {
                    self.core.ask(&SemaphoreOp::Value, Source::size)
                }
            }
        }
    };
}

semaphore!(
    SemaphoreProxy,
    Kind::SEMAPHORE,
    "semaphore",
    "Stands for a semaphore in a [`Manager`](crate::Manager): any process that has one takes its permits."
);
semaphore!(
    BoundedSemaphoreProxy,
    Kind::BOUNDED_SEMAPHORE,
    "bounded_semaphore",
    "Stands for a semaphore in a [`Manager`](crate::Manager) that never has more permits than it was made with."
);
