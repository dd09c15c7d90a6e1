//! The ordinary queue.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use futures_core::Stream;
use futures_sink::Sink;
use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use super::common::{bounds, common, puts, streams};
use super::error::{GetError, PutError};
use super::inner::{Delivery, Inner};
use super::object::Shape;
use super::streams::{items, sink};
use crate::hub::{block_on, turn};
use crate::process::Error;

/// A queue of values, first in, first out, for any number of processes on either side.
///
/// A handle can be an argument or a result of a call, alone or anywhere inside a value, and an
/// item of another queue. A clone is another handle of the same queue. Items arrive in the order in
/// which they were put: those of one producer always, and one whose `put` had returned before
/// another's began, wherever that was, comes first. Several consumers take turns; to one that takes
/// small items quickly, more come in advance, and go back if it stops asking: then another consumer may get them after some that were put
/// later. A consumer that is alone gets everything in order.
///
/// What is put may itself hold queues (at most 1024 in one item), ends of pipes and
/// [`PassFd`](crate::PassFd)s (at most 128). A queue that lies in itself is never let go of.
///
/// # Crash behaviour
/// An item is gone only when whoever took it is done with it: when its handle asks for the
/// next one, or is dropped (so, when its task ends). If the process dies before, a panic drops the handle, or the
/// call that has it is cancelled or its time is over, the item goes back to the front, marked as
/// [redelivered](Delivery::redelivered). So several consumers in one process need a clone each: of two that share a handle, the one
/// that asks for its next item says that what the other has is done. (Not so for what a task of the main program
/// took and panics with, but from a [`JoinableQueue`](crate::JoinableQueue): nothing is kept of that.)
/// What a process has put survives its death.
/// The queue lives in the main program, and ends with it. A process that is stopped (SIGSTOP) keeps
/// what came to it in advance, and the places of that in a bounded queue, until it goes on or is killed.
///
/// # Examples
/// ```standalone_crate
/// use procpool::{Process, Queue};
///
/// #[procpool::task]
/// fn squares(numbers: Queue<u64>, results: Queue<u64>) {
///     while let Ok(n) = numbers.blocking_get() {
///         results.blocking_put(n * n).unwrap();
///     }
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let (numbers, results) = (Queue::unbounded()?, Queue::unbounded()?);
///     let mut child = Process::spawn(squares(numbers.clone(), results.clone())).await?;
///     for n in 1..=3 {
///         numbers.put(n).await?;
///     }
///     numbers.close();
///     for square in [1, 4, 9] {
///         assert_eq!(results.get().await?, square);
///     }
///     child.join().await;
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.Queue")]
pub struct Queue<T>(Inner<T>);

impl<T> Queue<T> {
    const SHAPE: Shape =
        Shape { max_items: u64::MAX, max_bytes: u64::MAX, ordered: false, joinable: false };
}

bounds!(Queue);
puts!(Queue);
common!(Queue);
streams!(Queue);
