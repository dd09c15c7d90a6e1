//! Objects owned by one process and used from others.
//!
//! The main program owns them all. Its children talk to it through a pair of rings in the memory
//! that each shares with its parent: what a process has said is there when it dies, and its holds
//! end with it, by one rule for all objects. What objects mean is not known here.
//!
//! Locks, outermost first: a client's `rx`, its mail, an object's mailbox, its helper, `tx`; or the host's state, then
//! a mailbox. Nothing of the user's is run or dropped under any of them, but for the wakers of a child's tasks,
//! which run under its `rx`.

mod access;
mod client;
mod closer;
mod given;
mod guest;
mod host;
mod mail;
mod name;
mod note;
mod object;
mod ring;
mod seat;
mod server;
mod state;
#[cfg(test)]
mod state_tests;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use access::{Access, HasAccess, Interest, block_on, guard, own_seat, owner_hold, turn};
pub(crate) use client::Urgency;
pub(crate) use closer::drop_elsewhere;
pub(crate) use given::{Given, Got};
pub(crate) use mail::{After, Line, Mailbox};
pub(crate) use note::Note;
pub(crate) use object::ObjectKind;
pub(crate) use ring::{HasRings, RINGS_LEN};
pub(crate) use seat::{Seat, SeatHandles, Ticket, sit_down};
pub(crate) use server::{OWNER, Object, Out, SeatId};

use crate::sys::Poller;

/// Codes of what is said about who holds what.
const CREATE: u16 = 1;
const OPEN: u16 = 2;
/// `[how many holds, 1: that it has taken itself]`; else others have put them on the object for it.
const RELEASE: u16 = 3;
const GRANT: u16 = 4;
const LOST: u16 = 5;
/// A process introduces its child: `[length of its memory, where the rings are in it, longest value it
/// may send]`, and handles.
const INTRODUCE: u16 = 6;
/// The child has ended.
const DISMISS: u16 = 7;
/// The child breaks the rules and is to be ended.
const EXPEL: u16 = 8;
/// A process has no handle of an object any more; it may get one again.
const LEAVE: u16 = 9;
/// A process that was introduced brings what tells of its end: nobody may be left to say that it has ended.
const LIVES: u16 = 10;

/// This process is a child.
static GUEST: AtomicBool = AtomicBool::new(false);

fn is_guest() -> bool {
    GUEST.load(Ordering::Acquire)
}

/// Says that this process is a child: it owns no objects.
pub(crate) fn be_guest() {
    GUEST.store(true, Ordering::Release);
}

/// Has whoever watches `poller` hear under `key` of the first that a child says, for
/// [`wake`].
pub(crate) fn announce(poller: &Poller, key: u64) -> io::Result<()> {
    host::host()?.announce(poller, key)
}

/// Starts the hub's thread, if it does not run, and has it hear what whoever watched `poller`
/// does not listen to any more.
pub(crate) fn wake(poller: &Poller) {
    if let Ok(host) = host::host() {
        // Where no thread can be had now, the next ring tries again.
        if host.run().is_ok() {
            host.take_over(poller);
        }
    }
}

/// Sends what this process has said and there was no room for, before it ends.
pub(crate) fn flush() {
    if let Some(client) = client::client() {
        client.flush_blocking();
        client.settle();
    }
}
