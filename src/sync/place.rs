//! What a process has of an object: its memory, an entry in it, and its tasks that wait.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeTuple, Serializer};

use super::arbiter::{SYNC, own_seat};
use super::error::SyncError;
use super::rlock::Owner;
use super::segment::{Segment, words_of};
use super::words::table::{self, Looked, PATIENCE, Party, Wait};
use super::words::{Kind, Table};
use crate::hub::{
    self, Access, After, Given, Got, HasAccess, Interest, Line, Mailbox, Note, Urgency, block_on,
};
use crate::process::{Error, failpoint_hit};
use crate::sys::{self, Handle, handle_ref, lock};
use crate::wire::{Arrived, Received, arrived, attach};

/// What is said of an object, both ways.
pub(super) mod say {
    /// Tasks of a process are to look: `[its entry, 1: all of them]`
    pub(crate) const POKE: u16 = 1;
}

/// How long a thread sleeps before somebody is asked to read for it, while the object is new here.
const ALONE: Duration = Duration::from_millis(20);
const YOUTH: Duration = Duration::from_secs(1);

/// Whether a thread that waits is a task to others: where threads cannot sleep on the memory.
pub(super) const THREAD: bool = !sys::CAN_PARK;

/// Every handle of one object in a process shares it.
pub(super) struct Place {
    kind: Kind,
    access: Access,
    segment: Segment,
    /// By which others map it.
    handle: Arc<Handle>,
    me: Party,
    since: Instant,
    /// Tasks that wait.
    line: Mutex<Line>,
    /// Held while this process does something by its slot.
    slot: Mutex<()>,
    lost: AtomicBool,
    /// Which of its tasks or threads holds it, for a lock of which that matters.
    pub(super) owner: Mutex<Option<Owner>>,
}

impl Place {
    /// A new object, as `init` makes it.
    pub(super) fn create(kind: Kind, init: impl FnOnce(&Place)) -> Result<Arc<Self>, Error> {
        let create = || {
            let (segment, handle) = Segment::create()?;
            let config = postcard::to_allocvec(&kind).map_err(io::Error::other)?;
            let me = sit(&segment)?;
            let given = handle.clone();
            Access::create(SYNC, &config, &[&handle], |access| {
                Self::new(kind, access, segment, given, me)
            })
        };
        let place = create().map_err(|e| Error::no_object(kind.name(), &e))?;
        init(&place);
        Ok(place)
    }

    fn new(kind: Kind, access: Access, segment: Segment, handle: Arc<Handle>, me: Party) -> Self {
        let (line, slot) = (Mutex::default(), Mutex::default());
        let (lost, owner) = (AtomicBool::new(false), Mutex::default());
        let since = Instant::now();
        Place { kind, access, segment, handle, me, since, line, slot, lost, owner }
    }

    #[inline]
    pub(super) fn me(&self) -> Party {
        self.me
    }

    pub(super) fn id(&self) -> u64 {
        self.access.id()
    }

    /// Whether there is no such object any more.
    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Wakes tasks of this process.
    fn wake_tasks(&self, all: bool, after: &mut After) {
        let mut line = lock(&self.line);
        let n = if all { line.len() } else { 1 };
        line.wake(n, after);
    }

    /// Waits, on a thread that may, until `deadline`.
    pub(super) fn wait_blocking<W: Wait + Unpin>(
        &self,
        wait: W,
        deadline: Option<Instant>,
    ) -> Result<W::Got, SyncError> {
        if !sys::CAN_PARK {
            let mut waiting = self.wait(wait);
            return block_on(&mut waiting, deadline).unwrap_or_else(|| waiting.expire());
        }
        let mut wait = Waiting { place: self, wait: Some(wait) };
        let started = Instant::now();
        // That there is no such object is said soon after it was asked for: somebody must read for a thread that sleeps
        // then. Later it has been said, and sleeping without a limit costs less.
        let young = started.saturating_duration_since(self.since) < YOUTH;
        if !young {
            self.access.listen();
        }
        let mut interest = None;
        loop {
            let pokes = table::about_to_look(self, self.me);
            if let Some(done) = wait.look(started) {
                return done;
            }
            let limit = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if limit.is_some_and(|limit| limit.is_zero()) {
                return wait.expire();
            }
            let limit = match interest {
                None if young => Some(limit.map_or(ALONE, |limit| limit.min(ALONE))),
                _ => limit,
            };
            sys::park(self.segment.block(), table::bed(self.me), pokes, limit);
            if young && interest.is_none() && started.elapsed() >= ALONE {
                interest = self.access.interest();
            }
        }
    }

    /// Waits.
    pub(super) fn wait<W: Wait>(&self, wait: W) -> Tasks<'_, W> {
        let waiting = Waiting { place: self, wait: Some(wait) };
        Tasks { waiting, started: None, at: None, interest: None }
    }
}

/// An entry in the memory.
fn sit(segment: &Segment) -> io::Result<Party> {
    struct Joining<'a> {
        segment: &'a Segment,
    }
    impl Table for Joining<'_> {
        words_of!(segment);
        fn wake(&self, _: Party, _: usize, _: bool, _: bool) {}
        fn alone<R>(&self, f: impl FnOnce() -> R) -> R {
            f()
        }
    }
    table::join(&Joining { segment }, own_seat(hub::own_seat()), std::process::id()).ok_or_else(
        || {
            let most = table::MAX_PARTIES;
            io::Error::other(format!("{most} processes use it already, which is as many as can"))
        },
    )
}

impl Table for Place {
    words_of!(segment);

    fn wake(&self, party: Party, pokes: usize, tasks: bool, all: bool) {
        sys::unpark(self.segment.block(), pokes, all);
        if !tasks {
            return;
        }
        if party == self.me {
            table::about_to_look(self, self.me);
            let mut after = After::default();
            self.wake_tasks(all, &mut after);
            return after.run();
        }
        let note = Note::new(say::POKE, [party.into(), all.into(), 0]);
        // Where the objects are it arrives at once.
        let urgency = if self.access.is_owner() { Urgency::Later } else { Urgency::Now };
        self.access.note(note, urgency);
    }

    fn alone<R>(&self, f: impl FnOnce() -> R) -> R {
        let _alone = lock(&self.slot);
        f()
    }

    #[inline]
    fn step(&self, name: &'static str) {
        failpoint_hit(name);
    }
}

impl Mailbox for Place {
    fn deliver(&self, note: Note, _: Received, after: &mut After) {
        if note.code == say::POKE {
            table::about_to_look(self, self.me);
            self.wake_tasks(note.numbers[1] != 0, after);
        }
    }

    fn lost(&self, after: &mut After) {
        self.lost.store(true, Ordering::Release);
        self.wake_tasks(true, after);
        if sys::CAN_PARK {
            // Whoever is about to sleep sees that.
            self.add(table::bed(self.me), 1);
            sys::unpark(self.segment.block(), table::bed(self.me), true);
        }
    }

    fn lies_about(&self) -> bool {
        false
    }

    fn tick(&self, _: bool) {}
}

impl HasAccess for Place {
    fn access(&self) -> &Access {
        &self.access
    }
}

/// What was forgotten is as what a process held that ended.
impl Drop for Place {
    fn drop(&mut self) {
        self.kind.recover(self, self.me);
    }
}

/// One that waits, until it has what it waits for or gives up.
struct Waiting<'a, W: Wait> {
    place: &'a Place,
    wait: Option<W>,
}

impl<W: Wait> Waiting<'_, W> {
    fn look(&mut self, started: Instant) -> Option<Result<W::Got, SyncError>> {
        let wait = self.wait.as_mut()?;
        let late = started.elapsed() >= PATIENCE;
        match wait.look(self.place, self.place.me, late) {
            Looked::Got(got) => {
                self.wait = None;
                Some(Ok(got))
            }
            Looked::TooMany => {
                self.wait = None;
                Some(Err(SyncError::TooMany))
            }
            Looked::Nothing if self.place.is_lost() => Some(Err(SyncError::Gone)),
            Looked::Nothing => None,
        }
    }

    fn expire(mut self) -> Result<W::Got, SyncError> {
        let Some(mut wait) = self.wait.take() else { return Err(SyncError::TimedOut) };
        wait.expire(self.place);
        wait.quit(self.place, self.place.me).ok_or(SyncError::TimedOut)
    }
}

impl<W: Wait> Drop for Waiting<'_, W> {
    fn drop(&mut self) {
        if let Some(mut wait) = self.wait.take()
            && let Some(got) = wait.quit(self.place, self.place.me)
        {
            W::give_back(got, self.place, self.place.me);
        }
    }
}

/// The same for a task.
pub(super) struct Tasks<'a, W: Wait> {
    waiting: Waiting<'a, W>,
    started: Option<Instant>,
    /// Its place in the line.
    at: Option<u64>,
    interest: Option<Interest>,
}

impl<W: Wait> Tasks<'_, W> {
    /// The time is over: what there is now is taken.
    pub(super) fn expire(mut self) -> Result<W::Got, SyncError> {
        let place = self.waiting.place;
        // What it passes on is for others of the line.
        if let Some(at) = self.at.take() {
            lock(&place.line).leave(at);
        }
        let wait = self.waiting.wait.take();
        Waiting { place, wait }.expire()
    }
}

impl<W: Wait + Unpin> Future for Tasks<'_, W> {
    type Output = Result<W::Got, SyncError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let place = this.waiting.place;
        if this.interest.is_none() {
            this.interest = place.access.interest();
        }
        let mut line = lock(&place.line);
        let at = *this.at.get_or_insert_with(|| line.enter());
        line.wait(at, cx);
        drop(line);
        let started = *this.started.get_or_insert_with(Instant::now);
        match this.waiting.look(started) {
            Some(done) => {
                let mut line = lock(&place.line);
                let woken = line.is_woken(at);
                line.leave(at);
                drop(line);
                this.at = None;
                if woken {
                    // That was meant for another by now.
                    let mut after = After::default();
                    place.wake_tasks(false, &mut after);
                    after.run();
                }
                Poll::Ready(done)
            }
            None => Poll::Pending,
        }
    }
}

impl<W: Wait> Drop for Tasks<'_, W> {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            lock(&self.waiting.place.line).leave(at);
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:016x}", self.kind, self.id())
    }
}

/// A handle on its way to another process: the memory, and the object that watches over it.
pub(super) fn serialize<S: Serializer>(
    place: &Arc<Place>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    struct Watched<'a>(&'a Arc<Place>);
    impl Serialize for Watched<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            attach(self.0.access.attached(self.0.clone()), serializer)
        }
    }
    let mut tuple = serializer.serialize_tuple(2)?;
    tuple.serialize_element(&Given(&place.handle))?;
    tuple.serialize_element(&Watched(place))?;
    tuple.end()
}

struct Came(Arrived);

impl<'de> Deserialize<'de> for Came {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        arrived(deserializer).map(Came)
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    kind: Kind,
    deserializer: D,
) -> Result<Arc<Place>, D::Error> {
    let (handle, Came(Arrived::Object(name))) = <(Got, Came)>::deserialize(deserializer)? else {
        return Err(D::Error::custom(format!("it is no {kind:?}")));
    };
    let map = || {
        let segment = Segment::open(handle_ref(handle.handle()))?;
        let me = sit(&segment)?;
        Ok((segment, Arc::new(handle.take()), me))
    };
    let place = Access::adopt(name, map, |access, (segment, handle, me)| {
        Place::new(kind, access, segment, handle, me)
    });
    let place = place.map_err(|e| D::Error::custom(format!("the {kind:?} cannot be used: {e}")))?;
    if place.kind == kind { Ok(place) } else { Err(D::Error::custom(format!("it is no {kind:?}"))) }
}
