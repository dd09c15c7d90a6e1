//! A single value.

use std::sync::{Arc, Mutex};

use super::object::{Outcome, Reply, Served, parse, reply};
use super::session::Session;
use super::value::Value;
use crate::manager::op::ValueOp;
use crate::sys::lock;

pub(super) struct Single(Mutex<Value>);

impl Single {
    pub(super) fn new(value: Value) -> Self {
        Single(Mutex::new(value))
    }

    fn run(&self, session: &Arc<Session>, op: &ValueOp<'_>) -> Reply {
        if !matches!(op, ValueOp::Get) {
            session.check_write()?;
        }
        match op {
            ValueOp::Get => {
                let value = lock(&self.0).clone();
                session.show(&session.cell(&value))
            }
            ValueOp::Set(value) => {
                let value = session.take(value)?;
                let gone = std::mem::replace(&mut *lock(&self.0), value);
                drop(gone);
                reply(&())
            }
            ValueOp::Swap(value) => {
                let value = session.take(value)?;
                let old = std::mem::replace(&mut *lock(&self.0), value);
                reply(&session.cell(&old))
            }
            ValueOp::CompareSet(old, new) => {
                let (old, new) = (session.take(old)?, session.take(new)?);
                let mut there = lock(&self.0);
                let same = *there == old;
                let gone = same.then(|| std::mem::replace(&mut *there, new));
                drop(there);
                drop(gone);
                reply(&same)
            }
        }
    }
}

impl Served for Single {
    fn call(self: Arc<Self>, session: &Arc<Session>, op: &[u8]) -> Outcome {
        parse(op).and_then(|op| self.run(session, &op)).into()
    }
}
