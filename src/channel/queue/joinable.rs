//! A queue whose items are done when that is said.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use futures_sink::Sink;
use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use super::common::{bounds, common, puts};
use super::error::{GetError, PutError, TaskDoneError};
use super::inner::{Delivery, Inner};
use super::object::Shape;
use super::streams::sink;
use crate::hub::{block_on, turn};
use crate::process::Error;

/// A [`Queue`](crate::Queue) that knows when the work on its items is done.
///
/// A consumer says [`task_done`](Self::task_done) for each item it has taken, by the handle that took it; whoever has put
/// work into the queue waits for all of it with [`join`](Self::join). Who asks for more of a closed queue before it has said
/// so of the last item waits for itself: what it has could come back.
///
/// # Crash behaviour
/// An item that was taken and not done goes back to the front, marked as
/// [redelivered](Delivery::redelivered), when its process dies *or its handle is dropped*.
/// Otherwise as [`Queue`](crate::Queue).
///
/// # Examples
/// ```standalone_crate
/// use procpool::{JoinableQueue, Process};
///
/// #[procpool::task]
/// fn work(jobs: JoinableQueue<String>) {
///     while let Ok(job) = jobs.blocking_get() {
///         println!("{job}");
///         jobs.task_done().unwrap();
///     }
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let jobs = JoinableQueue::unbounded()?;
///     let mut worker = Process::spawn(work(jobs.clone())).await?;
///     jobs.put("first".into()).await?;
///     jobs.put("second".into()).await?;
///     jobs.join().await;
///     jobs.close();
///     worker.join().await;
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.JoinableQueue")]
pub struct JoinableQueue<T>(Inner<T>);

impl<T> JoinableQueue<T> {
    const SHAPE: Shape =
        Shape { max_items: u64::MAX, max_bytes: u64::MAX, ordered: false, joinable: true };

    /// Says that the work on an item is done: on the first of those that this handle has taken
    /// and not yet said it of.
    ///
    /// # Errors
    /// If there is none.
    pub fn task_done(&self) -> Result<(), TaskDoneError> {
        self.0.task_done()
    }

    /// Waits until every item that was put is done. At once if there is none.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn join(&self) {
        self.0.shelf.join().await;
    }

    /// [`join`](Self::join) for at most so long; false if the time was over.
    ///
    /// # Panics
    /// Outside a tokio runtime with a timer.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn join_timeout(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.join()).await.is_ok()
    }

    /// [`join`](Self::join) on a thread that may wait.
    pub fn blocking_join(&self) {
        block_on(self.join(), None);
    }

    /// [`join`](Self::join) on a thread that may wait, for at most so long; false if the time was
    /// over.
    pub fn blocking_join_timeout(&self, limit: Duration) -> bool {
        let deadline = std::time::Instant::now().checked_add(limit);
        block_on(self.join(), deadline).is_some()
    }
}

bounds!(JoinableQueue);
puts!(JoinableQueue);
common!(JoinableQueue);
