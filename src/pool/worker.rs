//! One worker as the parent sees it: its connection, its block, its process.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tracing::Dispatch;

use super::scheduler::WorkerKey;
use crate::hub::Seat;
use crate::link::{Link, Local};
use crate::process::{
    Child, ChildLog, Courier, Memory, MemoryHandles, StatusBlock, WorkerSocket, worker_socket,
};
use crate::wire::{Hello, Welcome};

pub(super) struct Worker {
    pub(super) key: WorkerKey,
    pub(super) name: String,
    pub(super) link: Link<Local>,
    pub(super) block: Arc<StatusBlock>,
    pub(super) log: ChildLog,
    /// What goes along with its calls and results.
    pub(super) courier: Courier,
    /// Its place in the hub.
    pub(super) seat: Option<Seat>,
    handles: Mutex<Option<MemoryHandles>>,
    child: Arc<OnceLock<Child>>,
    /// Killed before it was even started.
    doomed: Mutex<bool>,
    /// Why it did not come up is known already; its end adds nothing to that.
    pub(super) explained: AtomicBool,
    /// Its time to start is up, as far as the scheduler knows.
    pub(super) overdue: AtomicBool,
}

impl Worker {
    /// A worker-to-be, and the socket its process is to get. Must be called
    /// within the pool's runtime.
    pub(super) fn new(
        key: WorkerKey,
        name: String,
        ours: Hello,
        max_message: u64,
        listener: Option<Dispatch>,
    ) -> io::Result<(Self, WorkerSocket)> {
        let (socket, theirs) = worker_socket()?;
        let child: Arc<OnceLock<Child>> = Arc::default();
        let (Memory { block, log, courier, seat }, handles) =
            Memory::create(name.clone(), listener, &theirs, max_message, &child)?;
        let link = Link::new(Local::new(socket)?, ours, max_message);
        let worker = Worker {
            key,
            name,
            link,
            block,
            log,
            courier,
            seat,
            handles: Mutex::new(Some(handles)),
            child,
            doomed: Mutex::new(false),
            explained: AtomicBool::new(false),
            overdue: AtomicBool::new(false),
        };
        Ok((worker, theirs))
    }

    /// The process was started; ended at once if it is not wanted any more.
    pub(super) fn started(&self, child: Child) {
        let doomed = self.doomed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *doomed {
            child.kill();
        }
        self.log.set_pid(child.pid());
        let _ = self.child.set(child);
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.get().map(Child::pid)
    }

    pub(super) fn cpu_time(&self) -> Option<Duration> {
        self.child.get()?.cpu_time()
    }

    pub(super) fn kill(&self) {
        let mut doomed = self.doomed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *doomed = true;
        if let Some(child) = self.child.get() {
            child.kill();
        }
    }

    pub(super) fn terminate(&self) {
        match self.child.get() {
            Some(child) => child.terminate(),
            None => self.kill(),
        }
    }

    /// Accepts the worker: tells it what it may do, and gives it the block.
    pub(super) fn welcome(&self, welcome: &Welcome) -> io::Result<()> {
        let handles = self.handles.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(handles) = handles else { return Ok(()) };
        handles.send(&self.link, welcome)
    }
}
