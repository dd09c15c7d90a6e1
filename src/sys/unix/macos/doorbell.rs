//! How a child wakes a thread of its parent, without either ever waiting.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::Poller;
use super::socket::keep_to_ourselves;
use crate::sys::unix::{Handle, HandleRef, set_nonblocking};

/// The end that hears, in one process: of a pipe that only ever holds rings.
#[derive(Debug)]
pub(crate) struct Doorbell {
    hears: OwnedFd,
    rings: OwnedFd,
}

/// The end that rings; in another.
#[derive(Debug)]
pub(crate) struct Ringer(OwnedFd);

impl Doorbell {
    pub(crate) fn new() -> io::Result<Self> {
        let (hears, rings) = rustix::pipe::pipe()?;
        for end in [&hears, &rings] {
            keep_to_ourselves(end)?;
            set_nonblocking(end.as_fd(), true)?;
        }
        Ok(Doorbell { hears, rings })
    }

    /// What the other process is to be sent.
    pub(crate) fn ringer(&self) -> HandleRef<'_> {
        self.rings.as_fd()
    }

    /// What becomes readable.
    pub(in crate::sys::unix) fn hears(&self) -> HandleRef<'_> {
        self.hears.as_fd()
    }

    /// To be called when it was heard. Whether this end waits is nobody else's to say.
    pub(crate) fn hush(&self) {
        let mut rings = [0; 4096];
        // Bounded: it may be rung meanwhile, and will be heard again.
        for _ in 0..16 {
            if !rustix::io::read(&self.hears, &mut rings).is_ok_and(|n| n == rings.len()) {
                break;
            }
        }
    }
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
        let _ = rustix::io::write(&self.0, &[1]);
    }
}

impl Poller {
    /// Has every ring heard under `key` until [`Poller::remove_doorbell`].
    pub(crate) fn add_doorbell(&self, bell: &Doorbell, key: u64) -> io::Result<()> {
        self.add(bell.hears.as_fd(), key)
    }

    pub(crate) fn remove_doorbell(&self, bell: &Doorbell) {
        self.remove(bell.hears.as_fd());
    }
}
