//! What the manager keeps of a value: its bytes, and the objects it refers to.

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
        self.take(n)?;
        Ok(Hold(self.clone(), n))
    }

    fn take(&self, n: u64) -> Result<(), Fault> {
        let before = self.bytes.fetch_add(n, Ordering::Relaxed);
        if before.saturating_add(n) > self.max {
            self.bytes.fetch_sub(n, Ordering::Relaxed);
            let what = "bytes of one client in the manager".to_owned();
            return Err(Fault::Limit { what, max: self.max });
        }
        Ok(())
    }
}

/// Bytes that are counted as long as this is there.
#[derive(Debug)]
pub(in crate::manager) struct Hold(Arc<Account>, u64);

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

impl Value {
    /// One that is kept under a key of so many bytes, or with none.
    pub(super) fn new(
        bytes: &[u8],
        refs: Box<[Arc<Entry>]>,
        account: &Arc<Account>,
        key: usize,
    ) -> Result<Self, Fault> {
        let cost = (bytes.len() + key) as u64 + refs.len() as u64 * REFERENCE + OVERHEAD;
        let cost = account.hold(cost)?;
        Ok(Value(Arc::new(Stored { bytes: bytes.into(), refs, _cost: cost })))
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

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        let ids = |value: &Value| value.refs().iter().map(|entry| entry.id).collect::<Vec<_>>();
        self.bytes() == other.bytes() && ids(self) == ids(other)
    }
}
