//! Why an item was not put, and why none was got.

use std::fmt;

/// Why a `put` failed; the item is in it.
#[derive(Clone, PartialEq, Eq)]
pub struct PutError<T> {
    value: T,
    why: PutErrorKind,
}

/// What kept an item out of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutErrorKind {
    /// The queue is full, now or until the time was over. Python's `Full`.
    Full,
    /// The queue is closed, or there is none any more.
    Closed,
    /// The item has no encoded form.
    Encode {
        /// Why not.
        reason: String,
    },
    /// The item is larger than a message of this process may be: `max_message_bytes` of a pool, 1
    /// GiB in other processes.
    TooLarge {
        /// The length of its encoded form.
        len: u64,
        /// What is allowed.
        max: u64,
    },
}

impl<T> PutError<T> {
    pub(super) fn new(value: T, why: PutErrorKind) -> Self {
        PutError { value, why }
    }

    /// What kept the item out.
    pub fn kind(&self) -> &PutErrorKind {
        &self.why
    }

    /// Whether the queue was full.
    #[doc(alias = "Full")]
    pub fn is_full(&self) -> bool {
        self.why == PutErrorKind::Full
    }

    /// Whether the queue is closed.
    pub fn is_closed(&self) -> bool {
        self.why == PutErrorKind::Closed
    }

    /// The item.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The item, and what kept it out.
    pub fn into_parts(self) -> (T, PutErrorKind) {
        (self.value, self.why)
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            PutErrorKind::Full => f.write_str("the queue is full"),
            PutErrorKind::Closed => f.write_str("the queue is closed"),
            PutErrorKind::Encode { reason } => {
                write!(f, "the item cannot be encoded: {reason}")
            }
            PutErrorKind::TooLarge { len, max } => {
                write!(
                    f,
                    "the item takes {len} bytes, where this process may put at most {max}; put less, or raise `max_message_bytes` of its pool"
                )
            }
        }
    }
}

/// The item is not shown: it need not be able to.
impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutError").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<T> std::error::Error for PutError<T> {}

/// Why a `get` gave no item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// There is none, now or until the time was over. Python's `Empty`.
    #[error("the queue is empty")]
    Empty,
    /// The queue is closed and all its items are done, or there is none any more.
    #[error("the queue is closed, and nothing is left in it")]
    Closed,
    /// The item is no value of the queue's type, or what came along with it is missing. It is gone,
    /// and done; the queue lives.
    #[error("the item cannot be decoded: {reason}")]
    Decode {
        /// Why not.
        reason: String,
    },
}

/// Why `task_done` had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("task_done was called more often than this handle has taken items")]
pub struct TaskDoneError(pub(super) ());
