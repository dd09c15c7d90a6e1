//! What the manager keeps of a value: its bytes, and the objects it refers to.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::store::Entry;
use crate::manager::fault::Fault;

/// Bytes that a client has in the manager.
#[derive(Debug)]
pub(in crate::manager) struct Account {
    bytes: AtomicU64,
    max: u64,
}

impl Account {
    pub(in crate::manager) fn new(max: u64) -> Arc<Self> {
        Arc::new(Account { bytes: AtomicU64::new(0), max })
    }

    pub(in crate::manager) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts so many bytes more for a while.
    pub(in crate::manager) fn hold(self: &Arc<Self>, n: u64) -> Result<Hold, Fault> {
        let before = self.bytes.fetch_add(n, Ordering::Relaxed);
        let hold = Hold(self.clone(), n);
        if before.saturating_add(n) > self.max { Err(self.too_much()) } else { Ok(hold) }
    }

    /// The same though it is more than there may be: what is counted is there already.
    pub(super) fn hold_in_any_case(self: &Arc<Self>, n: u64) -> Hold {
        self.bytes.fetch_add(n, Ordering::Relaxed);
        Hold(self.clone(), n)
    }

    /// Whether there is room for so many more.
    pub(super) fn check(&self, n: u64) -> Result<(), Fault> {
        if self.bytes().saturating_add(n) > self.max { Err(self.too_much()) } else { Ok(()) }
    }

    fn too_much(&self) -> Fault {
        Fault::Limit { what: "bytes of one client in the manager".to_owned(), max: self.max }
    }
}

/// Bytes that are counted as long as this is there.
#[derive(Debug)]
pub(in crate::manager) struct Hold(Arc<Account>, u64);

#[cfg(test)]
impl Hold {
    /// Of nothing.
    pub(in crate::manager) fn none() -> Self {
        Account::new(0).hold_in_any_case(0)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.bytes.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// A value; clones share it.
#[derive(Debug, Clone)]
pub(in crate::manager) struct Value(Arc<Stored>);

#[derive(Debug)]
struct Stored {
    bytes: Box<[u8]>,
    refs: Box<[Arc<Entry>]>,
    /// What it counts as.
    _cost: Hold,
}

/// What one costs beside its bytes, and a reference in it.
const OVERHEAD: u64 = 64;
const REFERENCE: u64 = 16;

fn cost(bytes: usize, refs: usize) -> u64 {
    bytes as u64 + refs as u64 * REFERENCE + OVERHEAD
}

impl Value {
    /// One that is kept under a key of so many bytes, or with none.
    pub(super) fn new(
        bytes: &[u8],
        refs: Box<[Arc<Entry>]>,
        account: &Arc<Account>,
        key: usize,
    ) -> Result<Self, Fault> {
        let cost = account.hold(cost(bytes.len() + key, refs.len()))?;
        Ok(Self::of(bytes, refs, cost))
    }

    /// One that was here before.
    pub(super) fn again(bytes: &[u8], refs: Box<[Arc<Entry>]>, account: &Arc<Account>) -> Self {
        let cost = account.hold_in_any_case(cost(bytes.len(), refs.len()));
        Self::of(bytes, refs, cost)
    }

    fn of(bytes: &[u8], refs: Box<[Arc<Entry>]>, cost: Hold) -> Self {
        Value(Arc::new(Stored { bytes: bytes.into(), refs, _cost: cost }))
    }

    pub(in crate::manager) fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Whether it is the very same, and not only alike.
    pub(super) fn is(&self, other: &Value) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn refs(&self) -> &[Arc<Entry>] {
        &self.0.refs
    }
}

thread_local! {
    /// What values referred to that are being dropped by this thread.
    static DROPPED: RefCell<Option<Vec<Arc<Entry>>>> = const { RefCell::new(None) };
}

/// What it refers to goes one after the other: a chain of objects may be longer than a thread's stack is deep.
impl Drop for Stored {
    fn drop(&mut self) {
        struct Outermost;
        impl Drop for Outermost {
            fn drop(&mut self) {
                DROPPED.set(None);
            }
        }
        if self.refs.is_empty() {
            return;
        }
        let refs = std::mem::take(&mut self.refs).into_vec();
        let is_outermost = DROPPED.with_borrow_mut(|dropped| match dropped {
            Some(dropped) => {
                dropped.extend(refs);
                false
            }
            None => {
                *dropped = Some(refs);
                true
            }
        });
        if is_outermost {
            let _outermost = Outermost;
            while let Some(entry) = DROPPED.with_borrow_mut(|d| d.as_mut().and_then(Vec::pop)) {
                drop(entry);
            }
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        let ids = |value: &Value| value.refs().iter().map(|entry| entry.id).collect::<Vec<_>>();
        self.bytes() == other.bytes() && ids(self) == ids(other)
    }
}
