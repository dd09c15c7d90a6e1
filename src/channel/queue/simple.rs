//! The queue without bounds.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use futures_core::Stream;
use futures_sink::Sink;
use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use super::common::{common, puts, streams};
use super::error::{GetError, PutError};
use super::inner::{Delivery, Inner};
use super::object::Shape;
use super::streams::{items, sink};
use crate::hub::{block_on, turn};
use crate::process::Error;

/// A [`Queue`](crate::Queue) without bounds or choices.
///
/// # Crash behaviour
/// An item is gone only when whoever took it is done with it: when its handle asks for the
/// next one, or is dropped (so, when its task ends). If the process dies before, the item
/// goes back to the front, marked as [redelivered](Delivery::redelivered). What a process has put
/// survives its death. The queue lives in the main program, and ends with it.
///
/// # Examples
/// ```standalone_crate
/// use procpool::SimpleQueue;
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let queue = SimpleQueue::new()?;
///     queue.put((42, "hello".to_owned())).await?;
///     assert!(!queue.is_empty().await);
///     assert_eq!(queue.get().await?, (42, "hello".to_owned()));
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.SimpleQueue")]
pub struct SimpleQueue<T>(Inner<T>);

impl<T> SimpleQueue<T> {
    const SHAPE: Shape =
        Shape { max_items: u64::MAX, max_bytes: u64::MAX, ordered: false, joinable: false };

    /// A new queue.
    ///
    /// # Errors
    /// `Create` if the system has no room for the hub's thread.
    pub fn new() -> Result<Self, Error> {
        Inner::create(Self::SHAPE).map(SimpleQueue)
    }
}

puts!(SimpleQueue);
common!(SimpleQueue);
streams!(SimpleQueue);
