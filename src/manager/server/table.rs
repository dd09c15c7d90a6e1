//! Keys and values in shards, in the order in which the keys came.
//!
//! A single key needs the lock of its shard only, so keys do not wait for one another; what means all of it takes the
//! locks of all shards, in order. Whoever sees all of it sees it as it was at one time.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::sys::lock;

const SHARDS: usize = 16;

pub(super) struct Table<V> {
    shards: [Mutex<Shard<V>>; SHARDS],
    hasher: RandomState,
    next: AtomicU64,
}

pub(super) struct Shard<V> {
    entries: HashMap<Arc<[u8]>, (u64, V)>,
    /// Keys by when they came.
    order: BTreeMap<u64, Arc<[u8]>>,
}

impl<V> Default for Shard<V> {
    fn default() -> Self {
        Shard { entries: HashMap::new(), order: BTreeMap::new() }
    }
}

impl<V> Shard<V> {
    pub(super) fn get(&self, key: &[u8]) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<V> {
        let (at, value) = self.entries.remove(key)?;
        self.order.remove(&at);
        Some(value)
    }
}

impl<V> Table<V> {
    pub(super) fn new() -> Self {
        Table {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            next: AtomicU64::new(0),
        }
    }

    fn place(&self, key: &[u8]) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }

    /// The shard of a key.
    pub(super) fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard<V>> {
        lock(&self.shards[self.place(key)])
    }

    /// Puts a value at a key; what was there. A key that is there already keeps its place.
    pub(super) fn insert(&self, shard: &mut Shard<V>, key: &[u8], value: V) -> Option<V> {
        if let Some((_, there)) = shard.entries.get_mut(key) {
            return Some(std::mem::replace(there, value));
        }
        let (at, key) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::from(key));
        shard.order.insert(at, Arc::clone(&key));
        shard.entries.insert(key, (at, value));
        None
    }

    /// All of it.
    pub(super) fn all(&self) -> All<'_, V> {
        All { table: self, shards: self.shards.iter().map(lock).collect() }
    }
}

impl<V: Clone> Table<V> {
    /// All of it as it is at one time, in the order in which the keys came.
    pub(super) fn cloned(&self) -> Vec<(Arc<[u8]>, V)> {
        let all = self.all();
        all.items().into_iter().map(|(key, value)| (Arc::clone(key), value.clone())).collect()
    }
}

/// All shards, kept from others.
pub(super) struct All<'a, V> {
    table: &'a Table<V>,
    shards: Vec<MutexGuard<'a, Shard<V>>>,
}

impl<V> All<'_, V> {
    pub(super) fn shard(&mut self, key: &[u8]) -> &mut Shard<V> {
        &mut self.shards[self.table.place(key)]
    }

    pub(super) fn insert(&mut self, key: &[u8], value: V) -> Option<V> {
        let shard = &mut *self.shards[self.table.place(key)];
        self.table.insert(shard, key, value)
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.shards[self.table.place(key)].contains(key)
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.entries.len()).sum()
    }

    /// In the order in which the keys came.
    pub(super) fn items(&self) -> Vec<(&Arc<[u8]>, &V)> {
        let entries = self.shards.iter().flat_map(|shard| &shard.entries);
        let mut all: Vec<_> = entries.map(|(key, (at, value))| (*at, key, value)).collect();
        all.sort_unstable_by_key(|(at, ..)| *at);
        all.into_iter().map(|(_, key, value)| (key, value)).collect()
    }

    /// Takes what came last.
    pub(super) fn pop_last(&mut self) -> Option<(Arc<[u8]>, V)> {
        let last =
            |shard: &MutexGuard<'_, Shard<V>>| shard.order.last_key_value().map(|(at, _)| *at);
        let shard = self.shards.iter_mut().max_by_key(|shard| last(shard))?;
        let (_, key) = shard.order.pop_last()?;
        let (_, value) = shard.entries.remove(&key)?;
        Some((key, value))
    }

    /// Takes everything.
    pub(super) fn clear(&mut self) -> Vec<Shard<V>> {
        self.shards.iter_mut().map(|shard| std::mem::take(&mut **shard)).collect()
    }
}
