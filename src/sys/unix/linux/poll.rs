//! Waiting for many descriptors at once on a plain thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, epoll, eventfd};

use crate::sys::Ready;
use crate::sys::unix::clock::timespec;
use crate::sys::unix::{HandleRef, OutputPipe};

/// One epoll set with a doorbell that other threads ring.
#[derive(Debug)]
pub(crate) struct Poller {
    pub(super) epoll: OwnedFd,
    bell: OwnedFd,
}

const BELL: u64 = u64::MAX;

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &bell, epoll::EventData::new_u64(BELL), epoll::EventFlags::IN)?;
        Ok(Poller { epoll, bell })
    }

    /// Watches a process under `key` until [`Poller::remove`].
    pub(crate) fn add(&self, fd: HandleRef<'_>, key: u64) -> io::Result<()> {
        debug_assert_ne!(key, BELL);
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(key), epoll::EventFlags::IN)?)
    }

    pub(crate) fn remove(&self, fd: HandleRef<'_>) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Watches a pipe under `key` until [`Poller::remove_pipe`].
    pub(crate) fn add_pipe(&self, pipe: &OutputPipe, key: u64) -> io::Result<()> {
        self.add(pipe.handle(), key)
    }

    pub(crate) fn remove_pipe(&self, pipe: &OutputPipe) {
        self.remove(pipe.handle());
    }

    /// Makes the current or next wait return; callable from any thread.
    pub(crate) fn ring(&self) {
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Waits at most `timeout` (for ever when `None`) and appends what is
    /// ready to `found`.
    pub(crate) fn wait(&self, timeout: Option<Duration>, found: &mut Vec<Ready>) -> io::Result<()> {
        let timeout = timeout.map(timespec);
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; 64];
        let n = match epoll::wait(self.epoll.as_fd(), &mut events, timeout.as_ref()) {
            Ok(n) => n,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        for event in &events[..n] {
            let key = event.data.u64();
            if key == BELL {
                let mut count = [0u8; 8];
                let _ = rustix::io::read(&self.bell, &mut count);
                found.push(Ready::Bell);
            } else {
                found.push(Ready::Key(key));
            }
        }
        Ok(())
    }
}
