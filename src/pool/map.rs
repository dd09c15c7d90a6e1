//! Maps: many calls of one task, sent in chunks.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;
use serde::de::DeserializeOwned;

use super::dispatcher::Shared;
use super::feed::{Feed, Raw};
use super::handle::AsyncResult;
use super::options::{OnDrop, option_methods};
use super::run::current_span;
use super::source::Source;
use crate::process::{Error, ErrorKind, TimeoutPhase};
use crate::task::TaskFn;

/// Decoding work done before the runtime gets the thread back.
const SLICE: Duration = Duration::from_micros(500);

/// A map on its way: a future of all results in order.
///
/// Made by [`ProcessPool::map`](super::ProcessPool::map). Nothing happens before
/// its first poll.
///
/// # Cancel safety
/// Dropping it cancels what has not finished.
#[must_use = "a Map does nothing until it is awaited or spawned"]
pub struct Map<F, S: Source, R> {
    feed: Feed<F, S, R>,
    wait_all: bool,
    /// Results in pieces: the index of the first, and the values.
    pieces: Vec<(usize, Vec<R>)>,
    error: Option<Error>,
    resolved: usize,
}

impl<F, S: Source, R> Unpin for Map<F, S, R> {}

impl<F, S: Source, R> Map<F, S, R> {
    option_methods!(feed.options);

    /// Elements per chunk, at least 1. A chunk goes to a worker as one message.
    /// Default: the elements divided by four times the workers, so that each
    /// worker gets about four chunks; less where elements are large, and for
    /// inputs of unknown length growing from 1. Calls of async tasks are always
    /// sent one by one, so that a worker runs several at a time; so are elements
    /// that may be run again.
    #[doc(alias = "chunksize")]
    pub fn chunk_size(mut self, n: usize) -> Self {
        self.feed.chunk_size = Some(n);
        self
    }

    /// Has `f` called with how many elements are done, and how many there are (0
    /// where the input does not know). It runs in the task that polls the map.
    pub fn progress(mut self, f: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        self.feed.progress = Some(Arc::new(f));
        self
    }

    /// Waits for every element even after one has failed, as Python does; the
    /// first error in time is then the result.
    pub fn wait_all(mut self) -> Self {
        self.wait_all = true;
        self
    }

    /// What dropping the future does. Default: [`OnDrop::Cancel`].
    pub fn on_drop(mut self, on_drop: OnDrop) -> Self {
        self.feed.options.get_or_insert_default().on_drop = on_drop;
        self
    }
}

impl<F, S: Source, R: DeserializeOwned + Send + 'static> Map<F, S, R> {
    pub(super) fn new<M>(shared: Arc<Shared>, task: F, source: S) -> Self
    where
        F: TaskFn<S::Item, M, Output = R>,
    {
        Map {
            feed: Feed::new(shared, task, source, |task, item| Ok(Raw::from(task.make(item)))),
            wait_all: false,
            pieces: Vec::new(),
            error: None,
            resolved: 0,
        }
    }

    /// Starts the map on the pool's runtime and gives a handle to it.
    pub fn spawn(mut self) -> AsyncResult<Vec<R>>
    where
        F: Send + 'static,
        S: Send + 'static,
    {
        let shared = self.feed.shared.clone();
        self.feed.span = Some(current_span());
        let task = shared.runtime().spawn(self);
        AsyncResult::of_task(shared, task)
    }
}

impl<F, S: Source, R: DeserializeOwned + Send + 'static> Future for Map<F, S, R> {
    type Output = Result<Vec<R>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let begun = Instant::now();
        loop {
            let fed = this.feed.poll_feed(cx);
            if let Some(error) = this.feed.take_refusal() {
                return Poll::Ready(Err(error));
            }
            if this.feed.poll_deadline(cx).is_ready() {
                this.feed.cancel();
                return Poll::Ready(Err(this.feed.timed_out()));
            }
            match this.feed.poll_part(cx) {
                Poll::Ready(mut part) => {
                    let (first, mut values) = (part.first(), Vec::with_capacity(part.len()));
                    let mut error = None;
                    let n = part.len();
                    this.feed.open(&mut part, |_, result| match result {
                        Ok(value) => values.push(value),
                        Err(e) => error = error.take().or(Some(e)),
                    });
                    if error.as_ref().is_some_and(|error| this.feed.is_deadline(error)) {
                        this.feed.cancel();
                        return Poll::Ready(Err(this.feed.timed_out()));
                    }
                    this.resolved += n;
                    this.feed.report(this.resolved);
                    if error.is_some() && this.error.is_none() {
                        this.error = error;
                    }
                    if this.error.is_some() {
                        if !this.wait_all {
                            this.feed.cancel();
                            return Poll::Ready(Err(this.error.take().unwrap_or_else(closed)));
                        }
                        this.pieces.clear();
                    } else {
                        this.pieces.push((first, values));
                    }
                }
                Poll::Pending if fed.is_ready() && this.resolved == this.feed.taken() => {
                    if let Some(error) = this.error.take() {
                        return Poll::Ready(Err(error));
                    }
                    return Poll::Ready(Ok(in_order(std::mem::take(&mut this.pieces))));
                }
                Poll::Pending => return Poll::Pending,
            }
            if begun.elapsed() > SLICE {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed)
}

fn in_order<R>(mut pieces: Vec<(usize, Vec<R>)>) -> Vec<R> {
    pieces.sort_by_key(|(first, _)| *first);
    let mut all = Vec::with_capacity(pieces.iter().map(|(_, v)| v.len()).sum());
    for (_, values) in pieces {
        all.extend(values);
    }
    all
}

impl<F, S: Source, R> fmt::Debug for Map<F, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("resolved", &self.resolved).finish_non_exhaustive()
    }
}

/// A map in which every element has its own result.
///
/// Made by [`ProcessPool::try_map`](super::ProcessPool::try_map).
#[must_use = "a TryMap does nothing until it is awaited"]
pub struct TryMap<F, S: Source, R> {
    feed: Feed<F, S, R>,
    pieces: Vec<(usize, Vec<Result<R, Error>>)>,
    resolved: usize,
}

impl<F, S: Source, R> Unpin for TryMap<F, S, R> {}

impl<F, S: Source, R> TryMap<F, S, R> {
    option_methods!(feed.options);

    pub(super) fn new(map: Map<F, S, R>) -> Self {
        TryMap { feed: map.feed, pieces: Vec::new(), resolved: 0 }
    }

    /// Elements per chunk; see [`Map::chunk_size`].
    #[doc(alias = "chunksize")]
    pub fn chunk_size(mut self, n: usize) -> Self {
        self.feed.chunk_size = Some(n);
        self
    }

    /// Has `f` called with how many elements are done, and how many there are.
    pub fn progress(mut self, f: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        self.feed.progress = Some(Arc::new(f));
        self
    }
}

impl<F, S: Source, R: DeserializeOwned + Send + 'static> Future for TryMap<F, S, R> {
    type Output = Result<Vec<Result<R, Error>>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let begun = Instant::now();
        loop {
            let fed = this.feed.poll_feed(cx);
            if let Some(error) = this.feed.take_refusal() {
                return Poll::Ready(Err(error));
            }
            if this.feed.poll_deadline(cx).is_ready() {
                this.feed.cancel();
                return Poll::Ready(Err(this.feed.timed_out()));
            }
            match this.feed.poll_part(cx) {
                Poll::Ready(mut part) => {
                    let mut values = Vec::with_capacity(part.len());
                    let (first, n) = (part.first(), part.len());
                    this.feed.open(&mut part, |_, result| values.push(result));
                    this.resolved += n;
                    this.feed.report(this.resolved);
                    this.pieces.push((first, values));
                }
                Poll::Pending if fed.is_ready() && this.resolved == this.feed.taken() => {
                    // A list that is shorter than its input would be a lie.
                    return Poll::Ready(match this.feed.cut_off() {
                        Some(error) => Err(error),
                        None => Ok(in_order(std::mem::take(&mut this.pieces))),
                    });
                }
                Poll::Pending => return Poll::Pending,
            }
            if begun.elapsed() > SLICE {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

impl<F, S: Source, R> fmt::Debug for TryMap<F, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryMap").field("resolved", &self.resolved).finish_non_exhaustive()
    }
}

/// A stream of results; made by [`ProcessPool::imap`](super::ProcessPool::imap)
/// and its relatives.
///
/// # Cancel safety
/// Dropping it cancels what is on its way.
#[must_use = "a stream does nothing unless polled"]
pub struct Results<F, S: Source, R> {
    feed: Feed<F, S, R>,
    ordered: bool,
    /// Results that wait for earlier ones.
    early: BTreeMap<usize, Result<R, Error>>,
    ready: VecDeque<Result<R, Error>>,
    /// Results given to the consumer, and the next index in order.
    given: usize,
    ended: bool,
}

impl<F, S: Source, R> Unpin for Results<F, S, R> {}

impl<F, S: Source, R> Results<F, S, R> {
    option_methods!(feed.options);

    /// Elements per chunk, at least 1. Default: 1.
    #[doc(alias = "chunksize")]
    pub fn chunk_size(mut self, n: usize) -> Self {
        self.feed.chunk_size = Some(n);
        self
    }

    /// How many elements may be taken from the input ahead of the consumer, at
    /// least 1. Default: four chunks a worker.
    #[doc(alias = "buffersize")]
    pub fn window(mut self, elements: usize) -> Self {
        self.feed.window = Some(elements);
        self
    }
}

impl<F, S: Source, R: DeserializeOwned + Send + 'static> Results<F, S, R> {
    pub(super) fn new<M>(shared: Arc<Shared>, task: F, source: S, ordered: bool) -> Self
    where
        F: TaskFn<S::Item, M, Output = R>,
    {
        Self::over(shared, task, source, ordered, |task, item| Ok(Raw::from(task.make(item))))
    }

    pub(super) fn fallible<A, E, M>(shared: Arc<Shared>, task: F, source: S, ordered: bool) -> Self
    where
        F: TaskFn<A, M, Output = R>,
        S: Source<Item = Result<A, E>>,
        E: std::error::Error + Send + Sync + 'static,
    {
        Self::over(shared, task, source, ordered, |task, item| match item {
            Ok(item) => Ok(Raw::from(task.make(item))),
            Err(e) => Err(Error::new(ErrorKind::Input { reason: e.to_string() }).with_source(e)),
        })
    }

    fn over(
        shared: Arc<Shared>,
        task: F,
        source: S,
        ordered: bool,
        make: fn(&F, S::Item) -> Result<Raw, Error>,
    ) -> Self {
        let mut feed = Feed::new(shared, task, source, make);
        feed.lazy = true;
        Results {
            feed,
            ordered,
            early: BTreeMap::new(),
            ready: VecDeque::new(),
            given: 0,
            ended: false,
        }
    }

    /// The next result, or `None` at the end: for consumers without a `StreamExt`.
    ///
    /// # Cancel safety
    /// Dropping the returned future loses nothing.
    pub async fn next(&mut self) -> Option<Result<R, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The next result if it comes within `limit`; the stream goes on otherwise.
    /// `Err` stands for Python's `TimeoutError`.
    ///
    /// # Errors
    /// `TimedOut` when nothing came in time; it costs nothing to ask again.
    pub async fn next_timeout(
        &mut self,
        limit: Duration,
    ) -> Result<Option<Result<R, Error>>, Error> {
        let shared = self.feed.shared.clone();
        shared
            .timeout(limit, self.next())
            .await
            .map_err(|_| Error::new(ErrorKind::TimedOut { phase: TimeoutPhase::Running, limit }))
    }

    fn sort(&mut self, index: usize, result: Result<R, Error>) {
        if self.ordered {
            self.early.insert(index, result);
        } else {
            self.ready.push_back(result);
        }
    }

    fn take(&mut self) -> Option<Result<R, Error>> {
        let result =
            if self.ordered { self.early.remove(&self.given)? } else { self.ready.pop_front()? };
        self.given += 1;
        self.feed.consumed = self.given;
        Some(result)
    }
}

impl<F, S: Source, R: DeserializeOwned + Send + 'static> Stream for Results<F, S, R> {
    type Item = Result<R, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        loop {
            if let Some(result) = this.take() {
                if matches!(&result, Err(error) if this.feed.is_deadline(error)) {
                    this.feed.cancel();
                    this.ended = true;
                    return Poll::Ready(Some(Err(this.feed.timed_out())));
                }
                // Places became free: keep the workers busy meanwhile.
                let _ = this.feed.poll_feed(cx);
                return Poll::Ready(Some(result));
            }
            let fed = this.feed.poll_feed(cx);
            if let Some(error) = this.feed.take_refusal() {
                this.ended = true;
                return Poll::Ready(Some(Err(error)));
            }
            if this.feed.poll_deadline(cx).is_ready() {
                this.feed.cancel();
                this.ended = true;
                return Poll::Ready(Some(Err(this.feed.timed_out())));
            }
            match this.feed.poll_part(cx) {
                Poll::Ready(mut part) => {
                    let mut results = Vec::with_capacity(part.len());
                    this.feed.open(&mut part, |index, result| results.push((index, result)));
                    for (index, result) in results {
                        this.sort(index, result);
                    }
                }
                Poll::Pending if fed.is_ready() && this.given == this.feed.taken() => {
                    this.ended = true;
                    return Poll::Ready(None);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<F, S: Source, R> fmt::Debug for Results<F, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results")
            .field("ordered", &self.ordered)
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}
