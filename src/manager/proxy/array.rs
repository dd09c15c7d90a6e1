//! An array in a manager.

use std::marker::PhantomData;
use std::ops::RangeBounds;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::list;
use crate::manager::core::{Core, Source};
use crate::manager::error::ManagerError;
use crate::manager::op::{Kind, ListOp};
use crate::manager::request::Request;

/// Stands for an array in a [`Manager`](crate::Manager): a list that keeps its length.
///
/// (For plain numbers that processes of one program share, a [`SharedArray`](crate::SharedArray) is a thousand times as fast.)
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
///     let board = manager.array(["a", "b", "c"].map(str::to_owned)).await?;
///     board.set(1, &"x".to_owned()).await?;
///     assert_eq!(board.to_vec().await?, ["a", "x", "c"]);
///     assert!(board.set(3, &String::new()).await.is_err());
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.managers.ArrayProxy")]
pub struct ArrayProxy<T> {
    core: Arc<Core>,
    types: PhantomData<fn(T) -> T>,
}

proxy!(ArrayProxy<T>, Kind::ARRAY);

impl<T: Serialize + DeserializeOwned + 'static> ArrayProxy<T> {
    methods! {
        /// How many values there are.
        fn len | blocking_len(&self) -> usize {
            self.core.ask(&ListOp::Len, Source::size)
        }

        /// The value at `index`.
        ///
        /// # Errors
        /// [`Index`](ManagerError::Index) if there is none.
        fn get | blocking_get(&self, index: i64) -> T {
            list::get(&self.core, index)
        }

        /// Another value at `index`.
        ///
        /// # Errors
        /// [`Index`](ManagerError::Index) if there is none.
        fn set | blocking_set(&self, index: i64, value: &T) -> () {
            list::set(&self.core, index, value)
        }

        /// Writes `new` at `index` if `old` is there; whether it was.
        ///
        /// # Errors
        /// [`Index`](ManagerError::Index) if there is nothing.
        fn compare_and_set | blocking_compare_and_set(&self, index: i64, old: &T, new: &T) -> bool {
            list::compare_and_set(&self.core, index, old, new)
        }

        /// All values.
        fn to_vec | blocking_to_vec(&self) -> Vec<T> {
            list::slice(&self.core, &..)
        }

        /// The values in a range of indexes.
        fn slice | blocking_slice(&self, range: impl RangeBounds<i64>) -> Vec<T> {
            list::slice(&self.core, &range)
        }

        /// Other values in a range of indexes.
        ///
        /// # Errors
        /// [`SliceLen`](ManagerError::SliceLen) if there are more or fewer of them.
        fn set_slice | blocking_set_slice(&self, range: impl RangeBounds<i64>, values: &[T]) -> () {
            list::set_slice(&self.core, &range, values)
        }
    }
}
