//! Locks in a manager.

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::Sealed;
use crate::manager::client::Client;
use crate::manager::core::{Core, Source};
use crate::manager::error::ManagerError;
use crate::manager::fault::Fault;
use crate::manager::op::{self, ConditionOp, Kind, LockOp};
use crate::manager::request::{Request, op};

/// Which task of this process runs, or which thread.
fn this_owner() -> u64 {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    match tokio::task::try_id() {
        Some(task) => hasher.hash_one((1u8, task)),
        None => hasher.hash_one((2u8, std::thread::current().id())),
    }
}

/// Who asks for a lock of that kind.
pub(super) fn owner(kind: Kind) -> u64 {
    if kind == Kind::LOCK { 0 } else { this_owner() }
}

/// The operation on a lock, or on the lock of a condition.
fn encode(core: &Core, asked: LockOp) -> Result<Vec<u8>, Fault> {
    match core.reference.kind {
        Kind::CONDITION => op::encode(&ConditionOp::Lock(asked)),
        _ => op::encode(&asked),
    }
}

/// Lets go of a lock, without waiting.
fn let_go(core: &Core, client: &Client, owner: u64) {
    if let Ok(asked) = encode(core, LockOp::Release { owner }) {
        client.tell_object((core.reference.id, core.reference.kind), asked);
    }
}

/// Takes a lock; on which connection, and whether who held it before has ended with it.
fn acquire(core: &Arc<Core>, owner: u64, asked: LockOp) -> Request<(u64, bool)> {
    let held = core.clone();
    let decode = |source: &Source, bytes: &[u8]| Ok((source.client.session, source.plain(bytes)?));
    core.request(|_| Ok((encode(core, asked)?, Vec::new())), decode)
        .waiting(move |client, _| let_go(&held, client, owner))
}

/// A lock of a manager, held; dropping it unlocks.
#[must_use = "the lock is released when this is dropped"]
pub struct LockProxyGuard<'a> {
    core: &'a Arc<Core>,
    owner: u64,
    /// On which connection it was taken: once that is lost, others may hold the lock.
    session: u64,
    recovered: bool,
}

impl<'a> LockProxyGuard<'a> {
    fn new(core: &'a Arc<Core>, owner: u64, (session, recovered): (u64, bool)) -> Self {
        LockProxyGuard { core, owner, session, recovered }
    }

    /// The connection on which it is held.
    fn client(&self) -> Option<Arc<Client>> {
        self.core.live().filter(|client| client.session == self.session)
    }

    /// Whether who held it before has ended with it, so that what it protects may be half changed.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.recovered
    }
}

impl Drop for LockProxyGuard<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client() {
            let_go(self.core, &client, self.owner);
        }
    }
}

impl fmt::Debug for LockProxyGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockProxyGuard({:?})", self.core)
    }
}

/// What all that are locks do.
macro_rules! locks {
    ($name:ident) => {
        impl $name {
            /// Takes the lock, waiting until it is free.
            ///
            /// # Errors
            /// As all requests.
            ///
            /// # Cancel safety
            /// Dropped, it has not taken the lock, or gives it back.
            pub async fn lock(&self) -> Result<LockProxyGuard<'_>, ManagerError> {
                let owner = owner(Self::KIND);
                let taken = acquire(&self.core, owner, LockOp::Acquire { owner }).await?;
                Ok(LockProxyGuard::new(&self.core, owner, taken))
            }

            /// [`lock`](Self::lock) on a thread that may wait.
            ///
            /// # Errors
            /// As [`lock`](Self::lock).
            pub fn blocking_lock(&self) -> Result<LockProxyGuard<'_>, ManagerError> {
                let owner = owner(Self::KIND);
                let taken = acquire(&self.core, owner, LockOp::Acquire { owner }).block()?;
                Ok(LockProxyGuard::new(&self.core, owner, taken))
            }

            /// Takes the lock if it is free.
            ///
            /// # Errors
            /// [`WouldBlock`](ManagerError::WouldBlock) if it is not.
            ///
            /// # Cancel safety
            /// As [`lock`](Self::lock).
            pub async fn try_lock(&self) -> Result<LockProxyGuard<'_>, ManagerError> {
                let owner = owner(Self::KIND);
                let taken = acquire(&self.core, owner, LockOp::TryAcquire { owner }).await?;
                Ok(LockProxyGuard::new(&self.core, owner, taken))
            }

            /// [`try_lock`](Self::try_lock) on a thread that may wait for the manager.
            ///
            /// # Errors
            /// As [`try_lock`](Self::try_lock).
            pub fn blocking_try_lock(&self) -> Result<LockProxyGuard<'_>, ManagerError> {
                let owner = owner(Self::KIND);
                let taken = acquire(&self.core, owner, LockOp::TryAcquire { owner }).block()?;
                Ok(LockProxyGuard::new(&self.core, owner, taken))
            }

            /// [`lock`](Self::lock), but waits no longer than `limit`.
            ///
            /// # Errors
            /// [`TimedOut`](ManagerError::TimedOut), and as [`lock`](Self::lock).
            ///
            /// # Cancel safety
            /// As [`lock`](Self::lock).
            pub async fn lock_timeout(
                &self,
                limit: Duration,
            ) -> Result<LockProxyGuard<'_>, ManagerError> {
                let owner = owner(Self::KIND);
                let asked = acquire(&self.core, owner, LockOp::Acquire { owner });
                let taken = asked.within(limit).await?;
                Ok(LockProxyGuard::new(&self.core, owner, taken))
            }

            /// [`lock_timeout`](Self::lock_timeout) on a thread that may wait.
            ///
            /// # Errors
            /// As [`lock_timeout`](Self::lock_timeout).
            pub fn blocking_lock_timeout(
                &self,
                limit: Duration,
            ) -> Result<LockProxyGuard<'_>, ManagerError> {
                let owner = owner(Self::KIND);
                let asked = acquire(&self.core, owner, LockOp::Acquire { owner });
                let taken = asked.block_for(limit)?;
                Ok(LockProxyGuard::new(&self.core, owner, taken))
            }

            fn ask_lock<R: serde::de::DeserializeOwned + 'static>(
                &self,
                asked: LockOp,
            ) -> Request<R> {
                let core = &self.core;
                core.request(|_| Ok((encode(core, asked)?, Vec::new())), Source::plain)
            }

            methods! {
                /// Whether somebody holds it.
                #[doc(alias = "locked")]
                fn is_locked | blocking_is_locked(&self) -> bool {
                    self.ask_lock(LockOp::IsLocked)
                }

                /// Lets go of it without a guard.
                ///
                /// # Errors
                /// [`NotHeld`](ManagerError::NotHeld) if it is not held: by anybody, for a lock; by this task or thread, for
                /// one that its owner may take again.
                fn release | blocking_release(&self) -> () {
                    self.ask_lock(LockOp::Release { owner: owner(Self::KIND) })
                }
            }
        }
    };
}

/// Stands for a lock in a [`Manager`](crate::Manager): any process that has one takes the same lock.
///
/// Whoever waits is served in turn. Any process may [`release`](Self::release) it. (For processes of one program a
/// [`Lock`](crate::Lock) is some thousand times as fast.)
///
/// # Crash behaviour
/// What a process held that dies passes on to whoever waits, whose guard says [`recovered`](LockProxyGuard::recovered).
///
/// # Examples
/// ```standalone_crate
/// use procpool::{Manager, ProcessPool, manager::LockProxy, manager::ValueProxy};
///
/// #[procpool::task]
/// fn add(lock: LockProxy, value: ValueProxy<u32>) {
///     let _guard = lock.blocking_lock().unwrap();
///     value.blocking_set(&(value.blocking_get().unwrap() + 1)).unwrap();
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let manager = Manager::start().await?;
///     let (lock, value) = (manager.lock().await?, manager.value(&0).await?);
///     let pool = ProcessPool::builder().workers(3).build().await?;
///     pool.starmap(add, vec![(lock, value.clone()); 30]).await?;
///     assert_eq!(value.get().await?, 30);
///     Ok(())
/// }
/// ```
pub struct LockProxy {
    core: Arc<Core>,
    types: PhantomData<()>,
}

proxy!(LockProxy, Kind::LOCK);
locks!(LockProxy);

/// Stands for a lock in a [`Manager`](crate::Manager) that its owner may take again: the task that holds it or, outside of a
/// runtime, the thread.
///
/// # Crash behaviour
/// As for a [`LockProxy`].
///
/// # Examples
/// ```standalone_crate
/// use procpool::Manager;
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let manager = Manager::start().await?;
///     let lock = manager.rlock().await?;
///     tokio::spawn(async move {
///         let _outer = lock.lock().await?;
///         let _inner = lock.lock().await?;
///         assert!(lock.is_locked().await?);
///         Ok::<_, procpool::ManagerError>(())
///     })
///     .await??;
///     Ok(())
/// }
/// ```
pub struct RLockProxy {
    core: Arc<Core>,
    types: PhantomData<()>,
}

proxy!(RLockProxy, Kind::RLOCK);
locks!(RLockProxy);

/// Stands for a condition in a [`Manager`](crate::Manager): whoever holds its lock waits to be notified by another who does.
///
/// # Crash behaviour
/// As for a [`LockProxy`]; one that waits and dies is passed over.
///
/// # Examples
/// ```standalone_crate
/// use procpool::{Manager, Process, manager::ConditionProxy, manager::ListProxy};
///
/// #[procpool::task]
/// fn fill(ready: ConditionProxy, list: ListProxy<u32>) {
///     let guard = ready.blocking_lock().unwrap();
///     list.blocking_push(&7).unwrap();
///     ready.blocking_notify_one(&guard).unwrap();
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let manager = Manager::start().await?;
///     let (ready, list) = (manager.condition().await?, manager.list([]).await?);
///     let mut guard = ready.lock().await?;
///     let filler = Process::spawn(fill(ready.clone(), list.clone())).await?;
///     while list.is_empty().await? {
///         guard = ready.wait(guard).await?;
///     }
///     assert_eq!(list.pop().await?, Some(7));
///     drop(guard);
///     filler.join().await;
///     Ok(())
/// }
/// ```
pub struct ConditionProxy {
    core: Arc<Core>,
    types: PhantomData<()>,
}

proxy!(ConditionProxy, Kind::CONDITION);
locks!(ConditionProxy);

impl ConditionProxy {
    /// Whether it was told in time, and how it has the lock again.
    fn ask_wait(
        &self,
        guard: LockProxyGuard<'_>,
        limit: Option<Duration>,
    ) -> Request<(bool, (u64, bool))> {
        let owner = guard.owner;
        let limit = limit.map(|limit| u64::try_from(limit.as_micros()).unwrap_or(u64::MAX));
        let (core, held) = (guard.core.clone(), guard.core.clone());
        let is_held = guard.client().is_some();
        // The manager lets go of it for somebody else.
        std::mem::forget(guard);
        let asked = |_: &_| {
            if !is_held {
                return Err(ManagerError::NotHeld { what: "the condition's lock".to_owned() });
            }
            Ok((op(&ConditionOp::Wait { owner, limit })?, Vec::new()))
        };
        let decode = |source: &Source, bytes: &[u8]| {
            let (in_time, recovered) = source.plain(bytes)?;
            Ok((in_time, (source.client.session, recovered)))
        };
        core.request(asked, decode).waiting(move |client, _| let_go(&held, client, owner))
    }

    /// Lets go of the lock, waits to be notified, and takes the lock again.
    ///
    /// It may wake up by itself: look again whether what it waits for is there, or use [`wait_for`](Self::wait_for).
    ///
    /// # Errors
    /// As all requests; the lock is let go of then.
    ///
    /// # Cancel safety
    /// Dropped, it has let go of the lock, and a notification goes to another.
    pub async fn wait<'a>(
        &'a self,
        guard: LockProxyGuard<'_>,
    ) -> Result<LockProxyGuard<'a>, ManagerError> {
        Ok(self.waited(guard, None).await?.0)
    }

    /// The same, but waits no longer than `limit` for the notification; whether there was one in time.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Cancel safety
    /// As [`wait`](Self::wait).
    pub async fn wait_timeout<'a>(
        &'a self,
        guard: LockProxyGuard<'_>,
        limit: Duration,
    ) -> Result<(LockProxyGuard<'a>, bool), ManagerError> {
        self.waited(guard, Some(limit)).await
    }

    async fn waited<'a>(
        &'a self,
        guard: LockProxyGuard<'_>,
        limit: Option<Duration>,
    ) -> Result<(LockProxyGuard<'a>, bool), ManagerError> {
        let owner = guard.owner;
        let (in_time, taken) = self.ask_wait(guard, limit).await?;
        Ok((LockProxyGuard::new(&self.core, owner, taken), in_time))
    }

    /// Waits until `ready` says so, which is asked before and after each notification.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Cancel safety
    /// As [`wait`](Self::wait).
    pub async fn wait_for<'a>(
        &'a self,
        mut guard: LockProxyGuard<'a>,
        mut ready: impl FnMut() -> bool,
    ) -> Result<LockProxyGuard<'a>, ManagerError> {
        while !ready() {
            guard = self.wait(guard).await?;
        }
        Ok(guard)
    }

    /// [`wait`](Self::wait) on a thread that may wait.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn blocking_wait<'a>(
        &'a self,
        guard: LockProxyGuard<'_>,
    ) -> Result<LockProxyGuard<'a>, ManagerError> {
        let owner = guard.owner;
        let (_, taken) = self.ask_wait(guard, None).block()?;
        Ok(LockProxyGuard::new(&self.core, owner, taken))
    }

    /// [`wait_timeout`](Self::wait_timeout) on a thread that may wait.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn blocking_wait_timeout<'a>(
        &'a self,
        guard: LockProxyGuard<'_>,
        limit: Duration,
    ) -> Result<(LockProxyGuard<'a>, bool), ManagerError> {
        let owner = guard.owner;
        let (in_time, taken) = self.ask_wait(guard, Some(limit)).block()?;
        Ok((LockProxyGuard::new(&self.core, owner, taken), in_time))
    }

    fn notify(&self, guard: &LockProxyGuard<'_>, count: u64) -> Request<usize> {
        let owner = guard.owner;
        let asked = ConditionOp::Notify { owner, count };
        self.core.ask(&asked, Source::size)
    }

    methods! {
        /// Wakes one that waits; how many there were.
        fn notify_one | blocking_notify_one(&self, guard: &LockProxyGuard<'_>) -> usize {
            self.notify(guard, 1)
        }

        /// Wakes as many as that, if so many wait; how many there were.
        fn notify_n | blocking_notify_n(&self, guard: &LockProxyGuard<'_>, n: usize) -> usize {
            self.notify(guard, n as u64)
        }

        /// Wakes all that wait; how many there were.
        fn notify_all | blocking_notify_all(&self, guard: &LockProxyGuard<'_>) -> usize {
            self.notify(guard, u64::MAX)
        }
    }
}
