//! What was lent.

use std::fmt;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeTuple, Serializer};

use super::memory::bounds;
use crate::hub::{Given, Got};
use crate::link::Lookout;
use crate::sys::{Handle, Lent};

/// Bytes that another process has lent, to be copied out of its memory; see [`Loan`](crate::Loan).
///
/// They go back when the last clone, here and in all processes it was given to, has been dropped.
///
/// # Crash behaviour
/// When its process dies, it goes back by itself. When its lender dies, it stays.
///
/// # Platform
/// As [`Loan`](crate::Loan)'s.
#[derive(Clone)]
pub struct Loaned(Arc<Memory>);

struct Memory {
    lent: Lent,
    handle: Arc<Handle>,
    capacity: usize,
    len: usize,
    /// Whoever lends sees when it is closed everywhere.
    token: Arc<Handle>,
}

impl Loaned {
    pub(super) fn new(
        handle: &Arc<Handle>,
        capacity: usize,
        len: usize,
        token: Handle,
    ) -> io::Result<Self> {
        let lent = Lent::open(handle, capacity)?;
        Ok(Self::of(lent, handle.clone(), capacity, len, token))
    }

    fn of(lent: Lent, handle: Arc<Handle>, capacity: usize, len: usize, token: Handle) -> Self {
        Loaned(Arc::new(Memory { lent, handle, capacity, len, token: Arc::new(token) }))
    }

    /// How many bytes were lent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether none were.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Copies bytes out of it, from `at` on.
    ///
    /// # Panics
    /// If they are not inside it.
    pub fn read(&self, at: usize, to: &mut [u8]) {
        bounds(at..at.saturating_add(to.len()), self.0.len, "bytes that were lent");
        self.0.lent.load(at, to);
    }

    /// A copy of a part of it.
    ///
    /// # Panics
    /// If the range is not inside it.
    #[must_use]
    pub fn to_vec(&self, range: impl RangeBounds<usize>) -> Vec<u8> {
        let (start, end) = bounds(range, self.0.len, "bytes that were lent");
        let mut bytes = vec![0; end - start];
        self.0.lent.load(start, &mut bytes);
        bytes
    }

    /// Reads it from the beginning to the end.
    ///
    /// # Examples
    /// ```
    /// use std::io::Read;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let loaned = procpool::Loan::new(100)?.fill(b"a few words")?;
    /// let mut text = String::new();
    /// loaned.reader().read_to_string(&mut text)?;
    /// assert_eq!(text, "a few words");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn reader(&self) -> impl io::Read + Send + '_ {
        Reader { loaned: self, at: 0 }
    }
}

struct Reader<'a> {
    loaned: &'a Loaned,
    at: usize,
}

impl io::Read for Reader<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = to.len().min(self.loaned.len() - self.at);
        self.loaned.read(self.at, &mut to[..n]);
        self.at += n;
        Ok(n)
    }
}

impl fmt::Debug for Loaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loaned({} bytes)", self.0.len)
    }
}

/// Works only in what procpool itself carries.
impl Serialize for Loaned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(4)?;
        tuple.serialize_element(&(self.0.capacity as u64))?;
        tuple.serialize_element(&(self.0.len as u64))?;
        tuple.serialize_element(&Given(&self.0.handle))?;
        tuple.serialize_element(&Given(&self.0.token))?;
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Loaned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (capacity, len, handle, token) = <(u64, u64, Got, Got)>::deserialize(deserializer)?;
        let size = usize::try_from(capacity).ok().filter(|size| *size > 0 && len <= capacity);
        let Some(size) = size else {
            return Err(D::Error::custom(format!("{len} bytes in a loan of {capacity}")));
        };
        // Dropping it here must not wait for whoever gave it.
        if !Lookout::is_token(token.handle()) {
            return Err(D::Error::custom("a loan whose way back is none"));
        }
        let lent = Lent::open(handle.handle(), size)
            .map_err(|e| D::Error::custom(format!("what was lent cannot be had: {e}")))?;
        Ok(Loaned::of(lent, Arc::new(handle.take()), size, len as usize, token.take()))
    }
}
