//! Types of the program's own in a manager.

mod common;
mod kit;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::join_all;
use kit::pool;
use procpool::manager::{EventProxy, Proxy};
use procpool::{ListProxy, Lock, Manager, ManagerError, ManagerHandle, Process};
use serde::{Deserialize, Serialize};

procpool::test_hook!();

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Counter {
    n: u64,
}

#[procpool::shared]
impl Counter {
    const STEP: u64 = 1;

    /// One that begins at a number.
    fn starting_at(n: u64) -> Self {
        Counter { n }
    }

    fn add(&mut self, n: u64) -> u64 {
        self.n += n;
        self.n
    }

    fn get(&self) -> u64 {
        self.n
    }

    async fn checked_sub(&mut self, n: u64) -> Result<u64, String> {
        let left = self.n.checked_sub(n).ok_or_else(|| format!("{} - {n}", self.n))?;
        tokio::task::yield_now().await;
        self.n = left;
        Ok(left)
    }

    fn merge(&mut self, others: Vec<Self>) -> Option<Self> {
        let others: u64 = others.iter().map(|other| other.n).sum();
        self.n += others * Self::STEP;
        Some(self.clone())
    }

    /// Others must not come between its steps.
    async fn slowly_add_one(&mut self) {
        let n = self.n;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.n = n + 1;
    }

    #[shared(skip)]
    fn apply<T>(&mut self, change: impl FnOnce(&mut u64) -> T) -> T {
        change(&mut self.n)
    }

    #[cfg(any())]
    fn never(&self) -> Missing {}
}

#[procpool::task]
fn change(counter: CounterProxy) -> u64 {
    counter.blocking_add(3).unwrap();
    counter.blocking_checked_sub(1).unwrap().unwrap()
}

/// Of either kind of manager, by value and by a constructor, in both forms.
#[test]
fn methods_change_what_the_manager_has() {
    common::run(|| async {
        for manager in [Manager::start().await.unwrap(), Manager::local().await.unwrap()] {
            let made = CounterProxy::starting_at(&manager, 5).await.unwrap();
            let given = manager.create(Counter { n: 5 }).await.unwrap();
            for counter in [made, given] {
                assert_eq!(counter.add(2).await.unwrap(), 7);
                assert_eq!(counter.get().await.unwrap(), 7);
                let mut child = Process::spawn(change(counter.clone())).await.unwrap();
                assert_eq!(child.output().await.unwrap(), 9);
                assert_eq!(counter.checked_sub(10).await.unwrap(), Err("9 - 10".to_owned()));
                let merged = counter.merge(vec![Counter { n: 1 }, Counter { n: 2 }]).await;
                assert_eq!(merged.unwrap(), Some(Counter { n: 12 }));
                let (shown, debug) = (counter.to_string(), format!("{counter:?}"));
                assert!(shown.contains("manager_shared::Counter"), "{shown}");
                assert!(debug.contains("CounterProxy") && debug.contains(&shown), "{debug}");
            }
            let handle: ManagerHandle = manager.handle().clone();
            let blocking = move || {
                let counter = CounterProxy::blocking_starting_at(&handle, 1).unwrap();
                assert_eq!(counter.blocking_add(1).unwrap(), 2);
                let counter = handle.blocking_create(Counter { n: 3 }).unwrap();
                counter.blocking_get().unwrap()
            };
            assert_eq!(tokio::task::spawn_blocking(blocking).await.unwrap(), 3);
            manager.shutdown().await.unwrap();
        }
        // What is left out is there all the same.
        assert_eq!(Counter { n: 1 }.apply(|n| *n + 1), 2);
    });
}

#[procpool::task]
fn add_ones(counter: CounterProxy, times: u32) {
    for _ in 0..times {
        counter.blocking_slowly_add_one().unwrap();
        counter.blocking_add(1).unwrap();
    }
}

#[test]
fn a_method_that_changes_it_runs_alone() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let counter = manager.create(Counter::default()).await.unwrap();
        let pool = pool(3).await;
        let calls = vec![(counter.clone(), 40); 6];
        pool.starmap(add_ones, calls).chunk_size(1).await.unwrap();
        assert_eq!(counter.get().await.unwrap(), 6 * 40 * 2);
        // Of this process too.
        join_all((0..50).map(|_| counter.slowly_add_one())).await;
        assert_eq!(counter.get().await.unwrap(), 6 * 40 * 2 + 50);
        pool.shutdown().await.unwrap();
        manager.shutdown().await.unwrap();
    });
}

/// It has no encoded form.
struct Meeting {
    place: tokio::sync::Barrier,
    met: AtomicU32,
}

#[procpool::shared]
impl Meeting {
    fn of(parties: usize) -> Meeting {
        Meeting { place: tokio::sync::Barrier::new(parties), met: AtomicU32::new(0) }
    }

    async fn meet(&self) -> u32 {
        self.place.wait().await;
        self.met.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn met(&self) -> u32 {
        self.met.load(Ordering::Relaxed)
    }

    async fn never(&mut self) {
        std::future::pending().await
    }

    fn end(&mut self) {
        self.met.store(100, Ordering::Relaxed);
    }
}

#[procpool::task]
fn go_there(meeting: MeetingProxy) -> u32 {
    meeting.blocking_meet().unwrap()
}

#[test]
fn methods_that_look_run_side_by_side() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let meeting = MeetingProxy::of(&manager, 3).await.unwrap();
        let mut there = Process::spawn(go_there(meeting.clone())).await.unwrap();
        let (one, other) = tokio::join!(meeting.meet(), meeting.meet());
        let mut order = [one.unwrap(), other.unwrap(), there.output().await.unwrap()];
        order.sort_unstable();
        assert_eq!(order, [1, 2, 3]);
        assert_eq!(meeting.met().await.unwrap(), 3);
        manager.shutdown().await.unwrap();
    });
}

/// What waits ends with the request, and so lets others at the object; so does that of a process that ends.
#[test]
fn what_is_given_up_is_dropped_in_the_manager() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let meeting = MeetingProxy::of(&manager, 1).await.unwrap();
        let mut never = meeting.never();
        let mut waiting = meeting.end();
        assert!(futures::poll!(&mut never).is_pending());
        assert!(futures::poll!(&mut waiting).is_pending());
        // Behind the other two, and so is its reply.
        manager.ping().await.unwrap();
        drop(waiting);
        drop(never);
        assert_eq!(meeting.met().await.unwrap(), 0);

        let begun = manager.event().await.unwrap();
        let call = stay(meeting.clone(), begun.clone());
        let mut child = Process::spawn(call).await.unwrap();
        begun.wait().await.unwrap();
        child.handle().kill();
        assert!(child.output().await.is_err());
        meeting.end().await.unwrap();
        assert_eq!(meeting.met().await.unwrap(), 100);
        manager.shutdown().await.unwrap();
    });
}

#[procpool::task]
async fn stay(meeting: MeetingProxy, begun: EventProxy) {
    let mut never = meeting.never();
    assert!(futures::poll!(&mut never).is_pending());
    begun.set().await.unwrap();
    never.await.unwrap();
}

#[derive(Default, Serialize, Deserialize)]
struct Fragile {
    n: u32,
    explosive: bool,
}

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.explosive, "it goes off");
    }
}

#[procpool::shared(name = "the fragile one")]
impl Fragile {
    fn broken(n: u32) -> Self {
        panic!("no {n} can be made")
    }

    fn arm(&mut self) {
        self.explosive = true;
    }

    fn crack(&mut self) {
        self.n += 1;
        panic!("crack {}", self.n);
    }

    fn look(&self) -> u32 {
        assert!(self.n == 0, "it was cracked");
        self.n
    }

    async fn shatter(&self) {
        tokio::task::yield_now().await;
        panic!("shattered");
    }

    fn cracks(&self) -> u32 {
        self.n
    }

    fn refuse(&self) -> Refuses {
        Refuses
    }
}

#[derive(Debug, Deserialize)]
struct Refuses;

impl Serialize for Refuses {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it is shy"))
    }
}

#[test]
fn a_panic_is_the_callers_and_the_object_lives_on() {
    fn panicked<R: std::fmt::Debug>(words: &str, result: Result<R, ManagerError>) {
        match result.unwrap_err() {
            ManagerError::Panicked { message } => assert_eq!(message, words),
            other => panic!("{other:?}"),
        }
    }
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        panicked("no 7 can be made", FragileProxy::broken(&manager, 7).await);
        let fragile = manager.create(Fragile::default()).await.unwrap();
        panicked("crack 1", fragile.crack().await);
        panicked("shattered", fragile.shatter().await);
        panicked("it was cracked", fragile.look().await);
        // Many at a time: those that wait for one another too.
        for result in join_all((0..20).map(|_| fragile.crack())).await {
            assert!(matches!(result, Err(ManagerError::Panicked { .. })), "{result:?}");
        }
        assert_eq!(fragile.cracks().await.unwrap(), 21);
        match fragile.refuse().await.unwrap_err() {
            ManagerError::Encode { reason } => assert!(reason.contains("shy"), "{reason}"),
            other => panic!("{other:?}"),
        }
        // Nor does it matter to others if it cannot even be dropped.
        let bomb = manager.create(Fragile::default()).await.unwrap();
        bomb.arm().await.unwrap();
        drop(bomb);
        assert_eq!(manager.stats().await.unwrap().objects, 1);
        assert_eq!(fragile.cracks().await.unwrap(), 21);
        manager.shutdown().await.unwrap();
    });
}

mod other {
    #[derive(Default, serde::Serialize, serde::Deserialize)]
    pub struct Counter;

    #[procpool::shared]
    impl Counter {
        pub fn get(&self) -> u64 {
            0
        }
    }
}

#[procpool::task]
fn look_up(manager: ManagerHandle) -> u64 {
    manager.blocking_find::<CounterProxy>("clicks").unwrap().blocking_add(1).unwrap()
}

#[test]
fn proxies_are_published_and_found_as_what_they_are() {
    common::run(|| async {
        async fn found<P: Proxy + std::fmt::Debug>(manager: &Manager) -> (String, String) {
            match manager.find::<P>("clicks").await.unwrap_err() {
                ManagerError::WrongKind { expected, found } => (expected, found),
                other => panic!("{other:?}"),
            }
        }
        let manager = Manager::start().await.unwrap();
        let counter = manager.create(Counter::default()).await.unwrap();
        manager.publish("clicks", &counter).await.unwrap();
        drop(counter);
        let mut child = Process::spawn(look_up(manager.handle().clone())).await.unwrap();
        assert_eq!(child.output().await.unwrap(), 1);
        let counter: CounterProxy = manager.find("clicks").await.unwrap();
        assert_eq!(counter.get().await.unwrap(), 1);
        let mine = "manager_shared::Counter".to_owned();
        assert_eq!(found::<ListProxy<u8>>(&manager).await, ("list".to_owned(), mine.clone()));
        let others = "manager_shared::other::Counter".to_owned();
        assert_eq!(found::<other::CounterProxy>(&manager).await, (others, mine.clone()));
        let fragile = "the fragile one".to_owned();
        assert_eq!(found::<FragileProxy>(&manager).await, (fragile, mine));
        let other = manager.create(other::Counter).await.unwrap();
        assert_eq!(other.get().await.unwrap(), 0);

        // In other objects of the manager.
        let list = manager.list([counter.clone()]).await.unwrap();
        list.get(0).await.unwrap().add(4).await.unwrap();
        assert_eq!(counter.get().await.unwrap(), 5);
        manager.shutdown().await.unwrap();
        let error = counter.get().await.unwrap_err();
        assert!(matches!(error, ManagerError::Died { .. }), "{error:?}");
    });
}

#[derive(Default, Serialize, Deserialize)]
struct Store(BTreeMap<String, Vec<u8>>);

#[procpool::shared]
impl Store {
    fn put(&mut self, key: &str, value: &[u8]) {
        self.0.insert(key.to_owned(), value.to_vec());
    }

    fn put_owned(&mut self, (key, value): (String, Vec<u8>), more: Vec<u8>) -> usize {
        let len = value.len() + more.len();
        self.0.insert(key, [value, more].concat());
        len
    }

    fn get(&self, key: Cow<'_, str>) -> Option<Vec<u8>> {
        self.0.get(&*key).cloned()
    }

    fn whole(&self, key: String) -> Vec<u8> {
        self.0.get(&key).cloned().unwrap_or_default()
    }

    async fn parent(&self, path: &Path, mut up: u32) -> Option<PathBuf> {
        let mut path = path;
        while up > 0 {
            path = path.parent()?;
            up -= 1;
        }
        Some(path.to_owned())
    }

    fn r#type(&self, r#fn: u8, manager: u8) -> u8 {
        r#fn + manager
    }

    fn of(manager: u8) -> Self {
        Store(BTreeMap::from([("first".to_owned(), vec![manager])]))
    }

    fn count(&self, list: ListProxy<u8>, _: u8) -> usize {
        list.blocking_len().unwrap_or_default()
    }

    fn lock(&self, lock: Lock) -> Lock {
        lock
    }

    fn new_lock(&self) -> Lock {
        Lock::new().unwrap()
    }
}

/// Every way in which a parameter travels.
#[test]
fn arguments_and_results_of_all_kinds_and_lengths() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let store = StoreProxy::of(&manager, 8).await.unwrap();
        assert_eq!(store.whole("first".to_owned()).await.unwrap(), [8]);
        for len in [0, 1, 1000, 100_000, 3_000_000] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            store.put("key", &bytes).await.unwrap();
            assert_eq!(store.whole("key".to_owned()).await.unwrap(), bytes);
            assert_eq!(store.get("key".into()).await.unwrap().as_ref(), Some(&bytes));
            let put = store.put_owned(("key".to_owned(), bytes.clone()), bytes.clone());
            assert_eq!(put.await.unwrap(), 2 * bytes.len());
            assert_eq!(store.whole("key".to_owned()).await.unwrap().len(), 2 * bytes.len());
        }
        assert_eq!(store.get("none".into()).await.unwrap(), None);
        let parent = store.parent(Path::new("/a/b/c"), 2).await.unwrap();
        assert_eq!(parent, Some(PathBuf::from("/a")));
        assert_eq!(store.r#type(1, 2).await.unwrap(), 3);
        assert_eq!(tokio::task::block_in_place(|| store.blocking_type(1, 2)).unwrap(), 3);
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn what_cannot_be_inside_is_refused_in_words() {
    fn refused<R: std::fmt::Debug>(words: &str, result: Result<R, ManagerError>) {
        match result.unwrap_err() {
            ManagerError::Encode { reason } => assert!(reason.contains(words), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let store = manager.create(Store::default()).await.unwrap();
        let list = manager.list([1u8]).await.unwrap();
        refused("no proxies", store.count(list, 0).await);
        refused("a manager keeps no queues, locks", store.lock(Lock::new().unwrap()).await);
        refused("a manager keeps no queues, locks", store.new_lock().await);
        assert_eq!(store.get("x".into()).await.unwrap(), None);
        manager.shutdown().await.unwrap();
    });
}

/// Types of one path, in function bodies.
#[test]
fn a_name_of_its_own_tells_types_of_one_path_apart() {
    #[derive(Serialize, Deserialize)]
    struct Counter(i8);

    #[procpool::shared(name = "small counter")]
    impl Counter {
        fn down(&mut self) -> i8 {
            self.0 -= 1;
            self.0
        }
    }

    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let counter = manager.create(Counter(0)).await.unwrap();
        assert_eq!(counter.down().await.unwrap(), -1);
        assert!(counter.to_string().contains("small counter"), "{counter}");
        manager.shutdown().await.unwrap();
    });
}
