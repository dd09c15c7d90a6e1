//! Where a process hears from objects.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};

use super::closer::drop_elsewhere;
use super::note::Note;
use super::server::{Object, Out};
use crate::wire::{Attached, Payload, Received};

/// What a process has of one object: it hears what the object says.
pub(crate) trait Mailbox: Any + Send + Sync {
    /// Takes what the object says; called with locks held, so it only stores it, and adds whom it
    /// wakes to `after`.
    fn deliver(&self, note: Note, value: Received, after: &mut After);

    /// Nothing more will come: the object is gone, or was never there.
    fn lost(&self, after: &mut After);

    /// Whether something lies about that nobody has asked for yet.
    fn lies_about(&self) -> bool;

    /// Gives back what lies about, if it has for a while or that is no matter; called every few
    /// milliseconds, with no locks held, as long as something does.
    fn tick(&self, at_once: bool);
}

/// What takes its time to drop.
pub(super) type Waste = Vec<Box<dyn Any + Send>>;

/// What is to be done once no lock is held.
#[derive(Default)]
pub(crate) struct After {
    pub(super) wakers: Vec<Waker>,
    pub(super) mailboxes: Vec<Arc<dyn Mailbox>>,
    pub(super) trash: Vec<Payload>,
    pub(super) dead: Vec<Box<dyn Object>>,
    waste: Waste,
    /// Something lies about in a mailbox.
    tick: bool,
}

impl After {
    /// What follows of what is to be dropped.
    pub(super) fn take_over(&mut self, out: &mut Out) {
        self.trash.append(&mut out.trash);
        self.dead.append(&mut out.dead);
        self.waste.append(&mut out.waste);
    }

    pub(crate) fn wake(&mut self, waker: Waker) {
        self.wakers.push(waker);
    }

    /// Has the mailboxes give back at once what lies about in them.
    pub(crate) fn tick(&mut self) {
        self.tick = true;
    }

    pub(crate) fn run(self) {
        self.wakers.into_iter().for_each(Waker::wake);
        if self.tick {
            self.mailboxes.iter().for_each(|mailbox| mailbox.tick(true));
        }
        let mut waste = self.waste;
        for value in self.trash {
            if value.attached().iter().any(|attached| matches!(attached, Attached::Handle(_))) {
                waste.push(Box::new(value));
            }
        }
        if !waste.is_empty() {
            drop_elsewhere(waste);
        }
    }
}

/// The mailboxes of a process, by object.
#[derive(Default)]
pub(super) struct Mail(HashMap<u64, Weak<dyn Mailbox>>);

impl Mail {
    pub(super) fn get(&self, object: u64) -> Option<Arc<dyn Mailbox>> {
        self.0.get(&object)?.upgrade()
    }

    pub(super) fn add(&mut self, object: u64, mailbox: Weak<dyn Mailbox>) {
        self.0.insert(object, mailbox);
    }

    /// Whether somebody here has a mailbox of it. (To take one up, and drop it again, may be to drop it for good, which is not to be done under
    /// a lock.)
    pub(super) fn is_here(&self, object: u64) -> bool {
        self.0.get(&object).is_some_and(|mailbox| mailbox.strong_count() > 0)
    }

    /// Whether a mailbox is being dropped, and may still have something to say.
    pub(super) fn is_going(&self, object: u64) -> bool {
        self.0.get(&object).is_some_and(|mailbox| mailbox.strong_count() == 0)
    }

    /// Forgets a mailbox that is no more; another may have taken its place.
    pub(super) fn forget(&mut self, object: u64) {
        if self.0.get(&object).is_some_and(|mailbox| mailbox.strong_count() == 0) {
            self.0.remove(&object);
        }
    }

    /// Gives the value back if there is nobody to have it.
    pub(super) fn deliver(
        &self,
        object: u64,
        note: Note,
        value: Payload,
        after: &mut After,
    ) -> Option<Payload> {
        let Some(mailbox) = self.get(object) else { return Some(value) };
        mailbox.deliver(note, Received::from(value), after);
        after.mailboxes.push(mailbox);
        None
    }
}

/// Tasks and threads in line for the same thing: one is woken at a time.
#[derive(Debug, Default)]
pub(crate) struct Line {
    next: u64,
    waiting: VecDeque<(u64, Option<Waker>)>,
}

impl Line {
    /// A place at the end.
    pub(crate) fn enter(&mut self) -> u64 {
        self.next += 1;
        self.waiting.push_back((self.next, None));
        self.next
    }

    /// Whom to wake at a place.
    pub(crate) fn wait(&mut self, place: u64, cx: &Context<'_>) {
        if let Some((_, waker)) = self.waiting.iter_mut().find(|(p, _)| *p == place) {
            match waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *waker = Some(cx.waker().clone()),
            }
        }
    }

    pub(crate) fn leave(&mut self, place: u64) {
        self.waiting.retain(|(p, _)| *p != place);
    }

    /// Whether whoever is at a place was woken since it has said whom to wake.
    pub(crate) fn is_woken(&self, place: u64) -> bool {
        self.waiting.iter().any(|(p, waker)| *p == place && waker.is_none())
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether anybody is still to be woken.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting.iter().any(|(_, waker)| waker.is_some())
    }

    /// How many are in front of a place.
    pub(crate) fn before(&self, place: u64) -> usize {
        self.waiting.iter().take_while(|(p, _)| *p != place).count()
    }

    /// Wakes the first so many.
    pub(crate) fn wake(&mut self, n: usize, after: &mut After) {
        after.wakers.extend(self.waiting.iter_mut().take(n).filter_map(|(_, w)| w.take()));
    }
}
