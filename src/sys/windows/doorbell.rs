//! How a child wakes a thread of its parent, without either ever waiting.

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;

use windows_sys::Win32::System::Threading::{CreateEventW, SetEvent};

use super::{Handle, HandleRef, Poller};

/// The end that hears, in one process: an event that is reset by being heard.
#[derive(Debug)]
pub(crate) struct Doorbell(OwnedHandle);

/// The end that rings; in another.
#[derive(Debug)]
pub(crate) struct Ringer(OwnedHandle);

impl Doorbell {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no attributes and no name.
        let event = unsafe { CreateEventW(null(), 0, 0, null()) };
        if event.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new handle that nobody else owns.
        Ok(Doorbell(unsafe { OwnedHandle::from_raw_handle(event) }))
    }

    /// What the other process is to be sent.
    pub(crate) fn ringer(&self) -> HandleRef<'_> {
        self.0.as_handle()
    }

    /// To be called when it was heard.
    #[allow(clippy::unused_self, reason = "elsewhere it does something")]
    pub(crate) fn hush(&self) {}
}

impl Ringer {
    pub(crate) fn new(handle: Handle) -> Self {
        Ringer(handle)
    }

    /// What a third process is to be sent.
    pub(crate) fn handle(&self) -> HandleRef<'_> {
        self.0.as_handle()
    }

    pub(crate) fn ring(&self) {
        // SAFETY: the handle is open; one that is no event is refused.
        unsafe { SetEvent(self.0.as_raw_handle()) };
    }
}

impl Poller {
    /// Has every ring heard under `key` until [`Poller::remove_doorbell`].
    pub(crate) fn add_doorbell(&self, bell: &Doorbell, key: u64) -> io::Result<()> {
        self.register(bell.0.as_handle(), key, 0)
    }

    pub(crate) fn remove_doorbell(&self, bell: &Doorbell) {
        self.remove(bell.0.as_handle());
    }
}
