//! One process as the manager sees it: what it was given.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::object::{Reply, reply};
use super::store::{Entry, Store};
use super::value::{Account, Value};
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
        if cell.refs.len() > MAX_REFS {
            return Err(Fault::Limit { what: "objects in a value".into(), max: MAX_REFS as u64 });
        }
        let refs = cell.refs.iter().map(|r| self.held(r.id).ok_or(Fault::NoObject));
        let refs: Box<[_]> = refs.collect::<Result<_, _>>()?;
        Value::new(cell.bytes.0, refs, &self.account, key.len())
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

    /// A new object of this session's making.
    pub(in crate::manager) fn make(&self, kind: Kind, init: &[u8]) -> Result<Ref, Fault> {
        self.client.rights.check_create()?;
        self.check_room()?;
        let object = super::make(self, kind, init)?;
        Ok(self.give(&self.store.add(kind, object, &self.client.objects)))
    }

    /// A new object that exists already here.
    pub(in crate::manager) fn adopt(
        &self,
        kind: Kind,
        object: Arc<dyn super::object::Served>,
    ) -> Result<Ref, Fault> {
        self.client.rights.check_create()?;
        self.check_room()?;
        Ok(self.give(&self.store.add(kind, object, &self.client.objects)))
    }

    /// Whether it may have that task run.
    pub(super) fn check_task(&self, name: &str) -> Result<(), Fault> {
        self.client.rights.check_task(name)
    }

    /// Whether it may make pools.
    pub(super) fn check_pools(&self) -> Result<(), Fault> {
        self.client.rights.check_pools()
    }

    fn check_room(&self) -> Result<(), Fault> {
        let max = self.client.max_objects;
        if self.client.objects.load(Ordering::Relaxed) >= max {
            return Err(Fault::Limit { what: "objects of one client".to_owned(), max });
        }
        Ok(())
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
                let entry = self.store.redeem(*id, *key, *ticket)?;
                reply(&self.give(&entry))
            }
            ManagerOp::Ticket { id, ticket } => {
                self.store.send(&held(*id)?, *ticket, self.id)?;
                reply(&())
            }
            ManagerOp::Release { id, count } => {
                self.release(*id, *count);
                reply(&())
            }
            ManagerOp::Publish { name, id } => {
                self.client.rights.check_create()?;
                self.client.rights.check_name(name)?;
                self.store.publish(name, &held(*id)?)?;
                reply(&())
            }
            ManagerOp::Unpublish { name } => {
                self.client.rights.check_create()?;
                self.client.rights.check_name(name)?;
                reply(&self.store.unpublish(name))
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
