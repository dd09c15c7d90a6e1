//! A dict in a manager.

use std::borrow::Borrow;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Sealed;
use super::own::encoded;
use super::pool::task_call;
use crate::manager::core::{Core, Encoded, Source, cores, raws, without_objects};
use crate::manager::error::ManagerError;
use crate::manager::op::{Cell, DictOp, Kind, Raw, Ref};
use crate::manager::request::{Request, op};
use crate::task::{Blocking, TaskFn};

/// Stands for a dict in a [`Manager`](crate::Manager): any process that has one reads and changes the same dict.
///
/// Each method is one request, carried out as a whole: nobody sees it half done. Keys are the same if they are
/// encoded alike (so no key is a `HashMap`, whose order is not its own), and keep the order in which they came. Requests for
/// different keys do not wait for one another. Otherwise as a [`ListProxy`](crate::ListProxy).
///
/// # Crash behaviour
/// As for a [`ListProxy`](crate::ListProxy).
///
/// # Examples
/// ```standalone_crate
/// use procpool::{DictProxy, Manager, ProcessPool};
///
/// #[procpool::task]
/// fn count(words: DictProxy<String, u64>, text: String) {
///     for word in text.split(' ') {
///         words.blocking_modify(word, |n| Some(n.unwrap_or(0) + 1)).unwrap();
///     }
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let manager = Manager::start().await?;
///     let words = manager.dict::<String, u64>([]).await?;
///     let pool = ProcessPool::builder().workers(2).build().await?;
///     let texts = ["to be or not to be", "let it be"].map(str::to_owned);
///     pool.starmap(count, texts.map(|text| (words.clone(), text))).await?;
///     assert_eq!(words.get("be").await?, Some(3));
///     assert_eq!(words.len().await?, 6);
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.managers.DictProxy")]
pub struct DictProxy<K, V> {
    core: Arc<Core>,
    types: PhantomData<fn() -> (K, V)>,
}

proxy!(DictProxy<K, V>, Kind::DICT);

/// With one key.
pub(super) fn with_key<Q: Serialize + ?Sized, R>(
    core: &Arc<Core>,
    key: &Q,
    make: impl FnOnce(Raw<'_>) -> DictOp<'_>,
    decode: impl FnOnce(&Source, &[u8]) -> Result<R, ManagerError> + Send + 'static,
) -> Request<R> {
    core.request(
        |site| {
            let key = Encoded::key(site, key)?;
            Ok((op(&make(key.raw()))?, Vec::new()))
        },
        decode,
    )
}

/// With a key and a value.
pub(super) fn with_item<Q: Serialize + ?Sized, V: Serialize + ?Sized, R>(
    core: &Arc<Core>,
    (key, value): (&Q, &V),
    make: impl for<'a> FnOnce(Raw<'a>, Cell<'a>) -> DictOp<'a>,
    decode: impl FnOnce(&Source, &[u8]) -> Result<R, ManagerError> + Send + 'static,
) -> Request<R> {
    core.request(
        |site| {
            let (key, value) = (Encoded::key(site, key)?, Encoded::new(site, value)?);
            Ok((op(&make(key.raw(), value.cell()))?, value.cores))
        },
        decode,
    )
}

/// What is to be at a key, if it is as it was.
pub(super) fn compare_and_set<Q: Serialize + ?Sized, V: Serialize>(
    core: &Arc<Core>,
    key: &Q,
    old: Option<&V>,
    new: Option<&V>,
) -> Request<bool> {
    let asked = |site: &_| {
        let key = Encoded::key(site, key)?;
        let encode = |value: Option<&V>| value.map(|value| Encoded::new(site, value)).transpose();
        let (old, new) = (encode(old)?, encode(new)?);
        let asked = op(&DictOp::CompareSet {
            key: key.raw(),
            old: old.as_ref().map(Encoded::cell),
            new: new.as_ref().map(Encoded::cell),
        })?;
        Ok((asked, cores(old.into_iter().chain(new).collect())))
    };
    core.request(asked, Source::plain)
}

impl<K, V> DictProxy<K, V>
where
    K: Serialize + DeserializeOwned + 'static,
    V: Serialize + DeserializeOwned + 'static,
{
    methods! {
        /// How many keys there are.
        fn len | blocking_len(&self) -> usize {
            self.core.ask(&DictOp::Len, Source::size)
        }

        /// Whether there are none.
        fn is_empty | blocking_is_empty(&self) -> bool {
            self.core.ask(&DictOp::Len, |s, b| Ok(s.plain::<u64>(b)? == 0))
        }

        /// Puts a value at a key.
        fn set | blocking_set(&self, key: &K, value: &V) -> () {
            with_item(&self.core, (key, value), |key, value| DictOp::Set(key, value), Source::plain)
        }

        /// Puts a value at a key; what was there.
        fn insert | blocking_insert(&self, key: &K, value: &V) -> Option<V> {
            with_item(&self.core, (key, value), |key, value| DictOp::Insert(key, value), Source::maybe)
        }

        /// What is at a key; if there is nothing, `value` from now on.
        #[doc(alias = "setdefault")]
        fn get_or_insert | blocking_get_or_insert(&self, key: &K, value: &V) -> V {
            with_item(&self.core, (key, value), |key, value| DictOp::SetDefault(key, value), Source::one)
        }

        /// Takes the key that came last, and what is there.
        #[doc(alias = "popitem")]
        fn pop_item | blocking_pop_item(&self) -> Option<(K, V)> {
            self.core.ask(&DictOp::PopItem, |source, bytes| {
                let item: Option<(Raw<'_>, Cell<'_>)> = source.reply(bytes)?;
                let item = item.map(|(key, value)| (key, source.load(value)));
                item.map(|(key, value)| Ok((source.key(key)?, source.unload(value)?))).transpose()
            })
        }

        /// All keys.
        fn keys | blocking_keys(&self) -> Vec<K> {
            self.core.ask(&DictOp::Keys, Source::keys)
        }

        /// All values.
        fn values | blocking_values(&self) -> Vec<V> {
            self.core.ask(&DictOp::Values, Source::all)
        }

        /// All keys and values.
        fn items | blocking_items(&self) -> Vec<(K, V)> {
            self.core.ask(&DictOp::Items, |source, bytes| {
                let items: Vec<(Raw<'_>, Cell<'_>)> = source.reply(bytes)?;
                let items: Vec<_> =
                    items.into_iter().map(|(key, value)| (key, source.load(value))).collect();
                let items = items.into_iter();
                items.map(|(key, value)| Ok((source.key(key)?, source.unload(value)?))).collect()
            })
        }

        /// Drops everything.
        fn clear | blocking_clear(&self) -> () {
            self.core.ask(&DictOp::Clear, Source::plain)
        }

        /// A new dict of the same keys and values.
        fn copy | blocking_copy(&self) -> DictProxy<K, V> {
            self.core.ask(&DictOp::Copy, |source, bytes| {
                Ok(DictProxy::of(source.core(source.plain::<Ref>(bytes)?)))
            })
        }

        /// What is at a key.
        fn get | blocking_get [Q: Serialize + ?Sized](&self, key: &Q) -> Option<V> where [K: Borrow<Q>] {
            with_key(&self.core, key, |key| DictOp::Get(key), Source::maybe)
        }

        /// What is at each of several keys, at one time.
        fn get_many | blocking_get_many ['a, Q: Serialize + ?Sized + 'a](
            &self, keys: impl IntoIterator<Item = &'a Q>
        ) -> Vec<Option<V>> where [K: Borrow<Q>] {
            let asked = |site: &_| {
                let keys = Encoded::keys(site, keys)?;
                Ok((op(&DictOp::GetMany(raws(&keys)))?, Vec::new()))
            };
            self.core.request(asked, |source, bytes| {
                let values: Vec<Option<Cell<'_>>> = source.reply(bytes)?;
                let values = values.into_iter();
                let values: Vec<_> = values.map(|v| v.map(|v| source.load(v))).collect();
                values.into_iter().map(|v| v.map(|v| source.unload(v)).transpose()).collect()
            })
        }

        /// Whether there is a key.
        fn contains_key | blocking_contains_key [Q: Serialize + ?Sized](
            &self, key: &Q
        ) -> bool where [K: Borrow<Q>] {
            with_key(&self.core, key, |key| DictOp::Contains(key), Source::plain)
        }

        /// Takes a key and what is there.
        #[doc(alias = "pop")]
        fn remove | blocking_remove [Q: Serialize + ?Sized](
            &self, key: &Q
        ) -> Option<V> where [K: Borrow<Q>] {
            with_key(&self.core, key, |key| DictOp::Pop(key), Source::maybe)
        }

        /// Drops a key and what is there; whether there was one.
        fn delete | blocking_delete [Q: Serialize + ?Sized](&self, key: &Q) -> bool where [K: Borrow<Q>] {
            with_key(&self.core, key, |key| DictOp::Delete(key), Source::plain)
        }

        /// Puts all these values at their keys, at one time.
        #[doc(alias = "update")]
        fn extend | blocking_extend ['a](
            &self, items: impl IntoIterator<Item = (&'a K, &'a V)>
        ) -> () where [K: 'a, V: 'a] {
            let asked = |site: &_| {
                let items = items.into_iter();
                let items = items.map(|(k, v)| Ok((Encoded::key(site, k)?, Encoded::new(site, v)?)));
                let items = items.collect::<Result<Vec<_>, ManagerError>>()?;
                let asked = items.iter().map(|(key, value)| (key.raw(), value.cell())).collect();
                let asked = op(&DictOp::Update(asked))?;
                Ok((asked, cores(items.into_iter().map(|(_, value)| value).collect())))
            };
            self.core.request(asked, Source::plain)
        }

        /// Has `new` at a key (or nothing) if `old` is there (or nothing); whether it was.
        fn compare_and_set | blocking_compare_and_set [Q: Serialize + ?Sized](
            &self, key: &Q, old: Option<&V>, new: Option<&V>
        ) -> bool where [K: Borrow<Q>] {
            compare_and_set(&self.core, key, old, new)
        }
    }

    methods! {
        /// Has a task change what is at a key, in the manager: it is told what is there (`None` is nothing), and what it gives
        /// is there from now on. What that is.
        ///
        /// Unlike [`modify`](Self::modify), nothing but `with` is sent. The task is a
        /// `fn(Option<V>, A) -> Option<V>`, with no proxies in its values. It may be run several times, if others change the key
        /// meanwhile: only the last one counts. One that takes long keeps no others waiting, so what is asked while it is under
        /// way may be carried out before it.
        ///
        /// # Errors
        /// [`Panicked`](ManagerError::Panicked) if the task does: then nothing is changed.
        /// [`Unsupported`](ManagerError::Unsupported) if the manager's program does not have it;
        /// [`Denied`](ManagerError::Denied) if this client of the network has no [right](super::super::Rights::tasks) to it.
        ///
        /// # Examples
        /// ```standalone_crate
        /// use procpool::Manager;
        ///
        /// #[procpool::task]
        /// fn add(there: Option<u64>, n: u64) -> Option<u64> {
        ///     Some(there.unwrap_or(0) + n)
        /// }
        ///
        /// #[procpool::main]
        /// async fn main() -> Result<(), Box<dyn std::error::Error>> {
        ///     let manager = Manager::start().await?;
        ///     let counts = manager.dict([("a".to_owned(), 1u64)]).await?;
        ///     assert_eq!(counts.compute("a", add, 2).await?, Some(3));
        ///     assert_eq!(counts.compute("b", add, 5).await?, Some(5));
        ///     Ok(())
        /// }
        /// ```
        #[doc(alias = "entry")]
        #[doc(alias = "and_modify")]
        fn compute | blocking_compute [
            Q: Serialize + ?Sized, A, M, F: TaskFn<(Option<V>, A), M, Output = Option<V>, Kind = Blocking>
        ](&self, key: &Q, task: F, with: A) -> Option<V> where [K: Borrow<Q>] {
            let asked = |site: &_| {
                let key = Encoded::key(site, key)?;
                let call = without_objects(|| task.make((None, with)));
                let args = encoded(call.payload)?;
                let call = task_call(call.entry, &args)?;
                Ok((op(&DictOp::Compute(key.raw(), call))?, Vec::new()))
            };
            self.core.request(asked, Source::maybe).watching()
        }
    }

    /// Changes what is at a key: `f` is told what is there, and what it says is there from now on, if nobody has
    /// changed it meanwhile; else `f` is called again. What `f` said in the end.
    ///
    /// # Errors
    /// As all requests.
    ///
    /// # Cancel safety
    /// A future that is dropped may have changed it, once.
    pub async fn modify<Q: Serialize + ?Sized>(
        &self,
        key: &Q,
        mut f: impl FnMut(Option<V>) -> Option<V>,
    ) -> Result<Option<V>, ManagerError>
    where
        K: Borrow<Q>,
    {
        loop {
            let (kept, old) = twice(&self.core, key).await?;
            let new = f(old);
            if kept.compare_and_set(&self.core, key, new.as_ref()).await? {
                return Ok(new);
            }
        }
    }

    /// [`modify`](Self::modify) on a thread that may wait.
    ///
    /// # Errors
    /// As [`modify`](Self::modify).
    pub fn blocking_modify<Q: Serialize + ?Sized>(
        &self,
        key: &Q,
        mut f: impl FnMut(Option<V>) -> Option<V>,
    ) -> Result<Option<V>, ManagerError>
    where
        K: Borrow<Q>,
    {
        loop {
            let (kept, old) = twice(&self.core, key).block()?;
            let new = f(old);
            if kept.compare_and_set(&self.core, key, new.as_ref()).block()? {
                return Ok(new);
            }
        }
    }

    /// What is at a key; if there is nothing, what `f` makes, from now on. If two do so at once, both get what is there in
    /// the end.
    ///
    /// # Errors
    /// As all requests.
    ///
    /// # Cancel safety
    /// A future that is dropped may have put it there.
    pub async fn get_or_insert_with(
        &self,
        key: &K,
        f: impl FnOnce() -> V,
    ) -> Result<V, ManagerError> {
        match with_key(&self.core, key, |key| DictOp::Get(key), Source::maybe).await? {
            Some(value) => Ok(value),
            None => self.get_or_insert(key, &f()).await,
        }
    }

    /// [`get_or_insert_with`](Self::get_or_insert_with) on a thread that may wait.
    ///
    /// # Errors
    /// As [`get_or_insert_with`](Self::get_or_insert_with).
    pub fn blocking_get_or_insert_with(
        &self,
        key: &K,
        f: impl FnOnce() -> V,
    ) -> Result<V, ManagerError> {
        match with_key(&self.core, key, |key| DictOp::Get(key), Source::maybe).block()? {
            Some(value) => Ok(value),
            None => self.get_or_insert(key, &f()).block(),
        }
    }
}

/// What was at a key, as it was encoded.
pub(super) struct Was {
    bytes: Option<Vec<u8>>,
    /// The objects in it, which are had as long as this.
    cores: Vec<Arc<Core>>,
}

impl Was {
    pub(super) fn compare_and_set<Q: Serialize + ?Sized, V: Serialize>(
        &self,
        core: &Arc<Core>,
        key: &Q,
        new: Option<&V>,
    ) -> Request<bool> {
        let asked = |site: &_| {
            let key = Encoded::key(site, key)?;
            let new = new.map(|value| Encoded::new(site, value)).transpose()?;
            let refs = self.cores.iter().map(|core| core.reference).collect();
            let old = self.bytes.as_ref().map(|bytes| Cell { bytes: Raw(bytes), refs });
            let asked =
                DictOp::CompareSet { key: key.raw(), old, new: new.as_ref().map(Encoded::cell) };
            let asked = op(&asked)?;
            let mut kept = self.cores.clone();
            kept.extend(cores(new.into_iter().collect()));
            Ok((asked, kept))
        };
        core.request(asked, Source::plain)
    }
}

/// What is at a key, and the same as it is encoded.
pub(super) fn twice<Q: Serialize + ?Sized, V: DeserializeOwned + 'static>(
    core: &Arc<Core>,
    key: &Q,
) -> Request<(Was, Option<V>)> {
    with_key(
        core,
        key,
        |key| DictOp::Get(key),
        |source, bytes| {
            let Some(cell) = source.reply::<Option<Cell<'_>>>(bytes)? else {
                return Ok((Was { bytes: None, cores: Vec::new() }, None));
            };
            let cores: Vec<_> = cell.refs.iter().map(|one| source.core(*one)).collect();
            let bytes = Some(cell.bytes.0.to_vec());
            let value = source.value_of(cell.bytes, cores.clone())?;
            Ok((Was { bytes, cores }, Some(value)))
        },
    )
}
