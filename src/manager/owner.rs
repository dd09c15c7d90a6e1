//! Who keeps a manager running.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::ManagerAddress;
use super::auth::AuthKey;
use super::client;
use super::error::ManagerError;
use super::handle::ManagerHandle;
use super::route::Route;
use super::server::{Entrance, Gate, Store, serve};
use crate::channel::{Address, PipeSender};
use crate::link::Acceptor;
use crate::process::{Process, ProcessHandle};
use crate::sys;
use crate::task::{
    Args, Call, CallEncoder, CallParts, Entry, Fault, IntoCall, Output, Registration,
};

/// Longest message that a manager of a program's own takes.
const MAX_MESSAGE: u64 = 4 << 30;
/// How long a manager may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(1);

/// A server of objects that any process uses by proxies.
///
/// [`start`](Self::start) has it in a process of its own, which ends with this one; [`local`](Self::local) has it in this
/// process, and [`serve`](Self::serve) for other programs, too. It is used as a [`ManagerHandle`], and ends when it is dropped, or better by [`shutdown`](Self::shutdown).
///
/// Only processes that were handed a proxy or a handle, directly or by others that were, can use it: they get a key of 32
/// random bytes along, and both ends prove to each other that they have it. The socket is one that no other user can reach.
///
/// # Crash behaviour
/// A client that dies gives up what it had; what it put into objects stays. When the manager dies, every request fails with
/// [`ManagerError::Died`]. A started one ends with the process that started it, however that ends.
///
/// # Examples
/// ```standalone_crate
/// use procpool::{DictProxy, Manager, Process};
///
/// #[procpool::task]
/// fn work(scores: DictProxy<String, u32>) {
///     scores.blocking_set(&"Sam".to_owned(), &10).unwrap();
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let manager = Manager::start().await?;
///     let scores = manager.dict([("Adam".to_owned(), 9)]).await?;
///     Process::spawn(work(scores.clone())).await?.output().await?;
///     assert_eq!(scores.get("Sam").await?, Some(10));
///     manager.shutdown().await?;
///     assert!(scores.get("Sam").await.is_err());
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.Manager")]
#[doc(alias = "SyncManager")]
#[doc(alias = "BaseManager")]
pub struct Manager {
    handle: ManagerHandle,
    server: Server,
    address: ManagerAddress,
}

enum Server {
    Process(Process<()>),
    Task { store: Arc<Store>, task: tokio::task::JoinHandle<()> },
}

/// How a manager is to be.
#[derive(Debug)]
pub struct ManagerBuilder {
    name: String,
    workers: Option<usize>,
    initializer: Option<Call<()>>,
}

impl ManagerBuilder {
    /// The name of its process. Default: `procpool-manager`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many threads serve requests. Default: as many as it may use CPUs.
    #[must_use]
    pub fn worker_threads(mut self, n: usize) -> Self {
        self.workers = Some(n.max(1));
        self
    }

    /// Runs in its process before it serves anybody.
    #[must_use]
    pub fn initializer(mut self, task: impl IntoCall<Output = (), Kind = crate::Blocking>) -> Self {
        self.initializer = Some(task.into_call());
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`Start`](ManagerError::Start) if its process could not be started, or its initializer failed.
    ///
    /// # Cancel safety
    /// Dropped, it ends what it has started.
    pub async fn start(self) -> Result<Manager, ManagerError> {
        let (sender, mut receiver) =
            crate::channel::one_way::<Address>().map_err(|e| ManagerError::io("a pipe", &e))?;
        let key = AuthKey::random();
        let initializer = self.initializer.map(CallParts::of).transpose();
        let start = Start {
            initializer: initializer.map_err(|reason| ManagerError::Encode { reason })?,
            key: key.as_bytes().to_vec(),
            workers: self.workers.unwrap_or_else(crate::usable_cpu_count),
        };
        let process = Process::builder(run(start, sender)).name(self.name).daemon(true);
        let process = process.start().await?;
        let address = match receiver.recv().await {
            Ok(address) => address,
            Err(_) => {
                let mut process = process;
                let error = process.output().await.err().map(|e| e.to_string());
                return Err(ManagerError::Start(error.unwrap_or_else(|| "it ended".to_owned())));
            }
        };
        let address = ManagerAddress::Local(address);
        let route = Route { address: address.clone(), client: String::new(), key, tls: None };
        let client = client::connect(&route).await?;
        let handle = ManagerHandle::new(route, client);
        Ok(Manager { handle, server: Server::Process(process), address })
    }
}

/// What the process of a manager is told.
#[derive(Debug, Serialize, Deserialize)]
struct Start {
    initializer: Option<CallParts>,
    key: Vec<u8>,
    workers: usize,
}

/// What `#[task]` would make of `serve_here`.
fn run(start: Start, tell: PipeSender<Address>) -> Call<()> {
    fn body(args: &mut Args<'_>, out: &mut Output) -> Result<(), Fault> {
        let (start, tell) = (args.owned("start")?, args.owned("tell")?);
        serve_here(start, tell);
        out.put(())
    }
    static ENTRY: Entry = Entry::blocking(
        "procpool::manager",
        concat!(file!(), ":", line!()),
        "fn(Start, PipeSender<Address>)",
        body,
    );
    inventory::submit! { Registration(&ENTRY) }
    let mut call = CallEncoder::new(&ENTRY);
    call.owned("start", start);
    call.owned("tell", tell);
    call.finish()
}

/// Serves until the manager ends.
fn serve_here(start: Start, mut tell: PipeSender<Address>) {
    // Ctrl-C is for whoever uses it: that one ends it.
    sys::refuse_interrupts();
    if let Some(Err(fault)) = start.initializer.map(CallParts::run) {
        panic!("the manager's initializer could not be run: {fault:?}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(start.workers)
        .enable_io()
        .enable_time()
        .build()
        .unwrap_or_else(|e| panic!("no runtime for the manager: {e}"));
    runtime.block_on(async {
        let (acceptor, name) =
            Acceptor::bind_anywhere().unwrap_or_else(|e| panic!("the manager cannot listen: {e}"));
        let address = Address::new(name).unwrap_or_else(|e| panic!("{e}"));
        let gate = Gate::own(AuthKey::new(start.key), MAX_MESSAGE);
        if tell.blocking_send(address).is_ok() {
            drop(tell);
            let entrance = Entrance::Local(acceptor);
            tokio::spawn(serve(Store::new(), entrance, gate)).await.unwrap_or_default();
        }
    });
    // Methods that go on are not waited for.
    runtime.shutdown_background();
}

impl Manager {
    /// Starts a process that has objects.
    ///
    /// # Errors
    /// As [`ManagerBuilder::start`].
    ///
    /// # Cancel safety
    /// As [`ManagerBuilder::start`].
    pub async fn start() -> Result<Self, ManagerError> {
        Self::builder().start().await
    }

    /// How it is to be started.
    #[must_use]
    pub fn builder() -> ManagerBuilder {
        let name = "procpool-manager".to_owned();
        ManagerBuilder { name, workers: None, initializer: None }
    }

    /// Has objects in this process, served by tasks of this runtime.
    ///
    /// # Errors
    /// The system's, if it cannot listen.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[doc(alias = "get_server")]
    #[doc(alias = "serve_forever")]
    pub async fn local() -> Result<Self, ManagerError> {
        local_owner(None).await
    }

    /// A way to it, for other tasks and processes.
    #[must_use]
    pub fn handle(&self) -> &ManagerHandle {
        &self.handle
    }

    /// Where it listens; of one that is [served](Self::serve) on the network with the port that it has.
    #[must_use]
    pub fn address(&self) -> &ManagerAddress {
        &self.address
    }

    /// Its process; `None` if it is served by this one.
    #[must_use]
    pub fn process(&self) -> Option<ProcessHandle> {
        match &self.server {
            Server::Process(process) => Some(process.handle()),
            Server::Task { .. } => None,
        }
    }

    /// Ends it: what it was asked before is answered first. A process that has not ended a second later is killed.
    ///
    /// # Errors
    /// [`Died`](ManagerError::Died) if its process had died already.
    ///
    /// # Cancel safety
    /// Dropped, it ends all the same.
    pub async fn shutdown(mut self) -> Result<(), ManagerError> {
        let _ = self.handle.end().within(PATIENCE).await;
        match &mut self.server {
            Server::Process(process) => {
                let ended = tokio::time::timeout(PATIENCE, process.output()).await;
                match ended {
                    Ok(ended) => ended.map_err(|e| ManagerError::died(e.to_string())),
                    Err(_) => {
                        process.handle().kill();
                        let _ = process.output().await;
                        Ok(())
                    }
                }
            }
            Server::Task { store, task } => {
                store.end();
                let _ = task.await;
                Ok(())
            }
        }
    }

    /// Removes what its process could not.
    fn clean(&self) {
        if let Some(path) = self.address.path()
            && std::fs::remove_file(&path).is_ok()
            && let Some(directory) = path.parent()
        {
            let _ = std::fs::remove_dir(directory);
        }
    }
}

/// In this process; for others, too, at another address.
pub(super) async fn local_owner(
    others: Option<(Entrance, Gate, ManagerAddress)>,
) -> Result<Manager, ManagerError> {
    let io = |e: std::io::Error| ManagerError::io("listening", &e);
    let (acceptor, name) = Acceptor::bind_anywhere().map_err(io)?;
    let own = ManagerAddress::Local(Address::new(name).map_err(|e| io(e.into()))?);
    let (key, store) = (AuthKey::random(), Store::new());
    let gate = Gate::own(key.clone(), MAX_MESSAGE);
    let serve_own = serve(store.clone(), Entrance::Local(acceptor), gate);
    let (task, address) = match others {
        None => (tokio::spawn(serve_own), own.clone()),
        Some((entrance, gate, address)) => {
            let serve_others = serve(store.clone(), entrance, gate);
            let both = async {
                tokio::join!(serve_own, serve_others);
            };
            (tokio::spawn(both), address)
        }
    };
    let server = Server::Task { store, task };
    let route = Route { address: own, client: String::new(), key, tls: None };
    let client = match client::connect(&route).await {
        Ok(client) => client,
        Err(error) => {
            if let Server::Task { store, .. } = &server {
                store.end();
            }
            return Err(error);
        }
    };
    Ok(Manager { handle: ManagerHandle::new(route, client), server, address })
}

impl Drop for Manager {
    fn drop(&mut self) {
        match &self.server {
            Server::Process(process) => {
                process.handle().kill();
                self.clean();
            }
            Server::Task { store, .. } => store.end(),
        }
    }
}

impl Deref for Manager {
    type Target = ManagerHandle;

    fn deref(&self) -> &ManagerHandle {
        &self.handle
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Manager");
        debug.field("address", &self.address);
        if let Server::Process(process) = &self.server {
            debug.field("pid", &process.handle().pid());
        }
        debug.finish()
    }
}
