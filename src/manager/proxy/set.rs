//! A set in a manager.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Sealed;
use crate::manager::core::{Core, Encoded, Source, raws};
use crate::manager::error::ManagerError;
use crate::manager::op::{Kind, Raw, Ref, SetOp};
use crate::manager::request::{Request, op};

/// Stands for a set in a [`Manager`](crate::Manager): any process that has one reads and changes the same set.
///
/// Values are the same if they are encoded alike, and keep the order in which they came. Otherwise as a
/// [`DictProxy`](crate::DictProxy) of keys only.
///
/// # Crash behaviour
/// As for a [`ListProxy`](crate::ListProxy).
///
/// # Examples
/// ```standalone_crate
/// use procpool::Manager;
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let manager = Manager::start().await?;
///     let seen = manager.set([1, 2, 3]).await?;
///     assert!(seen.insert(&4).await? && !seen.insert(&1).await?);
///     seen.intersection_update(&[1, 4, 9]).await?;
///     assert_eq!(seen.to_vec().await?, [1, 4]);
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.managers.SetProxy")]
pub struct SetProxy<T> {
    core: Arc<Core>,
    types: PhantomData<fn(T) -> T>,
}

proxy!(SetProxy<T>, Kind::SET);

impl<T: Serialize + DeserializeOwned + 'static> SetProxy<T> {
    fn with(&self, value: &T, make: impl FnOnce(Raw<'_>) -> SetOp<'_>) -> Request<bool> {
        let asked = |site: &_| {
            let value = Encoded::key(site, value)?;
            Ok((op(&make(value.raw()))?, Vec::new()))
        };
        self.core.request(asked, Source::plain)
    }

    fn with_all<R: DeserializeOwned + 'static>(
        &self,
        values: &[T],
        make: impl FnOnce(Vec<Raw<'_>>) -> SetOp<'_>,
    ) -> Request<R> {
        let asked = |site: &_| {
            let values = Encoded::keys(site, values)?;
            Ok((op(&make(raws(&values)))?, Vec::new()))
        };
        self.core.request(asked, Source::plain)
    }

    methods! {
        /// How many values there are.
        fn len | blocking_len(&self) -> usize {
            self.core.ask(&SetOp::Len, Source::size)
        }

        /// Whether there are none.
        fn is_empty | blocking_is_empty(&self) -> bool {
            self.core.ask(&SetOp::Len, |s, b| Ok(s.plain::<u64>(b)? == 0))
        }

        /// Adds a value; whether it is new.
        #[doc(alias = "add")]
        fn insert | blocking_insert(&self, value: &T) -> bool {
            self.with(value, |value| SetOp::Add(value))
        }

        /// Drops a value; whether it was there.
        #[doc(alias = "discard")]
        fn remove | blocking_remove(&self, value: &T) -> bool {
            self.with(value, |value| SetOp::Discard(value))
        }

        /// Whether a value is there.
        fn contains | blocking_contains(&self, value: &T) -> bool {
            self.with(value, |value| SetOp::Contains(value))
        }

        /// Takes the value that came last.
        fn pop | blocking_pop(&self) -> Option<T> {
            self.core.ask(&SetOp::Pop, |source, bytes| {
                source.reply::<Option<Raw<'_>>>(bytes)?.map(|value| source.key(value)).transpose()
            })
        }

        /// All values.
        fn to_vec | blocking_to_vec(&self) -> Vec<T> {
            self.core.ask(&SetOp::Items, Source::keys)
        }

        /// Drops all values.
        fn clear | blocking_clear(&self) -> () {
            self.core.ask(&SetOp::Clear, Source::plain)
        }

        /// Adds all these.
        #[doc(alias = "update")]
        fn extend | blocking_extend(&self, values: &[T]) -> () {
            self.with_all(values, |values| SetOp::Update(values))
        }

        /// Keeps only what is among these.
        fn intersection_update | blocking_intersection_update(&self, values: &[T]) -> () {
            self.with_all(values, |values| SetOp::Intersect(values))
        }

        /// Drops all these.
        fn difference_update | blocking_difference_update(&self, values: &[T]) -> () {
            self.with_all(values, |values| SetOp::Subtract(values))
        }

        /// Drops those of these that are there, and adds the others.
        fn symmetric_difference_update | blocking_symmetric_difference_update(&self, values: &[T]) -> () {
            self.with_all(values, |values| SetOp::SymmetricDifference(values))
        }

        /// Whether all of it is among these.
        fn is_subset | blocking_is_subset(&self, of: &[T]) -> bool {
            self.with_all(of, |values| SetOp::IsSubset(values))
        }

        /// Whether all these are there.
        fn is_superset | blocking_is_superset(&self, of: &[T]) -> bool {
            self.with_all(of, |values| SetOp::IsSuperset(values))
        }

        /// Whether none of these is there.
        fn is_disjoint | blocking_is_disjoint(&self, from: &[T]) -> bool {
            self.with_all(from, |values| SetOp::IsDisjoint(values))
        }

        /// A new set of the same values.
        fn copy | blocking_copy(&self) -> SetProxy<T> {
            self.core.ask(&SetOp::Copy, |source, bytes| {
                Ok(SetProxy::of(source.core(source.plain::<Ref>(bytes)?)))
            })
        }
    }
}
