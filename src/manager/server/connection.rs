//! One connection, from its first byte to its last.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::coop::poll_proceed;
use tokio::task::{JoinSet, yield_now};

use super::entrance::Way;
use super::gate::{Gate, Place};
use super::object::{Later, Outcome, Said, parse};
use super::replies::Replies;
use super::session::Session;
use super::store::Store;
use crate::hub::drop_elsewhere;
use crate::link::{End, Pace};
use crate::manager::fault::Fault;
use crate::manager::handshake::{MAX_FRAME, Refused, ServerHandshake, Welcome};
use crate::manager::op;
use crate::sys::{self, HandleSet, lock};
use crate::task::catch;
use crate::wire::{Assembler, Body, Kind};

/// How long a client may take to take what it is told last.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Requests of one connection that wait for something.
const MAX_WAITING: usize = 1 << 14;
/// Reads before what they have brought is answered.
const READS: usize = 8;
/// How long one connection's requests are dealt with before others have their turn.
const TURN: Duration = Duration::from_millis(1);

struct Connection {
    end: End,
    way: Way,
    assembler: Assembler,
    replies: Replies,
    sets: VecDeque<HandleSet>,
}

/// Why a connection is over; nobody is told.
enum Over {
    /// It has broken, or says what it must not.
    Lost,
    /// The client has said so.
    Parted,
}

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Self {
        Over::Lost
    }
}

/// Serves a client; `unknown` is its place among those that have not said who they are.
pub(super) async fn run(
    store: Arc<Store>,
    end: End,
    way: Way,
    gate: Arc<Gate>,
    mut unknown: Place,
) {
    let assembler = Assembler::new(MAX_FRAME, sys::advise_huge);
    let (replies, sets) = (Replies::default(), VecDeque::new());
    let mut connection = Connection { end, way, assembler, replies, sets };
    let mut ending = store.ending();
    let met = tokio::select! {
        biased;
        _ = ending.wait_for(|ending| *ending) => return,
        met = unknown.within(connection.meet(&store, &gate)) => met,
    };
    drop(unknown);
    let Some(Ok(session)) = met else { return };
    let mut session = Ending { session, returns: false };
    let over = tokio::select! {
        biased;
        _ = ending.wait_for(|ending| *ending) => Over::Parted,
        over = connection.serve(&session.session) => over,
    };
    match over {
        Over::Lost => session.returns = connection.way.is_network,
        // What it was told last: that it ends, for instance.
        Over::Parted => {
            let _ = tokio::time::timeout(PATIENCE, poll_fn(|cx| connection.flush(cx))).await;
        }
    }
    // What did not get away comes back while it is still known whose it was.
    connection.replies.give_back();
}

/// Ends a session, however its connection is left.
struct Ending {
    session: Arc<Session>,
    returns: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.session.end(self.returns);
    }
}

impl Connection {
    /// Learns who it is.
    async fn meet(&mut self, store: &Arc<Store>, gate: &Gate) -> Result<Arc<Session>, Over> {
        let hello = self.frame(Kind::Hello).await?;
        let mut account = None;
        let met = ServerHandshake::new(&hello, &self.way.binding, |name| {
            let (key, known) = gate.client(name)?;
            account = Some(known);
            Some(key)
        });
        let (handshake, challenge) = met.map_err(|_| Over::Lost)?;
        self.say(Kind::Ready, &challenge).await?;
        let proof = self.frame(Kind::Took).await?;
        let mut checked = handshake.check(&proof, &self.way.binding);
        if let Some(certificate) = &self.way.certificate
            && !handshake.name.is_empty()
            && !certificate.is_for(&handshake.name)
        {
            checked = Err(Refused::WrongCertificate);
        }
        if let Err(refused) = checked {
            tracing::warn!(
                target: "procpool",
                client = ?handshake.name,
                "a client of a manager was refused: {refused}"
            );
            return Err(Over::Lost);
        }
        let account = account.ok_or(Over::Lost)?;
        let max_message = account.max_message;
        let session = Session::new(store, account);
        let welcome = session
            .as_ref()
            .map_err(Clone::clone)
            .map(|session| Welcome { instance: store.instance, session: session.id });
        // Nothing that can wait or be given up comes between here and whoever ends the session.
        let welcome = postcard::to_allocvec(&welcome).unwrap_or_default();
        self.replies.frame(Kind::Welcome, &welcome);
        self.assembler.set_max_message(max_message);
        match session {
            Ok(session) => Ok(session),
            Err(_) => {
                poll_fn(|cx| self.flush(cx)).await?;
                Err(Over::Parted)
            }
        }
    }

    async fn say(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), Over> {
        self.replies.frame(kind, bytes);
        poll_fn(|cx| self.flush(cx)).await
    }

    /// The next frame of a handshake.
    async fn frame(&mut self, kind: Kind) -> Result<Vec<u8>, Over> {
        loop {
            match self.assembler.next() {
                Ok(Some(message))
                    if message.header.kind == kind && message.meta.len() as u64 <= MAX_FRAME =>
                {
                    return Ok(message.meta.to_vec());
                }
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => return Err(Over::Lost),
            }
            poll_fn(|cx| self.read(cx)).await?;
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        let (buf, max) = self.assembler.target();
        let n = ready!(self.end.read(&mut Pace::Task(cx), buf, max, &mut self.sets))?;
        if !self.sets.is_empty() {
            // A manager takes no handles; closing them can take as long as their giver likes.
            drop_elsewhere(std::mem::take(&mut self.sets));
            return Poll::Ready(Err(Over::Lost));
        }
        if n == 0 {
            return Poll::Ready(Err(Over::Lost));
        }
        self.assembler.received(n);
        Poll::Ready(Ok(()))
    }

    /// Ready when nothing is left to be sent.
    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        let flushed = self.end.flush(&mut Pace::Task(cx), &mut self.replies.out);
        self.replies.were_sent();
        flushed.map_err(Over::from)
    }

    async fn serve(&mut self, session: &Arc<Session>) -> Over {
        let mut requests = Requests {
            session,
            tasks: JoinSet::new(),
            numbers: HashMap::new(),
            cancels: HashMap::new(),
        };
        poll_fn(|cx| self.turn(&mut requests, cx)).await
    }

    /// Ready when the connection is over.
    fn turn(&mut self, requests: &mut Requests<'_>, cx: &mut Context<'_>) -> Poll<Over> {
        let until = Instant::now() + TURN;
        loop {
            let turn = ready!(poll_proceed(cx));
            let mut progress = false;
            while let Poll::Ready(Some(done)) = requests.tasks.poll_join_next_with_id(cx) {
                progress = true;
                let (task, said) = match done {
                    Ok((task, said)) => (task, said),
                    // It panicked where it was dropped.
                    Err(e) => (e.id(), Said::from(Err(Fault::Panicked(e.to_string())))),
                };
                if let Some(id) = requests.numbers.remove(&task) {
                    requests.cancels.remove(&id);
                    self.replies.answer(id, said, &requests.session.account);
                }
            }
            if let Poll::Ready(Err(over)) = self.flush(cx) {
                return Poll::Ready(over);
            }
            // What was left when too much waited to be sent.
            match requests.take(&mut self.assembler, &mut self.replies, until) {
                Ok(some) => progress |= some,
                Err(over) => return Poll::Ready(over),
            }
            for _ in 0..READS {
                if self.replies.are_too_many() {
                    break;
                }
                if Instant::now() >= until {
                    // Nobody says yet when there is something to read.
                    progress = true;
                    break;
                }
                match self.read(cx) {
                    Poll::Ready(Ok(())) => progress = true,
                    Poll::Ready(Err(over)) => return Poll::Ready(over),
                    Poll::Pending => break,
                }
                match requests.take(&mut self.assembler, &mut self.replies, until) {
                    // What is there is most likely all there is.
                    Ok(true) if self.assembler.is_between_messages() => break,
                    Ok(_) => {}
                    Err(over) => return Poll::Ready(over),
                }
            }
            if !progress {
                return Poll::Pending;
            }
            turn.made_progress();
            if Instant::now() >= until {
                // Others have waited long enough, and those of whom the runtime has not heard yet, too: unlike one that wakes
                // itself, a task that yields lets it look.
                if pin!(yield_now()).poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
        }
    }
}

/// What a client asks for.
struct Requests<'a> {
    session: &'a Arc<Session>,
    /// Those that wait for something.
    tasks: JoinSet<Said>,
    /// Which of them waits for what request.
    numbers: HashMap<tokio::task::Id, u64>,
    cancels: HashMap<u64, (Waiting, oneshot::Sender<()>)>,
}

/// A request that waits, until it is given up.
type Waiting = Arc<Mutex<Option<Later>>>;

impl Requests<'_> {
    /// Deals with what has arrived, until too much waits to be sent, or it has taken too long; whether that was anything.
    fn take(
        &mut self,
        assembler: &mut Assembler,
        replies: &mut Replies,
        until: Instant,
    ) -> Result<bool, Over> {
        let mut some = false;
        while !replies.are_too_many() && (!some || Instant::now() < until) {
            let Some(message) = assembler.next().map_err(|_| Over::Lost)? else { break };
            some = true;
            let id = message.header.id;
            match message.header.kind {
                Kind::Request => {
                    let (object, kind, rest) = op::split_meta(message.meta).ok_or(Over::Lost)?;
                    let op = match &message.body {
                        Body::Inline => rest,
                        Body::Streamed { head, .. } => head,
                    };
                    self.session.store.requests.fetch_add(1, Ordering::Relaxed);
                    match call(self.session, object, kind, op) {
                        Outcome::Done(said) => {
                            replies.answer(id, said, &self.session.account);
                        }
                        Outcome::Later(later) => self.wait(id, later, replies),
                    }
                }
                Kind::Cancel => {
                    if let Some((waiting, cancel)) = self.cancels.remove(&id) {
                        // At once: it is not to take what comes free next.
                        let gone = lock(&waiting).take();
                        let _ = catch(|| drop(gone));
                        let _ = cancel.send(());
                    }
                }
                Kind::Goodbye => return Err(Over::Parted),
                _ => return Err(Over::Lost),
            }
        }
        Ok(some)
    }

    fn wait(&mut self, id: u64, mut later: Later, replies: &mut Replies) {
        let account = &self.session.account;
        if self.tasks.len() >= MAX_WAITING {
            let what = "requests of one client that wait".to_owned();
            let fault = Fault::Limit { what, max: MAX_WAITING as u64 };
            return replies.answer(id, Said::from(Err(fault)), account);
        }
        // So that it has its place in whatever line there is before the next request is looked at.
        let mut cx = Context::from_waker(Waker::noop());
        let polled = catch(|| later.as_mut().poll(&mut cx));
        let polled = polled
            .unwrap_or_else(|panic| Poll::Ready(Said::from(Err(Fault::Panicked(panic.message)))));
        if let Poll::Ready(said) = polled {
            return replies.answer(id, said, account);
        }
        let (cancel, cancelled) = oneshot::channel();
        let waiting = Arc::new(Mutex::new(Some(later)));
        self.cancels.insert(id, (waiting.clone(), cancel));
        let task = self.tasks.spawn(async move {
            let waited = poll_fn(|cx| match lock(&waiting).as_mut() {
                Some(later) => later.as_mut().poll(cx),
                None => Poll::Pending,
            });
            tokio::select! {
                biased;
                said = waited => said,
                // The sender is dropped only with the task.
                _ = cancelled => Said::from(Err(Fault::Closed)),
            }
        });
        self.numbers.insert(task.id(), id);
    }
}

pub(super) fn call(session: &Arc<Session>, object: u64, kind: op::Kind, bytes: &[u8]) -> Outcome {
    let called = catch(|| {
        if object == 0 {
            return parse(bytes).and_then(|op| session.manage(&op)).into();
        }
        let Some(entry) = session.held(object) else {
            return Outcome::from(Err(Fault::NoObject));
        };
        if entry.kind != kind {
            let (expected, found) = (kind.name().to_owned(), entry.kind.name().to_owned());
            return Outcome::from(Err(Fault::WrongKind { expected, found }));
        }
        entry.object.clone().call(session, bytes)
    });
    called.unwrap_or_else(|panic| Outcome::from(Err(Fault::Panicked(panic.message))))
}
