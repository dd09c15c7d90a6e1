//! Handles given to another process, which is told their numbers.

use std::fs::File;
use std::io::{self, Read};
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, IntoRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::sync::{Arc, Mutex, OnceLock};

use windows_sys::Win32::Foundation::{
    DUPLICATE_CLOSE_SOURCE, DUPLICATE_SAME_ACCESS, DuplicateHandle, ERROR_IO_PENDING, GENERIC_READ,
    HANDLE,
};
use windows_sys::Win32::Storage::FileSystem::{PIPE_ACCESS_OUTBOUND, WriteFile};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Threading::{CreateEventW, GetCurrentProcess};

use super::error::check;
use super::pipe::{Peer, duplicate_into, open, owned, server};
use super::{ChildSocket, Handle, HandleRef};
use crate::sys::lock;

/// One end of a way for handles: each goes with a number, its token, by which the other end
/// asks for it. Only the parent may reach into the other process, so it does both: the token is
/// the handle's number in the child.
#[derive(Debug)]
pub(crate) struct HandleChannel(End);

#[derive(Debug)]
enum End {
    Parent {
        child: Arc<OnceLock<Peer>>,
        receipts: Receipts,
    },
    /// Until the first handle is given.
    Child {
        receipts: Mutex<Option<OwnedHandle>>,
    },
}

impl HandleChannel {
    /// One to a child-to-be, and what that must be given for its end.
    pub(crate) fn to_child(child: &ChildSocket) -> io::Result<(Self, Option<Handle>)> {
        let (pipe, name) = server(PIPE_ACCESS_OUTBOUND)?;
        let theirs = open(&name, GENERIC_READ, 0)?;
        let receipts = Receipts(Mutex::new(Some(pipe)));
        Ok((HandleChannel(End::Parent { child: child.peer.clone(), receipts }), Some(theirs)))
    }

    /// Whether what was given and not taken is lost when its giver ends.
    pub(crate) const ENDS_WITH_GIVER: bool = true;

    /// The child's end.
    pub(crate) fn to_parent(given: Option<Handle>) -> io::Result<Self> {
        let pipe = given.ok_or_else(|| io::Error::other("the way for handles did not come"))?;
        Ok(HandleChannel(End::Child { receipts: Mutex::new(Some(pipe)) }))
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
        let given = match &self.0 {
            End::Parent { child, .. } => {
                let child = child.get().ok_or(io::ErrorKind::NotConnected)?;
                duplicate_into(handle, child.process.as_handle())?
            }
            End::Child { receipts } => {
                if let Some(pipe) = lock(receipts).take() {
                    close_when_taken(pipe);
                }
                handle.try_clone_to_owned()?.into_raw_handle()
            }
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
        let End::Parent { child, receipts } = &self.0 else {
            return owned(number);
        };
        let process = child.get().ok_or(io::ErrorKind::NotConnected)?.process.as_raw_handle();
        let mut taken = null_mut();
        // SAFETY: the process handle is open, the pointer is to a local; a number that is no handle
        // there is refused.
        check(unsafe {
            let (here, access) = (GetCurrentProcess(), DUPLICATE_SAME_ACCESS);
            DuplicateHandle(process, number, here, &mut taken, 0, 0, access)
        })?;
        if receipts.tell(token).is_err() {
            close_there(child.clone(), token);
        }
        owned(taken)
    }

    /// The same.
    pub(crate) fn take_blocking(&self, token: u64, _: impl Fn()) -> io::Result<Handle> {
        self.take(token, drop)
    }
}

/// Tells a child what was taken, so that it closes its own handle of that.
#[derive(Debug)]
struct Receipts(Mutex<Option<OwnedHandle>>);

impl Receipts {
    /// Waits for nobody: a child that does not listen is told no more.
    fn tell(&self, token: u64) -> io::Result<()> {
        let mut pipe = lock(&self.0);
        let told = pipe.as_ref().ok_or(io::ErrorKind::BrokenPipe.into()).and_then(|pipe| {
            // A piece would be taken for the beginning of the next one.
            (write_now(pipe, &token.to_le_bytes())? == 8)
                .then_some(())
                .ok_or(io::ErrorKind::WriteZero.into())
        });
        if told.is_err() {
            *pipe = None;
        }
        told
    }
}

/// Writes what there is room for at once.
fn write_now(pipe: &OwnedHandle, bytes: &[u8]) -> io::Result<usize> {
    let pipe = pipe.as_raw_handle();
    // SAFETY: no pointers are given.
    let done = owned(unsafe { CreateEventW(null(), 1, 0, null()) })?;
    // SAFETY: a zeroed structure is a valid one.
    let mut overlapped: OVERLAPPED = unsafe { std::mem::zeroed() };
    overlapped.hEvent = done.as_raw_handle();
    let mut n = 0;
    // SAFETY: the handles are open, the slice and the structure live until the operation has ended, for which the
    // last call waits: cancelled, that is at once.
    unsafe {
        let len = bytes.len() as u32;
        if WriteFile(pipe, bytes.as_ptr(), len, null_mut(), &mut overlapped) == 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(ERROR_IO_PENDING as i32) {
                return Err(error);
            }
            CancelIoEx(pipe, &overlapped);
        }
        check(GetOverlappedResult(pipe, &overlapped, &mut n, 1))?;
    }
    Ok(n as usize)
}

/// Closes what this process gave, once the parent has taken it. Without a thread it stays open.
fn close_when_taken(pipe: OwnedHandle) {
    let close = move || {
        let (mut pipe, mut token) = (File::from(pipe), [0; 8]);
        while pipe.read_exact(&mut token).is_ok() {
            let number = u64::from_le_bytes(token) as usize as HANDLE;
            // SAFETY: `give` made it for the parent only, which says so once.
            drop(unsafe { OwnedHandle::from_raw_handle(number) });
        }
    };
    drop(std::thread::Builder::new().name("procpool-given".into()).spawn(close));
}

/// Closes a handle in a child that cannot be told to, on a thread of its own: Wine asks the child all the same, and
/// waits for ever for one that is just ending.
fn close_there(child: Arc<OnceLock<Peer>>, token: u64) {
    let close = move || {
        let Some(child) = child.get() else { return };
        // SAFETY: the process handle is open; without a target nothing is written. Nobody there closes the number, so
        // it is still the same handle.
        unsafe {
            let (process, number) = (child.process.as_raw_handle(), token as usize as HANDLE);
            DuplicateHandle(process, number, null_mut(), null_mut(), 0, 0, DUPLICATE_CLOSE_SOURCE);
        }
    };
    // Without a thread it stays open in the child, until that ends.
    drop(std::thread::Builder::new().name("procpool-reclaim".into()).spawn(close));
}
