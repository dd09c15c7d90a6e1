//! Why something was not had. A task can give these as its result.

use serde::{Deserialize, Serialize};

/// Why a lock, a permit or an event was not had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SyncError {
    /// Somebody else has it now.
    #[error("somebody else has it now")]
    WouldBlock,
    /// The time was over before it was to be had.
    #[error("the time was over before it was to be had")]
    TimedOut,
    /// The process that owns the object, which is the program's main process, does not have it any more.
    #[error("its owner does not have it any more")]
    Gone,
    /// A million tasks and threads of this process wait already.
    #[error("too many tasks and threads of this process wait for it: about a million")]
    TooMany,
}

/// Why a lock was not released: nobody holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("it is not locked")]
pub struct NotLockedError(pub(super) ());

/// Why no permits were added: there would be more than the semaphore may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{added} more permits would be more than the semaphore may have ({most})")]
pub struct TooManyPermitsError {
    pub(super) added: u32,
    pub(super) most: u32,
}

/// Why a barrier let nobody pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BarrierError {
    /// Somebody has aborted or reset it, has waited too long, or has died while it waited. Python's
    /// `BrokenBarrierError`.
    #[error("the barrier is broken")]
    Broken,
    /// It could not be waited for.
    #[error(transparent)]
    Sync(#[from] SyncError),
}
