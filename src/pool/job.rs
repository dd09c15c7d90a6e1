//! What the pool keeps of a call besides where it is.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::options::ProgressFn;
use super::scheduler::{Request, Timing};
use crate::log::{HeldSpan, LoggedCall};
use crate::process::Error;
use crate::task::Entry;
use crate::wire::{Payload, Received};

pub(super) type Outcome = Result<Received, Error>;

pub(super) struct Job {
    pub(super) payload: Payload,
    pub(super) entry: &'static Entry,
    pub(super) sink: Sink,
    pub(super) extra: Option<Box<Extra>>,
}

/// What only some calls have.
pub(super) struct Extra {
    pub(super) label: Option<String>,
    pub(super) progress: Option<ProgressFn>,
    pub(super) span: Option<HeldSpan>,
    /// Has what its worker logs for it put into the span, while it is there.
    pub(super) logged: Option<LoggedCall>,
}

/// For another call of the same wishes.
impl Clone for Extra {
    fn clone(&self) -> Self {
        let (label, progress) = (self.label.clone(), self.progress.clone());
        Extra { label, progress, span: self.span.clone(), logged: None }
    }
}

/// Who waits for the result.
pub(super) enum Sink {
    One(oneshot::Sender<Outcome>),
    Chunk(Box<ChunkSink>),
}

/// Where the results of a chunk go.
pub(super) struct ChunkSink {
    pub(super) parts: mpsc::UnboundedSender<Part>,
    pub(super) group: Arc<Group>,
    /// Which element of the input the chunk's first item is.
    pub(super) base: usize,
    /// Results delivered.
    pub(super) seen: u32,
    /// Where each item's arguments end: in the head, and among the blobs.
    pub(super) ends: Vec<(u32, u32)>,
    /// How it was asked for, for asking again for its rest.
    pub(super) request: Request,
    pub(super) timing: Timing,
}

/// A piece of the results of a map.
pub(super) enum Part {
    Items { first: usize, count: u32, results: Received, task: &'static str },
    Failed { first: usize, count: usize, error: Error },
}

/// The calls a map has in the pool; `None` once the map is cancelled.
pub(super) struct Group(Mutex<Option<HashSet<u64>>>);

impl Default for Group {
    fn default() -> Self {
        Group(Mutex::new(Some(HashSet::new())))
    }
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, Option<HashSet<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False if the map is cancelled: then nobody else will cancel this call.
    #[must_use]
    pub(super) fn add(&self, id: u64) -> bool {
        self.lock().as_mut().map(|ids| ids.insert(id)).is_some()
    }

    pub(super) fn remove(&self, id: u64) {
        if let Some(ids) = &mut *self.lock() {
            ids.remove(&id);
        }
    }

    /// Cancels the map: all its calls, for the caller to cancel.
    pub(super) fn take(&self) -> HashSet<u64> {
        self.lock().take().unwrap_or_default()
    }
}

impl Job {
    pub(super) fn label(&self) -> Option<String> {
        self.extra.as_ref().and_then(|e| e.label.clone())
    }

    /// The same error with the call's name on it.
    pub(super) fn sign(&self, error: Error) -> Error {
        error.with_call(self.entry.name, self.label())
    }

    /// Tells whoever waits that nothing more will come.
    pub(super) fn fail(self, error: Error) {
        let error = self.sign(error);
        match self.sink {
            Sink::One(sender) => {
                let _ = sender.send(Err(error));
            }
            Sink::Chunk(chunk) => {
                let left = chunk.ends.len() - chunk.seen as usize;
                if left > 0 {
                    let first = chunk.base + chunk.seen as usize;
                    let _ = chunk.parts.send(Part::Failed { first, count: left, error });
                }
            }
        }
    }

    /// What is left of a blocking chunk after the results that were delivered;
    /// itself, if it is something else.
    pub(super) fn rest(self) -> Result<(Job, u32), Box<Job>> {
        match &self.sink {
            Sink::Chunk(chunk)
                if !self.entry.is_async() && (chunk.seen as usize) < chunk.ends.len() =>
            {
                let (done, items) = (chunk.seen as usize, chunk.ends.len());
                Ok(self.items(done, items))
            }
            _ => Err(Box::new(self)),
        }
    }

    /// A chunk whose item after the delivered ones has failed: that item to be
    /// run again if it may be (else it is reported), and the rest.
    pub(super) fn split_at_failure(self, error: Error) -> Vec<(Job, u32)> {
        let error = self.sign(error);
        let Sink::Chunk(chunk) = &self.sink else {
            return Vec::new();
        };
        let (done, items) = (chunk.seen as usize, chunk.ends.len());
        let mut parts = Vec::new();
        if done >= items {
            return parts;
        }
        if done + 1 < items {
            parts.push(self.items(done + 1, items));
        }
        if chunk.request.retries > 0 {
            let (mut again, n) = self.items(done, done + 1);
            if let Sink::Chunk(chunk) = &mut again.sink {
                chunk.request.retries -= 1;
                chunk.request.attempt = chunk.request.attempt.saturating_add(1);
            }
            // Last: each of them is put in front of the queue.
            parts.push((again, n));
        } else {
            let first = chunk.base + done;
            let _ = chunk.parts.send(Part::Failed { first, count: 1, error });
        }
        parts
    }

    /// A chunk of its own with items `from..to` of this one.
    fn items(&self, from: usize, to: usize) -> (Job, u32) {
        let Sink::Chunk(chunk) = &self.sink else { unreachable!("asked before") };
        let before = |item: usize| {
            if item == 0 { (0, 0) } else { chunk.ends[item - 1] }
        };
        let (head_at, blob_at) = before(from);
        let (head_end, blob_end) = before(to);
        let head: Bytes = self.payload.head_bytes().slice(head_at as usize..head_end as usize);
        let blobs = self.payload.blobs()[blob_at as usize..blob_end as usize].to_vec();
        let ends = chunk.ends[from..to].iter().map(|(h, b)| (h - head_at, b - blob_at)).collect();
        let sink = Sink::Chunk(Box::new(ChunkSink {
            parts: chunk.parts.clone(),
            group: chunk.group.clone(),
            base: chunk.base + from,
            seen: 0,
            ends,
            request: chunk.request,
            timing: chunk.timing,
        }));
        // Which item takes which along is not known; a hold too many does no harm.
        let attached = self.payload.attached().to_vec();
        let payload = Payload::from_bytes(head, blobs, attached);
        let job = Job { payload, entry: self.entry, sink, extra: self.extra.clone() };
        (job, (to - from) as u32)
    }
}
