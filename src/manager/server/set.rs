//! A set of values, by their bytes.

use std::collections::HashSet;
use std::sync::Arc;

use super::object::{Outcome, Reply, Served, parse, reply};
use super::session::Session;
use super::table::{All, Table};
use super::value::Value;
use crate::manager::fault::Fault;
use crate::manager::op::{Kind, Raw, SetOp};

pub(super) struct Set {
    /// Each is counted as whoever put it there has it.
    table: Table<Value>,
}

impl Set {
    pub(super) fn new(session: &Session, items: &[Raw<'_>]) -> Result<Self, Fault> {
        let set = Set { table: Table::new() };
        let mut all = set.table.all();
        for item in items {
            drop(all.insert(item.0, counted(session, item)?));
        }
        drop(all);
        Ok(set)
    }
}

/// The key is kept by the table: this one only counts it.
fn counted(session: &Session, item: &Raw<'_>) -> Result<Value, Fault> {
    Value::new(&[], Box::default(), &session.account, item.0.len())
}

impl Served for Set {
    fn call(self: Arc<Self>, session: &Arc<Session>, op: &[u8]) -> Outcome {
        parse(op).and_then(|op| self.run(session, op)).into()
    }
}

fn items(all: &All<'_, Value>) -> Vec<Arc<[u8]>> {
    all.items().into_iter().map(|(key, _)| Arc::clone(key)).collect()
}

impl Set {
    fn run(&self, session: &Arc<Session>, op: SetOp<'_>) -> Reply {
        use SetOp as O;
        match op {
            O::Len => reply(&(self.table.all().len() as u64)),
            O::Contains(item) => reply(&self.table.shard(item.0).contains(item.0)),
            O::Items => {
                let all = items(&self.table.all());
                session.show(&all.iter().map(|item| Raw(item)).collect::<Vec<_>>())
            }
            O::IsSubset(others) => {
                let others: HashSet<_> = others.iter().map(|item| item.0).collect();
                reply(&items(&self.table.all()).iter().all(|item| others.contains(&**item)))
            }
            O::IsSuperset(others) => {
                let all = self.table.all();
                reply(&others.iter().all(|item| all.contains(item.0)))
            }
            O::IsDisjoint(others) => {
                let all = self.table.all();
                reply(&!others.iter().any(|item| all.contains(item.0)))
            }
            O::Copy => {
                let all = items(&self.table.all());
                let all: Vec<_> = all.iter().map(|item| Raw(item)).collect();
                reply(&session.adopt(Kind::SET, Arc::new(Set::new(session, &all)?))?)
            }
            change => self.change(session, change),
        }
    }

    fn change(&self, session: &Arc<Session>, op: SetOp<'_>) -> Reply {
        use SetOp as O;
        session.check_write()?;
        match op {
            O::Add(item) => {
                let value = counted(session, &item)?;
                let mut shard = self.table.shard(item.0);
                reply(&self.table.insert(&mut shard, item.0, value).is_none())
            }
            O::Discard(item) => reply(&self.table.shard(item.0).remove(item.0).is_some()),
            O::Pop => {
                let popped = self.table.all().pop_last();
                reply(&popped.as_ref().map(|(item, _)| Raw(item)))
            }
            O::Clear => {
                let gone = self.table.all().clear();
                drop(gone);
                reply(&())
            }
            O::Update(others) => {
                let values = others.iter().map(|item| counted(session, item));
                let values = values.collect::<Result<Vec<_>, _>>()?;
                let mut all = self.table.all();
                let with = others.iter().zip(values);
                with.for_each(|(item, value)| drop(all.insert(item.0, value)));
                reply(&())
            }
            O::Intersect(others) => {
                let others: HashSet<_> = others.iter().map(|item| item.0).collect();
                let mut all = self.table.all();
                let gone = items(&all).into_iter().filter(|item| !others.contains(&**item));
                gone.for_each(|item| drop(all.shard(&item).remove(&item)));
                reply(&())
            }
            O::Subtract(others) => {
                let mut all = self.table.all();
                others.iter().for_each(|item| drop(all.shard(item.0).remove(item.0)));
                reply(&())
            }
            O::SymmetricDifference(others) => {
                let others: HashSet<_> = others.iter().map(|item| item.0).collect();
                let values = others.iter().map(|item| counted(session, &Raw(item)));
                let values = values.collect::<Result<Vec<_>, _>>()?;
                let mut all = self.table.all();
                for (item, value) in others.iter().zip(values) {
                    if all.shard(item).remove(item).is_none() {
                        all.insert(item, value);
                    }
                }
                reply(&())
            }
            _ => Err(Fault::Malformed("it is no change".to_owned())),
        }
    }
}
