//! A condition, with a lock of its own or another's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use super::lock::Lock;
use super::object::{Outcome, Reply, Said, Served, Undo, parse, reply};
use super::session::Session;
use crate::manager::fault::Fault;
use crate::manager::op::ConditionOp;
use crate::sys::lock;

pub(super) struct Condition {
    lock: Arc<Lock>,
    waiting: Arc<Mutex<VecDeque<oneshot::Sender<()>>>>,
}

/// One that waits: what it was told and has no use for goes to the next.
struct Waiter {
    told: oneshot::Receiver<()>,
    waiting: Arc<Mutex<VecDeque<oneshot::Sender<()>>>>,
    heard: bool,
    /// It has the lock again, or has waited too long.
    done: bool,
}

impl Waiter {
    async fn told(&mut self) -> bool {
        self.heard = (&mut self.told).await.is_ok();
        self.heard
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.told.close();
        if !self.done && (self.heard || self.told.try_recv().is_ok()) {
            notify(&self.waiting, 1);
        }
    }
}

/// Tells as many as that; how many there were. Those that have given up are passed over.
fn notify(waiting: &Mutex<VecDeque<oneshot::Sender<()>>>, count: u64) -> u64 {
    let mut told = 0;
    while told < count {
        let Some(next) = lock(waiting).pop_front() else { break };
        told += u64::from(next.send(()).is_ok());
    }
    told
}

impl Condition {
    pub(super) fn new(lock: Arc<Lock>) -> Self {
        Condition { lock, waiting: Arc::default() }
    }

    fn wait(&self, owner: (u64, u64), limit: Option<Duration>) -> Outcome {
        // In the line before it lets go: whoever takes the lock then can tell it.
        let (tell, told) = oneshot::channel();
        if !self.lock.is_held_by(owner) {
            return Reply::Err(Fault::NotHeld("the condition's lock".to_owned())).into();
        }
        let mut line = lock(&self.waiting);
        line.retain(|one| !one.is_closed());
        line.push_back(tell);
        drop(line);
        let mut waiter = Waiter { told, waiting: self.waiting.clone(), heard: false, done: false };
        let depth = match self.lock.release_all(owner) {
            Ok(depth) => depth,
            Err(fault) => return Err(fault).into(),
        };
        let lock = self.lock.clone();
        Outcome::later(async move {
            let in_time = match limit {
                None => waiter.told().await,
                Some(limit) => tokio::time::timeout(limit, waiter.told()).await.unwrap_or(false),
            };
            match lock.acquire(owner).await {
                Ok(recovered) => {
                    lock.deepen(depth);
                    // One that was told too late passes that on.
                    waiter.done = in_time;
                    let waiting = waiter.waiting.clone();
                    let undo = Undo::new(move || {
                        lock.undo(owner, depth, recovered);
                        if in_time {
                            notify(&waiting, 1);
                        }
                    });
                    Said::with(reply(&(in_time, recovered)), undo)
                }
                Err(fault) => Said::from(Err(fault)),
            }
        })
    }
}

impl Served for Condition {
    fn call(self: Arc<Self>, session: &Arc<Session>, op: &[u8]) -> Outcome {
        let op = match parse(op) {
            Ok(op @ ConditionOp::Lock(_)) => op,
            Ok(op) => match session.check_write() {
                Ok(()) => op,
                Err(fault) => return Err(fault).into(),
            },
            Err(fault) => return Err(fault).into(),
        };
        match op {
            ConditionOp::Lock(op) => self.lock.clone().run(session, op),
            ConditionOp::Wait { owner, limit } => {
                self.wait((session.id, owner), limit.map(Duration::from_micros))
            }
            ConditionOp::Notify { owner, count } => {
                if self.lock.is_held_by((session.id, owner)) {
                    reply(&notify(&self.waiting, count)).into()
                } else {
                    Reply::Err(Fault::NotHeld("the condition's lock".to_owned())).into()
                }
            }
        }
    }

    fn left(&self, session: u64) {
        self.lock.recover(session);
    }

    fn as_lock(self: Arc<Self>) -> Option<Arc<Lock>> {
        Some(self.lock.clone())
    }
}
