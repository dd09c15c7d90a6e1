//! Queues in a manager.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::manager::client::Client;
use crate::manager::core::{Core, Source};
use crate::manager::error::ManagerError;
use crate::manager::op::{self, Cell, Kind, QueueOp};
use crate::manager::request::{Request, op};

/// What both kinds of queues do.
macro_rules! queue {
    ($name:ident, $kind:expr, $doc:literal) => {
        #[doc = $doc]
        ///
        /// Items come out in the order in which they were put, each once. Whoever waits for an item, or for room, is served
        /// in turn.
        ///
        /// # Crash behaviour
        /// An item whose taker ends before it was sent to it goes back to the front. One that was sent is its taker's. (A
        /// [`Queue`](crate::Queue) of a program's own processes keeps an item until its taker is done with it.) Otherwise as for
        /// a [`ListProxy`](crate::ListProxy).
        ///
        /// # Examples
        /// ```standalone_crate
        #[doc = concat!("use procpool::manager::", stringify!($name), ";")]
        /// use procpool::{Manager, Process};
        ///
        /// #[procpool::task]
        #[doc = concat!("fn produce(queue: ", stringify!($name), "<u32>) {")]
        ///     (1..=3).for_each(|i| queue.blocking_put(&i).unwrap());
        /// }
        ///
        /// #[procpool::main]
        /// async fn main() -> Result<(), Box<dyn std::error::Error>> {
        ///     let manager = Manager::start().await?;
        #[doc = concat!("    let queue: ", stringify!($name), "<u32> = manager.", queue!(@method $name), "(2).await?;")]
        ///     let producer = Process::spawn(produce(queue.clone())).await?;
        ///     assert_eq!((queue.get().await?, queue.get().await?, queue.get().await?), (1, 2, 3));
        ///     producer.join().await;
        ///     Ok(())
        /// }
        /// ```
        pub struct $name<T> {
            core: Arc<Core>,
            types: PhantomData<fn(T) -> T>,
        }

        proxy!($name<T>, $kind);

        impl<T: Serialize + DeserializeOwned + 'static> $name<T> {
            /// An item that nobody takes goes back to the front.
            fn give_back(&self) -> impl FnOnce(&Client, &[u8]) + Send + 'static {
                let core = self.core.clone();
                move |client, bytes| {
                    if let Ok(item) = postcard::from_bytes::<Cell<'_>>(bytes)
                        && let Ok(unget) = op::encode(&QueueOp::Unget(item))
                    {
                        client.tell_object((core.reference.id, core.reference.kind), unget);
                    }
                }
            }

            methods! {
                /// Puts an item at the end, waiting while there is no room.
                fn put | blocking_put(&self, item: &T) -> () {
                    self.core.ask_with(item, |item| op(&QueueOp::Put(item)), Source::plain).watching()
                }

                /// Puts an item at the end if there is room.
                ///
                /// # Errors
                /// [`Full`](ManagerError::Full) if there is none.
                #[doc(alias = "put_nowait")]
                fn try_put | blocking_try_put(&self, item: &T) -> () {
                    self.core.ask_with(item, |item| op(&QueueOp::TryPut(item)), Source::plain)
                }

                /// Takes the first item, waiting while there is none.
                fn get | blocking_get(&self) -> T {
                    self.core.ask(&QueueOp::Get, Source::one).waiting(self.give_back())
                }

                /// Takes the first item if there is one.
                ///
                /// # Errors
                /// [`Empty`](ManagerError::Empty) if there is none.
                #[doc(alias = "get_nowait")]
                fn try_get | blocking_try_get(&self) -> T {
                    self.core.ask(&QueueOp::TryGet, Source::one).waiting(self.give_back())
                }

                /// How many items there are.
                #[doc(alias = "qsize")]
                fn len | blocking_len(&self) -> usize {
                    self.core.ask(&QueueOp::Len, Source::size)
                }

                /// Whether there are none.
                #[doc(alias = "empty")]
                fn is_empty | blocking_is_empty(&self) -> bool {
                    self.core.ask(&QueueOp::Len, |s, b| Ok(s.plain::<u64>(b)? == 0))
                }

                /// How many items it may have; 0 is any number.
                #[doc(alias = "maxsize")]
                fn capacity | blocking_capacity(&self) -> usize {
                    self.core.ask(&QueueOp::Max, Source::size)
                }
            }

            /// [`get`](Self::get), but waits no longer than `limit`.
            ///
            /// # Errors
            /// [`TimedOut`](ManagerError::TimedOut), and as `get`.
            ///
            /// # Cancel safety
            /// An item that comes too late goes back to the front.
            pub async fn get_timeout(&self, limit: Duration) -> Result<T, ManagerError> {
                self.get().within(limit).await
            }

            /// [`get_timeout`](Self::get_timeout) on a thread that may wait.
            ///
            /// # Errors
            /// As [`get_timeout`](Self::get_timeout).
            pub fn blocking_get_timeout(&self, limit: Duration) -> Result<T, ManagerError> {
                self.get().block_for(limit)
            }

            /// [`put`](Self::put), but waits no longer than `limit`.
            ///
            /// # Errors
            /// [`TimedOut`](ManagerError::TimedOut), and as `put`. The item may have been put all the same, if there was room
            /// just then.
            pub async fn put_timeout(&self, item: &T, limit: Duration) -> Result<(), ManagerError> {
                self.put(item).within(limit).await
            }

            /// [`put_timeout`](Self::put_timeout) on a thread that may wait.
            ///
            /// # Errors
            /// As [`put_timeout`](Self::put_timeout).
            pub fn blocking_put_timeout(
                &self,
                item: &T,
                limit: Duration,
            ) -> Result<(), ManagerError> {
                self.put(item).block_for(limit)
            }
        }
    };
    (@method QueueProxy) => { "queue" };
    (@method JoinableQueueProxy) => { "joinable_queue" };
}

queue!(
    QueueProxy,
    Kind::QUEUE,
    "Stands for a queue in a [`Manager`](crate::Manager): any process that has one puts items and takes them."
);
queue!(
    JoinableQueueProxy,
    Kind::JOINABLE_QUEUE,
    "Stands for a queue in a [`Manager`](crate::Manager) that knows which of its items are done: whoever has taken one says so by [`task_done`](Self::task_done)."
);

impl<T: Serialize + DeserializeOwned + 'static> JoinableQueueProxy<T> {
    methods! {
        /// Says that an item that was taken is done.
        ///
        /// # Errors
        /// [`NotHeld`](ManagerError::NotHeld) if all that were put are done.
        fn task_done | blocking_task_done(&self) -> () {
            self.core.ask(&QueueOp::TaskDone, Source::plain)
        }

        /// Waits until all items that were put are done.
        fn join | blocking_join(&self) -> () {
            self.core.ask(&QueueOp::Join, Source::plain).watching()
        }
    }
}
