//! A queue that gives the most urgent first.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use futures_core::Stream;
use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use super::common::{bounds, common, streams};
use super::error::{GetError, PutError};
use super::inner::{Delivery, Inner};
use super::object::Shape;
use super::streams::items;
use crate::hub::{block_on, turn};
use crate::process::Error;

/// A queue that gives the item with the lowest number first, and of equals the one that was
/// put first.
///
/// Nothing is sent in advance: each `get` is the most urgent of the moment.
///
/// # Crash behaviour
/// An item is gone only when whoever took it is done with it: when its handle asks for the
/// next one, or is dropped (so, when its task ends). If the process dies before, the item
/// goes back to the front, marked as [redelivered](Delivery::redelivered). What a process has put
/// survives its death. The queue lives in the main program, and ends with it.
///
/// # Examples
/// ```standalone_crate
/// use procpool::PriorityQueue;
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let queue = PriorityQueue::unbounded()?;
///     queue.put("later".to_owned(), 5).await?;
///     queue.put("now".to_owned(), -1).await?;
///     queue.put("later still".to_owned(), 5).await?;
///     let words = [queue.get().await?, queue.get().await?, queue.get().await?];
///     assert_eq!(words, ["now", "later", "later still"]);
///     Ok(())
/// }
/// ```
#[doc(alias = "queue.PriorityQueue")]
pub struct PriorityQueue<T>(Inner<T>);

impl<T> PriorityQueue<T> {
    const SHAPE: Shape =
        Shape { max_items: u64::MAX, max_bytes: u64::MAX, ordered: true, joinable: false };
}

impl<T: Serialize + 'static> PriorityQueue<T> {
    /// Puts an item, waiting for room where the queue is bounded. The lowest `priority` is got
    /// first.
    ///
    /// # Errors
    /// As those of [`Queue::put`](crate::Queue::put).
    ///
    /// # Cancel safety
    /// As [`Queue::put`](crate::Queue::put).
    pub async fn put(&self, item: T, priority: i64) -> Result<(), PutError<T>> {
        self.0.put(item, priority, true, None).await
    }

    /// Puts an item if there is room for it now.
    ///
    /// # Errors
    /// As [`put`](Self::put), and if the queue is full.
    ///
    /// # Cancel safety
    /// As [`put`](Self::put).
    pub async fn try_put(&self, item: T, priority: i64) -> Result<(), PutError<T>> {
        self.0.put(item, priority, false, None).await
    }

    /// [`put`](Self::put), waiting for room for at most so long.
    ///
    /// # Errors
    /// As [`put`](Self::put), and if the queue is still full when the time is over.
    ///
    /// # Panics
    /// Outside a tokio runtime with a timer.
    ///
    /// # Cancel safety
    /// As [`put`](Self::put).
    pub async fn put_timeout(
        &self,
        item: T,
        priority: i64,
        limit: Duration,
    ) -> Result<(), PutError<T>> {
        self.0.put(item, priority, true, Some(limit)).await
    }

    /// [`put`](Self::put) on a thread that may wait.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn blocking_put(&self, item: T, priority: i64) -> Result<(), PutError<T>> {
        self.0.blocking_put(item, priority, true, None)
    }

    /// [`try_put`](Self::try_put) on a thread that may wait for the answer.
    ///
    /// # Errors
    /// As [`try_put`](Self::try_put).
    pub fn blocking_try_put(&self, item: T, priority: i64) -> Result<(), PutError<T>> {
        self.0.blocking_put(item, priority, false, None)
    }

    /// [`put_timeout`](Self::put_timeout) on a thread that may wait.
    ///
    /// # Errors
    /// As [`put_timeout`](Self::put_timeout).
    pub fn blocking_put_timeout(
        &self,
        item: T,
        priority: i64,
        limit: Duration,
    ) -> Result<(), PutError<T>> {
        self.0.blocking_put(item, priority, true, Some(limit))
    }
}

bounds!(PriorityQueue);
common!(PriorityQueue);
streams!(PriorityQueue);
