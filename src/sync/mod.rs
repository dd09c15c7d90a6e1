//! Locks, semaphores, events, conditions and barriers for tasks and threads of several processes.
//!
//! Each is a block of shared memory that everybody who has it maps (`segment.rs`); what its words mean, and why no wake-up
//! is lost, is in `words`, which is pure. A process has an entry in it, and its tasks wait in a line (`place.rs`); the main process watches
//! over it as an object of the hub (`arbiter.rs`), takes back what dead processes held, and passes wakes on to
//! tasks elsewhere.

mod arbiter;
mod barrier;
mod condition;
mod error;
mod event;
#[cfg(test)]
mod failpoint_tests;
mod lock;
mod place;
mod rlock;
mod segment;
mod semaphore;
mod wait;
mod words;

pub use barrier::{Barrier, BarrierPassed};
pub use condition::Condition;
pub use error::{BarrierError, NotLockedError, SyncError, TooManyPermitsError};
pub use event::Event;
pub use lock::{Lock, LockGuard};
pub use rlock::{RLock, RLockGuard};
pub use semaphore::{BoundedSemaphore, Semaphore, SemaphorePermit};
