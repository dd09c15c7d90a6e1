//! A namespace in a manager.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::dict::{compare_and_set, with_item, with_key};
use crate::manager::core::{Core, Source};
use crate::manager::error::ManagerError;
use crate::manager::op::{DictOp, Kind};
use crate::manager::request::Request;

/// Stands for a namespace in a [`Manager`](crate::Manager): values by name, each of a type of its own.
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
///     let settings = manager.namespace().await?;
///     settings.set("verbose", &true).await?;
///     settings.set("name", "run 7").await?;
///     assert_eq!(settings.get::<String>("name").await?.as_deref(), Some("run 7"));
///     assert_eq!(settings.names().await?, ["verbose", "name"]);
///     assert!(settings.get::<u8>("missing").await?.is_none());
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.managers.Namespace")]
pub struct NamespaceProxy {
    core: Arc<Core>,
    types: PhantomData<()>,
}

proxy!(NamespaceProxy, Kind::NAMESPACE);

impl NamespaceProxy {
    methods! {
        /// The value of that name, if there is one.
        ///
        /// # Errors
        /// [`Decode`](ManagerError::Decode) if it is no `T`, which not every other value is found to be.
        fn get | blocking_get [T: DeserializeOwned + 'static](&self, name: &str) -> Option<T> {
            with_key(&self.core, name, |name| DictOp::Get(name), Source::maybe)
        }

        /// Gives a value that name.
        fn set | blocking_set [T: Serialize + ?Sized](&self, name: &str, value: &T) -> () {
            with_item(&self.core, (name, value), |name, value| DictOp::Set(name, value), Source::plain)
        }

        /// Gives `new` the name (or nobody) if `old` has it (or nobody); whether it had.
        fn compare_and_set | blocking_compare_and_set [T: Serialize](
            &self, name: &str, old: Option<&T>, new: Option<&T>
        ) -> bool {
            compare_and_set(&self.core, name, old, new)
        }

        /// Takes a name away; whether there was one.
        fn delete | blocking_delete(&self, name: &str) -> bool {
            with_key(&self.core, name, |key| DictOp::Delete(key), Source::plain)
        }

        /// Whether something has the name.
        fn contains | blocking_contains(&self, name: &str) -> bool {
            with_key(&self.core, name, |key| DictOp::Contains(key), Source::plain)
        }

        /// All names, as they came.
        fn names | blocking_names(&self) -> Vec<String> {
            self.core.ask(&DictOp::Keys, Source::keys)
        }
    }
}
