//! Bytes that are shared and never change.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::ops::{Deref, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeTuple, Serializer};

use super::memory::bounds;
use crate::hub::{Given, Got};
use crate::sys::{Handle, Sealed};

/// Bytes in memory that other processes read without a copy, and nobody can change.
///
/// They are filled once ([`SharedBytes::copy_from`], [`SharedBytesMut`](crate::SharedBytesMut)) and sealed. As an argument,
/// a result, an item of a queue or a message of a pipe, what goes to the other process is a
/// descriptor, whatever their length; there they are mapped. Clones and [slices](Self::slice) share
/// the memory. It is given back when the last process has dropped the last of them; nothing has a name
/// that could be left behind.
///
/// A descriptor and a few microseconds each time they arrive somewhere is what they cost: for some
/// hundred bytes a `Vec<u8>` is better. A value holds at most 128 of them. Who is given a slice could
/// get at all the memory.
///
/// # Crash behaviour
/// Nothing is left of them when the last process that had them has died, however it did.
///
/// # Platform
/// On Linux the kernel sees to it that nobody can write or shorten them, also who made them; what comes from
/// another process and is not sealed like that is refused. On Windows and macOS, where there is
/// nothing of that kind, what comes from another process is copied on arrival. On Windows they travel
/// as what [`PassFd`](crate::PassFd) does: not in messages of pipes, and to children, not to children of
/// children.
///
/// # Examples
/// ```standalone_crate
/// use procpool::{ProcessPool, SharedBytes};
///
/// #[procpool::task]
/// fn count(text: SharedBytes, byte: u8) -> usize {
///     text.iter().filter(|b| **b == byte).count()
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let text = SharedBytes::copy_from(b"a large text")?;
///     let pool = ProcessPool::builder().workers(2).build().await?;
///     let calls = (b'a'..=b'e').map(|byte| (text.clone(), byte));
///     assert_eq!(pool.starmap(count, calls).await?, [2, 0, 0, 0, 2]);
///     Ok(())
/// }
/// ```
#[doc(alias = "shared_memory")]
#[derive(Clone, Default)]
pub struct SharedBytes {
    /// `None` has no bytes.
    memory: Option<Arc<Memory>>,
    start: usize,
    len: usize,
}

struct Memory {
    sealed: Sealed,
    /// By which others get at it.
    handle: Arc<Handle>,
}

impl SharedBytes {
    /// A copy of `bytes`.
    ///
    /// # Errors
    /// If the system has no memory or no descriptor left for them, or they are more than this
    /// process's limit of file sizes (`RLIMIT_FSIZE`).
    pub fn copy_from(bytes: impl AsRef<[u8]>) -> io::Result<Self> {
        match bytes.as_ref() {
            [] => Ok(SharedBytes::default()),
            bytes => Ok(Self::sealed(Sealed::copy_of("procpool-bytes", bytes)?)),
        }
    }

    /// What was filled and sealed.
    pub(super) fn sealed((sealed, handle): (Sealed, Handle)) -> Self {
        let len = sealed.bytes().len();
        let memory = Some(Arc::new(Memory { sealed, handle: Arc::new(handle) }));
        SharedBytes { memory, start: 0, len }
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.memory {
            Some(memory) => &memory.sealed.bytes()[self.start..self.start + self.len],
            None => &[],
        }
    }

    /// A part of them, which shares the memory.
    ///
    /// # Panics
    /// If the range is not inside them.
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let (start, end) = bounds(range, self.len, "shared bytes");
        SharedBytes { memory: self.memory.clone(), start: self.start + start, len: end - start }
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for SharedBytes {
    fn borrow(&self) -> &[u8] {
        self
    }
}

/// Without a copy.
impl From<SharedBytes> for Bytes {
    fn from(bytes: SharedBytes) -> Self {
        Bytes::from_owner(bytes)
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for SharedBytes {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl Eq for SharedBytes {}

impl Hash for SharedBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

/// Their number and the first ones: there may be many.
impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 16;
        let shown = &self[..self.len.min(SHOWN)];
        let more = if self.len > SHOWN { "…" } else { "" };
        write!(f, "SharedBytes({} bytes: {}{more})", self.len, shown.escape_ascii())
    }
}

/// Works only in what procpool itself carries.
impl Serialize for SharedBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let memory = self.memory.as_ref().filter(|_| self.len > 0);
        let given = memory.map(|memory| Given(&memory.handle));
        let all = memory.map_or(0, |memory| memory.sealed.bytes().len());
        let mut tuple = serializer.serialize_tuple(4)?;
        tuple.serialize_element(&(all as u64))?;
        tuple.serialize_element(&(self.start as u64))?;
        tuple.serialize_element(&(self.len as u64))?;
        tuple.serialize_element(&given)?;
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for SharedBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (all, start, len, got) = <(u64, u64, u64, Option<Got>)>::deserialize(deserializer)?;
        let Some(got) = got else {
            return match len {
                0 => Ok(SharedBytes::default()),
                _ => Err(D::Error::custom("shared bytes without their memory")),
            };
        };
        let number = |n: u64| usize::try_from(n).map_err(|_| D::Error::custom("too long for here"));
        let (all, start, len) = (number(all)?, number(start)?, number(len)?);
        if all == 0 || start > all || len > all - start {
            return Err(D::Error::custom(format!("{len} bytes at {start} of {all} shared ones")));
        }
        let sealed = Sealed::open(got.handle(), all)
            .map_err(|e| D::Error::custom(format!("the shared bytes cannot be had: {e}")))?;
        let memory = Some(Arc::new(Memory { sealed, handle: Arc::new(got.take()) }));
        Ok(SharedBytes { memory, start, len })
    }
}
