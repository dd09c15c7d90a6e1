//! A child's side: what it says to the objects of another process, and what it hears.
//!
//! Whoever waits in a blocking call reads by itself; a thread reads for those that wait in
//! asynchronous code, and gives back what lies about unused.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::mail::{After, Line, Mail, Mailbox};
use super::note::{Note, bringing, give_by};
use super::ring::{Direction, HasRings, Reader, Writer};
use super::seat::End;
use super::server::SeatId;
use super::{CREATE, DISMISS, EXPEL, GRANT, INTRODUCE, LEAVE, LIVES, LOST, OPEN, RELEASE};
use crate::sys::{self, Handle, HandleChannel, HandleRef, Ringer, SharedBlock, Sleeper, lock};
use crate::wire::{
    Assembler, Attached, Brought, Giver, Guard, Header, Kind, ObjectName, Outbox, Payload,
};

/// How long what came in advance may lie about.
const TICK: Duration = Duration::from_millis(2);

/// How long after it was read something is dealt with.
const SETTLED: Duration = Duration::from_millis(20);

pub(super) struct Client {
    seat: SeatId,
    /// Longest value that the hub hears.
    max_value: u64,
    /// What ends each child of this process's.
    children: Mutex<HashMap<SeatId, End>>,
    tx: Mutex<Tx>,
    rx: Mutex<Rx>,
    mail: Mutex<Mail>,
    bringing: Mutex<()>,
    /// It has given handles.
    gave: AtomicBool,
    host: Ringer,
    sleeper: Sleeper,
    /// On what whoever reads sleeps.
    bed: Reader,
    /// The way for handles to the hub, if there is one.
    channel: Option<Arc<HandleChannel>>,
    /// Threads in blocking calls that have nobody to read for them but each other.
    parked: Mutex<Vec<(u64, Thread)>>,
    next_parked: AtomicUsize,
    helper: Mutex<Helper>,
    helped: Condvar,
}

struct Tx {
    writer: Writer,
    outbox: Outbox,
    /// Bytes ever put into the outbox, and taken out of it.
    queued: u64,
    sent: u64,
    /// Who waits until something is sent.
    room: Line,
}

struct Rx {
    reader: Reader,
    assembler: Assembler,
}

#[derive(Default)]
struct Helper {
    running: bool,
    /// It waits until nobody else reads.
    waits: bool,
    /// It sleeps until the hub says something: nothing lay about when it fell asleep.
    sleeps: bool,
    /// Pending operations of asynchronous code.
    interest: usize,
    /// Mailboxes in which something lies about.
    unused: Vec<Weak<dyn Mailbox>>,
}

static CLIENT: OnceLock<Client> = OnceLock::new();

thread_local! {
    /// This thread is in a blocking call, and reads by itself.
    static BLOCKING: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn client() -> Option<&'static Client> {
    CLIENT.get()
}

/// Takes the seat that the parent has prepared.
pub(super) fn sit_down(
    seat: SeatId,
    max_value: u64,
    holder: Arc<dyn HasRings>,
    host: Ringer,
    sleeper: Sleeper,
    channel: Option<Arc<HandleChannel>>,
) {
    let client = Client {
        seat,
        max_value,
        children: Mutex::default(),
        bed: Reader::new(holder.clone(), Direction::Down),
        tx: Mutex::new(Tx {
            writer: Writer::new(holder.clone(), Direction::Up),
            outbox: Outbox::default(),
            queued: 0,
            sent: 0,
            room: Line::default(),
        }),
        rx: Mutex::new(Rx {
            reader: Reader::new(holder, Direction::Down),
            assembler: Assembler::new(u64::MAX, sys::advise_huge),
        }),
        mail: Mutex::default(),
        bringing: Mutex::default(),
        gave: AtomicBool::new(false),
        host,
        sleeper,
        channel,
        parked: Mutex::default(),
        next_parked: AtomicUsize::new(0),
        helper: Mutex::default(),
        helped: Condvar::new(),
    };
    let _ = CLIENT.set(client);
}

/// How urgently the hub must hear something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    Now,
    /// Whenever it looks next.
    Later,
}

impl Client {
    pub(super) fn seat(&self) -> SeatId {
        self.seat
    }

    pub(super) fn max_value(&self) -> u64 {
        self.max_value
    }

    pub(super) fn has_channel(&self) -> bool {
        self.channel.is_some()
    }

    pub(super) fn ringer(&self) -> HandleRef<'_> {
        self.host.handle()
    }

    /// Asks for a seat for a child-to-be: the hub gets at its memory, its bell and a way for handles.
    pub(super) fn introduce(
        &self,
        child: SeatId,
        (block, at): (&SharedBlock, usize),
        handles: [Option<Handle>; 3],
        max_value: u64,
        end: End,
    ) {
        lock(&self.children).insert(child, end);
        let parts = handles.each_ref().map(Option::is_some);
        let attached = handles.into_iter().flatten().map(|h| Attached::Handle(Arc::new(h)));
        let parts = parts.map(u8::from);
        let value = Payload::from_bytes(parts.to_vec().into(), Vec::new(), attached.collect());
        let numbers = [block.len() as u64, at as u64, max_value];
        self.send(Kind::Manage, child, Note::new(INTRODUCE, numbers), &value, Urgency::Now);
    }

    /// Has the hub learn of this process's end by itself.
    pub(super) fn live(&self) {
        // Where there is no such handle, or no way for it, its parent's end stands for its own.
        let Ok(life) = sys::own_process_handle() else { return };
        if self.has_channel() {
            let life = vec![Attached::Handle(Arc::new(life))];
            let value = Payload::from_bytes(Vec::new().into(), Vec::new(), life);
            self.send(Kind::Manage, self.seat, Note::new(LIVES, [0; 3]), &value, Urgency::Now);
        }
    }

    /// A child has ended.
    pub(super) fn dismiss(&self, child: SeatId) {
        if lock(&self.children).remove(&child).is_some() {
            let note = Note::new(DISMISS, [0; 3]);
            self.send(Kind::Manage, child, note, &Payload::empty(), Urgency::Now);
        }
    }

    fn manage(&self, object: u64, note: Note, value: &Payload) {
        self.send(Kind::Manage, object, note, value, Urgency::Later);
    }

    pub(super) fn create(
        &self,
        name: ObjectName,
        kind: u64,
        config: &[u8],
        handles: &[&Arc<Handle>],
    ) {
        let note = Note::with_key(CREATE, name, kind);
        let attached = handles.iter().map(|handle| Attached::Handle(Arc::clone(handle))).collect();
        // What brings handles is taken out of their way only once it is heard: whoever makes many waits for that.
        let urgency = if handles.is_empty() { Urgency::Later } else { Urgency::Now };
        let value = Payload::from_bytes(config.to_vec().into(), Vec::new(), attached);
        self.send(Kind::Manage, name.id, note, &value, urgency);
    }

    pub(super) fn open(&self, name: ObjectName) {
        let note = Note::with_key(OPEN, name, 0);
        // It may be that there is none any more, and somebody waits to hear that.
        self.send(Kind::Manage, name.id, note, &Payload::empty(), Urgency::Now);
    }

    pub(super) fn release(&self, object: u64) {
        let mut mail = lock(&self.mail);
        mail.forget(object);
        if !mail.is_here(object) {
            self.manage(object, Note::new(LEAVE, [0; 3]), &Payload::empty());
        }
        drop(mail);
        // One that it has taken itself.
        self.manage(object, Note::new(RELEASE, [1, 1, 0]), &Payload::empty());
    }

    pub(super) fn grant(&self, object: u64, to: SeatId) {
        self.manage(object, Note::new(GRANT, [to, 0, 0]), &Payload::empty());
    }

    /// Says something to an object; until when, in bytes, it is on its way.
    pub(super) fn note(&self, object: u64, note: Note, value: &Payload, urgency: Urgency) -> u64 {
        self.send(Kind::Note, object, note, value, urgency)
    }

    fn send(&self, kind: Kind, object: u64, note: Note, value: &Payload, urgency: Urgency) -> u64 {
        let header = note.header(kind, object);
        // One at a time: what is given waits for room until its frame can be heard.
        let _alone = (!value.attached().is_empty()).then(|| lock(&self.bringing));
        let brought = (!value.attached().is_empty()).then(|| self.bring(value));
        let mut tx = lock(&self.tx);
        let before = tx.outbox.len();
        let note = note.encode(sys::ticks());
        match brought {
            None => tx.outbox.message(header, &note, value),
            Some(brought) => tx.outbox.message(bringing(header), &brought.encode(&note), value),
        }
        tx.queued += (tx.outbox.len() - before) as u64;
        let until = tx.queued;
        tx.flush();
        let unsent = !tx.outbox.is_empty();
        let full = tx.sent < until || tx.writer.is_half_full();
        let ring = (urgency == Urgency::Now || full) && tx.writer.must_ring();
        drop(tx);
        if ring {
            self.host.ring();
        }
        // Whoever waits for it in a blocking call sends it by itself.
        if unsent && (value.len() == 0 || !is_blocking()) {
            self.want_help(&mut lock(&self.helper));
        }
        until
    }

    fn bring(&self, value: &Payload) -> Brought {
        // The hub takes a hold of its own on objects.
        self.gave.store(true, Ordering::Release);
        let brought = Brought::give(
            value.attached(),
            |handle| give_by(self.channel.as_deref(), handle),
            |_, _| true,
        );
        // The hub takes whatever comes, so there is room soon; or in some seconds, if it has hardly any
        // descriptors left.
        if let Some(channel) = &self.channel {
            let _ = channel.flush_blocking();
        }
        brought
    }

    /// Ready once everything up to there is where it outlives this process.
    pub(super) fn poll_sent(
        &self,
        until: u64,
        place: &mut Option<u64>,
        cx: &Context<'_>,
    ) -> Poll<()> {
        let mut tx = lock(&self.tx);
        if tx.sent >= until {
            if let Some(place) = place.take() {
                tx.room.leave(place);
            }
            return Poll::Ready(());
        }
        let place = *place.get_or_insert_with(|| tx.room.enter());
        tx.room.wait(place, cx);
        Poll::Pending
    }

    pub(super) fn leave_room(&self, place: u64) {
        lock(&self.tx).room.leave(place);
    }

    pub(super) fn add_mailbox(&self, object: u64, mailbox: Weak<dyn Mailbox>) {
        lock(&self.mail).add(object, mailbox);
    }

    /// The mailbox of an object; `None` once the last one has said all it had to say.
    pub(super) fn mailbox(&self, object: u64) -> Option<Arc<dyn Mailbox>> {
        loop {
            let mail = lock(&self.mail);
            if !mail.is_going(object) {
                return mail.get(object);
            }
            drop(mail);
            std::thread::yield_now();
        }
    }

    /// Sends what had to wait for room, until it is all sent.
    pub(super) fn flush_blocking(&self) {
        let all = lock(&self.tx).queued;
        let mut place = None;
        self.block_on(
            std::future::poll_fn(|cx| self.poll_sent(all, &mut place, cx)),
            Some(Instant::now() + Duration::from_secs(5)),
        );
    }

    /// Waits until the hub has what this process gave, where that ends with its giver.
    pub(super) fn settle(&self) {
        if !HandleChannel::ENDS_WITH_GIVER || !self.gave.load(Ordering::Acquire) {
            return;
        }
        let end = Instant::now() + Duration::from_secs(1);
        let mut read_at = None;
        while Instant::now() < end {
            match lock(&self.tx).writer.is_heard() {
                // It sleeps only when it has dealt with all that it has read.
                (_, true) => return,
                // Or it has others to hear all the time.
                (true, false)
                    if *read_at.get_or_insert_with(Instant::now) + SETTLED < Instant::now() =>
                {
                    return;
                }
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    // Hearing.

    /// Takes in what there is, and sends what there is room for.
    fn receive(&self, rx: &mut Rx) {
        let mut after = After::default();
        let Rx { reader, assembler } = rx;
        let mut touched: Vec<(u64, Arc<dyn Mailbox>)> = Vec::new();
        let mut expelled: Vec<End> = Vec::new();
        while !reader.is_empty() {
            let (buf, max) = assembler.target();
            let Ok(n) = reader.read(buf, max) else { sys::kill_own_group() };
            assembler.received(n);
            loop {
                let message = match assembler.next() {
                    Ok(Some(message)) => message,
                    Ok(None) => break,
                    Err(_) => sys::kill_own_group(),
                };
                let Header { kind, id, .. } = message.header;
                let Some((note, _, mut value)) = Note::take(message) else { sys::kill_own_group() };
                value.claim(&Hub(self));
                if kind == Kind::Manage && note.code == EXPEL {
                    expelled.extend(lock(&self.children).get(&id).cloned());
                    continue;
                }
                let same = touched.last().is_some_and(|(last, _)| *last == id);
                if !same {
                    let mail = lock(&self.mail);
                    let Some(mailbox) = mail.get(id) else {
                        // Nobody here has it any more. Said under the lock: who has it next says so
                        // after it.
                        if kind == Kind::Note {
                            self.manage(id, Note::new(LEAVE, [0; 3]), &Payload::empty());
                        }
                        continue;
                    };
                    drop(mail);
                    touched.retain(|(other, _)| *other != id);
                    touched.push((id, mailbox));
                }
                let Some((_, mailbox)) = touched.last() else { continue };
                if kind == Kind::Manage && note.code == LOST {
                    mailbox.lost(&mut after);
                } else {
                    mailbox.deliver(note, value, &mut after);
                }
            }
            if reader.must_ring() {
                self.host.ring();
            }
        }
        let mut tx = lock(&self.tx);
        // Another may have sent it all, who wakes nobody.
        if !tx.outbox.is_empty() || tx.room.is_awaited() {
            tx.flush();
            let n = tx.room.len();
            tx.room.wake(n, &mut after);
            if tx.writer.must_ring() {
                self.host.ring();
            }
        }
        drop(tx);
        for (_, mailbox) in touched {
            if mailbox.lies_about() {
                self.look_after(&mailbox);
            }
            after.mailboxes.push(mailbox);
        }
        after.run();
        let how = "it broke the rules of the hub";
        expelled.iter().for_each(|end| end(how));
    }

    /// Takes in what there is, unless somebody is at it.
    pub(super) fn listen(&self) {
        let Ok(mut rx) = self.rx.try_lock() else { return };
        if !rx.reader.is_empty() {
            self.receive(&mut rx);
        }
        drop(rx);
        self.hand_over();
    }

    /// Has the helper look at what lies about.
    fn look_after(&self, mailbox: &Arc<dyn Mailbox>) {
        let weak = Arc::downgrade(mailbox);
        let mut helper = lock(&self.helper);
        if !helper.unused.iter().any(|unused| unused.ptr_eq(&weak)) {
            helper.unused.push(weak);
            // What came for a future that is dropped unfinished: nothing is said that would wake it.
            if helper.sleeps {
                self.interrupt();
            }
            self.want_help(&mut helper);
        }
    }

    pub(super) fn tick_soon(&self, object: u64) {
        let mailbox = lock(&self.mail).get(object);
        if let Some(mailbox) = mailbox {
            self.look_after(&mailbox);
        }
    }

    /// Sleeps until the hub says something, or there is room for what waits.
    fn sleep(&self, rx: &Rx, limit: Option<Duration>, woken: impl Fn() -> bool) {
        if rx.reader.fall_asleep() && !woken() {
            let tx = lock(&self.tx);
            let stuck = match tx.outbox.is_empty() {
                true => !tx.room.is_awaited(),
                false => tx.writer.want_room(),
            };
            drop(tx);
            if stuck {
                let (block, word) = rx.reader.sleeps_on();
                self.sleeper.sleep(block, word, limit);
            }
        }
        rx.reader.wake_up();
    }

    /// Has the helper read while asynchronous code waits.
    pub(super) fn interest(&'static self) -> GuestInterest {
        let mut helper = lock(&self.helper);
        helper.interest += 1;
        self.want_help(&mut helper);
        GuestInterest(self)
    }

    /// Ends the sleep of whoever reads.
    fn interrupt(&self) {
        self.bed.wake_up();
        let (block, word) = self.bed.sleeps_on();
        self.sleeper.interrupt(block, word);
    }

    fn want_help(&self, helper: &mut Helper) {
        if !helper.running {
            helper.running = true;
            let Some(client) = CLIENT.get() else { return };
            let thread = std::thread::Builder::new().name("procpool-hub".into());
            if thread.spawn(|| client.help()).is_err() {
                helper.running = false;
            }
        }
        self.helped.notify_one();
    }

    /// Whether something waits for room.
    fn has_unsent(&self) -> bool {
        !lock(&self.tx).outbox.is_empty()
    }

    /// Has the helper send what waits for room.
    pub(super) fn send_later(&self) {
        if self.has_unsent() {
            self.want_help(&mut lock(&self.helper));
        }
    }

    fn help(&self) {
        let mut helper = lock(&self.helper);
        loop {
            let watched = !helper.unused.is_empty();
            if helper.interest > 0 || self.has_unsent() {
                let mut rx = match self.rx.try_lock() {
                    Ok(rx) => rx,
                    Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                    // Whoever has it reads, and says under the lock that is held here when it stops.
                    Err(TryLockError::WouldBlock) => {
                        helper.waits = true;
                        let limit = if watched { TICK } else { Duration::MAX };
                        let waited = self.helped.wait_timeout(helper, limit);
                        (helper, _) = waited.unwrap_or_else(PoisonError::into_inner);
                        helper.waits = false;
                        drop(helper);
                        helper = self.tick();
                        continue;
                    }
                };
                drop(helper);
                self.receive(&mut rx);
                let helper = lock(&self.helper);
                let limit = (!helper.unused.is_empty()).then_some(TICK);
                let interest = helper.interest > 0;
                drop(helper);
                if interest || self.has_unsent() {
                    self.sleep(&rx, limit, || {
                        let mut helper = lock(&self.helper);
                        helper.sleeps = limit.is_none();
                        helper.sleeps && !helper.unused.is_empty()
                    });
                    lock(&self.helper).sleeps = false;
                    self.receive(&mut rx);
                }
                drop(rx);
                self.hand_over();
            } else if watched {
                let waited = self.helped.wait_timeout(helper, TICK);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
                // Whoever has items may compute for long, and hears nothing meanwhile.
                self.listen();
            } else {
                drop(self.helped.wait(helper).unwrap_or_else(PoisonError::into_inner));
            }
            helper = self.tick();
        }
    }

    /// Has those give back what lies about that nobody takes.
    fn tick(&self) -> MutexGuard<'_, Helper> {
        let unused = lock(&self.helper).unused.clone();
        for mailbox in unused.iter().filter_map(Weak::upgrade) {
            mailbox.tick(false);
        }
        let lies_about = |mailbox: &Weak<dyn Mailbox>| {
            mailbox.upgrade().is_some_and(|mailbox| mailbox.lies_about())
        };
        let over: Vec<_> = unused.into_iter().filter(|mailbox| !lies_about(mailbox)).collect();
        let mut helper = lock(&self.helper);
        helper.unused.retain(|mailbox| !over.iter().any(|over| over.ptr_eq(mailbox)));
        drop(helper);
        // One may have got something just now. No mailbox is looked at under the lock: one that says
        // something, or is dropped for good, takes it.
        for mailbox in over.iter().filter_map(Weak::upgrade).filter(|m| m.lies_about()) {
            self.look_after(&mailbox);
        }
        lock(&self.helper)
    }

    /// Whoever has read stops: another one may.
    fn hand_over(&self) {
        if let Some((_, thread)) = lock(&self.parked).first() {
            thread.unpark();
        }
        if lock(&self.helper).waits {
            self.helped.notify_one();
        }
    }

    /// Waits for a future on this thread, at most until `deadline`.
    pub(super) fn block_on<F: Future>(
        &self,
        future: F,
        deadline: Option<Instant>,
    ) -> Option<F::Output> {
        let mut parked = false;
        let output = block_on(future, deadline, |parker, limit| {
            parked |= self.wait(parker, limit);
        });
        // It may have been its turn to read, just when it had no need to any more.
        if parked && self.rx.try_lock().is_ok() {
            self.hand_over();
        }
        output
    }

    /// Reads until woken, or has another one do so; whether it was the latter.
    fn wait(&self, parker: &Parker, limit: Option<Duration>) -> bool {
        match self.rx.try_lock() {
            Ok(mut rx) => self.read_here(&mut rx, parker, limit),
            Err(TryLockError::Poisoned(poisoned)) => {
                self.read_here(&mut poisoned.into_inner(), parker, limit);
            }
            Err(TryLockError::WouldBlock) => {
                let id = self.next_parked.fetch_add(1, Ordering::Relaxed) as u64;
                lock(&self.parked).push((id, parker.thread.clone()));
                // Whoever reads may have stopped before it could see this thread.
                if !parker.is_set() && self.rx.try_lock().is_err() {
                    park(limit);
                }
                lock(&self.parked).retain(|(p, _)| *p != id);
                return true;
            }
        }
        self.hand_over();
        false
    }

    fn read_here(&self, rx: &mut Rx, parker: &Parker, limit: Option<Duration>) {
        self.receive(rx);
        if !parker.is_set() {
            parker.reads.store(true, Ordering::SeqCst);
            self.sleep(rx, limit, || parker.is_set());
            parker.reads.store(false, Ordering::SeqCst);
            self.receive(rx);
        }
    }
}

impl Tx {
    fn flush(&mut self) {
        if self.outbox.is_empty() {
            return;
        }
        while !self.outbox.is_empty() {
            let slices = self.outbox.slices();
            let written = self.writer.write(&slices);
            drop(slices);
            match written {
                // Whoever reads may sleep already, and not know that something waits for room.
                Ok(0) if self.writer.want_room() => break,
                Ok(n) => {
                    self.outbox.advance(n);
                    self.sent += n as u64;
                }
                // Its memory was made nonsense of, which nothing that follows can mend.
                Err(_) => sys::kill_own_group(),
            }
        }
        if self.writer.is_over() {
            // The process that started this one has ended, and its children with it: nothing is to be
            // taken for done any more.
            sys::kill_own_group();
        }
    }
}

/// As long as it lives the helper reads.
pub(crate) struct GuestInterest(&'static Client);

impl Drop for GuestInterest {
    fn drop(&mut self) {
        lock(&self.0.helper).interest -= 1;
    }
}

/// Whether whoever polls reads by itself when it waits.
pub(super) fn is_blocking() -> bool {
    BLOCKING.get()
}

struct Parker {
    thread: Thread,
    woken: AtomicBool,
    /// The thread reads, and so sleeps where unparking it does nothing.
    reads: AtomicBool,
}

impl Parker {
    fn here() -> Self {
        Parker {
            thread: std::thread::current(),
            woken: AtomicBool::new(false),
            reads: AtomicBool::new(false),
        }
    }

    fn is_set(&self) -> bool {
        self.woken.load(Ordering::SeqCst)
    }

    fn take(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            self.thread.unpark();
            if self.reads.load(Ordering::SeqCst)
                && let Some(client) = CLIENT.get()
            {
                client.interrupt();
            }
        }
    }
}

/// Waits for a future on this thread, at most until `deadline`; `wait` returns now and then.
fn block_on<F: Future>(
    future: F,
    deadline: Option<Instant>,
    mut wait: impl FnMut(&Parker, Option<Duration>),
) -> Option<F::Output> {
    let parker = Arc::new(Parker::here());
    let waker = Waker::from(parker.clone());
    let mut future = pin!(future);
    loop {
        let blocking = BLOCKING.replace(true);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        BLOCKING.set(blocking);
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        while !parker.take() {
            let limit = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if limit == Some(Duration::ZERO) {
                return None;
            }
            wait(&parker, limit);
        }
    }
}

/// The same where others do the reading.
pub(super) fn block_on_here<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    block_on(future, deadline, |_, limit| park(limit))
}

fn park(limit: Option<Duration>) {
    match limit {
        Some(limit) => std::thread::park_timeout(limit),
        None => std::thread::park(),
    }
}

/// What the hub sends along.
struct Hub<'a>(&'a Client);

impl Giver for Hub<'_> {
    fn take(&self, token: u64) -> io::Result<Handle> {
        let channel = self.0.channel.as_deref().ok_or(io::ErrorKind::Unsupported)?;
        // The hub does not see that there is room.
        channel.take_blocking(token, || self.0.host.ring())
    }

    fn guard(&self, object: u64) -> Guard {
        Box::new(Held(object))
    }
}

/// A hold that came with a value.
pub(super) struct Held(pub(super) u64);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(client) = CLIENT.get() {
            client.manage(self.0, Note::new(RELEASE, [1, 0, 0]), &Payload::empty());
        }
    }
}
