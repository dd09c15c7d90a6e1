//! A task's entry in the registry, made by the macros.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};

use super::args::{Args, Encoded, Output, OwnedArgs};
use super::cost::Cost;
use super::fault::Fault;

/// Runs one call: decodes the arguments, runs the body, encodes the result.
pub(crate) type BlockingFn = for<'a> fn(&mut Args<'a>, &mut Output) -> Result<(), Fault>;

/// A running async task.
#[doc(hidden)]
pub type BoxFuture = Pin<Box<dyn Future<Output = Result<Encoded, Fault>> + Send>>;

#[derive(Clone, Copy)]
pub(crate) enum Body {
    Blocking(BlockingFn),
    Async(fn(OwnedArgs) -> BoxFuture),
}

impl Body {
    /// Where the code lies, for telling builds apart.
    pub(super) fn address(self) -> usize {
        match self {
            Body::Blocking(f) => f as usize,
            Body::Async(f) => f as usize,
        }
    }
}

const UNREGISTERED: u32 = u32::MAX;

/// One registered task.
#[doc(hidden)]
pub struct Entry {
    pub(crate) name: &'static str,
    pub(crate) location: &'static str,
    pub(crate) signature: &'static str,
    pub(crate) body: Body,
    /// In this process, where it is not run as a worker runs it.
    pub(crate) cost: Cost,
    id: AtomicU32,
}

impl Entry {
    pub const fn blocking(
        name: &'static str,
        location: &'static str,
        signature: &'static str,
        body: BlockingFn,
    ) -> Self {
        Entry {
            name,
            location,
            signature,
            body: Body::Blocking(body),
            cost: Cost::unknown(),
            id: AtomicU32::new(UNREGISTERED),
        }
    }

    pub const fn asynchronous(
        name: &'static str,
        location: &'static str,
        signature: &'static str,
        body: fn(OwnedArgs) -> BoxFuture,
    ) -> Self {
        Entry {
            name,
            location,
            signature,
            body: Body::Async(body),
            cost: Cost::unknown(),
            id: AtomicU32::new(UNREGISTERED),
        }
    }

    /// The number both sides use for it; `None` if the registry lacks it.
    #[inline]
    pub(crate) fn id(&self) -> Option<u32> {
        match self.id.load(Ordering::Relaxed) {
            UNREGISTERED => None,
            id => Some(id),
        }
    }

    pub(super) fn set_id(&self, id: u32) {
        self.id.store(id, Ordering::Relaxed);
    }

    pub(crate) fn is_async(&self) -> bool {
        matches!(self.body, Body::Async(_))
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name)
            .field("location", &self.location)
            .field("signature", &self.signature)
            .finish_non_exhaustive()
    }
}

/// Puts an entry into the link-time table.
#[doc(hidden)]
pub struct Registration(pub &'static Entry);

inventory::collect!(Registration);
