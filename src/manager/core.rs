//! What a process has of one object in a manager, and how that travels.
//!
//! Inside a value that goes to its own manager an object is a number, and the value's place there keeps it alive. Anywhere
//! else it travels as a [`Carried`]: where its manager is, its key, and a ticket that keeps it alive on the way.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Instant;

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::client::{self, Client, PATIENCE, Sender};
use super::error::ManagerError;
use super::op::{Cell, Kind, ManagerOp, Raw, Ref};
use super::request::{Request, op};
use super::route::Route;
use crate::hub::block_on;
use crate::sys::lock;
use crate::wire::{Budget, DecodeLimits, SmallBuf, decode_from, encode_into};

/// One manager, as this process knows it.
pub(super) struct Site {
    pub(super) instance: u128,
    route: Route,
    client: Mutex<Option<Arc<Client>>>,
    /// Held while a connection is made.
    connecting: tokio::sync::Mutex<()>,
}

/// By instance; of one, also for each client that this process is to it.
static SITES: OnceLock<Mutex<HashMap<u128, Vec<Weak<Site>>>>> = OnceLock::new();

impl Site {
    /// The one that this process knows already, or a new one.
    fn of(instance: u128, route: Route) -> Arc<Self> {
        let mut sites = lock(SITES.get_or_init(Mutex::default));
        let known = sites.entry(instance).or_default();
        // Kept until the lock is not held any more: dropping the last one takes it.
        let alive: Vec<_> = known.iter().filter_map(Weak::upgrade).collect();
        let site = alive.iter().find(|site| site.route == route).cloned();
        let site = site.unwrap_or_else(|| {
            let site = Arc::new(Site {
                instance,
                route,
                client: Mutex::default(),
                connecting: tokio::sync::Mutex::default(),
            });
            known.push(Arc::downgrade(&site));
            site
        });
        drop(sites);
        site
    }

    /// With its first connection.
    pub(super) fn connected(route: Route, client: Arc<Client>) -> Arc<Self> {
        let site = Self::of(client.instance, route);
        let mut kept = lock(&site.client);
        if kept.as_ref().is_some_and(|other| !other.is_over()) {
            client.close();
        } else {
            *kept = Some(client);
        }
        drop(kept);
        site
    }

    /// The connection there is.
    fn live(&self) -> Option<Arc<Client>> {
        lock(&self.client).as_ref().filter(|client| !client.is_over()).cloned()
    }

    /// A connection was made.
    fn keep(&self, client: Arc<Client>) -> Result<Arc<Client>, ManagerError> {
        if client.instance != self.instance {
            client.close();
            return Err(ManagerError::Restarted);
        }
        let mut kept = lock(&self.client);
        if let Some(other) = kept.as_ref().filter(|other| !other.is_over()) {
            // Another task was faster.
            client.close();
            return Ok(other.clone());
        }
        *kept = Some(client.clone());
        Ok(client)
    }

    /// Many may want a connection at once, and one makes it; whoever has waited too long for that makes one, too.
    async fn connect(&self) -> Result<Arc<Client>, ManagerError> {
        let turn = tokio::time::timeout(PATIENCE, self.connecting.lock()).await;
        if let Some(client) = self.live() {
            return Ok(client);
        }
        let connected = self.connect_now().await;
        drop(turn);
        connected
    }

    async fn connect_now(&self) -> Result<Arc<Client>, ManagerError> {
        match client::connect(&self.route).await {
            Ok(client) => self.keep(client),
            // Others may have been faster, and leave no room for one more.
            Err(error) => self.live().ok_or(error),
        }
    }

    fn blocking_connect(&self) -> Result<Arc<Client>, ManagerError> {
        let turn = block_on(self.connecting.lock(), Some(Instant::now() + PATIENCE));
        if let Some(client) = self.live() {
            return Ok(client);
        }
        let connected = self.blocking_connect_now();
        drop(turn);
        connected
    }

    fn blocking_connect_now(&self) -> Result<Arc<Client>, ManagerError> {
        match client::blocking_connect(&self.route) {
            Ok(client) => self.keep(client),
            Err(error) => self.live().ok_or(error),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(client) = lock(&self.client).take() {
            client.close();
        }
        let mut sites = lock(SITES.get_or_init(Mutex::default));
        if let Some(known) = sites.get_mut(&self.instance) {
            known.retain(|site| site.strong_count() > 0);
            if known.is_empty() {
                sites.remove(&self.instance);
            }
        }
    }
}

/// One reference to an object; given back when it is dropped.
pub(super) struct Core {
    pub(super) site: Arc<Site>,
    pub(super) reference: Ref,
    /// On which connection the object is had; 0: on none yet.
    session: AtomicU64,
    /// Under which it came.
    ticket: AtomicU64,
}

impl Core {
    /// The manager itself.
    pub(super) fn manager(site: Arc<Site>) -> Arc<Self> {
        let reference = Ref { id: 0, key: 0, kind: Kind::MANAGER };
        Arc::new(Core { site, reference, session: AtomicU64::new(0), ticket: AtomicU64::new(0) })
    }

    /// Was given on that connection.
    fn given(site: &Arc<Site>, reference: Ref, client: &Client) -> Arc<Self> {
        let session = AtomicU64::new(client.session);
        Arc::new(Core { site: site.clone(), reference, session, ticket: AtomicU64::new(0) })
    }

    pub(super) fn live(&self) -> Option<Arc<Client>> {
        self.site.live()
    }

    pub(super) async fn client(&self) -> Result<Arc<Client>, ManagerError> {
        match self.live() {
            Some(client) => Ok(client),
            None => self.site.connect().await,
        }
    }

    pub(super) fn blocking_client(&self) -> Result<Arc<Client>, ManagerError> {
        self.live().map_or_else(|| self.site.blocking_connect(), Ok)
    }

    /// What is to be said before anything is asked of it on that connection.
    pub(super) fn introduce(&self, client: &Client, sender: &mut Sender<'_>) {
        if self.reference.kind == Kind::MANAGER
            || self.session.swap(client.session, Ordering::AcqRel) == client.session
        {
            return;
        }
        let ticket = self.ticket.swap(0, Ordering::AcqRel);
        let Ref { id, key, .. } = self.reference;
        sender.tell(&ManagerOp::Redeem { id, key, ticket });
    }
}

/// A process may be several clients of one manager, and have an object on the connection of another of them.
impl Core {
    /// Whether it is had on a connection of that client's.
    pub(super) fn is_at(&self, site: &Arc<Site>) -> bool {
        Arc::ptr_eq(&self.site, site)
    }

    /// Has it for one request on a connection where it is not had.
    pub(super) fn lend(&self, sender: &mut Sender<'_>) {
        let Ref { id, key, .. } = self.reference;
        sender.tell(&ManagerOp::Redeem { id, key, ticket: 0 });
    }

    /// And no longer.
    pub(super) fn take_back(&self, sender: &mut Sender<'_>) {
        sender.tell(&ManagerOp::Release { id: self.reference.id, count: 1 });
    }
}

/// An operation in its buffer, and the objects in it.
pub(super) type Asked = (Vec<u8>, Vec<Arc<Core>>);

impl Core {
    /// Asks for something.
    pub(super) fn request<R>(
        self: &Arc<Self>,
        op: impl FnOnce(&Site) -> Result<Asked, ManagerError>,
        decode: impl FnOnce(&Source, &[u8]) -> Result<R, ManagerError> + Send + 'static,
    ) -> Request<R> {
        let (op, cores) = match op(&self.site) {
            Ok((op, cores)) => (Ok(op), cores),
            Err(error) => (Err(error), Vec::new()),
        };
        Request::new(self, op, cores, decode)
    }

    /// Asks for something by an operation with no values in it.
    pub(super) fn ask<R>(
        self: &Arc<Self>,
        asked: &impl Serialize,
        decode: impl FnOnce(&Source, &[u8]) -> Result<R, ManagerError> + Send + 'static,
    ) -> Request<R> {
        self.request(|_| Ok((op(asked)?, Vec::new())), decode)
    }

    /// The same with one value, of which `encode` makes the operation.
    pub(super) fn ask_with<R>(
        self: &Arc<Self>,
        value: &impl Serialize,
        encode: impl FnOnce(Cell<'_>) -> Result<Vec<u8>, ManagerError>,
        decode: impl FnOnce(&Source, &[u8]) -> Result<R, ManagerError> + Send + 'static,
    ) -> Request<R> {
        let asked = |site: &Site| {
            let value = Encoded::new(site, value)?;
            Ok((encode(value.cell())?, value.cores))
        };
        self.request(asked, decode)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let id = self.reference.id;
        if id == 0 {
            return;
        }
        let Some(client) = lock(&self.site.client).clone() else { return };
        let session = *self.session.get_mut();
        if session == client.session {
            client.tell(&ManagerOp::Release { id, count: 1 });
        } else if *self.ticket.get_mut() != 0 {
            // So that the ticket is of no use any more.
            let (key, ticket) = (self.reference.key, *self.ticket.get_mut());
            client.tell(&ManagerOp::Redeem { id, key, ticket });
            client.tell(&ManagerOp::Release { id, count: 1 });
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ref { id, kind, .. } = self.reference;
        write!(f, "{} {id} of the manager at {}", kind.name(), self.site.route.address)
    }
}

/// An object on its way to another process.
#[derive(Serialize, Deserialize)]
struct Carried {
    instance: u128,
    route: Route,
    reference: Ref,
    ticket: u64,
}

#[derive(Serialize, Deserialize)]
enum Form {
    /// So many objects of the value were before it.
    Inside(u32),
    Carried(Box<Carried>),
}

/// A value that is being encoded for a manager, or decoded.
enum Inside {
    Encoding {
        instance: u128,
        cores: Vec<Arc<Core>>,
    },
    Decoding(Vec<Arc<Core>>),
    /// There can be none in it.
    Without,
}

thread_local! {
    static INSIDE: RefCell<Option<Inside>> = const { RefCell::new(None) };
}

fn within<R>(inside: Inside, f: impl FnOnce() -> R) -> (R, Inside) {
    struct Restore(Option<Inside>);
    impl Drop for Restore {
        fn drop(&mut self) {
            INSIDE.set(self.0.take());
        }
    }
    let restore = Restore(INSIDE.replace(Some(inside)));
    let result = f();
    let inside = INSIDE.take().unwrap_or(Inside::Decoding(Vec::new()));
    drop(restore);
    (result, inside)
}

/// Encodes or decodes something in which no object of a manager can be.
pub(super) fn without_objects<R>(f: impl FnOnce() -> R) -> R {
    within(Inside::Without, f).0
}

const WITHOUT: &str =
    "methods of a program's own types take and return no proxies and no handles of managers";

pub(super) fn serialize<S: Serializer>(core: &Arc<Core>, serializer: S) -> Result<S::Ok, S::Error> {
    let place = INSIDE.with_borrow_mut(|inside| match inside {
        Some(Inside::Encoding { instance, cores }) if *instance == core.site.instance => {
            cores.push(core.clone());
            Ok(u32::try_from(cores.len() - 1).ok())
        }
        Some(Inside::Without) => Err(S::Error::custom(WITHOUT)),
        _ => Ok(None),
    })?;
    let form = match place {
        Some(place) => Form::Inside(place),
        None => Form::Carried(Box::new(carry(core).map_err(S::Error::custom)?)),
    };
    form.serialize(serializer)
}

/// Has an object kept alive until it arrives.
fn carry(core: &Core) -> Result<Carried, String> {
    let mut ticket = core.ticket.load(Ordering::Acquire);
    if let Some(client) = core.live() {
        ticket = rand_ticket();
        let id = core.reference.id;
        client.tell_after(
            |sender| core.introduce(&client, sender),
            &ManagerOp::Ticket { id, ticket },
        );
    } else if ticket == 0 {
        return Err("the connection to the object's manager is lost".to_owned());
    }
    let Core { site, reference, .. } = core;
    Ok(Carried {
        instance: site.instance,
        route: site.route.clone(),
        reference: *reference,
        ticket,
    })
}

fn rand_ticket() -> u64 {
    super::server::random() as u64 | 1
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    kind: Kind,
    deserializer: D,
) -> Result<Arc<Core>, D::Error> {
    if INSIDE.with_borrow(|inside| matches!(inside, Some(Inside::Without))) {
        return Err(D::Error::custom(WITHOUT));
    }
    let core = match Form::deserialize(deserializer)? {
        Form::Inside(place) => INSIDE
            .with_borrow(|inside| match inside {
                Some(Inside::Decoding(cores)) => cores.get(place as usize).cloned(),
                _ => None,
            })
            .ok_or_else(|| D::Error::custom("an object of a manager outside of its manager"))?,
        Form::Carried(carried) => {
            let Carried { instance, route, reference, ticket } = *carried;
            let site = Site::of(instance, route);
            let (session, ticket) = (AtomicU64::new(0), AtomicU64::new(ticket));
            Arc::new(Core { site, reference, session, ticket })
        }
    };
    if core.reference.kind == kind {
        return Ok(core);
    }
    let (found, expected) = (core.reference.kind.name(), kind.name());
    Err(D::Error::custom(format!("it is a {found}, and no {expected}")))
}

pub(super) const NOT_KEPT: &str =
    "a manager keeps no queues, locks, descriptors and the like of a program";

/// A value in its encoded form, and the objects in it.
#[derive(Default)]
pub(super) struct Encoded {
    bytes: SmallBuf,
    pub(super) cores: Vec<Arc<Core>>,
}

impl Encoded {
    pub(super) fn new<T: Serialize + ?Sized>(site: &Site, value: &T) -> Result<Self, ManagerError> {
        let mut bytes = SmallBuf::default();
        let mut attached = Vec::new();
        let inside = Inside::Encoding { instance: site.instance, cores: Vec::new() };
        let (done, inside) = within(inside, || encode_into(value, &mut bytes, &mut attached));
        done.map_err(|e| ManagerError::Encode { reason: e.to_string() })?;
        if !attached.is_empty() {
            return Err(ManagerError::Encode { reason: NOT_KEPT.to_owned() });
        }
        let Inside::Encoding { cores, .. } = inside else { unreachable!("as it was set") };
        Ok(Encoded { bytes, cores })
    }

    /// One without objects in it, to be found again by its bytes.
    pub(super) fn key<T: Serialize + ?Sized>(site: &Site, key: &T) -> Result<Self, ManagerError> {
        let encoded = Self::new(site, key)?;
        if encoded.cores.is_empty() {
            return Ok(encoded);
        }
        let reason = "an object of a manager is no key".to_owned();
        Err(ManagerError::Encode { reason })
    }

    /// Many of them.
    pub(super) fn all<'a, T: Serialize + 'a>(
        site: &Site,
        values: impl IntoIterator<Item = &'a T>,
    ) -> Result<Vec<Self>, ManagerError> {
        values.into_iter().map(|value| Self::new(site, value)).collect()
    }

    /// The same as keys.
    pub(super) fn keys<'a, T: Serialize + ?Sized + 'a>(
        site: &Site,
        values: impl IntoIterator<Item = &'a T>,
    ) -> Result<Vec<Self>, ManagerError> {
        values.into_iter().map(|value| Self::key(site, value)).collect()
    }

    pub(super) fn raw(&self) -> Raw<'_> {
        Raw(self.bytes.as_slice())
    }

    pub(super) fn cell(&self) -> Cell<'_> {
        let refs = self.cores.iter().map(|core| core.reference).collect();
        Cell { bytes: self.raw(), refs }
    }
}

/// What is decoded, and from where it came.
pub(super) struct Source {
    pub(super) site: Arc<Site>,
    pub(super) client: Arc<Client>,
    /// Nothing is made of it: the objects in it are given back.
    pub(super) discards: bool,
}

/// A value that has come, with the objects in it, which are had from now on.
pub(super) struct Loaded<'a> {
    bytes: Raw<'a>,
    cores: Vec<Arc<Core>>,
}

impl Source {
    pub(super) fn reply<'b, T: Deserialize<'b>>(&self, bytes: &'b [u8]) -> Result<T, ManagerError> {
        postcard::from_bytes(bytes).map_err(|e| ManagerError::Protocol { what: e.to_string() })
    }

    /// What is a number, or nothing, or the like.
    pub(super) fn plain<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, ManagerError> {
        self.reply(bytes)
    }

    /// How many there are of something.
    pub(super) fn size(&self, bytes: &[u8]) -> Result<usize, ManagerError> {
        Ok(self.plain::<u64>(bytes)? as usize)
    }

    pub(super) fn one<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, ManagerError> {
        self.value(self.reply(bytes)?)
    }

    pub(super) fn maybe<T: DeserializeOwned>(
        &self,
        bytes: &[u8],
    ) -> Result<Option<T>, ManagerError> {
        self.reply::<Option<Cell<'_>>>(bytes)?.map(|cell| self.value(cell)).transpose()
    }

    pub(super) fn all<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<Vec<T>, ManagerError> {
        self.values(self.reply::<Vec<Cell<'_>>>(bytes)?)
    }

    pub(super) fn keys<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<Vec<T>, ManagerError> {
        self.reply::<Vec<Raw<'_>>>(bytes)?.into_iter().map(|key| self.key(key)).collect()
    }

    pub(super) fn core(&self, reference: Ref) -> Arc<Core> {
        Core::given(&self.site, reference, &self.client)
    }

    pub(super) fn value<T: DeserializeOwned>(&self, cell: Cell<'_>) -> Result<T, ManagerError> {
        self.unload(self.load(cell))
    }

    /// Those of several are had before the first value is made, which can fail.
    pub(super) fn load<'b>(&self, cell: Cell<'b>) -> Loaded<'b> {
        let cores = cell.refs.into_iter().map(|reference| self.core(reference)).collect();
        Loaded { bytes: cell.bytes, cores }
    }

    /// Those that the value does not take are given back.
    pub(super) fn unload<T: DeserializeOwned>(&self, one: Loaded<'_>) -> Result<T, ManagerError> {
        self.value_of(one.bytes, one.cores)
    }

    pub(super) fn values<T: DeserializeOwned>(
        &self,
        cells: Vec<Cell<'_>>,
    ) -> Result<Vec<T>, ManagerError> {
        let loaded: Vec<_> = cells.into_iter().map(|cell| self.load(cell)).collect();
        loaded.into_iter().map(|one| self.unload(one)).collect()
    }

    /// Nothing of the user's is run for what nobody wants.
    pub(super) fn check_wanted(&self) -> Result<(), ManagerError> {
        if self.discards { Err(ManagerError::died("its request was given up")) } else { Ok(()) }
    }

    /// The same of objects that are here already.
    pub(super) fn value_of<T: DeserializeOwned>(
        &self,
        bytes: Raw<'_>,
        cores: Vec<Arc<Core>>,
    ) -> Result<T, ManagerError> {
        self.check_wanted()?;
        let mut input = bytes.0;
        let mut budget = Budget::new(&DecodeLimits::default(), input.len());
        let (decoded, cores) =
            within(Inside::Decoding(cores), || decode_from(&mut input, &mut budget));
        drop(cores);
        let type_name = std::any::type_name::<T>();
        let fail = |reason: String| ManagerError::Decode { type_name, reason };
        let value = decoded.map_err(|e| fail(e.to_string()))?;
        if input.is_empty() {
            return Ok(value);
        }
        Err(fail("bytes are left over after it".to_owned()))
    }

    pub(super) fn key<T: DeserializeOwned>(&self, key: Raw<'_>) -> Result<T, ManagerError> {
        self.value(Cell { bytes: key, refs: Vec::new() })
    }
}

pub(super) fn cells(encoded: &[Encoded]) -> Vec<Cell<'_>> {
    encoded.iter().map(Encoded::cell).collect()
}

pub(super) fn raws(encoded: &[Encoded]) -> Vec<Raw<'_>> {
    encoded.iter().map(Encoded::raw).collect()
}

/// The objects in all of them.
pub(super) fn cores(encoded: Vec<Encoded>) -> Vec<Arc<Core>> {
    encoded.into_iter().flat_map(|one| one.cores).collect()
}
