//! Who is let in, and who has not said yet who they are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
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
    places: BTreeMap<u64, (Option<IpAddr>, oneshot::Sender<()>)>,
}

impl Unknown {
    /// Lets go of the one that has come first from where most have come.
    fn make_room(&mut self) {
        let mut counts = HashMap::<Option<IpAddr>, (usize, Reverse<u64>)>::new();
        for (number, (from, _)) in self.places.iter().rev() {
            let (count, first) = counts.entry(*from).or_insert((0, Reverse(0)));
            *count += 1;
            *first = Reverse(*number);
        }
        if let Some((_, Reverse(number))) = counts.into_values().max() {
            self.places.remove(&number);
        }
    }
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
            early: Arc::default(),
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
                early: Arc::default(),
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

    /// Somebody has connected. When there are too many who say nothing, one from where most come from goes, and of those the one that
    /// has said nothing for longest: so many from one place are in nobody's way who comes from another, and who knows a key
    /// says so before many others have come.
    pub(super) fn enter(&self, from: Option<IpAddr>) -> Place {
        let (keep, taken_away) = oneshot::channel();
        let mut unknown = lock(&self.unknown);
        if unknown.places.len() >= MAX_UNKNOWN {
            unknown.make_room();
        }
        let number = unknown.next;
        unknown.next += 1;
        unknown.places.insert(number, (from, keep));
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

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    #[tokio::test]
    async fn many_from_one_place_are_not_in_the_way_of_another() {
        let gate = Gate::of(&ServeOptions::from(AuthKey::new("of no use here")));
        let one = |last| Some(IpAddr::from([10, 0, 0, last]));
        let mut honest = gate.enter(one(1));
        let mut many: Vec<_> = (0..MAX_UNKNOWN).map(|_| gate.enter(one(2))).collect();
        assert!(honest.within(std::future::ready(())).await.is_some());
        assert!(honest.taken_away.try_recv().is_err_and(|e| e == TryRecvError::Empty));
        // The first of the many has gone, and no other.
        let gone = |place: &mut Place| place.taken_away.try_recv() == Err(TryRecvError::Closed);
        assert_eq!(many.iter_mut().map(gone).filter(|gone| *gone).count(), 1);
        assert!(gone(&mut many[0]));
    }
}
