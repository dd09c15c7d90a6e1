//! What `#[procpool::shared]` accepts, without a warning.
#![deny(warnings, missing_docs)]

use std::borrow::Cow;
use std::collections::HashMap;

use procpool::manager::Request;
use procpool::{ManagerError, ManagerHandle};

fn main() {}

/// Private, in a module of its own, without an encoded form, and hardly used.
mod hidden {
    struct Cache(std::sync::Mutex<Vec<u8>>);

    #[procpool::shared]
    #[allow(dead_code)]
    impl Cache {
        fn new() -> Self {
            Cache(Default::default())
        }

        fn len(&self) -> usize {
            self.0.lock().unwrap().len()
        }
    }
}

/// Public.
pub struct Index(HashMap<String, u64>);

/// Used only by methods that nobody sees.
#[derive(serde::Serialize, serde::Deserialize)]
struct Private;

#[procpool::shared(name = "index", crate = procpool)]
impl Index {
    #![allow(clippy::needless_pass_by_value)]

    /// How many at most.
    pub const MAX: usize = 3;

    /// With these.
    pub fn of(items: Vec<(String, u64)>) -> Index {
        Index(items.into_iter().collect())
    }

    /// What is there.
    #[inline]
    #[must_use]
    pub fn get(&self, key: &str) -> Option<u64> {
        self.0.get(key).copied()
    }

    /// Named as a method of a trait.
    pub fn clone(&self, mut prefix: Cow<'_, str>, _: u8, (a, b): (u8, u8)) -> Vec<String> {
        prefix.to_mut().push(char::from(a + b));
        self.0.keys().filter(|key| key.starts_with(&*prefix)).cloned().collect()
    }

    /// With arguments called as the expansion's own.
    pub async fn put(&mut self, manager: String, args: u64, call: Option<&str>) -> Result<(), String> {
        self.0.insert(manager + call.unwrap_or_default(), args);
        Ok(())
    }

    /// Old.
    #[deprecated]
    pub fn old(&self) {}

    fn private(&self, private: Private) -> Private {
        private
    }

    #[cfg(any())]
    pub fn never(&self, missing: Missing) {}

    #[procpool::shared(skip)]
    pub(crate) fn generic<T: Into<u64>>(&mut self, value: T) -> impl Iterator<Item = u64> {
        std::iter::once(value.into())
    }
}

#[cfg(any())]
#[procpool::shared]
impl Missing {
    fn get(&self) {}
}

/// Types of what comes out.
pub fn types(manager: &ManagerHandle) -> Result<(), ManagerError> {
    let made: Request<IndexProxy> = IndexProxy::of(manager, Vec::new());
    drop(made);
    let index: IndexProxy = IndexProxy::blocking_of(manager, Vec::new())?;
    let got: Request<Option<u64>> = index.get("x");
    drop(got);
    let put: Result<(), String> = index.blocking_put("x".to_owned(), 1, None)?;
    put.unwrap();
    let _: Private = index.blocking_private(Private)?;
    let _: IndexProxy = Clone::clone(&index);
    Index(HashMap::new()).generic(1u32).count();
    Ok(())
}
