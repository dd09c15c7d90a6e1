//! How a parent wakes a thread of its child, without ever waiting: a pipe that only ever holds
//! rings.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::socket::keep_to_ourselves;
use crate::sys::SharedBlock;
use crate::sys::unix::clock::timespec;
use crate::sys::unix::{Handle, set_nonblocking};

/// How long a sleep takes at most: nothing in this process can end it.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The end that rings.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

/// The end that sleeps, in another process.
#[derive(Debug)]
pub(crate) struct Sleeper(OwnedFd);

/// Both ends; the second by what its process must be given for it.
pub(crate) fn bell() -> io::Result<(Bell, Option<Handle>)> {
    let (hears, rings) = rustix::pipe::pipe()?;
    for end in [&hears, &rings] {
        keep_to_ourselves(end)?;
        set_nonblocking(end.as_fd(), true)?;
    }
    Ok((Bell(rings), Some(hears)))
}

impl Bell {
    /// One whose end that rings came from another process.
    pub(crate) fn open(given: Option<Handle>) -> io::Result<Self> {
        given.map(Bell).ok_or_else(|| io::Error::other("the bell of a process did not come"))
    }

    /// What another process must be given to ring in place of this one.
    pub(crate) fn into_handle(self) -> Option<Handle> {
        Some(self.0)
    }

    /// Wakes whoever sleeps on the block's word, which has been set to zero before.
    pub(crate) fn ring(&self, _: &SharedBlock, _: usize) {
        let _ = rustix::io::write(&self.0, &[1]);
    }
}

impl Sleeper {
    /// Whether its end is a handle that the process must be given.
    pub(crate) const GIVEN: bool = true;

    pub(crate) fn new(given: Option<Handle>) -> io::Result<Self> {
        given.map(Sleeper).ok_or_else(|| io::Error::other("the bell of the hub did not come"))
    }

    /// Wakes whoever sleeps in this process; the word has been set to zero before.
    pub(crate) fn interrupt(&self, block: &SharedBlock, word: usize) {
        // Nobody can: it looks every few milliseconds.
        let _ = (block, word);
    }

    /// Sleeps while the word is 1, until it is rung or the time is over; may wake for no reason.
    pub(crate) fn sleep(&self, _: &SharedBlock, _: usize, limit: Option<Duration>) {
        let limit = timespec(limit.map_or(LOOK_EVERY, |limit| limit.min(LOOK_EVERY)));
        let mut fds = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        if poll(&mut fds, Some(&limit)).is_ok() {
            let _ = rustix::io::read(&self.0, &mut [0; 64]);
        }
    }
}
