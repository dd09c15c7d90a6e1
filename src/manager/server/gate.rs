//! Who is let in, and who has not said yet who they are.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::session::{ClientAccount, MAX_OBJECTS};
use super::value::Account;
use crate::manager::auth::AuthKey;
use crate::manager::options::ServeOptions;
use crate::manager::rights::Rights;
use crate::sys::lock;

/// Connections that have not said who they are, at a time.
const MAX_UNKNOWN: usize = 64;
/// How long a process of a program's own may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who is let in, and what they may do and have.
pub(in crate::manager) struct Gate {
    clients: HashMap<String, (AuthKey, ClientAccount)>,
    unknown: Arc<Mutex<Unknown>>,
    patience: Duration,
}

/// By the order in which they came. Letting go of what is here lets go of them.
#[derive(Default)]
struct Unknown {
    next: u64,
    places: BTreeMap<u64, oneshot::Sender<()>>,
}

/// Of one that has not said who it is.
pub(super) struct Place {
    unknown: Arc<Mutex<Unknown>>,
    number: u64,
    taken_away: oneshot::Receiver<()>,
    deadline: Instant,
}

impl Gate {
    /// For a program's own processes, which all have one key.
    pub(in crate::manager) fn own(key: AuthKey, max_message: u64) -> Self {
        let account = ClientAccount {
            bytes: Account::new(u64::MAX),
            objects: Arc::new(AtomicU64::new(0)),
            max_objects: MAX_OBJECTS,
            connections: Arc::new(AtomicU64::new(0)),
            max_connections: u64::MAX,
            max_message,
            rights: Rights::own(),
        };
        let clients = HashMap::from([(String::new(), (key, account))]);
        Gate { clients, unknown: Arc::default(), patience: PATIENCE }
    }

    /// For other programs.
    pub(in crate::manager) fn of(options: &ServeOptions) -> Self {
        let clients = options.clients.iter().map(|client| {
            let limits = &client.limits;
            let account = ClientAccount {
                bytes: Account::new(limits.bytes),
                objects: Arc::new(AtomicU64::new(0)),
                max_objects: limits.objects,
                connections: Arc::new(AtomicU64::new(0)),
                max_connections: limits.connections,
                max_message: limits.message_bytes,
                rights: client.rights.clone(),
            };
            (client.name.clone(), (client.key.clone(), account))
        });
        Gate { clients: clients.collect(), unknown: Arc::default(), patience: options.patience }
    }

    /// The key and the account of a client of that name.
    pub(super) fn client(&self, name: &str) -> Option<(AuthKey, ClientAccount)> {
        self.clients.get(name).cloned()
    }

    /// Somebody has connected. Of too many that say nothing whoever has done so for longest goes: who knows the key has
    /// said so before many others have come.
    pub(super) fn enter(&self) -> Place {
        let (keep, taken_away) = oneshot::channel();
        let mut unknown = lock(&self.unknown);
        if unknown.places.len() >= MAX_UNKNOWN {
            unknown.places.pop_first();
        }
        let number = unknown.next;
        unknown.next += 1;
        unknown.places.insert(number, keep);
        drop(unknown);
        let deadline = Instant::now() + self.patience;
        Place { unknown: self.unknown.clone(), number, taken_away, deadline }
    }
}

impl Place {
    /// Does it as long as the place is kept.
    pub(super) async fn within<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            _ = &mut self.taken_away => None,
            () = tokio::time::sleep_until(self.deadline) => None,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.unknown).places.remove(&self.number);
    }
}
