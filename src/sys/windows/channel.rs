//! Handles given to another process, which is told their numbers.

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, IntoRawHandle};
use std::ptr::null_mut;
use std::sync::{Arc, OnceLock};

use windows_sys::Win32::Foundation::{
    DUPLICATE_CLOSE_SOURCE, DUPLICATE_SAME_ACCESS, DuplicateHandle, HANDLE,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use super::error::check;
use super::pipe::{Peer, duplicate_into, owned};
use super::{ChildSocket, Handle, HandleRef};

/// One end of a way for handles: each goes with a number, its token, by which the other end
/// asks for it. Only the parent may reach into the other process, so it does both: the token is
/// the handle's number in the child.
#[derive(Debug)]
pub(crate) struct HandleChannel {
    /// The child; the child's end has none.
    peer: Option<Arc<OnceLock<Peer>>>,
}

impl HandleChannel {
    /// One to a child-to-be, and what that must be given for its end.
    #[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn to_child(child: &ChildSocket) -> io::Result<(Self, Option<Handle>)> {
        Ok((HandleChannel { peer: Some(child.peer.clone()) }, None))
    }

    /// Whether what was given and not taken is lost when its giver ends.
    pub(crate) const ENDS_WITH_GIVER: bool = true;

    /// Whether the child's end is a handle that it must be given.
    pub(crate) const GIVEN: bool = false;

    /// The child's end.
    #[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn to_parent(_: Option<Handle>) -> io::Result<Self> {
        Ok(HandleChannel { peer: None })
    }

    /// Both ends of one between two other processes, where this one can make that: one of them
    /// would have to reach into the other.
    #[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn between() -> io::Result<Option<[Handle; 2]>> {
        Ok(None)
    }

    /// An end of one that another process has made.
    pub(crate) fn open(_: Handle) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Gives a handle away; the token by which the peer can [`take`](Self::take) it.
    pub(crate) fn give(&self, handle: HandleRef<'_>) -> io::Result<u64> {
        let given = match &self.peer {
            Some(peer) => {
                let peer = peer.get().ok_or(io::ErrorKind::NotConnected)?;
                duplicate_into(handle, peer.process.as_handle())?
            }
            // Closed by the parent when it takes it.
            None => handle.try_clone_to_owned()?.into_raw_handle(),
        };
        Ok(given as usize as u64)
    }

    /// Everything is sent at once.
    #[allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "elsewhere it does something")]
    pub(crate) fn flush(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// Everything is sent at once.
    #[allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "elsewhere it does something")]
    pub(crate) fn flush_blocking(&self) -> io::Result<()> {
        Ok(())
    }

    /// There is no such limit.
    #[allow(clippy::unused_self, reason = "elsewhere it does something")]
    pub(crate) fn is_short(&self, _handles: usize) -> bool {
        false
    }

    /// Each has a number of its own there.
    #[allow(clippy::unused_self, reason = "elsewhere it does something")]
    pub(crate) fn is_cheated(&self) -> bool {
        false
    }

    /// The handle that the peer gave under this token. No other comes with it.
    pub(crate) fn take(&self, token: u64, _discard: impl Fn(Vec<Handle>)) -> io::Result<Handle> {
        let number = token as usize as HANDLE;
        let Some(peer) = &self.peer else {
            return owned(number);
        };
        let process = peer.get().ok_or(io::ErrorKind::NotConnected)?.process.as_raw_handle();
        let mut taken = null_mut();
        // SAFETY: the process handle is open, the pointer is to a local; a number that is no handle
        // there is refused.
        check(unsafe {
            let (here, access) = (GetCurrentProcess(), DUPLICATE_SAME_ACCESS);
            DuplicateHandle(process, number, here, &mut taken, 0, 0, access)
        })?;
        close_there(peer.clone(), token);
        owned(taken)
    }

    /// The same.
    pub(crate) fn take_blocking(&self, token: u64, _: impl Fn()) -> io::Result<Handle> {
        self.take(token, drop)
    }
}

/// Closes a handle in the child that has given it away, on a thread of its own: Wine asks the child to do it, and
/// waits for ever for one that is just ending.
fn close_there(peer: Arc<OnceLock<Peer>>, token: u64) {
    let close = move || {
        let Some(peer) = peer.get() else { return };
        // SAFETY: the process handle is open; without a target nothing is written. Nobody there closes the number, so
        // it is still the same handle.
        unsafe {
            let (process, number) = (peer.process.as_raw_handle(), token as usize as HANDLE);
            DuplicateHandle(process, number, null_mut(), null_mut(), 0, 0, DUPLICATE_CLOSE_SOURCE);
        }
    };
    // Without a thread it stays open in the child, until that ends.
    drop(std::thread::Builder::new().name("procpool-reclaim".into()).spawn(close));
}
