//! A semaphore, with a bound or without.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync;

use super::object::{Outcome, Reply, Said, Served, Undo, parse, reply};
use super::queue::take;
use super::session::Session;
use crate::manager::fault::Fault;
use crate::manager::op::SemaphoreOp;
use crate::sys::lock;

pub(super) struct Semaphore {
    permits: sync::Semaphore,
    /// As many as there may be.
    bound: usize,
    held: Mutex<Held>,
}

struct Held {
    /// How many each session has.
    by: HashMap<u64, usize>,
    /// How many there are, free, held or on their way from the one to the other.
    existing: usize,
}

impl Held {
    /// A session has one fewer, if it has any.
    fn lose(&mut self, session: u64) -> bool {
        match self.by.get_mut(&session) {
            Some(1) => self.by.remove(&session).is_some(),
            Some(n) => {
                *n -= 1;
                true
            }
            None => false,
        }
    }
}

impl Semaphore {
    pub(super) fn new(permits: u32, bounded: bool) -> Self {
        let bound = if bounded { permits as usize } else { sync::Semaphore::MAX_PERMITS };
        let existing = permits as usize;
        let held = Mutex::new(Held { by: HashMap::new(), existing });
        Semaphore { permits: sync::Semaphore::new(existing), bound, held }
    }

    fn own(self: &Arc<Self>, session: u64) -> Said {
        *lock(&self.held).by.entry(session).or_default() += 1;
        let semaphore = self.clone();
        Said::with(reply(&()), Undo::new(move || semaphore.undo(session)))
    }

    /// Takes back one that did not get to who was to have it.
    fn undo(&self, session: u64) {
        let mut held = lock(&self.held);
        if !held.lose(session) {
            // It came back with the others of its session.
            return;
        }
        drop(held);
        self.permits.add_permits(1);
    }

    /// Permits come back that the session has, or new ones.
    fn release(&self, session: u64, n: usize) -> Result<(), Fault> {
        let mut held = lock(&self.held);
        let own = held.by.get(&session).copied().unwrap_or(0);
        let existing = held.existing.saturating_add(n.saturating_sub(own));
        if existing > self.bound {
            return Err(Fault::TooMany(format!("permits: there are {}", self.bound)));
        }
        held.existing = existing;
        match own.saturating_sub(n) {
            0 => held.by.remove(&session),
            left => held.by.insert(session, left),
        };
        drop(held);
        self.permits.add_permits(n);
        Ok(())
    }

    fn run(self: Arc<Self>, session: &Arc<Session>, op: SemaphoreOp) -> Outcome {
        if !matches!(op, SemaphoreOp::Value)
            && let Err(fault) = session.check_write()
        {
            return Err(fault).into();
        }
        let by = session.id;
        match op {
            SemaphoreOp::Acquire | SemaphoreOp::TryAcquire if take(&self.permits) => {
                self.own(by).into()
            }
            SemaphoreOp::TryAcquire => Reply::Err(Fault::Busy).into(),
            SemaphoreOp::Acquire => Outcome::later(async move {
                match self.permits.acquire().await {
                    Ok(permit) => permit.forget(),
                    Err(_) => return Said::from(Err(Fault::Closed)),
                }
                self.own(by)
            }),
            SemaphoreOp::Release(n) => {
                self.release(by, n as usize).and_then(|()| reply(&())).into()
            }
            SemaphoreOp::Forget => {
                let mut held = lock(&self.held);
                if !held.lose(by) {
                    return Reply::Err(Fault::NotHeld("a permit".to_owned())).into();
                }
                // Whoever releases it makes a new one.
                held.existing -= 1;
                reply(&()).into()
            }
            SemaphoreOp::Value => reply(&(self.permits.available_permits() as u64)).into(),
        }
    }
}

impl Served for Semaphore {
    fn call(self: Arc<Self>, session: &Arc<Session>, op: &[u8]) -> Outcome {
        match parse(op) {
            Ok(op) => self.run(session, op),
            Err(fault) => Err(fault).into(),
        }
    }

    fn left(&self, session: u64) {
        if let Some(n) = lock(&self.held).by.remove(&session) {
            self.permits.add_permits(n);
        }
    }
}
