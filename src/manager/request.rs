//! A request to a manager.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::client::{Answer, Client, Undo};
use super::core::{Core, Site, Source};
use super::error::ManagerError;
use super::op;

/// Makes something of an answer.
trait Decode<R>: Send {
    fn decode(self: Box<Self>, source: &Source, bytes: &[u8]) -> Result<R, ManagerError>;

    /// Nobody wants it any more: what it gives is given back.
    fn discard(self: Box<Self>, site: Arc<Site>) -> Undo;
}

impl<R, D> Decode<R> for D
where
    D: FnOnce(&Source, &[u8]) -> Result<R, ManagerError> + Send + 'static,
{
    fn decode(self: Box<Self>, source: &Source, bytes: &[u8]) -> Result<R, ManagerError> {
        self(source, bytes)
    }

    fn discard(self: Box<Self>, site: Arc<Site>) -> Undo {
        Box::new(move |client, bytes| {
            if let Some(client) = client.another() {
                drop(self(&Source { site, client, discards: true }, bytes));
            }
        })
    }
}

type Connecting = Pin<Box<dyn Future<Output = Result<Arc<Client>, ManagerError>> + Send>>;

/// Something that is asked of a manager: a future, that sends it when it is first polled.
///
/// Several that are polled together, as by `join_all`, are sent together, and answered as they come.
///
/// # Cancel safety
/// One that is dropped before it was polled has done nothing; one that is dropped later may still be carried out, unless
/// it waits for something: then it is taken back, and what it was given meanwhile is given back.
#[must_use = "nothing is asked before it is awaited"]
pub struct Request<R> {
    to: Arc<Core>,
    op: Option<Result<Vec<u8>, ManagerError>>,
    /// Objects in it, kept until it is carried out.
    cores: Vec<Arc<Core>>,
    decode: Option<Box<dyn Decode<R>>>,
    /// It may have to wait in the manager.
    waits: bool,
    undo: Option<Undo>,
    state: State,
}

enum State {
    New,
    Connecting(Connecting),
    Sent(Arc<Client>, u64),
    Over,
}

impl<R> Request<R> {
    pub(super) fn new(
        to: &Arc<Core>,
        op: Result<Vec<u8>, ManagerError>,
        cores: Vec<Arc<Core>>,
        decode: impl FnOnce(&Source, &[u8]) -> Result<R, ManagerError> + Send + 'static,
    ) -> Self {
        Request {
            to: to.clone(),
            op: Some(op),
            cores,
            decode: Some(Box::new(decode)),
            waits: false,
            undo: None,
            state: State::New,
        }
    }

    /// It waits for something in the manager; if nobody takes what it was given, `undo` gives that back.
    pub(super) fn waiting(mut self, undo: impl FnOnce(&Client, &[u8]) + Send + 'static) -> Self {
        self.waits = true;
        self.undo = Some(Box::new(undo));
        self
    }

    /// It waits for something that nobody has to give back.
    pub(super) fn watching(mut self) -> Self {
        self.waits = true;
        self
    }

    fn send(
        &mut self,
        client: &Arc<Client>,
        cx: Option<&Context<'_>>,
    ) -> Result<u64, ManagerError> {
        let op = match self.op.take() {
            Some(op) => op?,
            None => return Err(ManagerError::died("it was asked for already")),
        };
        let reference = self.to.reference;
        let before = |sender: &mut super::client::Sender<'_>| {
            self.to.introduce(client, sender);
            for core in &self.cores {
                if core.is_at(&self.to.site) {
                    core.introduce(client, sender);
                } else {
                    core.lend(sender);
                }
            }
        };
        let after = |sender: &mut super::client::Sender<'_>| {
            let lent = self.cores.iter().filter(|core| !core.is_at(&self.to.site));
            lent.for_each(|core| core.take_back(sender));
        };
        client.ask(before, after, (reference.id, reference.kind), op, cx.map(Context::waker))
    }

    fn decode(&mut self, client: &Arc<Client>, answer: Answer) -> Result<R, ManagerError> {
        let bytes = answer?;
        let Some(decode) = self.decode.take() else {
            return Err(ManagerError::died("it was answered already"));
        };
        let (site, client) = (self.to.site.clone(), client.clone());
        decode.decode(&Source { site, client, discards: false }, &bytes)
    }

    /// Waits for the answer on this thread.
    pub(super) fn block(self) -> Result<R, ManagerError> {
        self.block_until(None)
    }

    /// The same for as long as `limit`.
    pub(super) fn block_for(self, limit: Duration) -> Result<R, ManagerError> {
        self.block_until(Instant::now().checked_add(limit))
    }

    fn block_until(mut self, deadline: Option<Instant>) -> Result<R, ManagerError> {
        let client = self.to.blocking_client()?;
        let id = self.send(&client, None)?;
        self.state = State::Sent(client.clone(), id);
        let Some(answer) = client.wait(id, deadline) else { return Err(ManagerError::TimedOut) };
        self.state = State::Over;
        self.decode(&client, answer)
    }

    /// The same, which gives up after `limit`.
    pub(super) async fn within(self, limit: Duration) -> Result<R, ManagerError> {
        tokio::time::timeout(limit, self).await.unwrap_or(Err(ManagerError::TimedOut))
    }
}

impl<R> Unpin for Request<R> {}

impl<R> Future for Request<R> {
    type Output = Result<R, ManagerError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::New => {
                    // What cannot be encoded needs no connection.
                    if let Some(Err(error)) = &this.op {
                        let error = error.clone();
                        this.state = State::Over;
                        return Poll::Ready(Err(error));
                    }
                    match this.to.live() {
                        Some(client) => {
                            let id = this.send(&client, Some(cx))?;
                            client.ensure_driver();
                            this.state = State::Sent(client, id);
                            return Poll::Pending;
                        }
                        None => {
                            let to = this.to.clone();
                            this.state =
                                State::Connecting(Box::pin(async move { to.client().await }));
                        }
                    }
                }
                State::Connecting(connecting) => {
                    let client = ready!(connecting.as_mut().poll(cx));
                    this.state = State::Over;
                    let client = client?;
                    let id = this.send(&client, Some(cx))?;
                    client.ensure_driver();
                    this.state = State::Sent(client, id);
                    return Poll::Pending;
                }
                State::Sent(client, id) => {
                    let answer = ready!(client.poll_answer(*id, cx.waker()));
                    let client = client.clone();
                    this.state = State::Over;
                    return Poll::Ready(this.decode(&client, answer));
                }
                State::Over => {
                    return Poll::Ready(Err(ManagerError::died("it was answered already")));
                }
            }
        }
    }
}

impl<R> Drop for Request<R> {
    fn drop(&mut self) {
        if let State::Sent(client, id) = &self.state {
            let client = client.clone();
            let discard = || self.decode.take().map(|decode| decode.discard(self.to.site.clone()));
            let undo = self.undo.take().or_else(discard);
            client.abandon(*id, self.waits, undo);
        }
    }
}

impl<R> fmt::Debug for Request<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::New => "not sent",
            State::Connecting(_) => "connecting",
            State::Sent(..) => "sent",
            State::Over => "over",
        };
        f.debug_struct("Request").field("to", &self.to).field("state", &state).finish()
    }
}

/// An operation in its own buffer, for a request.
pub(super) fn op(op: &impl serde::Serialize) -> Result<Vec<u8>, ManagerError> {
    Ok(op::encode(op)?)
}
