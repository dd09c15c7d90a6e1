//! One call, lazily submitted.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::dispatcher::{Refusal, Shared};
use super::handle::AsyncResult;
use super::job::{Extra, Job, Outcome, Sink};
use super::options::{OnDrop, Options, option_methods};
use super::process_pool::{TrySubmit, TrySubmitError};
use super::scheduler::{Lane, Request, Timing};
use super::waiter::Waiter;
use crate::log::HeldSpan;
use crate::process::{Error, ErrorKind, TimeoutPhase, result_error};
use crate::task::{Blocking, Call, Entry, TaskKind, decode_output};
use crate::wire::Payload;

/// A call on its way through a pool: a future of its result.
///
/// Made by [`ProcessPool::run`](super::ProcessPool::run) and
/// [`apply`](super::ProcessPool::apply). Nothing happens before its first poll;
/// options are set before that.
///
/// # Cancel safety
/// Dropping it cancels the call: one that waits vanishes, a running async task
/// is dropped in its worker, a running blocking task is killed with its worker,
/// which is replaced. [`on_drop`](Run::on_drop) changes that.
#[must_use = "a Run does nothing until it is awaited or spawned"]
pub struct Run<R, K> {
    shared: Arc<Shared>,
    options: Option<Box<Options>>,
    state: State<R, K>,
}

enum State<R, K> {
    New(Call<R, K>),
    /// Waiting for a place in the queue.
    InLine(Box<InLine>),
    Sent {
        id: u64,
        result: oneshot::Receiver<Outcome>,
    },
    Done,
}

struct InLine {
    prepared: Option<Prepared>,
    result: oneshot::Receiver<Outcome>,
    waiter: Arc<Waiter>,
    /// The call's deadline: the scheduler does not know of it yet.
    expiry: Option<Pin<Box<tokio::time::Sleep>>>,
}

/// A call as the dispatcher takes it.
pub(super) struct Prepared {
    pub(super) request: Request,
    pub(super) timing: Timing,
    pub(super) job: Job,
}

impl<R, K> Unpin for Run<R, K> {}

impl<R, K> Run<R, K> {
    pub(super) fn new(shared: Arc<Shared>, call: Call<R, K>) -> Self {
        Run { shared, options: None, state: State::New(call) }
    }

    option_methods!(options);

    /// Has `f` called with what the task reports by
    /// [`report_progress`](crate::report_progress): done and total. It runs on
    /// the thread that reads the worker's messages and must be quick.
    pub fn progress(mut self, f: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        self.options.get_or_insert_default().progress = Some(Arc::new(f));
        self
    }

    /// What dropping the future does to the call. Default:
    /// [`OnDrop::Cancel`].
    pub fn on_drop(mut self, on_drop: OnDrop) -> Self {
        self.options.get_or_insert_default().on_drop = on_drop;
        self
    }
}

impl<R: DeserializeOwned + Send + 'static, K> Run<R, K> {
    /// Submits the call now, with its options, and gives a handle to it. It does
    /// not wait for a place in the queue: a full one grows.
    pub fn spawn(mut self) -> AsyncResult<R> {
        let State::New(call) = std::mem::replace(&mut self.state, State::Done) else {
            unreachable!("a Run that was polled is pinned away from here")
        };
        let (sender, result) = oneshot::channel();
        let sent = self
            .shared
            .prepare(call, self.options.as_deref(), Sink::One(sender))
            .and_then(|p| self.shared.submit_now(p));
        AsyncResult::new(self.shared.clone(), sent, result)
    }
}

impl<R: DeserializeOwned + Send + 'static, K: TaskKind> Run<R, K> {
    /// Submits the call now, with its options, if the queue has a place for it.
    ///
    /// # Errors
    /// `Full` gives the call back with its arguments; `Refused` says why the pool
    /// does not take it.
    pub fn try_spawn(mut self) -> TrySubmit<R, K> {
        let State::New(call) = std::mem::replace(&mut self.state, State::Done) else {
            unreachable!("a Run that was polled is pinned away from here")
        };
        let (sender, result) = oneshot::channel();
        let prepared = self
            .shared
            .prepare(call, self.options.as_deref(), Sink::One(sender))
            .map_err(TrySubmitError::Refused)?;
        match self.shared.try_submit(prepared, None) {
            Ok(id) => Ok(AsyncResult::new(self.shared.clone(), Ok(id), result)),
            Err(Submit::Full(prepared)) => {
                let Job { entry, payload, .. } = prepared.job;
                Err(TrySubmitError::Full(Call::from_parts(entry, payload)))
            }
            Err(Submit::Error(error)) => Err(TrySubmitError::Refused(error)),
        }
    }
}

impl<R: DeserializeOwned + Send + 'static, K> Future for Run<R, K> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match std::mem::replace(&mut this.state, State::Done) {
                State::New(call) => {
                    let (sender, result) = oneshot::channel();
                    let prepared =
                        this.shared.prepare(call, this.options.as_deref(), Sink::One(sender))?;
                    this.state = match this.shared.try_submit(prepared, None) {
                        Ok(id) => State::Sent { id, result },
                        Err(Submit::Full(prepared)) => {
                            let expiry = prepared.timing.deadline.map(|(at, _)| {
                                let left = at.saturating_sub(this.shared.now());
                                this.shared.sleep(Duration::from_nanos(left))
                            });
                            State::InLine(Box::new(InLine {
                                expiry,
                                prepared: Some(prepared),
                                result,
                                waiter: this.shared.wait_for_place(),
                            }))
                        }
                        Err(Submit::Error(error)) => return Poll::Ready(Err(error)),
                    };
                }
                State::InLine(mut line) => {
                    line.waiter.register(cx.waker());
                    let expired =
                        line.expiry.as_mut().is_some_and(|e| e.as_mut().poll(cx).is_ready());
                    if expired && let Some(prepared) = line.prepared.take() {
                        this.shared.leave_line(&line.waiter);
                        let limit = prepared.timing.deadline.map_or(0, |(_, limit)| limit);
                        let error = Error::new(ErrorKind::TimedOut {
                            phase: TimeoutPhase::Queued,
                            limit: Duration::from_nanos(limit),
                        });
                        return Poll::Ready(Err(prepared.job.sign(error)));
                    }
                    if !line.waiter.is_granted() {
                        this.state = State::InLine(line);
                        return Poll::Pending;
                    }
                    let Some(prepared) = line.prepared.take() else { unreachable!() };
                    match this.shared.try_submit(prepared, Some(&line.waiter)) {
                        Ok(id) => this.state = State::Sent { id, result: line.result },
                        Err(Submit::Full(_)) => unreachable!("a place was kept"),
                        Err(Submit::Error(error)) => return Poll::Ready(Err(error)),
                    }
                }
                State::Sent { id, mut result } => {
                    let polled = Pin::new(&mut result).poll(cx);
                    if polled.is_pending() {
                        this.state = State::Sent { id, result };
                    }
                    return Poll::Ready(open(&this.shared, ready!(polled)));
                }
                State::Done => panic!("a Run was polled after it was done"),
            }
        }
    }
}

/// Has a call of whatever task run: its result stays encoded. Dropped, it cancels the call.
pub(super) fn run_encoded(
    shared: &Arc<Shared>,
    entry: &'static Entry,
    payload: Payload,
) -> impl Future<Output = Outcome> + Send + use<> {
    struct Cancel(Arc<Shared>, u64);
    impl Drop for Cancel {
        fn drop(&mut self) {
            self.0.cancel(self.1);
        }
    }
    let (sender, result) = oneshot::channel();
    let call = Call::<(), Blocking>::from_parts(entry, payload);
    let sent = shared.prepare(call, None, Sink::One(sender));
    let sent = sent.and_then(|prepared| shared.submit_now(prepared));
    let sent = sent.map(|id| Cancel(shared.clone(), id));
    async move {
        let _cancel = sent?;
        result.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed)))
    }
}

/// Decodes what a worker sent, in the task that waits for it.
pub(super) fn open<R: DeserializeOwned + 'static>(
    shared: &Shared,
    outcome: Result<Outcome, oneshot::error::RecvError>,
) -> Result<R, Error> {
    match outcome {
        Ok(Ok(received)) => decode_output(received, &shared.config.decode).map_err(result_error),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::new(ErrorKind::Closed)),
    }
}

impl<R, K> Drop for Run<R, K> {
    fn drop(&mut self) {
        let detaches = self.options.as_ref().is_some_and(|o| o.on_drop == OnDrop::Detach);
        match std::mem::replace(&mut self.state, State::Done) {
            State::InLine(line) => {
                self.shared.leave_line(&line.waiter);
                if detaches && let Some(prepared) = line.prepared {
                    // Nobody is left to wait for a place, so it gets one.
                    let _ = self.shared.submit_now(prepared);
                }
            }
            State::Sent { id, .. } if !detaches => self.shared.cancel(id),
            _ => {}
        }
    }
}

impl<R, K> fmt::Debug for Run<R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::New(_) => "new",
            State::InLine(_) => "waiting for a place in the queue",
            State::Sent { .. } => "sent",
            State::Done => "done",
        };
        f.debug_struct("Run").field("state", &state).finish_non_exhaustive()
    }
}

/// The span this thread is in, if there is one.
pub(super) fn current_span() -> Option<HeldSpan> {
    HeldSpan::new(tracing::Span::current())
}

/// Why a prepared call was not taken. Large because it gives the call back, and
/// moved once.
#[allow(clippy::large_enum_variant)]
pub(super) enum Submit {
    Full(Prepared),
    Error(Error),
}

impl Shared {
    /// Checks a call and its options, and puts them into the dispatcher's form.
    pub(super) fn prepare<R, K>(
        &self,
        call: Call<R, K>,
        options: Option<&Options>,
        sink: Sink,
    ) -> Result<Prepared, Error> {
        let entry = call.entry;
        let signed = |e: Error| e.with_call(entry.name, options.and_then(|o| o.label.clone()));
        let payload = call.payload.map_err(|e| {
            signed(Error::new(ErrorKind::ArgEncode { param: e.param, reason: e.reason }))
        })?;
        self.admit_size(payload.len() as u64).map_err(signed)?;
        let (request, timing) = self.request(entry, options, &payload, 0).map_err(signed)?;
        let extra = Self::extra(options, current_span());
        Ok(Prepared { request, timing, job: Job { payload, entry, sink, extra } })
    }

    pub(super) fn admit_size(&self, len: u64) -> Result<(), Error> {
        let max = self.config.max_message;
        if len > max { Err(Error::new(ErrorKind::TooLarge { len, max })) } else { Ok(()) }
    }

    pub(super) fn request(
        &self,
        entry: &'static crate::task::Entry,
        options: Option<&Options>,
        payload: &Payload,
        items: u32,
    ) -> Result<(Request, Timing), Error> {
        let task = entry
            .id()
            .ok_or_else(|| Error::new(ErrorKind::NotRegistered { task: entry.name.to_owned() }))?;
        let lane = if entry.is_async() { Lane::Async } else { Lane::Blocking };
        let mut request = Request {
            task,
            lane,
            items,
            bytes: payload.len().min(u32::MAX as usize) as u32,
            priority: 0,
            attempt: 1,
            retries: 0,
        };
        let mut timing = Timing {
            run_limit: self.config.call_timeout.map(|t| t.as_nanos() as u64),
            ..Timing::default()
        };
        if let Some(options) = options {
            options.check()?;
            let nanos = |t: std::time::Duration| t.as_nanos() as u64;
            request.priority = options.priority;
            request.retries = options.retries;
            timing.deadline = options.timeout.map(|t| (self.now() + nanos(t), nanos(t)));
            timing.run_limit = options.run_timeout.map(nanos).or(timing.run_limit);
            timing.cpu_limit = options.cpu_timeout.map(nanos);
            if timing.cpu_limit.is_some() && lane == Lane::Async {
                return Err(Error::unsupported(
                    "cpu_timeout on an async task: its calls share a worker's clock; use run_timeout",
                ));
            }
        }
        Ok((request, timing))
    }

    /// Only what is really asked for: most calls have none of it.
    pub(super) fn extra(options: Option<&Options>, span: Option<HeldSpan>) -> Option<Box<Extra>> {
        let (label, progress) =
            options.map_or((None, None), |o| (o.label.clone(), o.progress.clone()));
        (label.is_some() || progress.is_some() || span.is_some())
            .then(|| Box::new(Extra { label, progress, span, logged: None }))
    }

    #[allow(clippy::result_large_err)]
    pub(super) fn try_submit(
        &self,
        prepared: Prepared,
        granted: Option<&Arc<Waiter>>,
    ) -> Result<u64, Submit> {
        let Prepared { request, timing, job } = prepared;
        match self.submit(request, timing, job, false, granted) {
            Ok(id) => Ok(id),
            Err(Refusal::Full(job)) => Err(Submit::Full(Prepared { request, timing, job })),
            Err(Refusal::Error(error)) => Err(Submit::Error(error)),
        }
    }

    /// Submits whether or not there is a place.
    pub(super) fn submit_now(&self, prepared: Prepared) -> Result<u64, Error> {
        match self.submit(prepared.request, prepared.timing, prepared.job, true, None) {
            Ok(id) => Ok(id),
            Err(Refusal::Full(_)) => unreachable!("asked to take it always"),
            Err(Refusal::Error(error)) => Err(error),
        }
    }
}
