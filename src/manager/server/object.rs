//! What the manager serves.

use std::pin::Pin;
use std::sync::Arc;

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use super::lock::Lock;
use super::session::Session;
use crate::manager::fault::Fault;
use crate::wire::{Budget, DecodeLimits, decode_from};

/// What an operation has come to.
pub(in crate::manager) type Reply = Result<Vec<u8>, Fault>;

/// What is done about something that was handed out and does not get to whoever asked for it. Done when it is dropped,
/// unless it is [disarmed](Self::disarm).
pub(in crate::manager) struct Undo(Option<Box<dyn FnOnce() + Send>>);

impl Undo {
    pub(in crate::manager) fn new(undo: impl FnOnce() + Send + 'static) -> Self {
        Undo(Some(Box::new(undo)))
    }

    /// It was sent.
    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(undo) = self.0.take() {
            undo();
        }
    }
}

/// A reply, and what takes back what it hands out.
pub(in crate::manager) struct Said {
    pub(super) reply: Reply,
    pub(super) undo: Option<Undo>,
}

impl Said {
    pub(in crate::manager) fn with(reply: Reply, undo: Undo) -> Self {
        Said { reply, undo: Some(undo) }
    }
}

impl From<Reply> for Said {
    fn from(reply: Reply) -> Self {
        Said { reply, undo: None }
    }
}

/// An operation that has to wait; dropped, it has done nothing.
pub(in crate::manager) type Later = Pin<Box<dyn Future<Output = Said> + Send>>;

pub(in crate::manager) enum Outcome {
    Done(Said),
    Later(Later),
}

impl Outcome {
    pub(in crate::manager) fn later(
        later: impl Future<Output = impl Into<Said>> + Send + 'static,
    ) -> Self {
        Outcome::Later(Box::pin(async move { later.await.into() }))
    }
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Self {
        Outcome::Done(reply.into())
    }
}

impl From<Said> for Outcome {
    fn from(said: Said) -> Self {
        Outcome::Done(said)
    }
}

/// An object that processes use by its operations.
pub(in crate::manager) trait Served: Send + Sync {
    /// A session asks for something.
    fn call(self: Arc<Self>, session: &Arc<Session>, op: &[u8]) -> Outcome;

    /// A session has ended that was given the object.
    fn left(&self, _session: u64) {}

    /// The lock it is, for a condition.
    fn as_lock(self: Arc<Self>) -> Option<Arc<Lock>> {
        None
    }
}

/// The operation in a request.
pub(in crate::manager) fn parse<'a, T: Deserialize<'a>>(mut bytes: &'a [u8]) -> Result<T, Fault> {
    let mut budget = Budget::new(&DecodeLimits::default(), bytes.len());
    let op = decode_from(&mut bytes, &mut budget).map_err(|e| Fault::Malformed(e.to_string()))?;
    if bytes.is_empty() {
        Ok(op)
    } else {
        Err(Fault::Malformed("bytes are left over after an operation".to_owned()))
    }
}

pub(in crate::manager) fn reply<T: Serialize + ?Sized>(value: &T) -> Reply {
    postcard::to_allocvec(value).map_err(|e| Fault::Failed(e.to_string()))
}

/// One of at most so many bytes: what is asked for with few may be much.
pub(super) fn bounded_reply<T: Serialize + ?Sized>(value: &T, max: u64) -> Reply {
    let bounded = Bounded { bytes: Vec::new(), max };
    postcard::serialize_with_flavor(value, bounded).map_err(|e| match e {
        postcard::Error::SerializeBufferFull => {
            Fault::Limit { what: "bytes of a reply".to_owned(), max }
        }
        other => Fault::Failed(other.to_string()),
    })
}

struct Bounded {
    bytes: Vec<u8>,
    max: u64,
}

impl Flavor for Bounded {
    type Output = Vec<u8>;

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.try_extend(&[data])
    }

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        if (self.bytes.len() + data.len()) as u64 > self.max {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.bytes)
    }
}
