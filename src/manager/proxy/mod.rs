//! What users hold of the objects in a manager: typed, and with no state of their own.

#![allow(
    clippy::redundant_closure,
    reason = "the constructor of a variant with a lifetime is not one for all lifetimes"
)]

mod array;
mod dict;
mod event;
mod list;
mod lock;
mod namespace;
mod own;
mod pool;
mod queue;
mod semaphore;
mod set;
mod value;

pub use array::ArrayProxy;
pub use dict::DictProxy;
pub use event::{BarrierProxy, EventProxy};
pub use list::ListProxy;
pub use lock::{ConditionProxy, LockProxy, LockProxyGuard, RLockProxy};
pub use namespace::NamespaceProxy;
pub use own::{OwnProxy, Wraps, block, from_other, make, to_other};
pub use pool::PoolProxy;
pub use queue::{JoinableQueueProxy, QueueProxy};
pub use semaphore::{BoundedSemaphoreProxy, SemaphoreProxy, SemaphoreProxyPermit};
pub use set::SetProxy;
pub use value::ValueProxy;

use std::sync::Arc;

use super::core::Core;
use super::op::Kind;

/// Whatever stands for an object in a manager.
pub trait Proxy: sealed::Sealed {}

mod sealed {
    use super::{Arc, Core, Kind};

    #[allow(private_interfaces, reason = "that is what seals it")]
    pub trait Sealed: Sized {
        #[doc(hidden)]
        const KIND: Kind;
        #[doc(hidden)]
        fn of(core: Arc<Core>) -> Self;
        #[doc(hidden)]
        fn core(&self) -> &Arc<Core>;
    }
}

pub(super) use sealed::Sealed;

/// Where a range of indexes begins and ends, as slices say it.
fn ends(range: &impl std::ops::RangeBounds<i64>) -> (Option<i64>, Option<i64>) {
    use std::ops::Bound;
    let start = match range.start_bound() {
        Bound::Included(start) => Some(*start),
        Bound::Excluded(before) => Some(before.saturating_add(1)),
        Bound::Unbounded => None,
    };
    let stop = match range.end_bound() {
        // The one after the last one has no number from the end.
        Bound::Included(-1) | Bound::Unbounded => None,
        Bound::Included(last) => Some(last.saturating_add(1)),
        Bound::Excluded(stop) => Some(*stop),
    };
    (start, stop)
}
