//! Values of one type in shared memory, without a lock.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use bytemuck::Pod;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use super::memory::{SharedMemory, bounds};
use crate::sys::Atomic;

/// A fixed number of values in memory that several processes read and write, without a lock.
///
/// `T` is any plain value without padding: integers, floats, arrays and structs of them
/// (`#[derive(bytemuck::Pod, bytemuck::Zeroable)]` and `#[repr(C)]`). It goes to another process as
/// [`SharedMemory`] does, and shares its rules: a value of one, two, four or eight bytes is always
/// whole; another that is read while a process writes it may be partly old.
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
/// use procpool::{ProcessPool, RawArray};
///
/// #[procpool::task]
/// fn square(numbers: RawArray<i64>, i: usize) {
///     let n = numbers.get(i).unwrap();
///     numbers.set(i, n * n);
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let numbers = RawArray::from_slice(&[1, 2, 3, 4])?;
///     let pool = ProcessPool::builder().workers(2).build().await?;
///     pool.starmap(square, (0..4).map(|i| (numbers.clone(), i))).await?;
///     assert_eq!(numbers.to_vec(..), [1, 4, 9, 16]);
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.sharedctypes.RawArray")]
pub struct RawArray<T> {
    memory: SharedMemory,
    len: usize,
    items: PhantomData<fn(T) -> T>,
}

impl<T: Pod> RawArray<T> {
    /// `len` values of all zeroes.
    ///
    /// # Errors
    /// As [`SharedMemory::anonymous`].
    pub fn zeroed(len: usize) -> io::Result<Self> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // Of none, or of nothing, there is memory too.
        let memory = SharedMemory::anonymous(bytes.max(1))?;
        Ok(RawArray { memory, len, items: PhantomData })
    }

    /// A copy of `values`.
    ///
    /// # Errors
    /// As [`SharedMemory::anonymous`].
    pub fn from_slice(values: &[T]) -> io::Result<Self> {
        let array = Self::zeroed(values.len())?;
        array.copy_from(0, values);
        Ok(array)
    }

    /// The value at `index`; `None` if there is none.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<T> {
        (index < self.len).then(|| {
            let mut value = T::zeroed();
            self.memory.read(index * size_of::<T>(), bytemuck::bytes_of_mut(&mut value));
            value
        })
    }

    /// Writes the value at `index`.
    ///
    /// # Panics
    /// If there is none.
    pub fn set(&self, index: usize, value: T) {
        assert!(index < self.len, "value {index} of {} shared values", self.len);
        self.memory.write(index * size_of::<T>(), bytemuck::bytes_of(&value));
    }

    /// Copies values out of it, from `start` on.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn copy_to(&self, start: usize, to: &mut [T]) {
        bounds(start..start.saturating_add(to.len()), self.len, "shared values");
        self.memory.read(start * size_of::<T>(), bytemuck::cast_slice_mut(to));
    }

    /// Copies values into it, from `start` on.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn copy_from(&self, start: usize, from: &[T]) {
        bounds(start..start.saturating_add(from.len()), self.len, "shared values");
        self.memory.write(start * size_of::<T>(), bytemuck::cast_slice(from));
    }

    /// A copy of a part of it.
    ///
    /// # Panics
    /// If the range is not inside it.
    #[must_use]
    pub fn to_vec(&self, range: impl RangeBounds<usize>) -> Vec<T> {
        let (start, end) = bounds(range, self.len, "shared values");
        let mut values = vec![T::zeroed(); end - start];
        self.copy_to(start, &mut values);
        values
    }

    /// The values, each as it is when its turn comes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + '_ {
        (0..self.len).map(|index| self.get(index).unwrap_or_else(T::zeroed))
    }
}

impl<T> RawArray<T> {
    /// How many values it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first as an integer that is changed as a whole.
    pub(super) fn first<A: Atomic>(&self) -> &A {
        self.memory.at(0)
    }
}

impl<T> Clone for RawArray<T> {
    fn clone(&self) -> Self {
        RawArray { memory: self.memory.clone(), len: self.len, items: PhantomData }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for RawArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Works only in what procpool itself carries.
impl<T> Serialize for RawArray<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.len as u64, &self.memory).serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for RawArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (len, memory) = <(u64, SharedMemory)>::deserialize(deserializer)?;
        let fits = |len: &usize| {
            len.checked_mul(size_of::<T>()).is_some_and(|bytes| bytes.max(1) == memory.len())
        };
        let len = usize::try_from(len).ok().filter(fits).ok_or_else(|| {
            let (size, bytes) = (size_of::<T>(), memory.len());
            D::Error::custom(format!("{len} values of {size} bytes in {bytes} bytes of memory"))
        })?;
        Ok(RawArray { memory, len, items: PhantomData })
    }
}
