//! A lock, or one that its owner may take again.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use super::object::{Outcome, Reply, Said, Served, Undo, parse, reply};
use super::session::Session;
use crate::manager::fault::Fault;
use crate::manager::op::LockOp;
use crate::sys::lock;

pub(in crate::manager) struct Lock {
    again: bool,
    free: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// A session, and which task or thread of it.
    owner: Option<(u64, u64)>,
    depth: u64,
    /// Who held it last has ended with it.
    recovered: bool,
}

impl Lock {
    pub(super) fn new(again: bool) -> Self {
        Lock { again, free: Semaphore::new(1), state: Mutex::default() }
    }

    /// It has just been had from `free`.
    fn own(&self, owner: (u64, u64)) -> bool {
        let mut state = lock(&self.state);
        (state.owner, state.depth) = (Some(owner), 1);
        std::mem::take(&mut state.recovered)
    }

    /// Takes it if that needs no waiting; whether who held it before has ended with it.
    fn take(&self, owner: (u64, u64)) -> Option<bool> {
        let mut state = lock(&self.state);
        if self.again && state.owner == Some(owner) {
            state.depth += 1;
            return Some(false);
        }
        drop(state);
        let permit = self.free.try_acquire().ok()?;
        permit.forget();
        Some(self.own(owner))
    }

    pub(super) async fn acquire(&self, owner: (u64, u64)) -> Result<bool, Fault> {
        if let Some(recovered) = self.take(owner) {
            return Ok(recovered);
        }
        self.free.acquire().await.map_err(|_| Fault::Closed)?.forget();
        Ok(self.own(owner))
    }

    pub(super) fn is_held_by(&self, owner: (u64, u64)) -> bool {
        let held = lock(&self.state).owner;
        held == Some(owner) || (!self.again && held.is_some())
    }

    pub(super) fn release(&self, owner: (u64, u64)) -> Result<(), Fault> {
        let mut state = lock(&self.state);
        let may = if self.again { state.owner == Some(owner) } else { state.owner.is_some() };
        if !may {
            return Err(Fault::NotHeld("the lock".to_owned()));
        }
        state.depth -= 1;
        if state.depth == 0 {
            state.owner = None;
            drop(state);
            self.free.add_permits(1);
        }
        Ok(())
    }

    /// Takes back what did not get to who was to have it.
    pub(super) fn undo(&self, owner: (u64, u64), depth: u64, recovered: bool) {
        let mut state = lock(&self.state);
        if state.owner != Some(owner) {
            return;
        }
        state.recovered |= recovered;
        state.depth = state.depth.saturating_sub(depth);
        if state.depth == 0 {
            state.owner = None;
            drop(state);
            self.free.add_permits(1);
        }
    }

    /// Lets go of it, however often it was taken; how often.
    pub(super) fn release_all(&self, owner: (u64, u64)) -> Result<u64, Fault> {
        let mut state = lock(&self.state);
        let held = state.owner == Some(owner) || (!self.again && state.owner.is_some());
        if !held {
            return Err(Fault::NotHeld("the lock".to_owned()));
        }
        let depth = std::mem::take(&mut state.depth);
        state.owner = None;
        drop(state);
        self.free.add_permits(1);
        Ok(depth)
    }

    /// Taken again as often as before.
    pub(super) fn deepen(&self, depth: u64) {
        lock(&self.state).depth += depth.saturating_sub(1);
    }

    fn said(self: &Arc<Self>, recovered: Result<bool, Fault>, owner: (u64, u64)) -> Said {
        match recovered {
            Ok(recovered) => {
                let lock = self.clone();
                let undo = Undo::new(move || lock.undo(owner, 1, recovered));
                Said::with(reply(&recovered), undo)
            }
            Err(fault) => Said::from(Err(fault)),
        }
    }

    pub(super) fn run(self: Arc<Self>, session: &Arc<Session>, op: LockOp) -> Outcome {
        let by = |owner| (session.id, owner);
        if !matches!(op, LockOp::IsLocked)
            && let Err(fault) = session.check_write()
        {
            return Err(fault).into();
        }
        match op {
            LockOp::Acquire { owner } => match self.take(by(owner)) {
                Some(recovered) => self.said(Ok(recovered), by(owner)).into(),
                None => {
                    let owner = by(owner);
                    Outcome::later(async move {
                        let recovered = self.acquire(owner).await;
                        self.said(recovered, owner)
                    })
                }
            },
            LockOp::TryAcquire { owner } => match self.take(by(owner)) {
                Some(recovered) => self.said(Ok(recovered), by(owner)).into(),
                None => Reply::Err(Fault::Busy).into(),
            },
            LockOp::Release { owner } => self.release(by(owner)).and_then(|()| reply(&())).into(),
            LockOp::IsLocked => reply(&lock(&self.state).owner.is_some()).into(),
        }
    }

    /// What a session held that has ended passes on.
    pub(super) fn recover(&self, session: u64) {
        let mut state = lock(&self.state);
        if state.owner.is_some_and(|(by, _)| by == session) {
            *state = State { recovered: true, ..State::default() };
            drop(state);
            self.free.add_permits(1);
        }
    }
}

impl Served for Lock {
    fn call(self: Arc<Self>, session: &Arc<Session>, op: &[u8]) -> Outcome {
        match parse(op) {
            Ok(op) => self.run(session, op),
            Err(fault) => Err(fault).into(),
        }
    }

    fn left(&self, session: u64) {
        self.recover(session);
    }

    fn as_lock(self: Arc<Self>) -> Option<Arc<Lock>> {
        Some(self)
    }
}
