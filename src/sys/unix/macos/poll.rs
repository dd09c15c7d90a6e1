//! Waiting for many descriptors at once on a plain thread.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::kqueue::{self, Event, EventFilter, EventFlags, UserDefinedFlags, UserFlags};
use rustix::io::Errno;

use super::socket::keep_to_ourselves;
use crate::sys::Ready;
use crate::sys::unix::{HandleRef, OutputPipe};

/// One kqueue with a doorbell that other threads ring.
#[derive(Debug)]
pub(crate) struct Poller(OwnedFd);

const BELL: u64 = u64::MAX;

/// Applies one change.
pub(super) fn change(queue: &OwnedFd, change: Event) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| {
        let none: &mut [Event] = &mut [];
        // SAFETY: the descriptors and processes that changes name are open or refused.
        unsafe { kqueue::kevent(queue, &[change], none, None) }
    })
    .map(drop)
}

/// The one event that is raised by this process itself.
pub(super) fn user_event(flags: EventFlags, user: UserFlags) -> Event {
    let filter = EventFilter::User { ident: 0, flags: user, user_flags: UserDefinedFlags::new(0) };
    Event::new(filter, flags, BELL as usize as *mut _)
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let queue = kqueue::kqueue()?;
        keep_to_ourselves(&queue)?;
        // It is quiet again once it was heard.
        change(&queue, user_event(EventFlags::ADD | EventFlags::CLEAR, UserFlags::empty()))?;
        Ok(Poller(queue))
    }

    /// Watches a process under `key` until [`Poller::remove`].
    pub(crate) fn add(&self, fd: HandleRef<'_>, key: u64) -> io::Result<()> {
        debug_assert_ne!(key, BELL);
        let event =
            Event::new(EventFilter::Read(fd.as_raw_fd()), EventFlags::ADD, key as usize as *mut _);
        Ok(change(&self.0, event)?)
    }

    pub(crate) fn remove(&self, fd: HandleRef<'_>) {
        let event =
            Event::new(EventFilter::Read(fd.as_raw_fd()), EventFlags::DELETE, std::ptr::null_mut());
        let _ = change(&self.0, event);
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
        let _ = change(&self.0, user_event(EventFlags::empty(), UserFlags::TRIGGER));
    }

    /// Waits at most `timeout` (for ever when `None`) and appends what is
    /// ready to `found`.
    pub(crate) fn wait(&self, timeout: Option<Duration>, found: &mut Vec<Ready>) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(64);
        // SAFETY: the descriptors that were added are removed before they are closed,
        // and a closed one is dropped by the system.
        let waited = unsafe {
            kqueue::kevent(&self.0, &[], rustix::buffer::spare_capacity(&mut events), timeout)
        };
        match waited {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        for event in &events {
            let key = event.udata() as usize as u64;
            found.push(if key == BELL { Ready::Bell } else { Ready::Key(key) });
        }
        Ok(())
    }
}
