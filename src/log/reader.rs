//! The one thread that passes on what children log.
//!
//! A thread of its own: a subscriber may be slow, may wait for a terminal or a disk, and
//! then costs its own events and nothing else: neither a result nor a deadline nor a task
//! of a child waits for it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::Dispatch;
use tracing::callsite::{self, Callsite, Identifier};
use tracing::dispatcher;
use tracing::field::FieldSet;
use tracing::level_filters::LevelFilter;
use tracing::metadata::{Kind, Metadata};
use tracing::subscriber::Interest;

use super::inbox::Inbox;
use super::record::level_number;
use crate::sys::{Poller, Ready};
use crate::task::catch;

/// While there is something to read, how long until the next look: children need not
/// ring meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// The level is set some time after the filters: so long it is looked at again.
const SETTLING: Duration = Duration::from_millis(100);
const SETTLING_STEP: Duration = Duration::from_millis(5);
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
    callsite::register(&FILTER);
    Ok(reader)
}

/// Has an inbox read from now on.
pub(super) fn add(inbox: &Arc<Inbox>) -> io::Result<()> {
    let reader = reader()?;
    let level = level();
    inbox.want(level);
    let mut inboxes = reader.lock();
    let key = inboxes.next;
    reader.poller.add_doorbell(inbox.bell(), key)?;
    inboxes.next += 1;
    inboxes.all.insert(key, inbox.clone());
    drop(inboxes);
    if level > 0 {
        reader.run()?;
        // Has it armed.
        reader.poller.ring();
    }
    Ok(())
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
    if first && reader.run().is_ok() {
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

/// Returns once everything that children have logged so far has been passed on, or after
/// a second. Where there is no runtime to tell that, at once.
pub(crate) async fn caught_up() {
    let Some((reader, target)) = target() else {
        return;
    };
    if Handle::try_current().is_err() {
        return;
    }
    let mut rounds = reader.rounds.subscribe();
    let caught_up = rounds.wait_for(|round| *round >= target);
    let _ = tokio::time::timeout(LAST_WORDS, caught_up).await;
}

/// The same on a plain thread, for a program's end.
pub(crate) fn settle() {
    let Some((reader, target)) = target() else {
        return;
    };
    let deadline = Instant::now() + LAST_WORDS;
    while *reader.rounds.borrow() < target && Instant::now() < deadline {
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
        let mut found = Vec::new();
        let (mut changes, mut settled_at) = (0, Instant::now() + SETTLING);
        let mut wait = Some(Duration::ZERO);
        loop {
            found.clear();
            if self.poller.wait(wait, &mut found).is_err() {
                return;
            }
            let now = Instant::now();
            let last = std::mem::replace(&mut changes, FILTER.changes.load(Ordering::Acquire));
            if last != changes {
                settled_at = now + SETTLING;
            }
            let settling = now < settled_at;
            self.pass_on_notices();
            let inboxes: Vec<(u64, Arc<Inbox>)> =
                self.lock().all.iter().map(|(key, inbox)| (*key, inbox.clone())).collect();
            let mut any = false;
            for (key, inbox) in &inboxes {
                if found.contains(&Ready::Key(*key)) {
                    inbox.bell().hush();
                }
                if last != changes {
                    inbox.tell_wishes();
                }
                if last != changes || settling {
                    inbox.want(level());
                }
                let ended = inbox.has_ended();
                any |= inbox.drain();
                if ended {
                    while inbox.drain() {}
                    self.let_go(*key);
                }
            }
            let mut round = 0;
            self.rounds.send_modify(|rounds| {
                *rounds += 1;
                round = *rounds;
            });
            wait = if round < self.wanted.load(Ordering::Acquire) {
                Some(Duration::ZERO)
            } else if any || inboxes.iter().any(|(_, inbox)| inbox.sleep()) {
                Some(LOOK_EVERY)
            } else {
                settling.then_some(SETTLING_STEP)
            };
        }
    }

    fn pass_on_notices(&self) {
        let notices = {
            let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *notices)
        };
        for Notice { listener, tell } in notices {
            drop(catch(|| match &listener {
                Some(listener) => dispatcher::with_default(listener, tell),
                None => tell(),
            }));
        }
    }

    fn let_ended_go(&self) {
        let ended: Vec<u64> = {
            let inboxes = self.lock();
            inboxes.all.iter().filter(|(_, i)| i.has_ended()).map(|(key, _)| *key).collect()
        };
        ended.into_iter().for_each(|key| self.let_go(key));
    }

    fn let_go(&self, key: u64) {
        let inbox = self.lock().all.remove(&key);
        if let Some(inbox) = inbox {
            self.poller.remove_doorbell(inbox.bell());
            inbox.finish();
        }
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
        // The first time it is only made known.
        if self.known.swap(true, Ordering::AcqRel) {
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
