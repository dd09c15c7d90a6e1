//! How a child wakes a thread of its parent, without either ever waiting.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{EventfdFlags, epoll, eventfd};

use super::Poller;
use crate::sys::unix::{Handle, HandleRef};

/// The end that hears; in one process.
#[derive(Debug)]
pub(crate) struct Doorbell(OwnedFd);

/// The end that rings; in another.
#[derive(Debug)]
pub(crate) struct Ringer(OwnedFd);

impl Doorbell {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Doorbell(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// What the other process is to be sent.
    pub(crate) fn ringer(&self) -> HandleRef<'_> {
        self.0.as_fd()
    }

    /// What becomes readable.
    pub(in crate::sys::unix) fn hears(&self) -> HandleRef<'_> {
        self.0.as_fd()
    }

    /// To be called when it was heard. Nothing is read: the other process could have
    /// made that wait.
    #[allow(clippy::unused_self, reason = "elsewhere it does something")]
    pub(crate) fn hush(&self) {}
}

impl Ringer {
    pub(crate) fn new(handle: Handle) -> Self {
        Ringer(handle)
    }

    /// What a third process is to be sent.
    pub(crate) fn handle(&self) -> HandleRef<'_> {
        self.0.as_fd()
    }

    pub(crate) fn ring(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

impl Poller {
    /// Has every ring heard under `key` until [`Poller::remove_doorbell`].
    pub(crate) fn add_doorbell(&self, bell: &Doorbell, key: u64) -> io::Result<()> {
        // At the edge: it stays readable once it was rung.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, &bell.0, epoll::EventData::new_u64(key), flags)?)
    }

    pub(crate) fn remove_doorbell(&self, bell: &Doorbell) {
        self.remove(bell.0.as_fd());
    }
}
