//! All objects of a manager, and who keeps them.
//!
//! An object lives as long as somebody has it: a session that was given it, a value that refers to it, a name, or a
//! ticket under which it is on its way from one process to another. All of those are counted by `Arc`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::object::Served;
use super::session::{ClientAccount, Session};
use super::user::Threads;
use crate::manager::fault::Fault;
use crate::manager::op::{Kind, Ref, Stats};
use crate::sys::lock;

/// How long what a process has passed on waits for who is to have it, once that process is gone.
const LINGER: Duration = Duration::from_secs(60);
/// How long what a client had waits for it when the connection over the network is lost.
const RETURN: Duration = Duration::from_secs(30);
/// Objects on their way, and those that arrived before it was said that they are, of one client.
const MAX_TICKETS: u64 = 1 << 16;
const MAX_NAMES: usize = 1 << 16;
pub(super) const MAX_NAME: usize = 1024;

pub(in crate::manager) fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap_or_else(|e| panic!("no random numbers: {e}"));
    u128::from_le_bytes(bytes)
}

/// One more of what a client may have a number of, as long as this is there.
pub(super) struct Counted(Arc<AtomicU64>);

impl Counted {
    /// If that is not too many.
    pub(super) fn new(count: &Arc<AtomicU64>, max: u64, what: &str) -> Result<Self, Fault> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(count.clone());
        if before >= max {
            return Err(Fault::Limit { what: what.to_owned(), max });
        }
        Ok(counted)
    }

    /// Whether it is that client's.
    fn is_of(&self, count: &Arc<AtomicU64>) -> bool {
        Arc::ptr_eq(&self.0, count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An object, and how it is called.
pub(in crate::manager) struct Entry {
    pub(super) id: u64,
    key: u128,
    pub(super) kind: Kind,
    pub(super) object: Arc<dyn Served>,
    store: Weak<Store>,
    _counted: Counted,
}

impl Entry {
    pub(super) fn reference(&self) -> Ref {
        Ref { id: self.id, key: self.key, kind: self.kind }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:016x}", self.kind.name(), self.id)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(store) = self.store.upgrade() {
            lock(&store.objects).remove(&self.id);
        }
    }
}

#[derive(Default)]
struct Tickets {
    /// By object and number.
    on_their_way: HashMap<(u64, u64), OnItsWay>,
    /// Those of each client, in the order in which they were sent.
    sent: HashMap<usize, BTreeMap<u64, (u64, u64)>>,
    next: u64,
    /// Redeemed before it was said that there is one.
    redeemed: HashMap<(u64, u64), (Counted, Instant)>,
}

struct OnItsWay {
    /// Kept.
    _entry: Arc<Entry>,
    /// The session that has sent it.
    by: u64,
    until: Option<Instant>,
    /// Its client's, and its place among those.
    client: usize,
    number: u64,
}

impl Tickets {
    fn take(&mut self, key: (u64, u64)) -> Option<OnItsWay> {
        let one = self.on_their_way.remove(&key)?;
        self.forget(&one);
        Some(one)
    }

    fn forget(&mut self, one: &OnItsWay) {
        if let Some(sent) = self.sent.get_mut(&one.client) {
            sent.remove(&one.number);
            if sent.is_empty() {
                self.sent.remove(&one.client);
            }
        }
    }

    /// Of too many of one client the first is given up: most likely nobody will ever ask for it.
    fn make_room(&mut self, client: usize) -> Option<OnItsWay> {
        let sent = self.sent.get(&client).filter(|sent| sent.len() >= MAX_TICKETS as usize)?;
        let first = *sent.first_key_value()?.1;
        self.take(first)
    }
}

/// A name, and who gave it.
struct Named {
    entry: Arc<Entry>,
    counted: Counted,
}

/// Everything a manager has.
pub(in crate::manager) struct Store {
    /// Which manager this is: no two are alike.
    pub(in crate::manager) instance: u128,
    objects: Mutex<HashMap<u64, Weak<Entry>>>,
    names: Mutex<BTreeMap<String, Named>>,
    tickets: Mutex<Tickets>,
    /// What clients had whose connections were lost, and for how long.
    lingering: Mutex<HashMap<u64, (Arc<Entry>, Instant)>>,
    next: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) requests: AtomicU64,
    /// On which the user's code runs.
    pub(super) threads: Threads,
    /// Set when the manager ends.
    ending: watch::Sender<bool>,
}

impl Store {
    pub(in crate::manager) fn new() -> Arc<Self> {
        Arc::new(Store {
            instance: random(),
            objects: Mutex::default(),
            names: Mutex::default(),
            tickets: Mutex::default(),
            lingering: Mutex::default(),
            next: AtomicU64::new(1),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            threads: Threads::new(),
            ending: watch::Sender::new(false),
        })
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A new object.
    pub(super) fn add(
        self: &Arc<Self>,
        kind: Kind,
        object: Arc<dyn Served>,
        counted: Counted,
    ) -> Arc<Entry> {
        let (id, key) = (self.next_number(), random());
        let store = Arc::downgrade(self);
        let entry = Arc::new(Entry { id, key, kind, object, store, _counted: counted });
        lock(&self.objects).insert(id, Arc::downgrade(&entry));
        entry
    }

    /// An object that somebody has the key to.
    fn find(&self, id: u64, key: u128) -> Option<Arc<Entry>> {
        let entry = lock(&self.objects).get(&id)?.upgrade()?;
        (entry.key == key).then_some(entry)
    }

    /// A session of that client passes an object on.
    pub(super) fn send(
        &self,
        entry: &Arc<Entry>,
        ticket: u64,
        (by, client): (u64, &ClientAccount),
    ) -> Result<(), Fault> {
        let client = Arc::as_ptr(&client.bytes) as usize;
        let mut tickets = lock(&self.tickets);
        if tickets.redeemed.remove(&(entry.id, ticket)).is_some() {
            return Ok(());
        }
        let key = (entry.id, ticket);
        let gone = (tickets.take(key), tickets.make_room(client));
        let number = tickets.next;
        tickets.next += 1;
        tickets.sent.entry(client).or_default().insert(number, key);
        let one = OnItsWay { _entry: entry.clone(), by, until: None, client, number };
        tickets.on_their_way.insert(key, one);
        drop(tickets);
        drop(gone);
        Ok(())
    }

    /// An object arrives; `count` has those that its client has redeemed too early.
    pub(super) fn redeem(
        &self,
        id: u64,
        key: u128,
        (ticket, count): (u64, &Arc<AtomicU64>),
    ) -> Result<Arc<Entry>, Fault> {
        let entry = self.find(id, key).ok_or(Fault::NoObject)?;
        if ticket == 0 {
            return Ok(entry);
        }
        let mut tickets = lock(&self.tickets);
        let one = tickets.take((id, ticket));
        if one.is_none()
            && let Ok(counted) = Counted::new(count, MAX_TICKETS, "objects that came too early")
        {
            tickets.redeemed.insert((id, ticket), (counted, Instant::now()));
        }
        drop(tickets);
        drop(one);
        Ok(entry)
    }

    /// A session has ended: what it has sent waits for a while.
    pub(super) fn left(&self, session: u64) {
        let until = Instant::now() + LINGER;
        for one in lock(&self.tickets).on_their_way.values_mut().filter(|one| one.by == session) {
            one.until = Some(until);
        }
    }

    /// Keeps these for a while.
    pub(super) fn linger(&self, entries: impl Iterator<Item = Arc<Entry>>) {
        let until = Instant::now() + RETURN;
        let mut lingering = lock(&self.lingering);
        for entry in entries {
            // Dropping the same entry a second time frees nothing.
            lingering.insert(entry.id, (entry, until));
        }
    }

    /// Forgets what has been on its way for too long, and what nobody came back for.
    pub(super) fn sweep(&self, now: Instant) {
        let mut lingering = lock(&self.lingering);
        let gone: Vec<_> = lingering.extract_if(|_, (_, until)| *until <= now).collect();
        drop(lingering);
        drop(gone);
        let mut late = Vec::new();
        let mut tickets = lock(&self.tickets);
        let over = |one: &OnItsWay| one.until.is_some_and(|until| until <= now);
        late.extend(tickets.on_their_way.extract_if(|_, one| over(one)));
        late.iter().for_each(|(_, one)| tickets.forget(one));
        tickets.redeemed.retain(|_, (_, at)| now.saturating_duration_since(*at) < LINGER);
        drop(tickets);
    }

    pub(super) fn publish(
        &self,
        name: &str,
        entry: &Arc<Entry>,
        counted: Counted,
    ) -> Result<(), Fault> {
        if name.len() > MAX_NAME {
            return Err(Fault::Limit { what: "bytes of a name".to_owned(), max: MAX_NAME as u64 });
        }
        let mut names = lock(&self.names);
        if names.contains_key(name) {
            return Err(Fault::NameTaken(name.to_owned()));
        }
        if names.len() >= MAX_NAMES {
            return Err(Fault::Limit { what: "names".to_owned(), max: MAX_NAMES as u64 });
        }
        names.insert(name.to_owned(), Named { entry: entry.clone(), counted });
        Ok(())
    }

    /// Takes away a name that the client whose objects are counted there has given, or whoever has if there is none; whether
    /// there was one.
    pub(super) fn unpublish(
        &self,
        name: &str,
        giver: Option<&Arc<AtomicU64>>,
    ) -> Result<bool, Fault> {
        let mut names = lock(&self.names);
        let other = |named: &Named| giver.is_some_and(|giver| !named.counted.is_of(giver));
        if names.get(name).is_some_and(other) {
            return Err(Fault::Denied("take away a name that another has given".to_owned()));
        }
        let removed = names.remove(name);
        drop(names);
        Ok(removed.is_some())
    }

    pub(super) fn named(&self, name: &str) -> Result<Arc<Entry>, Fault> {
        let names = lock(&self.names);
        let named = names.get(name).ok_or_else(|| Fault::NoName(name.to_owned()))?;
        Ok(named.entry.clone())
    }

    pub(super) fn names(&self) -> Vec<String> {
        lock(&self.names).keys().cloned().collect()
    }

    pub(super) fn stats(&self, session: &Session) -> Stats {
        Stats {
            objects: lock(&self.objects).len() as u64,
            connections: self.connections.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            bytes: session.account.bytes(),
        }
    }

    /// The manager ends: all its connections do.
    pub(in crate::manager) fn end(&self) {
        self.ending.send_replace(true);
    }

    pub(in crate::manager) fn ending(&self) -> watch::Receiver<bool> {
        self.ending.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::auth::AuthKey;
    use crate::manager::server::event::Event;
    use crate::manager::server::gate::Gate;

    #[test]
    fn what_a_lost_client_had_waits_for_it_for_a_while() {
        let store = Store::new();
        let count = Arc::default();
        let counted = Counted::new(&count, 1, "objects").unwrap();
        let entry = store.add(Kind::EVENT, Arc::new(Event::new()), counted);
        let Ref { id, key, .. } = entry.reference();
        let before = Instant::now();
        store.linger(std::iter::once(entry));
        store.sweep(before + RETURN / 2);
        drop(store.redeem(id, key, (0, &count)).unwrap());
        store.sweep(Instant::now() + RETURN);
        assert!(matches!(store.redeem(id, key, (0, &count)), Err(Fault::NoObject)));
    }

    /// Whoever is handed an object may never ask for it: that is in nobody's way who is handed another.
    #[test]
    fn of_too_many_on_their_way_the_first_are_given_up() {
        let (store, gate) = (Store::new(), Gate::own(AuthKey::new("k"), 1));
        let (_, client) = gate.client("").unwrap();
        let counted = |count: &Arc<AtomicU64>| Counted::new(count, u64::MAX, "objects").unwrap();
        let objects = Arc::default();
        let first = store.add(Kind::EVENT, Arc::new(Event::new()), counted(&objects));
        let other = store.add(Kind::EVENT, Arc::new(Event::new()), counted(&objects));
        let (Ref { id, key, .. }, last) = (other.reference(), MAX_TICKETS);
        store.send(&first, 1, (1, &client)).unwrap();
        drop(first);
        (1..=last).for_each(|ticket| store.send(&other, ticket, (1, &client)).unwrap());
        assert_eq!(objects.load(Ordering::Relaxed), 1);
        drop(other);
        let other = store.redeem(id, key, (last, &client.early)).unwrap();
        store.left(1);
        store.sweep(Instant::now() + LINGER);
        assert!(lock(&store.tickets).sent.is_empty());
        drop(other);
        assert_eq!(objects.load(Ordering::Relaxed), 0);
    }
}
