//! A single value in a manager.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::manager::core::{Core, Encoded, Source, cores};
use crate::manager::error::ManagerError;
use crate::manager::op::{Kind, ValueOp};
use crate::manager::request::{Request, op};

/// Stands for one value in a [`Manager`](crate::Manager), of any type that can be sent.
///
/// (For plain numbers that processes of one program share, a [`SharedValue`](crate::SharedValue) is a thousand times as fast.)
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
///     let best = manager.value(&(0u32, "nobody".to_owned())).await?;
///     best.update(|(points, name)| {
///         *points += 3;
///         *name = "Ada".to_owned();
///     })
///     .await?;
///     assert_eq!(best.get().await?, (3, "Ada".to_owned()));
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.managers.ValueProxy")]
pub struct ValueProxy<T> {
    core: Arc<Core>,
    types: PhantomData<fn(T) -> T>,
}

proxy!(ValueProxy<T>, Kind::VALUE);

impl<T: Serialize + DeserializeOwned + 'static> ValueProxy<T> {
    methods! {
        /// The value.
        fn get | blocking_get(&self) -> T {
            self.core.ask(&ValueOp::Get, Source::one)
        }

        /// Another value.
        fn set | blocking_set(&self, value: &T) -> () {
            self.core.ask_with(value, |value| op(&ValueOp::Set(value)), Source::plain)
        }

        /// Another value; what it was.
        fn swap | blocking_swap(&self, value: &T) -> T {
            self.core.ask_with(value, |value| op(&ValueOp::Swap(value)), Source::one)
        }

        /// Has it be `new` if it is `old`; whether it was.
        fn compare_and_set | blocking_compare_and_set(&self, old: &T, new: &T) -> bool {
            let asked = |site: &_| {
                let (old, new) = (Encoded::new(site, old)?, Encoded::new(site, new)?);
                let asked = op(&ValueOp::CompareSet(old.cell(), new.cell()))?;
                Ok((asked, cores(vec![old, new])))
            };
            self.core.request(asked, Source::plain)
        }
    }

    /// Changes the value: `f` changes a copy, which takes its place if nobody has changed it meanwhile; else `f` is
    /// called again. (So what `T` decodes to must encode to the same.)
    ///
    /// # Errors
    /// As all requests.
    ///
    /// # Cancel safety
    /// A future that is dropped may have changed it, once.
    pub async fn update(&self, mut f: impl FnMut(&mut T)) -> Result<(), ManagerError> {
        loop {
            let mut value = self.get().await?;
            let old = Encoded::new(&self.core.site, &value)?;
            f(&mut value);
            if self.replace(&old, &value).await? {
                return Ok(());
            }
        }
    }

    /// [`update`](Self::update) on a thread that may wait.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn blocking_update(&self, mut f: impl FnMut(&mut T)) -> Result<(), ManagerError> {
        loop {
            let mut value = self.get().block()?;
            let old = Encoded::new(&self.core.site, &value)?;
            f(&mut value);
            if self.replace(&old, &value).block()? {
                return Ok(());
            }
        }
    }

    fn replace(&self, old: &Encoded, new: &T) -> Request<bool> {
        let asked = |site: &_| {
            let new = Encoded::new(site, new)?;
            let asked = op(&ValueOp::CompareSet(old.cell(), new.cell()))?;
            let mut kept = old.cores.clone();
            kept.extend(new.cores);
            Ok((asked, kept))
        };
        self.core.request(asked, Source::plain)
    }
}
