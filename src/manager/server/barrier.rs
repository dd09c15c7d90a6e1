//! A barrier.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::object::{Outcome, Served, parse, reply};
use super::session::Session;
use crate::manager::fault::Fault;
use crate::manager::op::BarrierOp;
use crate::sys::lock;

pub(super) struct Barrier {
    parties: u64,
    state: Arc<Mutex<State>>,
    /// How many trips are over, and how the last one ended.
    trips: watch::Sender<(u64, bool)>,
}

#[derive(Default)]
struct State {
    come: u64,
    broken: bool,
}

/// One that has come, until it goes on. If it gives up, or its process dies, the barrier breaks.
struct Sitting {
    barrier: Arc<Barrier>,
    trip: u64,
}

impl Drop for Sitting {
    fn drop(&mut self) {
        self.barrier.disperse(Some(self.trip), true);
    }
}

impl Barrier {
    pub(super) fn new(parties: u32) -> Self {
        let trips = watch::Sender::new((0, false));
        Barrier { parties: u64::from(parties.max(1)), state: Arc::default(), trips }
    }

    fn wait(self: Arc<Self>, limit: Option<Duration>) -> Result<Outcome, Fault> {
        let mut state = lock(&self.state);
        if state.broken {
            return Err(Fault::Broken);
        }
        let index = state.come;
        state.come += 1;
        if state.come == self.parties {
            state.come = 0;
            self.trips.send_modify(|(trips, broken)| (*trips, *broken) = (*trips + 1, false));
            return Ok(reply(&index).into());
        }
        let mut trips = self.trips.subscribe();
        let trip = trips.borrow_and_update().0;
        drop(state);
        let sitting = Sitting { barrier: self, trip };
        Ok(Outcome::later(async move {
            // How it ended is not known any more when another has ended since.
            let over = async {
                let ended = trips.changed().await.map(|()| *trips.borrow());
                ended.is_ok_and(|(now, broken)| now > trip + 1 || !broken)
            };
            let passed = match limit {
                None => over.await,
                // Whoever has waited too long breaks it for all.
                Some(limit) => tokio::time::timeout(limit, over).await.unwrap_or(false),
            };
            drop(sitting);
            if passed { reply(&index) } else { Err(Fault::Broken) }
        }))
    }

    /// Ends the trip that is under way for all who sit in it; only that one, if one is given.
    fn disperse(&self, only: Option<u64>, broken: bool) {
        let mut state = lock(&self.state);
        if only.is_some_and(|trip| trip != self.trips.borrow().0) {
            return;
        }
        let sat = std::mem::take(&mut state.come) > 0;
        state.broken = broken;
        if sat {
            self.trips.send_modify(|(trips, ended)| (*trips, *ended) = (*trips + 1, true));
        }
    }

    fn run(self: Arc<Self>, session: &Session, op: BarrierOp) -> Result<Outcome, Fault> {
        if matches!(op, BarrierOp::Wait { .. } | BarrierOp::Abort | BarrierOp::Reset) {
            session.check_write()?;
        }
        Ok(match op {
            BarrierOp::Wait { limit } => return self.wait(limit.map(Duration::from_micros)),
            BarrierOp::Abort => {
                self.disperse(None, true);
                reply(&()).into()
            }
            BarrierOp::Reset => {
                self.disperse(None, false);
                reply(&()).into()
            }
            BarrierOp::Parties => reply(&self.parties).into(),
            BarrierOp::Waiting => reply(&lock(&self.state).come).into(),
            BarrierOp::IsBroken => reply(&lock(&self.state).broken).into(),
        })
    }
}

impl Served for Barrier {
    fn call(self: Arc<Self>, session: &Arc<Session>, op: &[u8]) -> Outcome {
        parse(op).and_then(|op| self.run(session, op)).unwrap_or_else(|fault| Err(fault).into())
    }
}
