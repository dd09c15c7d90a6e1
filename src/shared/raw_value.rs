//! One value in shared memory, without a lock.

use std::fmt;
use std::io;

use bytemuck::Pod;
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::integer::Integer;
use super::raw_array::RawArray;

/// One value in memory that several processes read and write, without a lock.
///
/// As a [`RawArray`] of one: a value of one, two, four or eight bytes is always whole. Integers have operations
/// that no other process can come between; they are sequentially consistent.
///
/// # Crash behaviour
/// What a process wrote before it died stays. A value of more than eight bytes, or several that it was just writing, may be
/// partly old.
///
/// # Platform
/// On Windows it travels as what [`PassFd`](crate::PassFd) does: not in messages of pipes, and to
/// children, not to children of children.
///
/// # Examples
/// ```standalone_crate
/// use procpool::{ProcessPool, RawValue};
///
/// #[procpool::task]
/// fn count(counter: RawValue<u64>) {
///     for _ in 0..1000 {
///         counter.fetch_add(1);
///     }
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let counter = RawValue::new(0u64)?;
///     let pool = ProcessPool::builder().workers(2).build().await?;
///     pool.map(count, vec![counter.clone(); 4]).await?;
///     assert_eq!(counter.get(), 4000);
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.sharedctypes.RawValue")]
pub struct RawValue<T>(RawArray<T>);

impl<T: Pod> RawValue<T> {
    /// A value in memory of its own.
    ///
    /// # Errors
    /// As [`SharedMemory::anonymous`](crate::SharedMemory::anonymous).
    pub fn new(value: T) -> io::Result<Self> {
        RawArray::from_slice(&[value]).map(RawValue)
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> T {
        self.0.get(0).unwrap_or_else(T::zeroed)
    }

    /// Writes the value.
    pub fn set(&self, value: T) {
        self.0.set(0, value);
    }
}

impl<T: Integer> RawValue<T> {
    /// Adds to the value, wrapping around; what it was.
    pub fn fetch_add(&self, n: T) -> T {
        T::fetch_add(self.0.first(), n)
    }

    /// Subtracts from the value, wrapping around; what it was.
    pub fn fetch_sub(&self, n: T) -> T {
        T::fetch_sub(self.0.first(), n)
    }

    /// Sets the value; what it was.
    pub fn swap(&self, value: T) -> T {
        T::swap(self.0.first(), value)
    }

    /// Sets the value to `new` if it is `current`.
    ///
    /// # Errors
    /// The value, if it is another.
    pub fn compare_exchange(&self, current: T, new: T) -> Result<T, T> {
        T::compare_exchange(self.0.first(), current, new)
    }

    /// Sets the value to what `f` makes of it, calling that again whenever another process comes
    /// between; what it was.
    ///
    /// # Errors
    /// The value, if `f` makes nothing of it.
    pub fn fetch_update(&self, mut f: impl FnMut(T) -> Option<T>) -> Result<T, T> {
        let mut value = self.get();
        loop {
            let new = f(value).ok_or(value)?;
            match self.compare_exchange(value, new) {
                Ok(old) => return Ok(old),
                Err(other) => value = other,
            }
        }
    }
}

impl<T> Clone for RawValue<T> {
    fn clone(&self) -> Self {
        RawValue(self.0.clone())
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for RawValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawValue").field(&self.get()).finish()
    }
}

/// Works only in what procpool itself carries.
impl<T> Serialize for RawValue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for RawValue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let array = RawArray::deserialize(deserializer)?;
        match array.len() {
            1 => Ok(RawValue(array)),
            n => Err(serde::de::Error::custom(format!("one value was to come, {n} did"))),
        }
    }
}
