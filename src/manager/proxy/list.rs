//! A list in a manager.

use std::marker::PhantomData;
use std::ops::RangeBounds;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Sealed, ends};
use crate::manager::core::{Core, Encoded, Source, cells, cores};
use crate::manager::error::ManagerError;
use crate::manager::op::{Cell, Kind, ListOp, Ref};
use crate::manager::request::{Request, op};

/// Stands for a list in a [`Manager`](crate::Manager): any process that has one reads and changes the same list.
///
/// Each method is one request, carried out as a whole: nobody sees it half done. Indexes below 0 count from the end, as
/// in Python. Values are kept in their encoded form, so to be equal means to be encoded alike. A value that was taken out is
/// a copy: to change one, put it back ([`set`](Self::set)), or better [`compare_and_set`](Self::compare_and_set), or
/// [`update`](Self::update), which is both. Proxies may be values: then the list keeps what they stand for.
///
/// It goes to other processes in calls, queues and pipes, and into other objects of the manager. What it stands for
/// lives until the last of them is gone, in whatever process; a list that contains itself until the manager ends.
///
/// # Crash behaviour
/// A process that dies gives up what it had; what it put in stays. When the manager has died, every method fails with
/// [`ManagerError::Died`].
///
/// # Examples
/// ```standalone_crate
/// use procpool::{ListProxy, Manager, ProcessPool};
///
/// #[procpool::task]
/// fn append(list: ListProxy<u64>, x: u64) {
///     list.blocking_push(&x).unwrap();
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let manager = Manager::start().await?;
///     let list = manager.list([1, 2]).await?;
///     let pool = ProcessPool::builder().workers(2).build().await?;
///     pool.starmap(append, (3..6).map(|x| (list.clone(), x))).await?;
///     list.sort().await?;
///     assert_eq!(list.to_vec().await?, [1, 2, 3, 4, 5]);
///     assert_eq!(list.get(-1).await?, 5);
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.managers.ListProxy")]
pub struct ListProxy<T> {
    core: Arc<Core>,
    types: PhantomData<fn(T) -> T>,
}

proxy!(ListProxy<T>, Kind::LIST);

/// The value at `index` of a list or an array.
pub(super) fn get<T: DeserializeOwned + 'static>(core: &Arc<Core>, index: i64) -> Request<T> {
    core.ask(&ListOp::Get(index), Source::one)
}

/// Another value there.
pub(super) fn set<T: Serialize>(core: &Arc<Core>, index: i64, value: &T) -> Request<()> {
    core.ask_with(value, |value| op(&ListOp::Set(index, value)), Source::plain)
}

/// Another value there, if it is as it was.
pub(super) fn compare_and_set<T: Serialize>(
    core: &Arc<Core>,
    index: i64,
    old: &T,
    new: &T,
) -> Request<bool> {
    let asked = |site: &_| {
        let (old, new) = (Encoded::new(site, old)?, Encoded::new(site, new)?);
        let asked = op(&ListOp::CompareSet { index, old: old.cell(), new: new.cell() })?;
        Ok((asked, cores(vec![old, new])))
    };
    core.request(asked, Source::plain)
}

/// The values in a range of indexes.
pub(super) fn slice<T: DeserializeOwned + 'static>(
    core: &Arc<Core>,
    range: &impl RangeBounds<i64>,
) -> Request<Vec<T>> {
    let (start, stop) = ends(range);
    core.ask(&ListOp::Slice { start, stop, step: 1 }, Source::all)
}

/// Others in place of those.
pub(super) fn set_slice<'a, T: Serialize + 'a>(
    core: &Arc<Core>,
    range: &impl RangeBounds<i64>,
    values: impl IntoIterator<Item = &'a T>,
) -> Request<()> {
    let (start, stop) = ends(range);
    let asked = |site: &_| {
        let values = Encoded::all(site, values)?;
        Ok((op(&ListOp::SetSlice { start, stop, values: cells(&values) })?, cores(values)))
    };
    core.request(asked, Source::plain)
}

impl<T: Serialize + DeserializeOwned + 'static> ListProxy<T> {
    methods! {
        /// How many values there are.
        fn len | blocking_len(&self) -> usize {
            self.core.ask(&ListOp::Len, Source::size)
        }

        /// Whether there are none.
        fn is_empty | blocking_is_empty(&self) -> bool {
            self.core.ask(&ListOp::Len, |s, b| Ok(s.size(b)? == 0))
        }

        /// The value at `index`.
        ///
        /// # Errors
        /// [`Index`](ManagerError::Index) if there is none.
        fn get | blocking_get(&self, index: i64) -> T {
            get(&self.core, index)
        }

        /// Another value at `index`.
        ///
        /// # Errors
        /// [`Index`](ManagerError::Index) if there is none.
        fn set | blocking_set(&self, index: i64, value: &T) -> () {
            set(&self.core, index, value)
        }

        /// One more at the end.
        #[doc(alias = "append")]
        fn push | blocking_push(&self, value: &T) -> () {
            self.core.ask_with(value, |value| op(&ListOp::Push(value)), Source::plain)
        }

        /// One more before `index`, which is moved inside the list.
        fn insert | blocking_insert(&self, index: i64, value: &T) -> () {
            self.core.ask_with(value, |value| op(&ListOp::Insert(index, value)), Source::plain)
        }

        /// Takes the last value; `None` of an empty list.
        fn pop | blocking_pop(&self) -> Option<T> {
            self.core.ask(&ListOp::Pop(None), Source::maybe)
        }

        /// Takes the value at `index`.
        ///
        /// # Errors
        /// [`Index`](ManagerError::Index) if there is none.
        fn pop_at | blocking_pop_at(&self, index: i64) -> T {
            self.core.ask(&ListOp::Pop(Some(index)), |source, bytes| {
                let popped = source.maybe(bytes)?;
                popped.ok_or_else(|| ManagerError::Protocol { what: "no value".to_owned() })
            })
        }

        /// Drops the value at `index`.
        ///
        /// # Errors
        /// [`Index`](ManagerError::Index) if there is none.
        fn delete | blocking_delete(&self, index: i64) -> () {
            self.core.ask(&ListOp::Delete(index), Source::plain)
        }

        /// Drops the first such value; whether there was one.
        fn remove | blocking_remove(&self, value: &T) -> bool {
            self.core.ask_with(value, |value| op(&ListOp::Remove(value)), Source::plain)
        }

        /// Drops all values.
        fn clear | blocking_clear(&self) -> () {
            self.core.ask(&ListOp::Clear, Source::plain)
        }

        /// All values.
        fn to_vec | blocking_to_vec(&self) -> Vec<T> {
            self.core.ask(&ListOp::Slice { start: None, stop: None, step: 1 }, Source::all)
        }

        /// Every `step`th value from `start` to before `stop`, as `list[start:stop:step]` in Python; backwards if `step` is
        /// below 0.
        fn slice_step | blocking_slice_step(&self, start: Option<i64>, stop: Option<i64>, step: i64) -> Vec<T> {
            self.core.ask(&ListOp::Slice { start, stop, step }, Source::all)
        }

        /// Where the first such value is.
        fn index_of | blocking_index_of(&self, value: &T) -> Option<usize> {
            self.core.ask_with(
                value,
                |value| op(&ListOp::Index { value, start: None, stop: None }),
                |source, bytes| Ok(source.plain::<Option<u64>>(bytes)?.map(|at| at as usize)),
            )
        }

        /// How many such values there are.
        fn count | blocking_count(&self, value: &T) -> usize {
            self.core.ask_with(value, |value| op(&ListOp::Count(value)), Source::size)
        }

        /// Whether there is such a value.
        fn contains | blocking_contains(&self, value: &T) -> bool {
            self.core.ask_with(value, |value| op(&ListOp::Contains(value)), Source::plain)
        }

        /// Turns the order around.
        fn reverse | blocking_reverse(&self) -> () {
            self.core.ask(&ListOp::Reverse, Source::plain)
        }

        /// All values so many times, one after the other: `list *= n` in Python.
        fn repeat | blocking_repeat(&self, n: usize) -> () {
            self.core.ask(&ListOp::Repeat(n as u64), Source::plain)
        }

        /// Writes `new` at `index` if `old` is there; whether it was.
        ///
        /// # Errors
        /// [`Index`](ManagerError::Index) if there is nothing.
        fn compare_and_set | blocking_compare_and_set(&self, index: i64, old: &T, new: &T) -> bool {
            compare_and_set(&self.core, index, old, new)
        }

        /// A new list of the same values.
        fn copy | blocking_copy(&self) -> ListProxy<T> {
            self.core.ask(&ListOp::Copy, |source, bytes| {
                Ok(ListProxy::of(source.core(source.plain::<Ref>(bytes)?)))
            })
        }

        /// More values at the end.
        fn extend | blocking_extend ['a](&self, values: impl IntoIterator<Item = &'a T>) -> () where [T: 'a] {
            let asked = |site: &_| {
                let values = Encoded::all(site, values)?;
                Ok((op(&ListOp::Extend(cells(&values)))?, cores(values)))
            };
            self.core.request(asked, Source::plain)
        }

        /// The values in a range of indexes.
        fn slice | blocking_slice(&self, range: impl RangeBounds<i64>) -> Vec<T> {
            slice(&self.core, &range)
        }

        /// Other values, as many as there are, in place of those in a range of indexes.
        fn set_slice | blocking_set_slice ['a](
            &self, range: impl RangeBounds<i64>, values: impl IntoIterator<Item = &'a T>
        ) -> () where [T: 'a] {
            set_slice(&self.core, &range, values)
        }
    }

    fn snapshot(&self) -> Request<(u64, Vec<T>)> {
        self.core.ask(&ListOp::Snapshot, |source, bytes| {
            let (version, values): (u64, Vec<Cell<'_>>) = source.reply(bytes)?;
            Ok((version, source.values(values)?))
        })
    }

    fn replace(&self, version: u64, values: &[T]) -> Request<bool> {
        let asked = |site: &_| {
            let values = Encoded::all(site, values)?;
            Ok((op(&ListOp::Replace { version, values: cells(&values) })?, cores(values)))
        };
        self.core.request(asked, Source::plain)
    }

    /// Changes all values at once: `f` has a copy of them, and what it makes of that takes their place, if nobody
    /// has changed the list meanwhile; else it is called again.
    ///
    /// # Errors
    /// As all requests.
    ///
    /// # Cancel safety
    /// A future that is dropped may have changed the list, once.
    pub async fn update(&self, mut f: impl FnMut(&mut Vec<T>)) -> Result<(), ManagerError> {
        loop {
            let (version, mut values) = self.snapshot().await?;
            f(&mut values);
            if self.replace(version, &values).await? {
                return Ok(());
            }
        }
    }

    /// [`update`](Self::update) on a thread that may wait.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn blocking_update(&self, mut f: impl FnMut(&mut Vec<T>)) -> Result<(), ManagerError> {
        loop {
            let (version, mut values) = self.snapshot().block()?;
            f(&mut values);
            if self.replace(version, &values).block()? {
                return Ok(());
            }
        }
    }

    /// Sorts the list: equal values keep their order.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    ///
    /// # Cancel safety
    /// As [`update`](Self::update).
    pub async fn sort(&self) -> Result<(), ManagerError>
    where
        T: Ord,
    {
        self.update(|values| values.sort()).await
    }

    /// [`sort`](Self::sort) on a thread that may wait.
    ///
    /// # Errors
    /// As [`sort`](Self::sort).
    pub fn blocking_sort(&self) -> Result<(), ManagerError>
    where
        T: Ord,
    {
        self.blocking_update(|values| values.sort())
    }
}
