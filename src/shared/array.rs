//! Values of one type in shared memory, with a lock.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use bytemuck::Pod;
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::locked::locked;
use super::raw_array::RawArray;
use crate::process::Error;
use crate::sync::{Lock, LockGuard, SyncError};

/// A fixed number of values in memory that several processes read and write, with a lock.
///
/// As a [`SharedValue`](crate::SharedValue), of many. Its guard is used as the [`RawArray`] under it: `get`, `set`, copies of ranges,
/// `iter`; [`raw`](Self::raw) is the same without the lock.
///
/// # Crash behaviour
/// As for a [`SharedValue`](crate::SharedValue).
///
/// # Platform
/// As for a [`Lock`].
///
/// # Examples
/// ```standalone_crate
/// use procpool::{Process, SharedArray};
///
/// #[procpool::task]
/// fn double(numbers: SharedArray<i64>) {
///     let numbers = numbers.blocking_lock().unwrap();
///     for i in 0..numbers.len() {
///         numbers.update(i, |n| *n *= 2);
///     }
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let numbers = SharedArray::from_slice(&[1, 2, 3])?;
///     Process::spawn(double(numbers.clone())).await?.output().await?;
///     assert_eq!(numbers.lock().await?.to_vec(1..), [4, 6]);
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.Array")]
pub struct SharedArray<T> {
    raw: RawArray<T>,
    lock: Lock,
}

locked!(SharedArray, RawArray, ArrayGuard, "array");

impl<T: Pod> SharedArray<T> {
    /// `len` values of all zeroes.
    ///
    /// # Errors
    /// As [`Lock::new`].
    pub fn zeroed(len: usize) -> Result<Self, Error> {
        Self::made(RawArray::zeroed(len), &Lock::new()?)
    }

    /// A copy of `values`.
    ///
    /// # Errors
    /// As [`Lock::new`].
    pub fn from_slice(values: &[T]) -> Result<Self, Error> {
        Self::with_lock(values, &Lock::new()?)
    }

    /// A copy of `values`, with that lock, which may be that of others too.
    ///
    /// # Errors
    /// As [`Lock::new`].
    pub fn with_lock(values: &[T], lock: &Lock) -> Result<Self, Error> {
        Self::made(RawArray::from_slice(values), lock)
    }

    fn made(raw: std::io::Result<RawArray<T>>, lock: &Lock) -> Result<Self, Error> {
        let raw = raw.map_err(|e| Error::no_object("shared array", &e))?;
        Ok(SharedArray { raw, lock: lock.clone() })
    }
}

impl<T> SharedArray<T> {
    /// How many values it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }
}

impl<T: Pod> ArrayGuard<'_, T> {
    /// Changes the value at `index`; what `f` gives.
    ///
    /// # Panics
    /// If there is none.
    pub fn update<R>(&self, index: usize, f: impl FnOnce(&mut T) -> R) -> R {
        let value = self.get(index);
        let mut value =
            value.unwrap_or_else(|| panic!("value {index} of {} shared values", self.len()));
        let result = f(&mut value);
        self.set(index, value);
        result
    }
}
