//! Named pipes both ends of which are this process's at first, and those that others
//! open by their name.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::io::{AsRawHandle, AsSocket};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::windows::named_pipe::NamedPipeServer;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_PIPE_BUSY, GENERIC_READ, GENERIC_WRITE,
};
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_OVERLAPPED, PIPE_ACCESS_DUPLEX};
use windows_sys::Win32::System::Pipes::{GetNamedPipeClientProcessId, PIPE_UNLIMITED_INSTANCES};

use super::Handle;
use super::pipe::{instance, open, register, server};
use super::reactor::park_until;
use super::security::random_name;
use crate::sys::{AddressFamily, Caller, Interest};

/// The kinds of addresses there are here.
pub(crate) const ADDRESS_FAMILIES: &[AddressFamily] = &[AddressFamily::NamedPipe];

/// As long as the system likes.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(crate) fn limit_resending(_socket: impl AsSocket, _limit: Duration) -> io::Result<()> {
    Ok(())
}

/// Whether writing to a stream can take handles along.
pub(crate) const STREAMS_CARRY_HANDLES: bool = false;

/// Two connected ends that nobody else can open.
pub(crate) fn stream_pair() -> io::Result<(Handle, Handle)> {
    let (ours, name) = server(PIPE_ACCESS_DUPLEX)?;
    let theirs = open(&name, GENERIC_READ | GENERIC_WRITE, FILE_FLAG_OVERLAPPED)?;
    Ok((ours, theirs))
}

/// Either end, on the reactor of this crate's own.
pub(crate) fn stream(handle: Handle) -> io::Result<NamedPipeServer> {
    register(handle)
}

/// Waits on this thread until the stream is ready for one of these, is over, or the
/// time has come; true if it is not the time.
pub(crate) fn wait_for(
    stream: &NamedPipeServer,
    interest: Interest,
    deadline: Option<Instant>,
) -> bool {
    let ready = |cx: &mut Context<'_>| {
        let read = interest.read && stream.poll_read_ready(cx).is_ready();
        let write = interest.write && stream.poll_write_ready(cx).is_ready();
        if read || write { Poll::Ready(()) } else { Poll::Pending }
    };
    park_until(deadline, ready).is_some()
}

/// A name for a pipe that nobody can guess.
pub(crate) fn unguessable_name() -> io::Result<OsString> {
    Ok(OsString::from(format!(r"\\.\pipe\procpool-{}", random_name()?)))
}

/// Makes the next end that somebody else of this user can open by the name; the first one
/// only if nobody has made one.
pub(crate) fn listen(name: &OsStr, is_first: bool) -> io::Result<NamedPipeServer> {
    let handle = instance(text(name)?, PIPE_ACCESS_DUPLEX, is_first, PIPE_UNLIMITED_INSTANCES);
    match handle {
        Err(e) if e.raw_os_error() == Some(ERROR_ACCESS_DENIED as i32) => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, e))
        }
        handle => register(handle?),
    }
}

/// Opens the other end; `WouldBlock` while there is none that is free.
pub(crate) fn connect(name: &OsStr) -> io::Result<Handle> {
    match open(text(name)?, GENERIC_READ | GENERIC_WRITE, FILE_FLAG_OVERLAPPED) {
        Err(e) if e.raw_os_error() == Some(ERROR_PIPE_BUSY as i32) => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        opened => opened,
    }
}

/// Who has opened it. Others than this user cannot.
pub(crate) fn caller(stream: &NamedPipeServer) -> Caller {
    let mut pid = 0;
    // SAFETY: the pipe is open; the pointer is to a local.
    let known = unsafe { GetNamedPipeClientProcessId(stream.as_raw_handle(), &mut pid) } != 0;
    Caller { pid: known.then_some(pid), user: None, is_same_user: true }
}

fn text(name: &OsStr) -> io::Result<&str> {
    name.to_str().ok_or_else(|| {
        let words = format!("the pipe's name {name:?} is not Unicode");
        io::Error::new(io::ErrorKind::InvalidInput, words)
    })
}

/// A text without its first byte, which must be an ASCII character.
pub(crate) fn without_first(text: &OsStr) -> &OsStr {
    text.to_str().and_then(|text| text.get(1..)).map_or(text, OsStr::new)
}
