//! The one thread that passes on what children log.
//!
//! A thread of its own: a subscriber may be slow, may wait for a terminal or a disk, and
//! then costs its own events and nothing else: neither a result nor a deadline nor a task
//! of a child waits for it.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::Dispatch;
use tracing::callsite::{self, Callsite, Identifier};
use tracing::field::FieldSet;
use tracing::level_filters::LevelFilter;
use tracing::metadata::{Kind, Metadata};
use tracing::subscriber::Interest;

use super::inbox::{Inbox, under};
use super::record::level_number;
use crate::sys::{Doorbell, Poller, Ready};
use crate::task::catch;

/// While there is something to read, how long until the next look: children need not
/// ring meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// The level is set some time after the filters: so long it is looked at again, first soon
/// and then less and less often.
const SETTLING: Duration = Duration::from_secs(30);
const SETTLING_STEP: Duration = Duration::from_millis(5);
const LONGEST_STEP: Duration = Duration::from_secs(1);
/// What this program tells of itself that may wait; more is left out.
const MAX_NOTICES: usize = 16 * 1024;
/// How long an end waits for what children have logged.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Something this program tells of itself, for a subscriber.
struct Notice {
    listener: Option<Dispatch>,
    tell: Box<dyn FnOnce() + Send>,
}

struct Reader {
    poller: Poller,
    inboxes: Mutex<Inboxes>,
    notices: Mutex<VecDeque<Notice>>,
    /// Rounds in which every inbox was looked into.
    rounds: watch::Sender<u64>,
    /// The round that somebody waits for.
    wanted: AtomicU64,
    running: AtomicBool,
}

#[derive(Default)]
struct Inboxes {
    next: u64,
    all: HashMap<u64, Arc<Inbox>>,
}

static READER: OnceLock<Reader> = OnceLock::new();
static FILTER: FilterWatch = FilterWatch {
    metadata: OnceLock::new(),
    changes: AtomicU64::new(0),
    known: AtomicBool::new(false),
};

/// The program's reader, made at first use; its thread comes when there is somebody who
/// wants to hear anything.
fn reader() -> io::Result<&'static Reader> {
    static MAKING: Mutex<()> = Mutex::new(());
    if let Some(reader) = READER.get() {
        return Ok(reader);
    }
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(reader) = READER.get() {
        return Ok(reader);
    }
    let poller = Poller::new()?;
    let reader = READER.get_or_init(|| Reader {
        poller,
        inboxes: Mutex::default(),
        notices: Mutex::default(),
        rounds: watch::Sender::new(0),
        wanted: AtomicU64::new(0),
        running: AtomicBool::new(false),
    });
    drop(catch(|| callsite::register(&FILTER)));
    FILTER.known.store(true, Ordering::Release);
    Ok(reader)
}

/// Makes the reader, if it is to be.
pub(super) fn prepare() {
    // Where that fails, whoever needs it says so.
    let _ = reader();
}

/// Has an inbox read from now on.
pub(super) fn add(inbox: &Arc<Inbox>) -> io::Result<()> {
    let reader = reader()?;
    if level() > 0 {
        reader.run()?;
    }
    let mut inboxes = reader.lock();
    let key = inboxes.next;
    inbox.with_bell(|bell| reader.poller.add_doorbell(bell, key)).transpose()?;
    inboxes.next += 1;
    inboxes.all.insert(key, inbox.clone());
    drop(inboxes);
    // From here on it hears of changes.
    inbox.want(level());
    if reader.is_running() {
        // Has it armed.
        reader.poller.ring();
    }
    Ok(())
}

/// Has a bell heard no more.
pub(super) fn remove(bell: &Doorbell) {
    if let Some(reader) = READER.get() {
        reader.poller.remove_doorbell(bell);
    }
}

/// Whether somebody may want what is told at this level; costs a look at a number.
#[inline]
pub(crate) fn is_heard(level: LevelFilter) -> bool {
    level <= LevelFilter::current()
}

/// Has `tell` called on the reading thread, with `listener` in force: a subscriber is the
/// user's code, which must run neither under a lock of ours nor on a thread that others wait
/// for. To be asked for only if [`is_heard`].
pub(crate) fn tell(listener: Option<Dispatch>, tell: impl FnOnce() + Send + 'static) {
    let Ok(reader) = reader() else { return };
    let mut notices = reader.notices.lock().unwrap_or_else(PoisonError::into_inner);
    if notices.len() < MAX_NOTICES {
        notices.push_back(Notice { listener, tell: Box::new(tell) });
    }
    let first = notices.len() == 1;
    drop(notices);
    if (first || !reader.is_running()) && reader.run().is_ok() {
        reader.poller.ring();
    }
}

/// Has every inbox looked into.
pub(super) fn wake() {
    if let Some(reader) = READER.get() {
        if reader.is_running() {
            reader.poller.ring();
        } else {
            // Nobody wants to hear anything.
            reader.let_ended_go();
        }
    }
}

/// What subscribers want may be something else now. Called with locks of `tracing` held.
pub(super) fn filter_changed() {
    FILTER.changes.fetch_add(1, Ordering::AcqRel);
    if let Some(reader) = READER.get()
        && reader.run().is_ok()
    {
        reader.poller.ring();
    }
}

/// What is there once everything that children have logged so far has been passed on;
/// `None` if that is so now. It takes as long as a subscriber takes.
pub(crate) fn caught_up() -> Option<impl Future<Output = ()>> {
    let (reader, target) = target()?;
    let mut rounds = reader.rounds.subscribe();
    Some(async move {
        // The sender is never dropped.
        let _ = rounds.wait_for(|round| *round >= target).await;
    })
}

/// Waits for the same at a program's end, but no longer than a second.
pub(crate) fn settle() {
    let Some((reader, target)) = target() else {
        return;
    };
    let deadline = Instant::now() + LAST_WORDS;
    while *reader.rounds.borrow() < target {
        if Instant::now() > deadline {
            let why = "this program's subscriber takes too long";
            let _ = writeln!(io::stderr(), "procpool: what children logged last is lost: {why}");
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The round after which all that there is now has been read, asked for. (One may be
/// under way that has passed some inboxes already.)
fn target() -> Option<(&'static Reader, u64)> {
    let reader = READER.get().filter(|reader| reader.is_running())?;
    let target = *reader.rounds.borrow() + 2;
    reader.wanted.fetch_max(target, Ordering::AcqRel);
    reader.poller.ring();
    Some((reader, target))
}

fn level() -> u8 {
    LevelFilter::current().into_level().map_or(0, level_number)
}

impl Reader {
    fn lock(&self) -> MutexGuard<'_, Inboxes> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    fn run(&'static self) -> io::Result<()> {
        if self.is_running() || self.running.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let started =
            std::thread::Builder::new().name("procpool-log".into()).spawn(|| self.read_all());
        if started.is_err() {
            self.running.store(false, Ordering::Release);
        }
        started.map(drop)
    }

    fn read_all(&self) {
        /// Whatever ends this thread, another can be started.
        struct Stopped<'a>(&'a AtomicBool);
        impl Drop for Stopped<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Release);
            }
        }
        let _stopped = Stopped(&self.running);
        let mut found = Vec::new();
        let mut filter = Settling::new();
        let mut wait = Some(Duration::ZERO);
        let mut last_round = Instant::now();
        loop {
            found.clear();
            if self.poller.wait(wait, &mut found).is_err() {
                return;
            }
            if !self.is_awaited() {
                // However often a child rings.
                std::thread::sleep(LOOK_EVERY.saturating_sub(last_round.elapsed()));
            }
            last_round = Instant::now();
            let changed = filter.look(last_round);
            self.pass_on_notices();
            let inboxes: Vec<(u64, Arc<Inbox>)> =
                self.lock().all.iter().map(|(key, inbox)| (*key, inbox.clone())).collect();
            let mut any = false;
            for (key, inbox) in inboxes {
                let rung = found.contains(&Ready::Key(key));
                // Subscribers and spans are the user's; one that panics must not take the
                // others along.
                let read = catch(|| self.look_into(key, &inbox, rung, changed));
                any |= read.unwrap_or(true);
                drop(catch(|| drop(inbox)));
            }
            self.rounds.send_modify(|rounds| *rounds += 1);
            wait = if self.is_awaited() {
                Some(Duration::ZERO)
            } else if any {
                Some(LOOK_EVERY)
            } else {
                filter.next_look(last_round)
            };
        }
    }

    /// Reads what is in one inbox; whether there may be more soon.
    fn look_into(&self, key: u64, inbox: &Inbox, rung: bool, changed: bool) -> bool {
        if rung {
            inbox.with_bell(Doorbell::hush);
        }
        if changed {
            inbox.tell_wishes();
        }
        inbox.want(level());
        let ended = inbox.has_ended();
        let any = inbox.drain();
        if ended {
            // What came while the first was read; a grandchild may write on for ever.
            inbox.drain();
            self.let_go(key);
            return false;
        }
        any || inbox.sleep()
    }

    /// Whether somebody waits for the next round.
    fn is_awaited(&self) -> bool {
        *self.rounds.borrow() < self.wanted.load(Ordering::Acquire)
    }

    fn pass_on_notices(&self) {
        let notices = {
            let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *notices)
        };
        for Notice { listener, tell } in notices {
            drop(catch(move || under(listener.as_ref(), tell)));
        }
    }

    fn let_ended_go(&self) {
        let ended: Vec<u64> = {
            let inboxes = self.lock();
            inboxes.all.iter().filter(|(_, i)| i.has_ended()).map(|(key, _)| *key).collect()
        };
        for key in ended {
            drop(catch(|| self.let_go(key)));
        }
    }

    fn let_go(&self, key: u64) {
        let inbox = self.lock().all.remove(&key);
        if let Some(inbox) = inbox {
            inbox.finish();
        }
    }
}

/// After a change of the filter: when to look at the level.
struct Settling {
    changes: u64,
    until: Instant,
    step: Duration,
}

impl Settling {
    fn new() -> Self {
        Settling { changes: 0, until: Instant::now() + SETTLING, step: SETTLING_STEP }
    }

    /// Whether the filter has changed since the last look.
    fn look(&mut self, now: Instant) -> bool {
        let changes = FILTER.changes.load(Ordering::Acquire);
        let changed = self.changes != changes;
        if changed {
            *self = Settling { changes, until: now + SETTLING, step: SETTLING_STEP };
        }
        changed
    }

    fn next_look(&mut self, now: Instant) -> Option<Duration> {
        (now < self.until).then(|| {
            let step = self.step;
            self.step = (2 * step).min(LONGEST_STEP);
            step
        })
    }
}

/// A callsite that never logs: subscribers' changes of mind reach it as any other.
struct FilterWatch {
    metadata: OnceLock<Metadata<'static>>,
    changes: AtomicU64,
    known: AtomicBool,
}

impl Callsite for FilterWatch {
    fn set_interest(&self, _: Interest) {
        // At first it is only made known.
        if self.known.load(Ordering::Acquire) {
            filter_changed();
        }
    }

    fn metadata(&self) -> &Metadata<'_> {
        self.metadata.get_or_init(|| {
            let fields = FieldSet::new(&[], Identifier(&FILTER));
            let (name, target) = ("filter", "procpool");
            Metadata::new(
                name,
                target,
                tracing::Level::TRACE,
                None,
                None,
                None,
                fields,
                Kind::EVENT,
            )
        })
    }
}
