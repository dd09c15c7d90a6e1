//! How a parent wakes a thread of its child, without ever waiting: an event that is reset by
//! being heard.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;
use std::time::Duration;

use windows_sys::Win32::System::Threading::{
    CreateEventW, INFINITE, SetEvent, WaitForSingleObject,
};

use super::Handle;
use crate::sys::SharedBlock;

/// The end that rings.
#[derive(Debug)]
pub(crate) struct Bell(OwnedHandle);

/// The end that sleeps, in another process.
#[derive(Debug)]
pub(crate) struct Sleeper(OwnedHandle);

/// Both ends; the second by what its process must be given for it.
pub(crate) fn bell() -> io::Result<(Bell, Option<Handle>)> {
    // SAFETY: no attributes and no name.
    let event = unsafe { CreateEventW(null(), 0, 0, null()) };
    if event.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new handle that nobody else owns.
    let event = unsafe { OwnedHandle::from_raw_handle(event) };
    let theirs = event.try_clone()?;
    Ok((Bell(event), Some(theirs)))
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
        // SAFETY: the handle is open.
        unsafe { SetEvent(self.0.as_raw_handle()) };
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
        let _ = (block, word);
        // SAFETY: the handle is open.
        unsafe { SetEvent(self.0.as_raw_handle()) };
    }

    /// Sleeps while the word is 1, until it is rung or the time is over; may wake for no reason.
    pub(crate) fn sleep(&self, _: &SharedBlock, _: usize, limit: Option<Duration>) {
        let limit = limit.map_or(INFINITE, |t| {
            // Rounded up, so that a wait does not end before its time.
            t.as_nanos().div_ceil(1_000_000).min(u128::from(INFINITE - 1)) as u32
        });
        // SAFETY: the handle is open.
        unsafe { WaitForSingleObject(self.0.as_raw_handle(), limit) };
    }
}
