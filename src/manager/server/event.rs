//! An event.

use std::sync::Arc;

use tokio::sync::watch;

use super::object::{Outcome, Served, parse, reply};
use super::session::Session;
use crate::manager::fault::Fault;
use crate::manager::op::EventOp;

pub(super) struct Event(watch::Sender<bool>);

impl Event {
    pub(super) fn new() -> Self {
        Event(watch::Sender::new(false))
    }

    fn run(&self, session: &Session, op: EventOp) -> Result<Outcome, Fault> {
        if matches!(op, EventOp::Set | EventOp::Clear) {
            session.check_write()?;
        }
        Ok(match op {
            EventOp::IsSet => reply(&*self.0.borrow()).into(),
            EventOp::Set => {
                self.0.send_replace(true);
                reply(&()).into()
            }
            EventOp::Clear => {
                // Whoever waits for it to be set is not woken.
                self.0.send_if_modified(|set| {
                    *set = false;
                    false
                });
                reply(&()).into()
            }
            EventOp::Wait => {
                let mut set = self.0.subscribe();
                if *set.borrow_and_update() {
                    return Ok(reply(&()).into());
                }
                Outcome::later(async move {
                    // One that is cleared again at once has been set all the same.
                    match set.changed().await {
                        Ok(()) => reply(&()),
                        Err(_) => Err(Fault::Closed),
                    }
                })
            }
        })
    }
}

impl Served for Event {
    fn call(self: Arc<Self>, session: &Arc<Session>, op: &[u8]) -> Outcome {
        parse(op).and_then(|op| self.run(session, op)).unwrap_or_else(|fault| Err(fault).into())
    }
}
