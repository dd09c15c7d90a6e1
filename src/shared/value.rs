//! One value in shared memory, with a lock.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use bytemuck::Pod;
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::integer::Integer;
use super::locked::locked;
use super::raw_value::RawValue;
use crate::process::Error;
use crate::sync::{Lock, LockGuard, SyncError};

/// One value in memory that several processes read and write, with a lock.
///
/// `T` is any plain value without padding, as for a [`RawArray`](crate::RawArray). A handle is an argument, a result, or an item of a
/// queue; clones and what arrives elsewhere are the same value. Who wants to read and write as one step takes the lock, or says what to
/// do by [`update`](Self::update); integers have operations that need no lock, and that do not look at it.
///
/// # Crash behaviour
/// As for a [`Lock`]: when a process ends that holds the lock, the next guard says
/// [`recovered`](ValueGuard::recovered). A value of more than eight bytes may be half written then.
///
/// # Platform
/// As for a [`Lock`].
///
/// # Examples
/// ```standalone_crate
/// use procpool::{ProcessPool, SharedValue};
///
/// #[procpool::task]
/// fn add(sum: SharedValue<f64>, n: f64) {
///     sum.blocking_update(|sum| *sum += n).unwrap();
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let sum = SharedValue::new(0.5)?;
///     let pool = ProcessPool::builder().workers(2).build().await?;
///     pool.map(|n| add(sum.clone(), n), [1.0, 2.0, 3.0]).await?;
///     assert_eq!(sum.get().await?, 6.5);
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.Value")]
pub struct SharedValue<T> {
    raw: RawValue<T>,
    lock: Lock,
}

locked!(SharedValue, RawValue, ValueGuard, "value");

impl<T: Pod> SharedValue<T> {
    /// A value with a lock of its own.
    ///
    /// # Errors
    /// As [`Lock::new`].
    pub fn new(value: T) -> Result<Self, Error> {
        Self::with_lock(value, &Lock::new()?)
    }

    /// A value with that lock, which may be that of others too.
    ///
    /// # Errors
    /// As [`Lock::new`].
    pub fn with_lock(value: T, lock: &Lock) -> Result<Self, Error> {
        let raw = RawValue::new(value).map_err(|e| Error::no_object("shared value", &e))?;
        Ok(SharedValue { raw, lock: lock.clone() })
    }

    /// The value, read under the lock.
    ///
    /// # Errors
    /// As [`Lock::lock`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn get(&self) -> Result<T, SyncError> {
        Ok(self.lock().await?.get())
    }

    /// Writes the value under the lock.
    ///
    /// # Errors
    /// As [`Lock::lock`].
    ///
    /// # Cancel safety
    /// A future that is dropped before it is ready writes nothing.
    pub async fn set(&self, value: T) -> Result<(), SyncError> {
        self.lock().await?.set(value);
        Ok(())
    }

    /// Changes the value under the lock; what `f` gives.
    ///
    /// # Errors
    /// As [`Lock::lock`].
    ///
    /// # Cancel safety
    /// A future that is dropped before it is ready changes nothing.
    pub async fn update<R>(&self, f: impl FnOnce(&mut T) -> R) -> Result<R, SyncError> {
        Ok(self.lock().await?.update(f))
    }

    /// [`get`](Self::get) on a thread that may wait.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn blocking_get(&self) -> Result<T, SyncError> {
        Ok(self.blocking_lock()?.get())
    }

    /// [`set`](Self::set) on a thread that may wait.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn blocking_set(&self, value: T) -> Result<(), SyncError> {
        self.blocking_lock()?.set(value);
        Ok(())
    }

    /// [`update`](Self::update) on a thread that may wait.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn blocking_update<R>(&self, f: impl FnOnce(&mut T) -> R) -> Result<R, SyncError> {
        Ok(self.blocking_lock()?.update(f))
    }
}

impl<T: Integer> SharedValue<T> {
    /// Adds to the value, wrapping around, whoever holds the lock; what it was.
    pub fn fetch_add(&self, n: T) -> T {
        self.raw.fetch_add(n)
    }

    /// Subtracts from the value, wrapping around, whoever holds the lock; what it was.
    pub fn fetch_sub(&self, n: T) -> T {
        self.raw.fetch_sub(n)
    }
}

impl<T: Pod> ValueGuard<'_, T> {
    /// Changes the value; what `f` gives.
    pub fn update<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.get();
        let result = f(&mut value);
        self.set(value);
        result
    }
}
