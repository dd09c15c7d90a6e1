//! The engine of all maps: takes elements from a source, sends them in chunks,
//! and receives results.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::dispatcher::Shared;
use super::job::{ChunkSink, Extra, Group, Job, Part, Sink};
use super::options::{OnDrop, Options, ProgressFn};
use super::run::{Prepared, Submit, current_span};
use super::source::Source;
use super::waiter::Waiter;
use crate::log::HeldSpan;
use crate::process::{Error, ErrorKind, Progress, TimeoutPhase, fault_error, result_error};
use crate::task::{Args, Call, EncodeFailure, Entry, Fault, caught};
use crate::wire::{Attached, MAX_PARTS, Payload};

/// Encoded bytes after which a chunk is sent even if it is short of elements.
const CHUNK_BYTES: usize = 4 << 20;
const CHUNK_BLOBS: usize = MAX_PARTS as usize / 8;
const CHUNK_ATTACHED: usize = 256;
/// Elements encoded before the runtime gets the thread back.
const FEED_SLICE: usize = 8192;
/// Longest chunk for inputs whose length nobody knows.
const UNKNOWN_MAX: usize = 4096;

/// A call without its types.
pub(super) struct Raw {
    entry: &'static Entry,
    payload: Result<Payload, Box<EncodeFailure>>,
}

impl<R, K> From<Call<R, K>> for Raw {
    fn from(call: Call<R, K>) -> Self {
        Raw { entry: call.entry, payload: call.payload }
    }
}

/// A chunk being filled.
#[derive(Default)]
struct Chunk {
    entry: Option<&'static Entry>,
    head: Vec<u8>,
    blobs: Vec<Bytes>,
    blob_bytes: usize,
    /// What all of them take along.
    attached: Vec<Attached>,
    ends: Vec<(u32, u32)>,
    /// Elements it is to have.
    full: usize,
}

pub(super) struct Feed<F, S: Source, R> {
    pub(super) shared: Arc<Shared>,
    pub(super) options: Option<Box<Options>>,
    pub(super) chunk_size: Option<usize>,
    pub(super) window: Option<usize>,
    pub(super) progress: Option<ProgressFn>,
    /// The span it was submitted in, or first polled.
    pub(super) span: Option<Option<HeldSpan>>,
    /// Streams take their input lazily, element by element.
    pub(super) lazy: bool,
    /// Results the consumer has taken.
    pub(super) consumed: usize,
    task: F,
    source: S,
    make: fn(&F, S::Item) -> Result<Raw, Error>,
    parts: (mpsc::UnboundedSender<Part>, mpsc::UnboundedReceiver<Part>),
    group: Arc<Group>,
    chunk: Chunk,
    taken: usize,
    total: Option<usize>,
    line: Option<(Prepared, Arc<Waiter>)>,
    refusal: Option<Error>,
    cut_off: Option<Error>,
    deadline: Option<(Pin<Box<tokio::time::Sleep>>, Duration)>,
    started: bool,
    exhausted: bool,
    output: PhantomData<fn() -> R>,
}

impl<F, S: Source, R> Feed<F, S, R> {
    pub(super) fn new(
        shared: Arc<Shared>,
        task: F,
        source: S,
        make: fn(&F, S::Item) -> Result<Raw, Error>,
    ) -> Self {
        Feed {
            shared,
            options: None,
            chunk_size: None,
            window: None,
            progress: None,
            span: None,
            lazy: false,
            consumed: 0,
            task,
            source,
            make,
            parts: mpsc::unbounded_channel(),
            group: Arc::default(),
            chunk: Chunk::default(),
            taken: 0,
            total: None,
            line: None,
            refusal: None,
            cut_off: None,
            deadline: None,
            started: false,
            exhausted: false,
            output: PhantomData,
        }
    }

    /// Elements taken from the source so far.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Why nothing more can be sent, if that is so.
    pub(super) fn take_refusal(&mut self) -> Option<Error> {
        let refusal = self.refusal.take();
        if refusal.is_some() {
            self.cancel();
        }
        refusal
    }

    pub(super) fn cancel(&mut self) {
        self.exhausted = true;
        if let Some((_, waiter)) = self.line.take() {
            self.shared.leave_line(&waiter);
        }
        let ids = self.group.take();
        if !ids.is_empty() {
            self.shared.cancel_all(ids);
        }
    }

    pub(super) fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.deadline {
            Some((sleep, _)) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// Whether an element's error says that the whole map's time is over: the
    /// scheduler keeps the same deadline, and may be first to tell.
    pub(super) fn is_deadline(&self, error: &Error) -> bool {
        self.deadline.as_ref().is_some_and(|(_, whole)| {
            matches!(
                error.kind(),
                ErrorKind::TimedOut { limit, phase } if limit == whole && *phase != TimeoutPhase::Cpu
            )
        })
    }

    pub(super) fn timed_out(&self) -> Error {
        let limit = self.deadline.as_ref().map_or(Duration::ZERO, |(_, limit)| *limit);
        Error::new(ErrorKind::TimedOut { phase: TimeoutPhase::Running, limit })
            .with_progress(Progress::MayHaveBegun)
    }

    pub(super) fn report(&self, done: usize) {
        if let Some(progress) = &self.progress {
            progress(done as u64, self.total.unwrap_or(0) as u64);
        }
    }

    fn start(&mut self) -> Result<(), Error> {
        self.started = true;
        if let Some(options) = &self.options {
            options.check()?;
            if let Some(limit) = options.timeout {
                self.deadline = Some((self.shared.sleep(limit), limit));
            }
        }
        if self.chunk_size == Some(0) {
            return Err(super::error_option("chunk_size", 0, "at least 1"));
        }
        if self.window == Some(0) {
            return Err(super::error_option("window", 0, "at least 1"));
        }
        self.total = self.source.exact_len();
        Ok(())
    }

    fn chunk_len(&self) -> usize {
        // Async calls are short of waiting, not of work: each is sent by itself,
        // so that a worker runs several at a time.
        if self.chunk.entry.is_some_and(Entry::is_async) {
            return 1;
        }
        // What may be run again is kept, and told of, as a call of its own.
        if self.options.as_ref().is_some_and(|o| o.retries > 0) {
            return 1;
        }
        if let Some(n) = self.chunk_size {
            return n;
        }
        if self.lazy {
            return 1;
        }
        let workers = self.shared.config.worker_count();
        match self.total {
            Some(total) => total.div_ceil(4 * workers).max(1),
            None => (self.taken / (4 * workers)).clamp(1, UNKNOWN_MAX),
        }
    }

    fn may_take(&self) -> bool {
        let window = match (self.window, self.lazy) {
            (Some(n), _) => n,
            (None, true) => {
                let chunks = 4 * self.shared.config.worker_count();
                self.chunk_size.unwrap_or(1).saturating_mul(chunks)
            }
            (None, false) => return true,
        };
        self.taken - self.consumed < window
    }

    /// Takes and sends what may be taken; ready when the source is at its end and
    /// everything is sent.
    pub(super) fn poll_feed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.started
            && let Err(error) = self.start()
        {
            self.refusal = Some(error);
            self.exhausted = true;
        }
        let mut slice = 0;
        loop {
            if let Some((_, waiter)) = &self.line {
                waiter.register(cx.waker());
                if !waiter.is_granted() {
                    return Poll::Pending;
                }
                if let Some((prepared, waiter)) = self.line.take() {
                    self.submit(prepared, Some(&waiter));
                }
            }
            if self.exhausted {
                if self.chunk.ends.is_empty() || self.refusal.is_some() {
                    return Poll::Ready(());
                }
                self.send();
                continue;
            }
            if !self.may_take() {
                // Whoever takes a result asks again.
                if !self.chunk.ends.is_empty() {
                    self.send();
                    continue;
                }
                return Poll::Pending;
            }
            if slice == FEED_SLICE {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            slice += 1;
            match self.source.poll_next(cx) {
                Poll::Ready(Some(item)) => {
                    let raw = (self.make)(&self.task, item);
                    self.take(raw);
                }
                Poll::Ready(None) => self.exhausted = true,
                Poll::Pending => {
                    if self.chunk.ends.is_empty() {
                        return Poll::Pending;
                    }
                    // Do not make what is there wait for what is not.
                    self.send();
                }
            }
        }
    }

    #[inline]
    fn take(&mut self, raw: Result<Raw, Error>) {
        let index = self.taken;
        self.taken += 1;
        let (entry, payload) = match raw {
            Ok(Raw { entry, payload: Ok(payload) }) => (entry, payload),
            Ok(Raw { entry, payload: Err(e) }) => {
                let error = Error::new(ErrorKind::ArgEncode { param: e.param, reason: e.reason });
                return self.fail(index, error.with_call(entry.name, None));
            }
            Err(error) => return self.fail(index, error),
        };
        if let Err(error) = self.shared.admit_size(payload.len() as u64) {
            return self.fail(index, error.with_call(entry.name, None));
        }
        // Handles go with a call that begins once, so each such element is a call by itself.
        let alone = payload.attached().iter().any(|a| matches!(a, Attached::Handle(_)));
        if alone
            || self.chunk.entry.is_some_and(|other| !std::ptr::eq(other, entry))
            || self.chunk.attached.len() + payload.attached().len() > CHUNK_ATTACHED
            || self.chunk.head.len() + self.chunk.blob_bytes + payload.len()
                > CHUNK_BYTES.min(self.shared.config.max_message as usize)
        {
            self.taken -= 1;
            self.send();
            self.taken += 1;
        }
        let chunk = &mut self.chunk;
        chunk.entry = Some(entry);
        payload.append_head(&mut chunk.head);
        for blob in payload.blobs() {
            chunk.blob_bytes += blob.len();
            chunk.blobs.push(blob.clone());
        }
        chunk.attached.extend_from_slice(payload.attached());
        chunk.ends.push((chunk.head.len() as u32, chunk.blobs.len() as u32));
        if chunk.ends.len() == 1 {
            self.chunk.full = self.chunk_len();
        }
        if alone
            || self.chunk.ends.len() >= self.chunk.full
            || self.chunk.blobs.len() >= CHUNK_BLOBS
        {
            self.send();
        }
    }

    /// An element that never gets to a worker.
    fn fail(&mut self, index: usize, error: Error) {
        // What came before it is sent as a chunk of its own: a chunk's elements
        // are neighbours.
        self.taken -= 1;
        self.send();
        self.taken += 1;
        let _ = self.parts.0.send(Part::Failed { first: index, count: 1, error });
    }

    /// Sends the chunk, whose last element is the last one taken.
    fn send(&mut self) {
        let chunk = std::mem::take(&mut self.chunk);
        let Some(entry) = chunk.entry else { return };
        let items = chunk.ends.len();
        let payload = Payload::from_bytes(chunk.head.into(), chunk.blobs, chunk.attached);
        let made = self.shared.request(entry, self.options.as_deref(), &payload, items as u32);
        let (request, mut timing) = match made {
            Ok(made) => made,
            Err(error) => {
                let error = error.with_call(entry.name, None);
                return self.refused(self.taken - items, items, error);
            }
        };
        // The map's own timer stands for its deadline; the worker is told of it.
        if let Some((sleep, limit)) = &self.deadline {
            let left = sleep.deadline().saturating_duration_since(tokio::time::Instant::now());
            let at = self.shared.now() + left.as_nanos() as u64;
            timing.deadline = Some((at, limit.as_nanos() as u64));
        }
        let span = self.span.get_or_insert_with(current_span).clone();
        let extra = Shared::extra(self.options.as_deref(), span)
            .map(|extra| Box::new(Extra { progress: None, ..*extra }));
        let sink = Sink::Chunk(Box::new(ChunkSink {
            parts: self.parts.0.clone(),
            group: self.group.clone(),
            base: self.taken - items,
            seen: 0,
            ends: chunk.ends,
            request,
            timing,
        }));
        let job = Job { payload, entry, sink, extra };
        self.submit(Prepared { request, timing, job }, None);
    }

    fn submit(&mut self, prepared: Prepared, granted: Option<&Arc<Waiter>>) {
        let (first, count) = match &prepared.job.sink {
            Sink::Chunk(chunk) => (chunk.base, chunk.ends.len()),
            Sink::One(_) => (0, 0),
        };
        match self.shared.try_submit(prepared, granted) {
            Ok(_) => {}
            Err(Submit::Full(prepared)) => {
                self.line = Some((prepared, self.shared.wait_for_place()));
            }
            Err(Submit::Error(error)) => self.refused(first, count, error),
        }
    }

    /// The pool takes no more. What it took before still comes; these elements,
    /// and those of the input that were not asked for, do not.
    fn refused(&mut self, first: usize, count: usize, error: Error) {
        self.exhausted = true;
        self.cut_off = Some(error.clone());
        let _ = self.parts.0.send(Part::Failed { first, count, error });
    }

    /// Why the input was not taken to its end, if that is so.
    pub(super) fn cut_off(&mut self) -> Option<Error> {
        self.cut_off.take()
    }

    /// The next piece of results.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Part> {
        match ready!(self.parts.1.poll_recv(cx)) {
            Some(part) => Poll::Ready(part),
            None => unreachable!("a feed keeps a sender of its own"),
        }
    }
}

impl<F, S: Source, R: DeserializeOwned + 'static> Feed<F, S, R> {
    /// Decodes a piece of results, in order, element by element.
    pub(super) fn open(&self, part: &mut Part, mut each: impl FnMut(usize, Result<R, Error>)) {
        let limits = &self.shared.config.decode;
        match part {
            Part::Failed { first, count, error } => {
                for i in 0..*count {
                    each(*first + i, Err(error.clone()));
                }
            }
            Part::Items { first, count, results, task } => {
                let sign = |error: Error| {
                    error.with_call(task, self.options.as_ref().and_then(|o| o.label.clone()))
                };
                let mut args = Args::of(results, limits);
                let mut broken: Option<Error> = None;
                for i in 0..*count as usize {
                    if let Some(error) = &broken {
                        // Nobody knows where the next one begins.
                        each(*first + i, Err(error.clone()));
                        continue;
                    }
                    args.next_item(limits);
                    let result = match args.tag() {
                        Some(0) => match caught::<R>(&mut args) {
                            Ok(value) => {
                                each(*first + i, Ok(value));
                                continue;
                            }
                            Err(fault) => Err(sign(result_error(*fault))),
                        },
                        Some(1) => match args.owned::<Fault>("fault") {
                            Ok(fault) => {
                                each(*first + i, Err(sign(fault_error(fault))));
                                continue;
                            }
                            Err(fault) => Err(sign(result_error(fault))),
                        },
                        _ => Err(sign(
                            Error::new(ErrorKind::ResultDecode {
                                reason: "the results end too early".to_owned(),
                            })
                            .with_progress(Progress::Finished),
                        )),
                    };
                    if let Err(error) = &result {
                        broken = Some(error.clone());
                    }
                    each(*first + i, result);
                }
            }
        }
    }
}

impl Part {
    pub(super) fn first(&self) -> usize {
        match self {
            Part::Items { first, .. } | Part::Failed { first, .. } => *first,
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Part::Items { count, .. } => *count as usize,
            Part::Failed { count, .. } => *count,
        }
    }
}

impl<F, S: Source, R> Drop for Feed<F, S, R> {
    fn drop(&mut self) {
        if self.options.as_ref().is_none_or(|o| o.on_drop == OnDrop::Cancel) {
            self.cancel();
        } else if let Some((_, waiter)) = self.line.take() {
            self.shared.leave_line(&waiter);
        }
    }
}
