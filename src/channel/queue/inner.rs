//! What all kinds of queues have in common: a handle of one consumer or producer.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use super::error::{GetError, PutError, PutErrorKind, TaskDoneError};
use super::object::Shape;
use super::shelf::{Got, Nothing, Permit, Shelf};
use crate::hub::{HasAccess, Urgency, block_on, turn};
use crate::process::Error;
use crate::task::{Refused, decode_output, encode_or_return, moved_len, try_context};
use crate::wire::{Arrived, DecodeLimits, Payload, PayloadBuilder, arrived, attach};

/// A handle of a queue. What it has taken belongs to it: a clone is another consumer.
pub(super) struct Inner<T> {
    pub(super) shelf: Arc<Shelf>,
    /// Items taken and not done, the first first.
    taken: Mutex<VecDeque<u64>>,
    /// Items are done when that is said; else when the next is asked for.
    joinable: bool,
    items: PhantomData<fn(T) -> T>,
}

impl<T> Inner<T> {
    pub(super) fn create(shape: Shape) -> Result<Self, Error> {
        let shelf = Shelf::create(shape).map_err(|e| Error::no_object("queue", &e))?;
        Ok(Self::of(shelf, shape.joinable))
    }

    fn of(shelf: Arc<Shelf>, joinable: bool) -> Self {
        Inner { shelf, taken: Mutex::default(), joinable, items: PhantomData }
    }

    fn taken(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An item of this handle's is done.
    pub(super) fn task_done(&self) -> Result<(), TaskDoneError> {
        let number = self.taken().pop_front().ok_or(TaskDoneError(()))?;
        self.shelf.done(number, Urgency::Now);
        Ok(())
    }

    /// What was taken before is done: the next is asked for.
    fn settle(&self) -> Option<u64> {
        if self.joinable { None } else { self.taken().pop_front() }
    }

    fn settle_now(&self, urgency: Urgency) {
        if let Some(done) = self.settle() {
            self.shelf.done(done, urgency);
        }
    }

    /// Waits until there is an item, or will be none. That asks for the next one.
    pub(super) async fn at_hand(&self) {
        self.settle_now(Urgency::Now);
        self.shelf.ready().await;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.shelf.listen();
        self.shelf.is_closed()
    }
}

impl<T: Serialize + 'static> Inner<T> {
    /// What the queue is like; an error if nothing can be put.
    async fn open_shape(&self) -> Result<Shape, PutErrorKind> {
        // Who only puts never waits for anything, and would not hear of the end.
        self.shelf.listen();
        if self.shelf.is_closed() {
            return Err(PutErrorKind::Closed);
        }
        let shape = self.shelf.shape().await.ok_or(PutErrorKind::Closed)?;
        // At first use that was heard just now.
        if self.shelf.is_closed() { Err(PutErrorKind::Closed) } else { Ok(shape) }
    }

    /// A place for a value of so many bytes, where it needs one.
    async fn place(
        &self,
        shape: Shape,
        bytes: u64,
        wait: bool,
    ) -> Result<Option<Permit<'_>>, PutErrorKind> {
        if !shape.is_bounded() {
            return Ok(None);
        }
        match self.shelf.reserve(bytes, wait).await {
            Some(permit) => Ok(Some(permit)),
            None if self.shelf.is_closed() => Err(PutErrorKind::Closed),
            None => Err(PutErrorKind::Full),
        }
    }

    /// The encoded value, if there is a place for it.
    fn placed<'a>(
        &self,
        value: T,
        measured: Measured,
        place: Result<Option<Permit<'a>>, PutErrorKind>,
    ) -> Result<(Option<Permit<'a>>, Payload), PutError<T>> {
        let permit = match place {
            Ok(permit) => permit,
            Err(why) => return Err(PutError::new(value, why)),
        };
        let max = self.shelf.access().max_value();
        let encoded = match measured.encoded {
            Some(_) if measured.bytes > max => Err((value, Refused::TooLarge(measured.bytes))),
            Some(payload) => Ok(payload),
            None => encode_or_return(value, max),
        };
        match encoded {
            Ok(payload) => Ok((permit, payload)),
            Err((value, Refused::Encode(reason))) => {
                Err(PutError::new(value, PutErrorKind::Encode { reason }))
            }
            Err((value, Refused::TooLarge(len))) => {
                Err(PutError::new(value, PutErrorKind::TooLarge { len, max }))
            }
        }
    }

    pub(super) async fn put(
        &self,
        value: T,
        priority: i64,
        wait: bool,
        limit: Option<Duration>,
    ) -> Result<(), PutError<T>> {
        turn().await;
        let shape = self.open_shape().await;
        let (shape, measured) = match shape.and_then(|shape| Ok((shape, shape.measure(&value)?))) {
            Ok(both) => both,
            Err(why) => return Err(PutError::new(value, why)),
        };
        let place = self.place(shape, measured.bytes, wait);
        let place = match limit {
            None => place.await,
            Some(limit) => match tokio::time::timeout(limit, place).await {
                Ok(place) => place,
                // The time may have been too short to hear an answer.
                Err(_) => self.place(shape, measured.bytes, false).await,
            },
        };
        let (permit, payload) = self.placed(value, measured, place)?;
        self.shelf.put(permit, priority, payload).await;
        Ok(())
    }

    pub(super) fn blocking_put(
        &self,
        value: T,
        priority: i64,
        wait: bool,
        limit: Option<Duration>,
    ) -> Result<(), PutError<T>> {
        let shape = block_on(self.open_shape(), None).unwrap_or(Err(PutErrorKind::Closed));
        let (shape, measured) = match shape.and_then(|shape| Ok((shape, shape.measure(&value)?))) {
            Ok(both) => both,
            Err(why) => return Err(PutError::new(value, why)),
        };
        let place = block_on(self.place(shape, measured.bytes, wait), deadline(limit))
            .or_else(|| block_on(self.place(shape, measured.bytes, false), None))
            .unwrap_or(Err(PutErrorKind::Full));
        let (permit, payload) = self.placed(value, measured, place)?;
        block_on(self.shelf.put(permit, priority, payload), None);
        Ok(())
    }
}

fn deadline(limit: Option<Duration>) -> Option<Instant> {
    limit.and_then(|limit| Instant::now().checked_add(limit))
}

/// How long the encoded form of a value is, where that matters.
#[derive(Default)]
struct Measured {
    bytes: u64,
    /// What was measured: encoded again later, it might be longer.
    encoded: Option<Payload>,
}

impl Shape {
    fn measure<T: Serialize + 'static>(&self, value: &T) -> Result<Measured, PutErrorKind> {
        if self.max_bytes == u64::MAX {
            return Ok(Measured::default());
        }
        if let Some(bytes) = moved_len(value) {
            return Ok(Measured { bytes, encoded: None });
        }
        let mut out = PayloadBuilder::default();
        out.value(value).map_err(|e| PutErrorKind::Encode { reason: e.to_string() })?;
        let payload = out.finish();
        Ok(Measured { bytes: payload.len() as u64, encoded: Some(payload) })
    }
}

impl<T: DeserializeOwned + 'static> Inner<T> {
    fn open(&self, got: Got, done: Option<u64>) -> Result<Delivery<T>, GetError> {
        self.shelf.took(&got, done);
        match decode_output(got.value, &DecodeLimits::default()) {
            Ok(item) => {
                self.taken().push_back(got.number);
                Ok(Delivery { item, redelivered: got.redelivered })
            }
            Err(fault) => {
                // Nobody can do anything with it.
                self.shelf.done(got.number, Urgency::Now);
                Err(GetError::Decode { reason: fault.reason() })
            }
        }
    }

    fn nothing(nothing: Nothing) -> GetError {
        match nothing {
            Nothing::Empty => GetError::Empty,
            Nothing::Over => GetError::Closed,
        }
    }

    pub(super) async fn get(&self) -> Result<Delivery<T>, GetError> {
        turn().await;
        let done = self.settle();
        if let Some(got) = self.shelf.take(None) {
            return self.open(got, done);
        }
        if let Some(done) = done {
            self.shelf.done(done, Urgency::Now);
        }
        let got = self.shelf.get().await.map_err(Self::nothing)?;
        self.open(got, None)
    }

    pub(super) async fn get_timeout(&self, limit: Duration) -> Result<Delivery<T>, GetError> {
        match tokio::time::timeout(limit, self.get()).await {
            Ok(got) => got,
            // The time may have been too short to hear an answer.
            Err(_) => self.get_now().await,
        }
    }

    pub(super) async fn try_get(&self) -> Result<Delivery<T>, GetError> {
        self.settle_now(Urgency::Later);
        self.get_now().await
    }

    async fn get_now(&self) -> Result<Delivery<T>, GetError> {
        turn().await;
        let got = self.shelf.try_get().await.map_err(Self::nothing)?;
        self.open(got, None)
    }

    pub(super) fn blocking_get(&self, limit: Option<Duration>) -> Result<Delivery<T>, GetError> {
        block_on(self.get(), deadline(limit))
            .or_else(|| block_on(self.get_now(), None))
            .unwrap_or(Err(GetError::Empty))
    }

    pub(super) fn blocking_try_get(&self) -> Result<Delivery<T>, GetError> {
        block_on(self.try_get(), None).unwrap_or(Err(GetError::Empty))
    }
}

/// An item, and whether somebody had it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery<T> {
    /// The item.
    pub item: T,
    /// It was taken before, by a process that died with it or a handle that gave it up. What that did
    /// with it nobody knows.
    pub redelivered: bool,
}

impl<T> Clone for Inner<T> {
    fn clone(&self) -> Self {
        Self::of(self.shelf.clone(), self.joinable)
    }
}

/// Whoever drops a handle is done with what it took, unless that is to be said, or a panic or the end of a cancelled
/// call drops it.
impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        let mut taken = std::mem::take(&mut *self.taken());
        let unfinished =
            std::thread::panicking() || try_context().is_some_and(|call| call.is_cancelled());
        let kept = self.joinable || unfinished && !self.shelf.keeps_nothing();
        if kept {
            return self.shelf.give_back(taken.make_contiguous(), true);
        }
        for number in taken {
            self.shelf.done(number, Urgency::Now);
        }
    }
}

impl<T> fmt::Debug for Inner<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.shelf.id())
    }
}

impl<T> Serialize for Inner<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        attach(self.shelf.access().attached(self.shelf.clone()), serializer)
    }
}

impl<T> Inner<T> {
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
        joinable: bool,
    ) -> Result<Self, D::Error> {
        match arrived(deserializer)? {
            Arrived::Object(name) => {
                let shelf = Shelf::adopt(name)
                    .map_err(|e| D::Error::custom(format!("the queue cannot be used: {e}")))?;
                Ok(Self::of(shelf, joinable))
            }
            Arrived::Handle(_) => Err(D::Error::custom("it is no queue")),
        }
    }
}
