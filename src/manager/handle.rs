//! What makes and finds objects in a manager.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::client::Client;
use super::core::{self, Core, Encoded, Site, Source, cells, cores, raws};
use super::error::ManagerError;
use super::op::{BY_VALUE, Kind, ManagerOp, Raw, Ref, Stats};
use super::proxy::{
    ArrayProxy, BarrierProxy, BoundedSemaphoreProxy, ConditionProxy, DictProxy, EventProxy,
    JoinableQueueProxy, ListProxy, LockProxy, NamespaceProxy, PoolProxy, Proxy, QueueProxy,
    RLockProxy, Sealed, SemaphoreProxy, SetProxy, ValueProxy, make,
};
use super::request::{Request, op};
use super::route::Route;
use super::shared::Shared;

/// A way to a manager: makes objects there, and finds those that have a name.
///
/// Clones, and those that other processes are handed, lead to the same manager. It does not keep the manager: that ends with
/// its [`Manager`](crate::Manager).
#[derive(Clone)]
pub struct ManagerHandle {
    core: Arc<Core>,
}

/// What a manager tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManagerStats {
    /// Objects it has.
    pub objects: u64,
    /// Processes that are connected.
    pub connections: u64,
    /// Requests it has heard.
    pub requests: u64,
    /// Bytes of the values that this client has there.
    pub bytes: u64,
}

impl ManagerHandle {
    pub(super) fn new(route: Route, client: Arc<Client>) -> Self {
        ManagerHandle { core: Core::manager(Site::connected(route, client)) }
    }

    /// A new object, of what `init` encodes.
    pub(super) fn create_object<P: Proxy>(
        &self,
        init: impl FnOnce(&Site) -> Result<core::Asked, ManagerError>,
    ) -> Request<P> {
        let asked = |site: &Site| {
            let (init, cores) = init(site)?;
            Ok((op(&ManagerOp::Create { kind: P::KIND, init: Raw(&init) })?, cores))
        };
        self.core.request(asked, |source, bytes| Ok(P::of(source.core(source.plain(bytes)?))))
    }

    fn create_list<P: Proxy, T: Serialize>(&self, values: &[T]) -> Request<P> {
        self.create_object(|site| {
            let values = Encoded::all(site, values)?;
            Ok((op(&cells(&values))?, cores(values)))
        })
    }

    methods! {
        /// A new list of these values.
        fn list | blocking_list [T: Serialize + DeserializeOwned + 'static](
            &self, values: impl IntoIterator<Item = T>
        ) -> ListProxy<T> {
            self.create_list(&values.into_iter().collect::<Vec<T>>())
        }

        /// A new array of these values.
        fn array | blocking_array [T: Serialize + DeserializeOwned + 'static](
            &self, values: impl IntoIterator<Item = T>
        ) -> ArrayProxy<T> {
            self.create_list(&values.into_iter().collect::<Vec<T>>())
        }

        /// A new set of these values.
        fn set | blocking_set [T: Serialize + DeserializeOwned + 'static](
            &self, values: impl IntoIterator<Item = T>
        ) -> SetProxy<T> {
            self.create_object(|site| {
                let values = Encoded::keys(site, &values.into_iter().collect::<Vec<T>>())?;
                Ok((op(&raws(&values))?, Vec::new()))
            })
        }

        /// A new value.
        fn value | blocking_value [T: Serialize + DeserializeOwned + 'static](
            &self, value: &T
        ) -> ValueProxy<T> {
            self.create_object(|site| {
                let value = Encoded::new(site, value)?;
                Ok((op(&value.cell())?, value.cores))
            })
        }

        /// A new namespace, with no names in it.
        fn namespace | blocking_namespace (&self) -> NamespaceProxy {
            self.create_object(|_| Ok((op(&Vec::<Raw<'_>>::new())?, Vec::new())))
        }

        /// A new queue for so many items; 0 is any number.
        fn queue | blocking_queue [T: Serialize + DeserializeOwned + 'static](
            &self, capacity: usize
        ) -> QueueProxy<T> {
            self.create_object(|_| Ok((op(&(capacity as u64))?, Vec::new())))
        }

        /// A new queue that knows which of its items are done, for so many; 0 is any number.
        fn joinable_queue | blocking_joinable_queue [T: Serialize + DeserializeOwned + 'static](
            &self, capacity: usize
        ) -> JoinableQueueProxy<T> {
            self.create_object(|_| Ok((op(&(capacity as u64))?, Vec::new())))
        }

        /// A new lock.
        fn lock | blocking_lock (&self) -> LockProxy {
            self.create_object(|_| Ok((Vec::new(), Vec::new())))
        }

        /// A new lock that its owner may take again.
        fn rlock | blocking_rlock (&self) -> RLockProxy {
            self.create_object(|_| Ok((Vec::new(), Vec::new())))
        }

        /// A new semaphore with so many permits.
        fn semaphore | blocking_semaphore (&self, permits: u32) -> SemaphoreProxy {
            self.create_object(|_| Ok((op(&permits)?, Vec::new())))
        }

        /// A new semaphore with so many permits, that never has more.
        fn bounded_semaphore | blocking_bounded_semaphore (
            &self, permits: u32
        ) -> BoundedSemaphoreProxy {
            self.create_object(|_| Ok((op(&permits)?, Vec::new())))
        }

        /// A new event, not set.
        fn event | blocking_event (&self) -> EventProxy {
            self.create_object(|_| Ok((Vec::new(), Vec::new())))
        }

        /// A new condition, with a lock of its own that its owner may take again.
        fn condition | blocking_condition (&self) -> ConditionProxy {
            self.create_object(|_| Ok((op(&None::<u64>)?, Vec::new())))
        }

        /// A new condition with that lock, which may be that of others too.
        fn condition_with | blocking_condition_with (&self, lock: &LockProxy) -> ConditionProxy {
            let core = lock.core();
            self.create_object(|site| {
                if core.site.instance != site.instance {
                    return Err(ManagerError::Gone);
                }
                Ok((op(&Some(core.reference.id))?, vec![core.clone()]))
            })
        }

        /// A new barrier for so many.
        fn barrier | blocking_barrier (&self, parties: u32) -> BarrierProxy {
            self.create_object(|_| Ok((op(&parties)?, Vec::new())))
        }

        /// A new pool of so many workers; 0 is one for each CPU that the manager may use.
        ///
        /// # Errors
        /// [`Denied`](ManagerError::Denied) to clients of the network. Why its workers do not come up its calls say.
        fn pool | blocking_pool (&self, workers: usize) -> PoolProxy {
            self.create_object(|_| Ok((op(&(workers as u64))?, Vec::new())))
        }

        /// A new object of a type of the program's own, which [`#[procpool::shared]`](macro@crate::shared) is on: this value.
        ///
        /// A type without an encoded form has constructors, which run in the manager.
        ///
        /// # Errors
        /// [`Encode`](ManagerError::Encode) if the value has no encoded form; [`Unsupported`](ManagerError::Unsupported) if
        /// the manager's program does not know the type.
        fn create | blocking_create [T: Shared + Serialize + DeserializeOwned](
            &self, value: T
        ) -> T::Proxy {
            make(self, BY_VALUE, |args| args.owned("value", value))
        }

        /// Gives an object a name, by which other processes [find](Self::find) it; it lives at least as long as it has that.
        ///
        /// # Errors
        /// [`NameTaken`](ManagerError::NameTaken) if another object has the name.
        #[doc(alias = "register")]
        fn publish | blocking_publish [P: Proxy](&self, name: &str, object: &P) -> () {
            let core = object.core();
            self.core.request(
                |site| {
                    if core.site.instance != site.instance {
                        return Err(ManagerError::Gone);
                    }
                    let asked = op(&ManagerOp::Publish { name, id: core.reference.id })?;
                    Ok((asked, vec![core.clone()]))
                },
                Source::plain,
            )
        }

        /// Takes a name away; whether an object had it.
        ///
        /// # Errors
        /// [`Denied`](ManagerError::Denied) if another client of the network has given it, unless this one may end the manager.
        fn unpublish | blocking_unpublish (&self, name: &str) -> bool {
            self.core.ask(&ManagerOp::Unpublish { name }, Source::plain)
        }

        /// The object of that name.
        ///
        /// # Errors
        /// [`NoName`](ManagerError::NoName) if no object has it; [`WrongKind`](ManagerError::WrongKind) if it is another kind
        /// of object than `P` stands for. (Of what type its values are it cannot tell.)
        fn find | blocking_find [P: Proxy](&self, name: &str) -> P {
            self.core.ask(&ManagerOp::Find { name }, |source, bytes| {
                let core = source.core(source.plain::<Ref>(bytes)?);
                let (expected, found) = (P::KIND, core.reference.kind);
                if expected == found {
                    return Ok(P::of(core));
                }
                let (expected, found) = (expected.name().to_owned(), found.name().to_owned());
                Err(ManagerError::WrongKind { expected, found })
            })
        }

        /// All names that this process may find.
        fn names | blocking_names (&self) -> Vec<String> {
            self.core.ask(&ManagerOp::Names, Source::plain)
        }

        /// How much there is.
        #[doc(alias = "number_of_objects")]
        #[doc(alias = "debug_info")]
        fn stats | blocking_stats (&self) -> ManagerStats {
            self.core.ask(&ManagerOp::Stats, |source, bytes| {
                let Stats { objects, connections, requests, bytes } = source.plain(bytes)?;
                Ok(ManagerStats { objects, connections, requests, bytes })
            })
        }

        /// Asks for nothing, and is answered.
        #[doc(alias = "dummy")]
        fn ping | blocking_ping (&self) -> () {
            self.core.ask(&ManagerOp::Ping, Source::plain)
        }
    }

    /// A new dict of these keys and values.
    pub fn dict<K, V>(&self, items: impl IntoIterator<Item = (K, V)>) -> Request<DictProxy<K, V>>
    where
        K: Serialize + DeserializeOwned + 'static,
        V: Serialize + DeserializeOwned + 'static,
    {
        self.create_object(|site| {
            let items = items.into_iter();
            let items = items.map(|(k, v)| Ok((Encoded::key(site, &k)?, Encoded::new(site, &v)?)));
            let items = items.collect::<Result<Vec<_>, ManagerError>>()?;
            let init: Vec<_> = items.iter().map(|(key, value)| (key.raw(), value.cell())).collect();
            let init = op(&init)?;
            Ok((init, cores(items.into_iter().map(|(_, value)| value).collect())))
        })
    }

    /// [`dict`](Self::dict) on a thread that may wait.
    ///
    /// # Errors
    /// As [`dict`](Self::dict).
    pub fn blocking_dict<K, V>(
        &self,
        items: impl IntoIterator<Item = (K, V)>,
    ) -> Result<DictProxy<K, V>, ManagerError>
    where
        K: Serialize + DeserializeOwned + 'static,
        V: Serialize + DeserializeOwned + 'static,
    {
        self.dict(items).block()
    }

    /// Has the manager end.
    pub(super) fn end(&self) -> Request<()> {
        self.core.ask(&ManagerOp::Shutdown, Source::plain)
    }
}

impl fmt::Debug for ManagerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManagerHandle({:?})", self.core)
    }
}

/// To another process goes where the manager is, and the key to it.
impl Serialize for ManagerHandle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        core::serialize(&self.core, serializer)
    }
}

impl<'de> Deserialize<'de> for ManagerHandle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        core::deserialize(Kind::MANAGER, deserializer).map(|core| ManagerHandle { core })
    }
}
