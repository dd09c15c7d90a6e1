//! A handle to a call that was submitted.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, unconstrained};

use super::dispatcher::Shared;
use super::job::Outcome;
use super::run::open;
use crate::process::{Error, ErrorKind, Progress, call_back};
use crate::task::message;

/// A call that runs by itself; a future of its result.
///
/// Like tokio's `JoinHandle`: dropping it lets the call go on unobserved,
/// [`abort`](AsyncResult::abort) stops it.
#[doc(alias = "Future")]
#[must_use = "dropping an AsyncResult detaches its call; use `abort` to stop it"]
pub struct AsyncResult<R> {
    shared: Arc<Shared>,
    /// 0: it was not even submitted, and `state` says why.
    id: u64,
    state: State<R>,
    abort_on_drop: bool,
}

enum State<R> {
    Waiting(oneshot::Receiver<Outcome>),
    /// A whole map, run as a task of its own.
    Task {
        task: JoinHandle<Result<R, Error>>,
        aborted: AtomicBool,
    },
    Known(Option<Box<Result<R, Error>>>),
}

impl<R> Unpin for AsyncResult<R> {}

impl<R> Drop for AsyncResult<R> {
    fn drop(&mut self) {
        if self.abort_on_drop {
            self.abort();
        }
    }
}

impl<R> AsyncResult<R> {
    /// Has dropping the handle stop the call, as dropping a
    /// [`Run`](super::Run) does.
    pub fn abort_on_drop(mut self) -> Self {
        self.abort_on_drop = true;
        self
    }

    /// Stops the call: one that waits vanishes, one that runs is stopped as when
    /// a [`Run`](super::Run) is dropped. Its result is then a cancelled error,
    /// unless it is done already.
    pub fn abort(&self) {
        match &self.state {
            State::Waiting(_) => self.shared.cancel(self.id),
            State::Task { task, aborted } => {
                aborted.store(true, Ordering::Relaxed);
                task.abort();
            }
            State::Known(_) => {}
        }
    }
}

impl<R: DeserializeOwned + Send + 'static> AsyncResult<R> {
    pub(super) fn new(
        shared: Arc<Shared>,
        sent: Result<u64, Error>,
        result: oneshot::Receiver<Outcome>,
    ) -> Self {
        match sent {
            Ok(id) => {
                AsyncResult { shared, id, state: State::Waiting(result), abort_on_drop: false }
            }
            Err(error) => AsyncResult {
                shared,
                id: 0,
                state: State::Known(Some(Box::new(Err(error)))),
                abort_on_drop: false,
            },
        }
    }

    pub(super) fn of_task(shared: Arc<Shared>, task: JoinHandle<Result<R, Error>>) -> Self {
        let state = State::Task { task, aborted: AtomicBool::new(false) };
        AsyncResult { shared, id: 0, state, abort_on_drop: false }
    }

    /// The result, once it is there. The same as awaiting the handle.
    ///
    /// # Errors
    /// Whatever became of the call; see [`ErrorKind`](crate::ErrorKind).
    pub async fn get(self) -> Result<R, Error> {
        self.await
    }

    /// The result if it comes within `limit`; the call goes on otherwise, and may
    /// be asked again. `None` stands for Python's `TimeoutError`.
    ///
    /// # Errors
    /// Whatever became of the call.
    ///
    /// # Panics
    /// If the result was taken before.
    pub async fn get_timeout(&mut self, limit: Duration) -> Option<Result<R, Error>> {
        let shared = self.shared.clone();
        shared.timeout(limit, &mut *self).await.ok()
    }

    /// Waits until the call is done or `limit` has passed; tells which.
    pub async fn wait(&mut self, limit: Duration) -> bool {
        let shared = self.shared.clone();
        shared.timeout(limit, std::future::poll_fn(|cx| self.poll_known(cx))).await.is_ok()
    }

    /// Whether the call is done.
    #[must_use]
    pub fn ready(&mut self) -> bool {
        // Outside tokio's budget: with that used up, what is there would seem not to be.
        let known = std::future::poll_fn(|cx| self.poll_known(cx));
        pin!(unconstrained(known)).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn poll_known(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let result = match &mut self.state {
            State::Known(_) => return Poll::Ready(()),
            State::Waiting(receiver) => open(&self.shared, ready!(Pin::new(receiver).poll(cx))),
            State::Task { task, aborted } => match ready!(Pin::new(task).poll(cx)) {
                Ok(result) => result,
                Err(ended) => match ended.try_into_panic() {
                    // Its input did: nothing else in it is the user's.
                    Ok(panic) => {
                        let reason = format!("it panicked: {}", message(&*panic));
                        Err(Error::new(ErrorKind::Input { reason }))
                    }
                    Err(_) if aborted.load(Ordering::Relaxed) => {
                        Err(Error::new(ErrorKind::Cancelled))
                    }
                    Err(_) => Err(Error::new(ErrorKind::RuntimeGone)),
                }
                .map_err(|e: Error| e.with_progress(Progress::MayHaveBegun)),
            },
        };
        self.state = State::Known(Some(Box::new(result)));
        Poll::Ready(())
    }

    /// Whether the call gave a result; `None` while it is not done, or when the
    /// result was taken.
    pub fn successful(&mut self) -> Option<bool> {
        if !self.ready() {
            return None;
        }
        match &self.state {
            State::Known(Some(result)) => Some(result.is_ok()),
            _ => None,
        }
    }

    /// Has `f` called with the result, once, on the pool's runtime. It must be
    /// quick; a panic of it is logged.
    #[doc(alias = "add_done_callback")]
    #[doc(alias = "callback")]
    #[doc(alias = "error_callback")]
    pub fn on_done(self, f: impl FnOnce(Result<R, Error>) + Send + 'static) {
        let runtime = self.shared.runtime().clone();
        runtime.spawn(async move {
            let result = self.await;
            call_back(|| f(result));
        });
    }
}

impl<R: DeserializeOwned + Send + 'static> Future for AsyncResult<R> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::Waiting(receiver) = &mut self.state {
            // The usual way, without a box.
            let outcome = ready!(Pin::new(receiver).poll(cx));
            let result = open(&self.shared, outcome);
            self.state = State::Known(None);
            return Poll::Ready(result);
        }
        ready!(self.poll_known(cx));
        match &mut self.state {
            State::Known(result) => match result.take() {
                Some(result) => Poll::Ready(*result),
                None => panic!("an AsyncResult was polled after its result was taken"),
            },
            _ => unreachable!("made known above"),
        }
    }
}

impl<R> fmt::Debug for AsyncResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult")
            .field("id", &self.id)
            .field("known", &matches!(self.state, State::Known(_)))
            .finish_non_exhaustive()
    }
}
