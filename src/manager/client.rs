//! A process's connection to a manager.
//!
//! Whoever asks for something appends it to the outbox, and writes it at once if nothing else is under way; else the
//! driver, a task of the runtime, writes all that has collected. The driver reads, too, and wakes whoever is answered. A
//! thread in a blocking call does not depend on a runtime that may not run: it reads by itself, one such thread for all,
//! and hands over when it has what it came for.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError, Weak};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::Thread;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use tokio::runtime::RuntimeFlavor;

use super::error::ManagerError;
use super::fault::Fault;
use super::handshake::{ClientHandshake, MAX_FRAME, Welcome};
use super::op::{self, DONE, FAILED, Kind, ManagerOp, NO_REPLY};
use super::reach::Reached;
use super::route::Route;
use crate::hub::drop_elsewhere;
use crate::link::{End, Pace};
use crate::sys::{self, BOTH, HandleSet, Interest, READ, lock};
use crate::wire::{Assembler, Body, Header, Kind as FrameKind, Outbox, Payload};

/// How long a manager may take to say who it is.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Whether a thread in a blocking call reads by itself. On Windows what comes once a task has asked for it is in the
/// hands of that task's runtime: there a thread of the client's own reads for all.
const LEADS: bool = cfg!(unix);
/// Reads in one turn of the driver, so that it keeps no runtime thread for itself.
const READS: usize = 16;

/// What an operation came to.
pub(super) type Answer = Result<Vec<u8>, ManagerError>;

pub(super) struct Client {
    pub(super) instance: u128,
    pub(super) session: u64,
    tx: Mutex<Tx>,
    rx: Mutex<Rx>,
    driver: AtomicWaker,
    /// A driver runs.
    driven: AtomicBool,
    /// It has been woken while another read, and is not told of what comes any more.
    deaf: AtomicBool,
    /// Nobody uses it any more.
    closed: AtomicBool,
    /// Threads in blocking calls that wait for the one that reads.
    followers: Mutex<Vec<Thread>>,
    me: Weak<Client>,
}

struct Tx {
    end: End,
    out: Outbox,
    next: u64,
    slots: HashMap<u64, Slot>,
    /// Of the slots, those without an answer.
    outstanding: usize,
    /// The driver has been woken, and has not looked yet.
    woken: bool,
    /// It has looked, and put off sending once.
    deferred: bool,
    /// Why nothing can be asked any more.
    over: Option<ManagerError>,
}

enum Slot {
    Waiting(Option<Waker>),
    Answered(Answer),
    /// Nobody waits any more: what is answered is undone.
    Abandoned(Undo),
}

/// What is to be done about an answer that nobody takes.
pub(super) type Undo = Box<dyn FnOnce(&Client, &[u8]) + Send>;

struct Rx {
    end: End,
    assembler: Assembler,
    sets: VecDeque<HandleSet>,
}

impl Client {
    fn new(end: End, assembler: Assembler, welcome: Welcome) -> io::Result<Arc<Self>> {
        let mut end = end;
        let read = end.try_clone()?;
        Ok(Arc::new_cyclic(|me| Client {
            instance: welcome.instance,
            session: welcome.session,
            tx: Mutex::new(Tx {
                end,
                out: Outbox::default(),
                next: NO_REPLY,
                slots: HashMap::new(),
                outstanding: 0,
                woken: false,
                deferred: false,
                over: None,
            }),
            rx: Mutex::new(Rx { end: read, assembler, sets: VecDeque::new() }),
            driver: AtomicWaker::new(),
            driven: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            followers: Mutex::default(),
            me: me.clone(),
        }))
    }

    /// One more hold on it, but for one that is just being let go of.
    pub(super) fn another(&self) -> Option<Arc<Self>> {
        self.me.upgrade()
    }

    /// Whether it can still be used.
    pub(super) fn is_over(&self) -> bool {
        lock(&self.tx).over.is_some()
    }

    /// Asks for something, between what `before` and `after` have to say; the request's number.
    pub(super) fn ask(
        &self,
        before: impl FnOnce(&mut Sender<'_>),
        after: impl FnOnce(&mut Sender<'_>),
        (object, kind): (u64, Kind),
        op: Vec<u8>,
        waker: Option<&Waker>,
    ) -> Result<u64, ManagerError> {
        let mut tx = lock(&self.tx);
        if let Some(over) = &tx.over {
            return Err(over.clone());
        }
        before(&mut Sender { out: &mut tx.out });
        tx.next += 1;
        let id = tx.next;
        Sender { out: &mut tx.out }.request(id, object, kind, op);
        after(&mut Sender { out: &mut tx.out });
        tx.slots.insert(id, Slot::Waiting(waker.cloned()));
        tx.outstanding += 1;
        let direct = waker.is_none() || tx.outstanding == 1;
        self.send(tx, direct);
        Ok(id)
    }

    /// Says something that wants no answer.
    pub(super) fn tell(&self, op: &ManagerOp<'_>) {
        self.tell_after(|_| {}, op);
    }

    /// The same, after `before` has said what it has to.
    pub(super) fn tell_after(&self, before: impl FnOnce(&mut Sender<'_>), op: &ManagerOp<'_>) {
        let mut tx = lock(&self.tx);
        if tx.over.is_none() {
            let mut sender = Sender { out: &mut tx.out };
            before(&mut sender);
            sender.tell(op);
            self.send(tx, true);
        }
    }

    /// Asks something of an object, of which nothing is to be heard.
    pub(super) fn tell_object(&self, (object, kind): (u64, Kind), op: Vec<u8>) {
        let mut tx = lock(&self.tx);
        if tx.over.is_none() {
            Sender { out: &mut tx.out }.request(NO_REPLY, object, kind, op);
            self.send(tx, true);
        }
    }

    /// Sends what waits, at once or by the driver.
    fn send(&self, mut tx: MutexGuard<'_, Tx>, direct: bool) {
        // Whoever cannot be sure that a driver runs does not leave it to one.
        if direct && tx.flush(&mut Pace::Now) {
            tx.woken = false;
            return;
        }
        let wake = !std::mem::replace(&mut tx.woken, true);
        drop(tx);
        if direct && let Some(me) = self.me.upgrade() {
            me.ensure_driver();
        }
        if wake {
            self.driver.wake();
        }
    }

    /// The answer to a request, if it is there; else `waker` is woken when it is.
    pub(super) fn poll_answer(&self, id: u64, waker: &Waker) -> Poll<Answer> {
        let mut tx = lock(&self.tx);
        match tx.slots.get_mut(&id) {
            Some(Slot::Waiting(woken)) => {
                match woken {
                    Some(woken) => woken.clone_from(waker),
                    None => *woken = Some(waker.clone()),
                }
                Poll::Pending
            }
            Some(Slot::Answered(_)) => match tx.slots.remove(&id) {
                Some(Slot::Answered(answer)) => Poll::Ready(answer),
                _ => unreachable!("just seen"),
            },
            Some(Slot::Abandoned(_)) | None => {
                Poll::Ready(Err(ManagerError::died("its request was given up")))
            }
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn abandon(&self, id: u64, waits: bool, undo: Option<Undo>) {
        let mut tx = lock(&self.tx);
        let slot = tx.slots.remove(&id);
        match (slot, undo) {
            (Some(Slot::Answered(answer)), undo) => {
                drop(tx);
                if let (Ok(bytes), Some(undo)) = (answer, undo) {
                    undo(self, &bytes);
                }
                return;
            }
            (Some(Slot::Waiting(_)), undo) => {
                tx.outstanding -= 1;
                if let Some(undo) = undo {
                    tx.slots.insert(id, Slot::Abandoned(undo));
                }
            }
            (other, undo) => {
                // Whatever is dropped with them may have something to say.
                drop(tx);
                drop((other, undo));
                return;
            }
        }
        if waits && tx.over.is_none() {
            tx.out.frame(Header::new(FrameKind::Cancel, 0, id, 0), &[]);
            self.send(tx, true);
        }
    }

    /// Has somebody read for asynchronous code.
    pub(super) fn ensure_driver(self: &Arc<Self>) {
        if self.driven.swap(true, Ordering::AcqRel) {
            return;
        }
        // A runtime of one thread may rest while others wait.
        match tokio::runtime::Handle::try_current() {
            Ok(here) if LEADS && here.runtime_flavor() == RuntimeFlavor::MultiThread => {
                drop(here.spawn(drive(Driver { client: self.clone(), last: false })));
            }
            _ => on_own_thread(Driver { client: self.clone(), last: true }),
        }
    }

    /// One turn of the driver; ready when there is nothing to do for it any more.
    fn drive(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.driver.register(cx.waker());
        if self.closed.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        let mut tx = lock(&self.tx);
        if tx.over.is_some() {
            return Poll::Ready(());
        }
        // Woken to send while there is an answer to come: first the tasks that are ready to run add what they
        // have, so that it all goes in one write.
        if tx.woken && !tx.deferred && tx.outstanding > 1 {
            tx.deferred = true;
            cx.waker().wake_by_ref();
        } else {
            tx.woken = false;
            tx.deferred = false;
            tx.flush(&mut Pace::Task(cx));
        }
        drop(tx);
        // Whoever holds it reads.
        let rx = self.try_rx().or_else(|| {
            // Whoever reads has it look again, since nobody else tells it what comes; unless that one has just gone.
            self.deaf.store(true, Ordering::SeqCst);
            self.try_rx()
        });
        let Some(mut rx) = rx else { return Poll::Pending };
        for _ in 0..READS {
            match self.read(&mut rx, &mut Pace::Task(cx)) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(()),
                Poll::Pending => {
                    drop(rx);
                    self.hand_over();
                    return Poll::Pending;
                }
            }
        }
        drop(rx);
        self.hand_over();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The right to read, if nobody has it.
    fn try_rx(&self) -> Option<MutexGuard<'_, Rx>> {
        match self.rx.try_lock() {
            Ok(rx) => Some(rx),
            Err(TryLockError::Poisoned(rx)) => Some(rx.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Reads once; false at the end.
    fn read(&self, rx: &mut Rx, pace: &mut Pace<'_, '_>) -> Poll<bool> {
        let (buf, max) = rx.assembler.target();
        let read = match rx.end.read(pace, buf, max, &mut rx.sets) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(read) => read,
        };
        if !rx.sets.is_empty() {
            drop_elsewhere(std::mem::take(&mut rx.sets));
        }
        let over = match read {
            Ok(0) => ManagerError::died("it has closed the connection"),
            Ok(n) => {
                rx.assembler.received(n);
                match self.sort(rx) {
                    Ok(()) => return Poll::Ready(true),
                    Err(what) => ManagerError::Protocol { what },
                }
            }
            Err(e) => ManagerError::died(e.to_string()),
        };
        self.end(&over);
        Poll::Ready(false)
    }

    /// Hands out what has arrived.
    fn sort(&self, rx: &mut Rx) -> Result<(), String> {
        let mut wakers = Vec::new();
        let mut undone = Vec::new();
        let sorted = self.sort_into(rx, &mut wakers, &mut undone);
        // Also of what came before nonsense.
        wakers.into_iter().for_each(Waker::wake);
        for (undo, answer) in undone {
            if let Ok(bytes) = answer {
                undo(self, &bytes);
            }
        }
        sorted
    }

    fn sort_into(
        &self,
        rx: &mut Rx,
        wakers: &mut Vec<Waker>,
        undone: &mut Vec<(Undo, Answer)>,
    ) -> Result<(), String> {
        let mut tx = lock(&self.tx);
        while let Some(message) = rx.assembler.next().map_err(|e| e.to_string())? {
            if message.header.kind != FrameKind::Reply {
                return Err(format!("a frame of kind {:?}", message.header.kind));
            }
            let (status, rest) = message.meta.split_first().ok_or("a reply that says nothing")?;
            let bytes = match message.body {
                Body::Inline => rest.to_vec(),
                Body::Streamed { head, .. } => head,
            };
            let answer = match *status {
                DONE => Ok(bytes),
                FAILED => match postcard::from_bytes::<Fault>(&bytes) {
                    Ok(fault) => Err(fault.into()),
                    Err(e) => return Err(format!("a failure that says nothing: {e}")),
                },
                status => return Err(format!("a reply of status {status}")),
            };
            let id = message.header.id;
            match tx.slots.get_mut(&id) {
                Some(slot @ Slot::Waiting(_)) => {
                    let Slot::Waiting(waker) = std::mem::replace(slot, Slot::Answered(answer))
                    else {
                        unreachable!("just seen")
                    };
                    wakers.extend(waker);
                    tx.outstanding -= 1;
                }
                Some(Slot::Abandoned(_)) => {
                    if let Some(Slot::Abandoned(undo)) = tx.slots.remove(&id) {
                        undone.push((undo, answer));
                    }
                }
                // What was given up.
                Some(Slot::Answered(_)) | None => {}
            }
        }
        Ok(())
    }

    /// Nothing more comes.
    fn end(&self, over: &ManagerError) {
        let mut tx = lock(&self.tx);
        tx.over.get_or_insert_with(|| over.clone());
        tx.out.clear();
        tx.outstanding = 0;
        let (mut wakers, mut abandoned) = (Vec::new(), Vec::new());
        for (id, slot) in std::mem::take(&mut tx.slots) {
            match slot {
                Slot::Waiting(waker) => {
                    wakers.extend(waker);
                    tx.slots.insert(id, Slot::Answered(Err(over.clone())));
                }
                slot @ Slot::Answered(_) => drop(tx.slots.insert(id, slot)),
                Slot::Abandoned(undo) => abandoned.push(undo),
            }
        }
        drop(tx);
        // What they keep may have something to say.
        drop(abandoned);
        wakers.into_iter().for_each(Waker::wake);
        self.driver.wake();
        let followers = std::mem::take(&mut *lock(&self.followers));
        followers.iter().for_each(Thread::unpark);
    }

    /// Another thread in a blocking call may read now.
    fn hand_over(&self) {
        if let Some(next) = lock(&self.followers).pop() {
            next.unpark();
        }
    }

    /// Waits for the answer on this thread, at most until `deadline`.
    pub(super) fn wait(&self, id: u64, deadline: Option<Instant>) -> Option<Answer> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        if !LEADS && let Some(me) = self.me.upgrade() {
            me.ensure_driver();
        }
        loop {
            if let Poll::Ready(answer) = self.poll_answer(id, &waker) {
                self.leave();
                return Some(answer);
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                self.leave();
                return None;
            }
            if LEADS && let Some(mut rx) = self.try_rx() {
                self.lead(&mut rx, id, deadline);
                continue;
            }
            lock(&self.followers).push(std::thread::current());
            // It may have been let go of before that.
            let free = LEADS && self.try_rx().is_some();
            if !free {
                match deadline {
                    Some(at) => {
                        std::thread::park_timeout(at.saturating_duration_since(Instant::now()));
                    }
                    None => std::thread::park(),
                }
            }
            let me = std::thread::current().id();
            lock(&self.followers).retain(|one| one.id() != me);
        }
    }

    /// Whoever leaves sees to it that somebody reads.
    fn leave(&self) {
        if self.deaf.swap(false, Ordering::SeqCst) || lock(&self.tx).outstanding > 0 {
            self.driver.wake();
        }
        self.hand_over();
    }

    /// Reads for all until the answer is there.
    fn lead(&self, rx: &mut Rx, id: u64, deadline: Option<Instant>) {
        loop {
            let mut tx = lock(&self.tx);
            // It may have come before this thread was the one that reads: then nothing more may come.
            if !matches!(tx.slots.get(&id), Some(Slot::Waiting(_))) {
                return;
            }
            let stuck = !tx.flush(&mut Pace::Now);
            tx.woken &= stuck;
            drop(tx);
            let mut pace = if stuck || deadline.is_some() { Pace::Now } else { Pace::Wait };
            match self.read(rx, &mut pace) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return,
                Poll::Pending => {
                    let interest = Interest { write: stuck, ..READ };
                    match rx.end.wait(interest, deadline) {
                        Ok(true) => continue,
                        Ok(false) => return,
                        Err(e) => return self.end(&ManagerError::died(e.to_string())),
                    }
                }
            }
        }
    }

    /// Nobody uses it any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let mut tx = lock(&self.tx);
        // Else a manager over the network would wait for this process to come back.
        tx.out.frame(Header::new(FrameKind::Goodbye, 0, 0, 0), &[]);
        tx.flush(&mut Pace::Now);
        drop(tx);
        self.driver.wake();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// As long as it lives, asynchronous code has somebody who reads.
struct Driver {
    client: Arc<Client>,
    /// There is nothing else that could take its place.
    last: bool,
}

async fn drive(driver: Driver) {
    poll_fn(|cx| driver.client.drive(cx)).await;
}

impl Drop for Driver {
    fn drop(&mut self) {
        let client = &self.client;
        client.driven.store(false, Ordering::Release);
        let tx = lock(&client.tx);
        let needed = tx.over.is_none() && (tx.outstanding > 0 || !tx.out.is_empty());
        drop(tx);
        if !needed || client.closed.load(Ordering::Acquire) {
            return;
        }
        if self.last {
            client
                .end(&ManagerError::died("there is no thread or descriptor left to read from it"));
        } else if !client.driven.swap(true, Ordering::AcqRel) {
            // Its runtime has ended, and others wait.
            on_own_thread(Driver { client: client.clone(), last: true });
        }
    }
}

/// Drives where no runtime can end under it.
fn on_own_thread(driver: Driver) {
    let thread = std::thread::Builder::new().name("procpool-manager".into());
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(drive(driver));
        }
    };
    drop(thread.spawn(run));
}

impl Tx {
    /// Writes what can be written; whether that is all.
    fn flush(&mut self, pace: &mut Pace<'_, '_>) -> bool {
        let flushed = self.end.flush(pace, &mut self.out);
        if let Poll::Ready(Err(_)) = flushed {
            // Whoever reads hears of it.
            self.end.shut(BOTH);
            self.out.clear();
        }
        flushed.is_ready()
    }
}

/// Says things in order.
pub(super) struct Sender<'a> {
    out: &'a mut Outbox,
}

impl Sender<'_> {
    fn request(&mut self, id: u64, object: u64, kind: Kind, op: Vec<u8>) {
        let payload = Payload::from_bytes(op.into(), Vec::new(), Vec::new());
        let header = Header::new(FrameKind::Request, 0, id, 0);
        self.out.message(header, &op::meta(object, kind), &payload);
    }

    /// Says something of which nothing is to be heard.
    pub(super) fn tell(&mut self, op: &ManagerOp<'_>) -> bool {
        let Ok(op) = op::encode(op) else { return false };
        self.request(NO_REPLY, 0, Kind::MANAGER, op);
        true
    }
}

/// A connection that is being made.
struct Opening {
    end: End,
    binding: Vec<u8>,
    refused: Arc<OnceLock<String>>,
    assembler: Assembler,
    out: Outbox,
    sets: VecDeque<HandleSet>,
    handshake: Option<ClientHandshake>,
}

impl Opening {
    fn new(reached: Reached, route: &Route) -> Result<Self, ManagerError> {
        let Reached { end, binding, refused } = reached;
        let (handshake, hello) = ClientHandshake::new(&route.client, &route.key)
            .map_err(|e| ManagerError::Authentication { reason: e.to_string() })?;
        let assembler = Assembler::new(MAX_FRAME, sys::advise_huge);
        let mut out = Outbox::default();
        out.frame(Header::new(FrameKind::Hello, 0, 0, 0), &hello);
        let (sets, handshake) = (VecDeque::new(), Some(handshake));
        Ok(Opening { end, binding, refused, assembler, out, sets, handshake })
    }

    fn poll(&mut self, pace: &mut Pace<'_, '_>) -> Poll<Result<Welcome, ManagerError>> {
        let refused = |reason: String| ManagerError::Authentication { reason };
        loop {
            if let Err(e) = ready!(self.end.flush(pace, &mut self.out)) {
                return Poll::Ready(Err(self.lost(e.to_string())));
            }
            match self.assembler.next() {
                Ok(Some(message)) => match (message.header.kind, self.handshake.take()) {
                    (FrameKind::Ready, Some(handshake)) => {
                        let proof = handshake.answer(message.meta, &self.binding);
                        let proof = match proof {
                            Ok(proof) => proof,
                            Err(e) => {
                                return Poll::Ready(Err(refused(format!("the manager: {e}"))));
                            }
                        };
                        self.out.frame(Header::new(FrameKind::Took, 0, 0, 0), &proof);
                        continue;
                    }
                    (FrameKind::Welcome, None) => {
                        let welcome = postcard::from_bytes::<Result<Welcome, Fault>>(message.meta);
                        let welcome = welcome.map_err(|e| refused(e.to_string()))?;
                        return Poll::Ready(welcome.map_err(ManagerError::from));
                    }
                    _ => return Poll::Ready(Err(refused("it speaks out of turn".to_owned()))),
                },
                Ok(None) => {}
                Err(e) => return Poll::Ready(Err(refused(e.to_string()))),
            }
            let (buf, max) = self.assembler.target();
            match self.end.read(pace, buf, max, &mut self.sets) {
                Poll::Ready(Ok(0)) => {
                    // Whoever closes before it has said anything does not do so for the key.
                    return Poll::Ready(Err(match self.handshake {
                        Some(_) => self.lost("it has closed the connection at once".to_owned()),
                        None => refused("the manager does not accept this key".to_owned()),
                    }));
                }
                Poll::Ready(Ok(n)) => self.assembler.received(n),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(self.lost(e.to_string()))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The connection is over before the manager knows this client.
    fn lost(&self, reason: String) -> ManagerError {
        match self.refused.get() {
            Some(reason) => {
                ManagerError::Authentication { reason: format!("the manager: {reason}") }
            }
            None => ManagerError::died(reason),
        }
    }

    fn done(mut self, welcome: Welcome) -> Result<Arc<Client>, ManagerError> {
        self.assembler.set_max_message(u64::MAX);
        Client::new(self.end, self.assembler, welcome)
            .map_err(|e| ManagerError::io("connecting", &e))
    }
}

fn late() -> ManagerError {
    let reason = format!("the manager has said nothing for {} s", PATIENCE.as_secs());
    ManagerError::Authentication { reason }
}

/// Connects, as a task.
pub(super) async fn connect(route: &Route) -> Result<Arc<Client>, ManagerError> {
    let mut opening = Opening::new(route.reach().await?, route)?;
    let opened = poll_fn(|cx| opening.poll(&mut Pace::Task(cx)));
    let welcome = tokio::time::timeout(PATIENCE, opened).await.map_err(|_| late())??;
    opening.done(welcome)
}

/// The same on a thread that may wait.
pub(super) fn blocking_connect(route: &Route) -> Result<Arc<Client>, ManagerError> {
    let deadline = Some(Instant::now() + PATIENCE);
    let mut opening = Opening::new(route.blocking_reach()?, route)?;
    loop {
        if let Poll::Ready(welcome) = opening.poll(&mut Pace::Now) {
            return opening.done(welcome?);
        }
        let interest = Interest { write: !opening.out.is_empty(), ..READ };
        match opening.end.wait(interest, deadline) {
            Ok(true) => {}
            Ok(false) => return Err(late()),
            Err(e) => return Err(ManagerError::io("connecting", &e)),
        }
    }
}
