//! A queue.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::sync::{Semaphore, watch};

use super::object::{Outcome, Reply, Said, Served, Undo, parse, reply};
use super::session::Session;
use super::value::Value;
use crate::manager::fault::Fault;
use crate::manager::op::{Cell, QueueOp};
use crate::sys::lock;

/// Items are counted by one semaphore and places by another, so whoever waits is served in turn, and whoever gives up
/// waiting has taken nothing.
pub(super) struct Queue {
    max: usize,
    items: Mutex<VecDeque<Value>>,
    filled: Semaphore,
    free: Semaphore,
    /// Items that were given back while others had taken their places.
    over: Mutex<usize>,
    /// Items that were put and are not done.
    unfinished: watch::Sender<u64>,
    /// How many each session has taken, and may give back.
    taken: Mutex<HashMap<u64, u64>>,
}

impl Queue {
    /// One for so many items; 0 is any number.
    pub(super) fn new(max: u64) -> Self {
        let max =
            usize::try_from(max).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Queue {
            max,
            items: Mutex::default(),
            filled: Semaphore::new(0),
            free: Semaphore::new(if max == 0 { Semaphore::MAX_PERMITS } else { max }),
            over: Mutex::new(0),
            unfinished: watch::Sender::new(0),
            taken: Mutex::default(),
        }
    }

    fn push(&self, value: Value) {
        self.unfinished.send_modify(|n| *n += 1);
        lock(&self.items).push_back(value);
        self.filled.add_permits(1);
    }

    /// Takes an item that is there.
    fn pop(self: &Arc<Self>, session: &Session) -> Said {
        let Some(value) = lock(&self.items).pop_front() else {
            return Said::from(Err(Fault::Empty));
        };
        let mut over = lock(&self.over);
        if *over > 0 {
            *over -= 1;
        } else {
            self.free.add_permits(1);
        }
        drop(over);
        let by = session.id;
        *lock(&self.taken).entry(by).or_default() += 1;
        let said = reply(&session.cell(&value));
        let queue = self.clone();
        let undo = move || {
            queue.untake(by);
            queue.unpop(value);
        };
        Said::with(said, Undo::new(undo))
    }

    /// Whether the session had taken an item; it has one fewer.
    fn untake(&self, by: u64) -> bool {
        let mut taken = lock(&self.taken);
        match taken.get_mut(&by) {
            Some(1) => taken.remove(&by).is_some(),
            Some(n) => {
                *n -= 1;
                true
            }
            None => false,
        }
    }

    fn unpop(&self, value: Value) {
        match self.free.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(_) => *lock(&self.over) += 1,
        }
        lock(&self.items).push_front(value);
        self.filled.add_permits(1);
    }

    fn task_done(&self) -> Reply {
        let some = self.unfinished.send_if_modified(|n| match n.checked_sub(1) {
            Some(fewer) => {
                *n = fewer;
                true
            }
            None => false,
        });
        if some { reply(&()) } else { Err(Fault::NotHeld("an item that is not done".to_owned())) }
    }

    fn run(self: Arc<Self>, session: &Arc<Session>, op: QueueOp<'_>) -> Result<Outcome, Fault> {
        if !matches!(op, QueueOp::Len | QueueOp::Max | QueueOp::Join) {
            session.check_write()?;
        }
        let put = |cell: Cell<'_>| session.take(&cell);
        Ok(match op {
            QueueOp::Put(cell) => {
                let value = put(cell)?;
                if take(&self.free) {
                    self.push(value);
                    return Ok(reply(&()).into());
                }
                Outcome::later(async move {
                    self.free.acquire().await.map_err(|_| Fault::Closed)?.forget();
                    self.push(value);
                    reply(&())
                })
            }
            QueueOp::TryPut(cell) => {
                let value = put(cell)?;
                if !take(&self.free) {
                    return Err(Fault::Full);
                }
                self.push(value);
                reply(&()).into()
            }
            QueueOp::Get => {
                if take(&self.filled) {
                    return Ok(self.pop(session).into());
                }
                let session = session.clone();
                Outcome::later(async move {
                    match self.filled.acquire().await {
                        Ok(permit) => permit.forget(),
                        Err(_) => return Said::from(Err(Fault::Closed)),
                    }
                    self.pop(&session)
                })
            }
            QueueOp::TryGet => {
                if !take(&self.filled) {
                    return Err(Fault::Empty);
                }
                self.pop(session).into()
            }
            QueueOp::Unget(cell) => {
                if !self.untake(session.id) {
                    return Err(Fault::NotHeld("an item".to_owned()));
                }
                // It was there before, and goes back whatever else its taker has.
                self.unpop(session.take_back(&cell)?);
                reply(&()).into()
            }
            QueueOp::Len => reply(&(lock(&self.items).len() as u64)).into(),
            QueueOp::Max => reply(&(self.max as u64)).into(),
            QueueOp::TaskDone => self.task_done().into(),
            QueueOp::Join => {
                let mut unfinished = self.unfinished.subscribe();
                Outcome::later(async move {
                    let _ = unfinished.wait_for(|n| *n == 0).await;
                    drop(self);
                    reply(&())
                })
            }
        })
    }
}

/// Takes a permit for good, if there is one.
pub(super) fn take(semaphore: &Semaphore) -> bool {
    semaphore.try_acquire().map(tokio::sync::SemaphorePermit::forget).is_ok()
}

impl Served for Queue {
    fn call(self: Arc<Self>, session: &Arc<Session>, op: &[u8]) -> Outcome {
        parse(op).and_then(|op| self.run(session, op)).unwrap_or_else(|fault| Err(fault).into())
    }

    fn left(&self, session: u64) {
        lock(&self.taken).remove(&session);
    }
}
