//! What the public types have alike, written once.

/// Methods that all queues have.
macro_rules! common {
    ($name:ident) => {
        impl<T> $name<T> {
            /// Closes the queue, for everybody.
            ///
            /// From then on nothing is put; what is in the queue can still be got. When
            /// nothing is left, and nobody holds an item that could come back, a `get` is
            /// [`GetError::Closed`]. Closing twice is once. Dropping handles closes nothing; the
            /// queue goes when the last one does, wherever that is. A `put` in another process that
            /// crosses this call may still succeed.
            pub fn close(&self) {
                self.0.shelf.close();
            }

            /// Whether the queue is closed, as far as has been heard here.
            #[must_use]
            pub fn is_closed(&self) -> bool {
                self.0.is_closed()
            }

            /// Waits until there is an item, or will be none.
            pub(in crate::channel) fn at_hand(&self) -> impl Future<Output = ()> + Send + '_ {
                self.0.at_hand()
            }

            pub(in crate::channel) fn look(&self) -> impl Future<Output = ()> + Send + use<T> {
                self.0.shelf.clone().look()
            }

            /// Items in the queue: put, and not taken by anybody. 0 if there is no queue any more.
            ///
            /// What a process has put before is counted. In the next moment it may be wrong.
            ///
            /// # Cancel safety
            /// Dropping the future changes nothing.
            #[doc(alias = "qsize")]
            pub async fn len(&self) -> usize {
                turn().await;
                self.0.shelf.count().await.map_or(0, |(items, _)| items as usize)
            }

            /// [`len`](Self::len) on a thread that may wait.
            pub fn blocking_len(&self) -> usize {
                block_on(self.len(), None).unwrap_or(0)
            }

            /// Whether the queue is empty.
            ///
            /// # Cancel safety
            /// Dropping the future changes nothing.
            #[doc(alias = "empty")]
            pub async fn is_empty(&self) -> bool {
                self.len().await == 0
            }

            /// [`is_empty`](Self::is_empty) on a thread that may wait.
            pub fn blocking_is_empty(&self) -> bool {
                self.blocking_len() == 0
            }

            /// Whether as many items are in the queue as it takes, or as many bytes.
            ///
            /// It agrees with [`len`](Self::len): what is being put and not there yet is not counted, though it has its place.
            ///
            /// # Cancel safety
            /// Dropping the future changes nothing.
            #[doc(alias = "full")]
            pub async fn is_full(&self) -> bool {
                turn().await;
                self.0.shelf.count().await.is_some_and(|(_, room)| room == 0)
            }

            /// [`is_full`](Self::is_full) on a thread that may wait.
            pub fn blocking_is_full(&self) -> bool {
                block_on(self.is_full(), None).unwrap_or(false)
            }
        }

        impl<T: DeserializeOwned + 'static> $name<T> {
            /// Takes the next item, waiting for one.
            ///
            /// # Errors
            /// [`GetError::Closed`] when the queue is closed and nothing is left;
            /// [`GetError::Decode`] if the item is no `T`.
            ///
            /// # Cancel safety
            /// Dropping the future loses no item.
            pub async fn get(&self) -> Result<T, GetError> {
                self.0.get().await.map(|delivery| delivery.item)
            }

            /// [`get`](Self::get), and whether the item was taken before by somebody who died.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            ///
            /// # Cancel safety
            /// As [`get`](Self::get).
            pub async fn get_delivery(&self) -> Result<Delivery<T>, GetError> {
                self.0.get().await
            }

            /// Takes the next item if there is one now.
            ///
            /// It waits for the queue's answer, not for an item. What is on its way to
            /// another consumer is not seen.
            ///
            /// # Errors
            /// [`GetError::Empty`], and those of [`get`](Self::get).
            ///
            /// # Cancel safety
            /// As [`get`](Self::get).
            #[doc(alias = "get_nowait")]
            pub async fn try_get(&self) -> Result<T, GetError> {
                self.0.try_get().await.map(|delivery| delivery.item)
            }

            /// [`try_get`](Self::try_get), and whether the item was taken before by somebody who died.
            ///
            /// # Errors
            /// As [`try_get`](Self::try_get).
            ///
            /// # Cancel safety
            /// As [`get`](Self::get).
            pub async fn try_get_delivery(&self) -> Result<Delivery<T>, GetError> {
                self.0.try_get().await
            }

            /// [`get_timeout`](Self::get_timeout), and whether the item was taken before by somebody
            /// who died.
            ///
            /// # Errors
            /// As [`get_timeout`](Self::get_timeout).
            ///
            /// # Panics
            /// Outside a tokio runtime with a timer.
            ///
            /// # Cancel safety
            /// As [`get`](Self::get).
            pub async fn get_delivery_timeout(
                &self,
                limit: Duration,
            ) -> Result<Delivery<T>, GetError> {
                self.0.get_timeout(limit).await
            }

            /// [`get`](Self::get), for at most so long.
            ///
            /// When the time is over the queue is asked once more, as by [`try_get`](Self::try_get):
            /// what is there is got however short the time is.
            ///
            /// # Errors
            /// [`GetError::Empty`] when the time is over, and those of [`get`](Self::get).
            ///
            /// # Panics
            /// Outside a tokio runtime with a timer.
            ///
            /// # Cancel safety
            /// As [`get`](Self::get).
            pub async fn get_timeout(&self, limit: Duration) -> Result<T, GetError> {
                self.0.get_timeout(limit).await.map(|delivery| delivery.item)
            }

            /// [`get`](Self::get) on a thread that may wait: in a blocking task, outside async
            /// code, whose other tasks on that thread would wait too.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn blocking_get(&self) -> Result<T, GetError> {
                self.0.blocking_get(None).map(|delivery| delivery.item)
            }

            /// [`get_delivery`](Self::get_delivery) on a thread that may wait.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn blocking_get_delivery(&self) -> Result<Delivery<T>, GetError> {
                self.0.blocking_get(None)
            }

            /// [`get_timeout`](Self::get_timeout) on a thread that may wait.
            ///
            /// # Errors
            /// As [`get_timeout`](Self::get_timeout).
            pub fn blocking_get_timeout(&self, limit: Duration) -> Result<T, GetError> {
                self.0.blocking_get(Some(limit)).map(|delivery| delivery.item)
            }

            /// [`try_get`](Self::try_get) on a thread that may wait for the answer.
            ///
            /// # Errors
            /// As [`try_get`](Self::try_get).
            pub fn blocking_try_get(&self) -> Result<T, GetError> {
                self.0.blocking_try_get().map(|delivery| delivery.item)
            }
        }

        impl<T> UnwindSafe for $name<T> {}
        impl<T> RefUnwindSafe for $name<T> {}

        /// Another handle of the same queue: another consumer. What this one has taken is not
        /// the other's.
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                $name(self.0.clone())
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.0).finish()
            }
        }

        impl<T> Serialize for $name<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de, T> Deserialize<'de> for $name<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Inner::deserialize(deserializer, Self::SHAPE.joinable).map($name)
            }
        }
    };
}

/// Putting, where items have no priority.
macro_rules! puts {
    ($name:ident) => {
        impl<T: Serialize + 'static> $name<T> {
            /// Puts an item at the end, waiting for room where the queue is bounded.
            ///
            /// Once it returns, the item is in the queue, whatever becomes of this process.
            ///
            /// # Errors
            /// With the item in it: the queue is closed, or the item cannot be encoded or is larger
            /// than what a worker may send (`max_message_bytes` of its pool; 1 GiB in a process of
            /// its own). The queue lives in all cases.
            ///
            /// # Cancel safety
            /// A future that is dropped while it waits for room in a bounded queue puts nothing. One
            /// that waits because so much is to be handed over, of one item (half a MiB or more) or
            /// of those before it, has put it: that goes on.
            pub async fn put(&self, item: T) -> Result<(), PutError<T>> {
                self.0.put(item, 0, true, None).await
            }

            /// Puts an item if there is room for it now.
            ///
            /// # Errors
            /// As [`put`](Self::put), and if the queue is full.
            ///
            /// # Cancel safety
            /// As [`put`](Self::put).
            #[doc(alias = "put_nowait")]
            pub async fn try_put(&self, item: T) -> Result<(), PutError<T>> {
                self.0.put(item, 0, false, None).await
            }

            /// [`put`](Self::put), waiting for room for at most so long.
            ///
            /// Where there is room, the item is put however short the time is.
            ///
            /// # Errors
            /// As [`put`](Self::put), and if the queue is still full when the time is over.
            ///
            /// # Panics
            /// Outside a tokio runtime with a timer.
            ///
            /// # Cancel safety
            /// As [`put`](Self::put).
            pub async fn put_timeout(&self, item: T, limit: Duration) -> Result<(), PutError<T>> {
                self.0.put(item, 0, true, Some(limit)).await
            }

            /// [`put`](Self::put) on a thread that may wait.
            ///
            /// # Errors
            /// As [`put`](Self::put).
            pub fn blocking_put(&self, item: T) -> Result<(), PutError<T>> {
                self.0.blocking_put(item, 0, true, None)
            }

            /// [`try_put`](Self::try_put) on a thread that may wait for the answer.
            ///
            /// # Errors
            /// As [`try_put`](Self::try_put).
            pub fn blocking_try_put(&self, item: T) -> Result<(), PutError<T>> {
                self.0.blocking_put(item, 0, false, None)
            }

            /// [`put_timeout`](Self::put_timeout) on a thread that may wait.
            ///
            /// # Errors
            /// As [`put_timeout`](Self::put_timeout).
            pub fn blocking_put_timeout(
                &self,
                item: T,
                limit: Duration,
            ) -> Result<(), PutError<T>> {
                self.0.blocking_put(item, 0, true, Some(limit))
            }

            /// A sink that puts what is sent into it, in order.
            pub fn into_sink(self) -> impl Sink<T, Error = PutError<T>> + Send
            where
                T: Send,
            {
                sink(self.0)
            }
        }
    };
}

/// Taking as a stream, where an item is done when the next is asked for.
macro_rules! streams {
    ($name:ident) => {
        impl<T: DeserializeOwned + 'static> $name<T> {
            /// The items, one [`get`](Self::get) after the other, until that is
            /// [`GetError::Closed`].
            pub fn into_stream(self) -> impl Stream<Item = Result<T, GetError>> + Send
            where
                T: Send,
            {
                items(self.0)
            }
        }
    };
}

/// Making, where there may be bounds.
macro_rules! bounds {
    ($name:ident) => {
        impl<T> $name<T> {
            /// A queue that takes whatever is put.
            ///
            /// # Errors
            /// `Create` if the system has no room for the hub's thread.
            pub fn unbounded() -> Result<Self, Error> {
                Inner::create(Self::SHAPE).map($name)
            }

            /// A queue of at most `items`; a `put` waits while it is full.
            ///
            /// # Errors
            /// As [`unbounded`](Self::unbounded), and `InvalidOption` for 0 items.
            pub fn bounded(items: usize) -> Result<Self, Error> {
                Self::with_bounds(items, u64::MAX)
            }

            /// A queue of at most `items`, whose encoded forms take at most `bytes` together; an
            /// item larger than that gets in when the queue is empty.
            ///
            /// # Errors
            /// As [`unbounded`](Self::unbounded), and `InvalidOption` for 0.
            pub fn with_bounds(items: usize, bytes: u64) -> Result<Self, Error> {
                if items == 0 {
                    return Err(Error::invalid("items", 0, "at least 1"));
                }
                if bytes == 0 {
                    return Err(Error::invalid("bytes", 0, "at least 1"));
                }
                let items = u64::try_from(items).unwrap_or(u64::MAX);
                let shape = Shape { max_items: items, max_bytes: bytes, ..Self::SHAPE };
                Inner::create(shape).map($name)
            }
        }
    };
}

pub(super) use {bounds, common, puts, streams};
