//! A dict, or a namespace, which is one whose keys are names.

use std::sync::Arc;

use super::object::{Outcome, Reply, Served, parse, reply};
use super::session::Session;
use super::table::Table;
use super::task::Change;
use super::value::Value;
use crate::manager::fault::Fault;
use crate::manager::op::{Cell, DictOp, Kind, Raw, TaskCall};

pub(super) struct Dict {
    kind: Kind,
    table: Table<Value>,
}

impl Dict {
    pub(super) fn new(kind: Kind, items: &[(Raw<'_>, Value)]) -> Self {
        let table = Table::new();
        let mut all = table.all();
        items.iter().for_each(|(key, value)| drop(all.insert(key.0, value.clone())));
        drop(all);
        Dict { kind, table }
    }
}

impl Served for Dict {
    fn call(self: Arc<Self>, session: &Arc<Session>, op: &[u8]) -> Outcome {
        match parse(op) {
            Ok(DictOp::Compute(key, call)) => {
                self.compute(session, key, &call).unwrap_or_else(|fault| Reply::Err(fault).into())
            }
            Ok(op) => self.run(session, op).into(),
            Err(fault) => Reply::Err(fault).into(),
        }
    }
}

impl Dict {
    /// Has a task change what is at a key.
    fn compute(
        self: Arc<Self>,
        session: &Arc<Session>,
        key: Raw<'_>,
        call: &TaskCall<'_>,
    ) -> Result<Outcome, Fault> {
        session.check_write()?;
        let change = Change::of(session, call)?;
        // Counted as long as it waits.
        let held = session.account.hold((key.0.len() + call.args.len()) as u64)?;
        let (entry, threads) = (change.entry, session.store.threads.clone());
        let (key, session) = (key.0.to_vec(), session.clone());
        let body = move || {
            let _held = held;
            self.change_by(&session, &key, &change)
        };
        if entry.cost.is_quick() {
            return Ok(entry.cost.of(body).into());
        }
        Ok(Outcome::later(threads.run(entry, body)))
    }

    /// Anew, if another has changed it meanwhile: the task is run without the lock.
    fn change_by(&self, session: &Arc<Session>, key: &[u8], change: &Change) -> Reply {
        loop {
            let old = self.table.shard(key).get(key).cloned();
            let new = change.of_value(old.as_ref())?;
            let new = new
                .map(|bytes| session.take_at(key, &Cell { bytes: Raw(&bytes), refs: Vec::new() }));
            let new = new.transpose()?;
            let mut shard = self.table.shard(key);
            let is_same = match (shard.get(key), &old) {
                (Some(there), Some(old)) => there.is(old),
                (there, old) => there.is_none() && old.is_none(),
            };
            if is_same {
                let gone = match &new {
                    Some(new) => self.table.insert(&mut shard, key, new.clone()),
                    None => shard.remove(key),
                };
                drop(shard);
                drop(gone);
                return session.one(new.as_ref());
            }
        }
    }

    fn run(&self, session: &Arc<Session>, op: DictOp<'_>) -> Reply {
        use DictOp as O;
        match op {
            // What is encoded is taken out first: that needs no lock.
            O::Get(key) => {
                let value = self.table.shard(key.0).get(key.0).cloned();
                session.show(&value.as_ref().map(|value| session.cell(value)))
            }
            O::GetMany(keys) => {
                let mut all = self.table.all();
                let found: Vec<_> =
                    keys.iter().map(|key| all.shard(key.0).get(key.0).cloned()).collect();
                drop(all);
                let cells = found.iter().map(|v| v.as_ref().map(|v| session.cell(v)));
                session.show(&cells.collect::<Vec<_>>())
            }
            O::Contains(key) => reply(&self.table.shard(key.0).contains(key.0)),
            O::Len => reply(&(self.table.all().len() as u64)),
            O::Keys => {
                let items = self.table.cloned();
                session.show(&items.iter().map(|(key, _)| Raw(key)).collect::<Vec<_>>())
            }
            O::Values => {
                let items = self.table.cloned();
                let values = items.iter().map(|(_, value)| session.cell(value));
                session.show(&values.collect::<Vec<_>>())
            }
            O::Items => {
                let items = self.table.cloned();
                let items = items.iter().map(|(key, value)| (Raw(key), session.cell(value)));
                session.show(&items.collect::<Vec<_>>())
            }
            O::Copy => {
                let items = self.table.cloned();
                let items = items.into_iter().map(|(k, v)| {
                    let again = session.again(&k, &v)?;
                    Ok((k, again))
                });
                let items = items.collect::<Result<Vec<_>, Fault>>()?;
                let items: Vec<_> = items.iter().map(|(key, v)| (Raw(key), v.clone())).collect();
                let copy = Dict::new(self.kind, &items);
                reply(&session.adopt(self.kind, Arc::new(copy))?)
            }
            change => self.change(session, change),
        }
    }

    fn change(&self, session: &Arc<Session>, op: DictOp<'_>) -> Reply {
        use DictOp as O;
        session.check_write()?;
        let take = |cell: &Cell<'_>| session.take(cell);
        let put = |key: Raw<'_>, value: &Cell<'_>| {
            let value = session.take_at(key.0, value)?;
            // Dropped after the lock: that can take its time.
            let mut shard = self.table.shard(key.0);
            Ok::<_, Fault>(self.table.insert(&mut shard, key.0, value))
        };
        let remove = |key: Raw<'_>| self.table.shard(key.0).remove(key.0);
        match op {
            O::Set(key, value) => {
                put(key, &value)?;
                reply(&())
            }
            O::Insert(key, value) => session.one(put(key, &value)?.as_ref()),
            O::SetDefault(key, value) => {
                let mut shard = self.table.shard(key.0);
                let value = match shard.get(key.0) {
                    Some(there) => there.clone(),
                    None => {
                        let value = session.take_at(key.0, &value)?;
                        self.table.insert(&mut shard, key.0, value.clone());
                        value
                    }
                };
                drop(shard);
                reply(&session.cell(&value))
            }
            O::Update(items) => {
                let taken = items.iter().map(|(key, value)| session.take_at(key.0, value));
                let taken = taken.collect::<Result<Vec<_>, _>>()?;
                let mut all = self.table.all();
                let with = items.iter().zip(taken);
                let gone: Vec<_> = with.map(|((key, _), v)| all.insert(key.0, v)).collect();
                drop(all);
                drop(gone);
                reply(&())
            }
            O::Pop(key) => session.one(remove(key).as_ref()),
            O::Delete(key) => reply(&remove(key).is_some()),
            O::PopItem => {
                let popped = self.table.all().pop_last();
                reply(&popped.as_ref().map(|(key, value)| (Raw(key), session.cell(value))))
            }
            O::Clear => {
                let gone = self.table.all().clear();
                drop(gone);
                reply(&())
            }
            O::CompareSet { key, old, new } => {
                let old = old.as_ref().map(take).transpose()?;
                let new = new.as_ref().map(|new| session.take_at(key.0, new)).transpose()?;
                let mut shard = self.table.shard(key.0);
                if shard.get(key.0) != old.as_ref() {
                    return reply(&false);
                }
                let gone = match new {
                    Some(new) => self.table.insert(&mut shard, key.0, new),
                    None => shard.remove(key.0),
                };
                drop(shard);
                drop(gone);
                reply(&true)
            }
            _ => Err(Fault::Malformed("it is no change".to_owned())),
        }
    }
}
