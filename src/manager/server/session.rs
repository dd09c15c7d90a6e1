//! One process as the manager sees it: what it was given.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::object::{Reply, bounded_reply, reply};
use super::replies::LONG;
use super::store::{Counted, Entry, Store};
use super::value::{Account, Value};
use serde::Serialize;

use crate::manager::fault::Fault;
use crate::manager::op::{Cell, Kind, ManagerOp, Raw, Ref};
use crate::manager::rights::Rights;
use crate::sys::lock;

/// Objects that one client may have made at a time.
pub(in crate::manager) const MAX_OBJECTS: u64 = 1 << 20;
/// Objects that a value may refer to.
const MAX_REFS: usize = 1 << 16;

/// What all connections of one client have in common.
#[derive(Debug, Clone)]
pub(in crate::manager) struct ClientAccount {
    pub(in crate::manager) bytes: Arc<Account>,
    pub(in crate::manager) objects: Arc<AtomicU64>,
    pub(in crate::manager) max_objects: u64,
    /// Objects that it has asked for before it was said that they are on their way.
    pub(in crate::manager) early: Arc<AtomicU64>,
    pub(in crate::manager) connections: Arc<AtomicU64>,
    pub(in crate::manager) max_connections: u64,
    pub(in crate::manager) max_message: u64,
    pub(in crate::manager) rights: Rights,
}

pub(in crate::manager) struct Session {
    pub(in crate::manager) id: u64,
    pub(in crate::manager) store: Arc<Store>,
    pub(in crate::manager) account: Arc<Account>,
    client: ClientAccount,
    held: Mutex<HashMap<u64, (Arc<Entry>, u64)>>,
    /// Locks and the like that it was ever given: it can hold one of which it has no reference any more.
    had: Mutex<HashMap<u64, Weak<Entry>>>,
}

/// So many that are no more are not worth looking for.
const MANY: usize = 1024;

impl Session {
    pub(super) fn new(store: &Arc<Store>, client: ClientAccount) -> Result<Arc<Self>, Fault> {
        let max = client.max_connections;
        if client.connections.fetch_add(1, Ordering::Relaxed) >= max {
            client.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Fault::Limit { what: "connections of one client".to_owned(), max });
        }
        store.connections.fetch_add(1, Ordering::Relaxed);
        let id = store.next_number();
        let account = client.bytes.clone();
        let (store, held, had) = (store.clone(), Mutex::default(), Mutex::default());
        Ok(Arc::new(Session { id, store, account, client, held, had }))
    }

    /// The object of that number, if the session was given it.
    pub(super) fn held(&self, id: u64) -> Option<Arc<Entry>> {
        lock(&self.held).get(&id).map(|(entry, _)| entry.clone())
    }

    /// Gives the session an object, once more.
    pub(in crate::manager) fn give(&self, entry: &Arc<Entry>) -> Ref {
        let mut held = lock(&self.held);
        let known = held.entry(entry.id).or_insert_with(|| (entry.clone(), 0));
        known.1 += 1;
        let is_new = known.1 == 1;
        drop(held);
        if is_new && entry.kind.is_held() {
            let mut had = lock(&self.had);
            // Those that are no more are forgotten now and then.
            if had.len() >= MANY && had.len().is_power_of_two() {
                had.retain(|_, entry| entry.strong_count() > 0);
            }
            had.insert(entry.id, Arc::downgrade(entry));
        }
        entry.reference()
    }

    fn release(&self, id: u64, count: u64) {
        let mut held = lock(&self.held);
        let gone = match held.get_mut(&id) {
            Some((_, n)) if *n > count => {
                *n -= count;
                None
            }
            Some(_) => held.remove(&id),
            None => None,
        };
        drop(held);
        drop(gone);
    }

    /// A value that was sent. Its sender must have been given all it refers to.
    pub(in crate::manager) fn take(&self, cell: &Cell<'_>) -> Result<Value, Fault> {
        self.take_at(&[], cell)
    }

    /// One that is to be kept under a key.
    pub(in crate::manager) fn take_at(&self, key: &[u8], cell: &Cell<'_>) -> Result<Value, Fault> {
        Value::new(cell.bytes.0, self.refs(cell)?, &self.account, key.len())
    }

    /// One that it had taken; what was given along with it is had no more.
    pub(super) fn take_back(&self, cell: &Cell<'_>) -> Result<Value, Fault> {
        let value = Value::again(cell.bytes.0, self.refs(cell)?, &self.account);
        cell.refs.iter().for_each(|r| self.release(r.id, 1));
        Ok(value)
    }

    /// What a value refers to.
    fn refs(&self, cell: &Cell<'_>) -> Result<Box<[Arc<Entry>]>, Fault> {
        if cell.refs.len() > MAX_REFS {
            return Err(Fault::Limit { what: "objects in a value".into(), max: MAX_REFS as u64 });
        }
        cell.refs.iter().map(|r| self.held(r.id).ok_or(Fault::NoObject)).collect()
    }

    pub(in crate::manager) fn take_all(&self, cells: &[Cell<'_>]) -> Result<Vec<Value>, Fault> {
        cells.iter().map(|cell| self.take(cell)).collect()
    }

    /// The same value in another place, where it counts again.
    pub(in crate::manager) fn again(&self, key: &[u8], value: &Value) -> Result<Value, Fault> {
        Value::new(value.bytes(), value.refs().into(), &self.account, key.len())
    }

    /// A value that is sent: the session has all it refers to from now on.
    pub(in crate::manager) fn cell<'a>(&self, value: &'a Value) -> Cell<'a> {
        let refs = value.refs().iter().map(|entry| self.give(entry)).collect();
        Cell { bytes: Raw(value.bytes()), refs }
    }

    pub(in crate::manager) fn cells<'a>(&self, values: &'a [Value]) -> Vec<Cell<'a>> {
        values.iter().map(|value| self.cell(value)).collect()
    }

    pub(in crate::manager) fn one(&self, value: Option<&Value>) -> Reply {
        reply(&value.map(|value| self.cell(value)))
    }

    /// What somebody only looks at, who may ask for it over and over: no more than fits into one message, and into what the
    /// client may have, since it may not read it.
    pub(in crate::manager) fn show<T: Serialize + ?Sized>(&self, value: &T) -> Reply {
        let shown = bounded_reply(value, self.client.max_message)?;
        if shown.len() > LONG {
            self.account.check(shown.len() as u64)?;
        }
        Ok(shown)
    }

    /// A new object of this session's making.
    pub(in crate::manager) fn make(&self, kind: Kind, init: &[u8]) -> Result<Ref, Fault> {
        let room = self.room()?;
        let object = super::make(self, kind, init)?;
        Ok(self.give(&self.store.add(kind, object, room)))
    }

    /// A new object that exists already here.
    pub(in crate::manager) fn adopt(
        &self,
        kind: Kind,
        object: Arc<dyn super::object::Served>,
    ) -> Result<Ref, Fault> {
        let room = self.room()?;
        Ok(self.give(&self.store.add(kind, object, room)))
    }

    /// Whether it may have that task run.
    pub(super) fn check_task(&self, name: &str) -> Result<(), Fault> {
        self.client.rights.check_task(name)
    }

    /// Whether it may make pools.
    pub(super) fn check_pools(&self) -> Result<(), Fault> {
        self.client.rights.check_pools()
    }

    /// Room for one more object, or name.
    fn room(&self) -> Result<Counted, Fault> {
        self.client.rights.check_create()?;
        let ClientAccount { objects, max_objects, .. } = &self.client;
        Counted::new(objects, *max_objects, "objects and names of one client")
    }

    /// Whether it may do more than look.
    pub(in crate::manager) fn check_write(&self) -> Result<(), Fault> {
        self.client.rights.check_write()
    }

    /// Something is asked of the manager itself.
    pub(super) fn manage(&self, op: &ManagerOp<'_>) -> Reply {
        let held = |id: u64| self.held(id).ok_or(Fault::NoObject);
        match op {
            ManagerOp::Create { kind, init } => reply(&self.make(*kind, init.0)?),
            ManagerOp::Redeem { id, key, ticket } => {
                let entry = self.store.redeem(*id, *key, (*ticket, &self.client.early))?;
                reply(&self.give(&entry))
            }
            ManagerOp::Ticket { id, ticket } => {
                self.store.send(&held(*id)?, *ticket, (self.id, &self.client))?;
                reply(&())
            }
            ManagerOp::Release { id, count } => {
                self.release(*id, *count);
                reply(&())
            }
            ManagerOp::Publish { name, id } => {
                let room = self.room()?;
                self.client.rights.check_name(name)?;
                self.store.publish(name, &held(*id)?, room)?;
                reply(&())
            }
            ManagerOp::Unpublish { name } => {
                self.client.rights.check_create()?;
                self.client.rights.check_name(name)?;
                let may_all = self.client.rights.check_shutdown().is_ok();
                let giver = (!may_all).then_some(&self.client.objects);
                reply(&self.store.unpublish(name, giver)?)
            }
            ManagerOp::Find { name } => {
                self.client.rights.check_name(name)?;
                let entry = self.store.named(name)?;
                reply(&self.give(&entry))
            }
            ManagerOp::Names => {
                let mut names = self.store.names();
                names.retain(|name| self.client.rights.check_name(name).is_ok());
                reply(&names)
            }
            ManagerOp::Stats => reply(&self.store.stats(self)),
            ManagerOp::Shutdown => {
                self.client.rights.check_shutdown()?;
                self.store.end();
                reply(&())
            }
            ManagerOp::Ping => reply(&()),
        }
    }

    /// The session is over: nothing is held any more. Its client may come back if it `returns`: then what it had stays for
    /// a while, but no lock stays locked for it.
    pub(super) fn end(&self, returns: bool) {
        let held = std::mem::take(&mut *lock(&self.held));
        let had = std::mem::take(&mut *lock(&self.had));
        had.values().filter_map(Weak::upgrade).for_each(|entry| entry.object.left(self.id));
        if returns {
            self.store.linger(held.into_values().map(|(entry, _)| entry));
        }
        self.store.left(self.id);
        self.client.connections.fetch_sub(1, Ordering::Relaxed);
        self.store.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
