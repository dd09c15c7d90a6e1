//! Named pipes between two processes, and handles given over them.
//!
//! The parent's end is tokio's; the worker's end waits for one operation at a time
//! in the thread that wants it. It is opened for overlapped use all the same: of a
//! synchronous handle the system lets nobody write while another thread reads.

use std::cell::OnceCell;
use std::io::{self, IoSlice};
use std::os::windows::io::{
    AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, IntoRawHandle, OwnedHandle,
};
use std::ptr::{null, null_mut};
use std::sync::{Arc, OnceLock};

use tokio::net::windows::named_pipe::NamedPipeServer;
use windows_sys::Win32::Foundation::{
    DUPLICATE_SAME_ACCESS, DuplicateHandle, ERROR_IO_PENDING, GENERIC_READ, GENERIC_WRITE, HANDLE,
    INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, OPEN_EXISTING,
    PIPE_ACCESS_DUPLEX, ReadFile, SECURITY_IDENTIFICATION, SECURITY_SQOS_PRESENT, WriteFile,
};
use windows_sys::Win32::System::IO::{GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, GetNamedPipeClientProcessId, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS,
    PIPE_TYPE_BYTE, PIPE_WAIT,
};
use windows_sys::Win32::System::Threading::{CreateEventW, GetCurrentProcess};
use windows_sys::core::BOOL;

use super::error::{check, wide};
use super::reactor::reactor;
use super::security::{owner_only, private, random_name};
use crate::sys::remove_env;

/// Whatever of the system's this process holds.
pub(crate) type Handle = OwnedHandle;
pub(crate) type HandleRef<'a> = BorrowedHandle<'a>;

/// Gives a type of ours the system's trait for what it holds.
macro_rules! handle_access {
    ($type:ty, $field:ident $(, $param:ident)*) => {
        impl<$($param),*> std::os::windows::io::AsHandle for $type {
            fn as_handle(&self) -> std::os::windows::io::BorrowedHandle<'_> {
                std::os::windows::io::AsHandle::as_handle(&self.$field)
            }
        }

        impl<$($param),*> std::os::windows::io::AsRawHandle for $type {
            fn as_raw_handle(&self) -> std::os::windows::io::RawHandle {
                let handle = std::os::windows::io::AsHandle::as_handle(&self.$field);
                std::os::windows::io::AsRawHandle::as_raw_handle(&handle)
            }
        }
    };
}
pub(crate) use handle_access;

pub(crate) fn handle_ref(handle: &Handle) -> HandleRef<'_> {
    handle.as_handle()
}

/// In the environment of a child: the name of its pipe.
const PIPE_VARIABLE: &str = "PROCPOOL_PIPE";
/// Bytes the system keeps a direction.
const BUFFER: u32 = 256 * 1024;
/// Handles one message may carry.
const MAX_HANDLES: usize = 16;

/// One end of a connected pipe.
#[derive(Debug)]
pub(crate) struct Socket(SocketKind);

#[derive(Debug)]
enum SocketKind {
    /// The parent's end, until tokio has it.
    Server { pipe: OwnedHandle, peer: Arc<OnceLock<Peer>> },
    /// The worker's end.
    Client(OwnedHandle),
}

/// The process that is to connect.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) pid: u32,
    pub(super) process: OwnedHandle,
}

/// The end that a child is to get: the name by which it opens it.
#[derive(Debug)]
pub(crate) struct ChildSocket {
    pub(super) name: String,
    pub(super) peer: Arc<OnceLock<Peer>>,
}

impl ChildSocket {
    /// What the child's environment must contain.
    pub(super) fn variable(&self) -> (&'static str, &str) {
        (PIPE_VARIABLE, &self.name)
    }
}

/// A pipe that only one process of this user can open, and which one is checked.
pub(crate) fn pair() -> io::Result<(Socket, ChildSocket)> {
    let (pipe, name) = server(PIPE_ACCESS_DUPLEX)?;
    let peer = Arc::new(OnceLock::new());
    let child = ChildSocket { name, peer: peer.clone() };
    Ok((Socket(SocketKind::Server { pipe, peer }), child))
}

/// The first and only instance of a pipe with a name nobody can guess.
pub(super) fn server(access: u32) -> io::Result<(OwnedHandle, String)> {
    let name = format!(r"\\.\pipe\procpool-{}", random_name()?);
    Ok((instance(&name, access, true, 1)?, name))
}

/// One instance of at most so many of a pipe with that name.
pub(super) fn instance(
    name: &str,
    access: u32,
    is_first: bool,
    most: u32,
) -> io::Result<OwnedHandle> {
    let attributes = owner_only()?;
    let first = if is_first { FILE_FLAG_FIRST_PIPE_INSTANCE } else { 0 };
    // SAFETY: the name ends with a zero, the attributes are valid during the call.
    owned(unsafe {
        CreateNamedPipeW(
            wide(name).as_ptr(),
            access | first | FILE_FLAG_OVERLAPPED,
            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
            most,
            BUFFER,
            BUFFER,
            0,
            &attributes,
        )
    })
}

/// Takes over what a call has opened.
pub(super) fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle == INVALID_HANDLE_VALUE || handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Opens the other end of a pipe.
pub(super) fn open(name: &str, access: u32, flags: u32) -> io::Result<OwnedHandle> {
    // SAFETY: the name ends with a zero.
    owned(unsafe {
        CreateFileW(
            wide(name).as_ptr(),
            access,
            0,
            private(),
            OPEN_EXISTING,
            // Whoever has the other end may ask who we are, and not act as us.
            flags | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION,
            null_mut(),
        )
    })
}

/// The connection to the parent, which left its name in the environment.
///
/// An error means that there is none: this process was not started as a worker.
pub(crate) fn parent_socket() -> io::Result<Socket> {
    let name = std::env::var(PIPE_VARIABLE)
        .map_err(|e| io::Error::other(format!("{PIPE_VARIABLE} does not name a pipe ({e})")))?;
    remove_env(PIPE_VARIABLE);
    let client = open(&name, GENERIC_READ | GENERIC_WRITE, FILE_FLAG_OVERLAPPED)
        .map_err(|e| io::Error::new(e.kind(), format!("the pool's pipe {name}: {e}")))?;
    Ok(Socket(SocketKind::Client(client)))
}

/// Opens the child's end in this process.
#[cfg(test)]
pub(crate) fn connect_here(child: ChildSocket) -> io::Result<Socket> {
    let process = duplicate(pseudo_self(), None)?;
    let _ = child.peer.set(Peer { pid: std::process::id(), process });
    let client = open(&child.name, GENERIC_READ | GENERIC_WRITE, FILE_FLAG_OVERLAPPED)?;
    Ok(Socket(SocketKind::Client(client)))
}

impl Socket {
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Socket(match &self.0 {
            SocketKind::Server { pipe, peer } => {
                SocketKind::Server { pipe: pipe.try_clone()?, peer: peer.clone() }
            }
            SocketKind::Client(client) => SocketKind::Client(client.try_clone()?),
        }))
    }

    fn raw(&self) -> HANDLE {
        match &self.0 {
            SocketKind::Server { pipe, .. } => pipe.as_raw_handle(),
            SocketKind::Client(client) => client.as_raw_handle(),
        }
    }

    /// The parent's end for use with tokio, on a reactor of this crate's own.
    pub(crate) fn into_server(self) -> io::Result<PipeServer> {
        let SocketKind::Server { pipe, peer } = self.0 else {
            return Err(io::Error::other("the child's end of a pipe is no server"));
        };
        Ok(PipeServer { pipe: register(pipe)?, peer })
    }
}

/// Hands a pipe over to tokio.
pub(super) fn register(pipe: OwnedHandle) -> io::Result<NamedPipeServer> {
    let _reactor = reactor()?.enter();
    // SAFETY: a named pipe that was opened for overlapped use, given away whole.
    unsafe { NamedPipeServer::from_raw_handle(pipe.into_raw_handle()) }
}

/// The parent's end.
#[derive(Debug)]
pub(crate) struct PipeServer {
    pipe: NamedPipeServer,
    peer: Arc<OnceLock<Peer>>,
}

impl PipeServer {
    pub(crate) fn pipe(&self) -> &NamedPipeServer {
        &self.pipe
    }

    /// Waits until somebody has opened the other end, and refuses whoever is not
    /// the child that was started for it.
    pub(crate) async fn connect(&self) -> io::Result<()> {
        self.pipe.connect().await?;
        let mut pid = 0;
        // SAFETY: the pipe is open; the pointer is to a local.
        check(unsafe { GetNamedPipeClientProcessId(self.pipe.as_raw_handle(), &mut pid) })?;
        match self.peer.get() {
            Some(peer) if peer.pid == pid => Ok(()),
            peer => {
                let _ = self.pipe.disconnect();
                Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!(
                        "process {pid} opened the pipe of process {:?}",
                        peer.map(|peer| peer.pid)
                    ),
                ))
            }
        }
    }

    /// A short message that gives `handles` to the child, as its own.
    pub(crate) fn message_with_handles(
        &self,
        bytes: &[u8],
        handles: &[HandleRef<'_>],
    ) -> io::Result<Vec<u8>> {
        if handles.len() > MAX_HANDLES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} handles do not fit one message (at most {MAX_HANDLES})", handles.len()),
            ));
        }
        let peer = self.peer.get().ok_or(io::ErrorKind::NotConnected)?;
        let mut message = Vec::with_capacity(8 * (1 + handles.len()) + bytes.len());
        message.extend_from_slice(&(handles.len() as u64).to_le_bytes());
        for handle in handles {
            let given = duplicate_into(*handle, peer.process.as_handle())?;
            message.extend_from_slice(&(given as usize as u64).to_le_bytes());
        }
        message.extend_from_slice(bytes);
        Ok(message)
    }
}

/// This process, as a handle that needs no closing.
pub(super) fn pseudo_self() -> HandleRef<'static> {
    // SAFETY: the pseudo handle is always valid.
    unsafe { BorrowedHandle::borrow_raw(GetCurrentProcess()) }
}

/// Gives another process a handle of ours; the number is valid there.
pub(super) fn duplicate_into(handle: HandleRef<'_>, process: HandleRef<'_>) -> io::Result<HANDLE> {
    duplicate_raw(handle, process, 0, false)
}

fn duplicate_raw(
    handle: HandleRef<'_>,
    process: HandleRef<'_>,
    access: u32,
    inherit: bool,
) -> io::Result<HANDLE> {
    let mut given = null_mut();
    // SAFETY: both handles are open; the pointer is to a local.
    check(unsafe {
        DuplicateHandle(
            GetCurrentProcess(),
            handle.as_raw_handle(),
            process.as_raw_handle(),
            &mut given,
            access,
            BOOL::from(inherit),
            if access == 0 { DUPLICATE_SAME_ACCESS } else { 0 },
        )
    })?;
    Ok(given)
}

/// Another handle of this process to the same thing, with that access only.
pub(super) fn duplicate(handle: HandleRef<'_>, access: Option<u32>) -> io::Result<OwnedHandle> {
    owned(duplicate_raw(handle, pseudo_self(), access.unwrap_or(0), false)?)
}

/// Another handle of this process to the same thing, which children inherit.
pub(super) fn duplicate_for_child(handle: HandleRef<'_>) -> io::Result<OwnedHandle> {
    owned(duplicate_raw(handle, pseudo_self(), 0, true)?)
}

/// Receives the beginning of a message and the handles that came with it.
pub(crate) fn recv_with_handles(
    socket: &Socket,
    bytes: &mut [u8],
) -> io::Result<(usize, Vec<Handle>)> {
    let mut word = [0; 8];
    if !read_exact(socket, &mut word)? {
        return Ok((0, Vec::new()));
    }
    let count = u64::from_le_bytes(word);
    if count > MAX_HANDLES as u64 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message with {count} handles (at most {MAX_HANDLES})"),
        ));
    }
    let mut handles = Vec::new();
    for _ in 0..count {
        if !read_exact(socket, &mut word)? {
            return Ok((0, Vec::new()));
        }
        let handle = u64::from_le_bytes(word) as usize as HANDLE;
        handles.push(owned(handle)?);
    }
    Ok((read(socket, bytes)?, handles))
}

/// Fills `bytes`; false at the end of the stream.
fn read_exact(socket: &Socket, mut bytes: &mut [u8]) -> io::Result<bool> {
    while !bytes.is_empty() {
        let n = read(socket, bytes)?;
        if n == 0 {
            return Ok(false);
        }
        bytes = &mut bytes[n..];
    }
    Ok(true)
}

fn read(socket: &Socket, bytes: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the slice is valid for writes.
    unsafe { read_raw(socket, bytes.as_mut_ptr(), bytes.len()) }
}

/// Appends at most `max` bytes to `buf`, waiting for the first of them.
/// `Ok(0)` is the end of the stream.
pub(crate) fn recv_blocking(socket: &Socket, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
    if buf.capacity() - buf.len() < max {
        buf.reserve(max);
    }
    let spare = buf.spare_capacity_mut();
    // SAFETY: the spare room is at least `max` bytes long, and valid for writes.
    let n = unsafe { read_raw(socket, spare.as_mut_ptr().cast(), max)? };
    // SAFETY: the read has initialised `n` bytes at the start of the spare room.
    unsafe { buf.set_len(buf.len() + n) };
    Ok(n)
}

/// Reads some bytes, waiting for the first; 0 is the end.
///
/// # Safety
/// `start` must be valid for `len` written bytes.
unsafe fn read_raw(socket: &Socket, start: *mut u8, len: usize) -> io::Result<usize> {
    let len = len.min(1 << 30) as u32;
    // SAFETY: the range is the caller's, and `transfer` ends only with the operation.
    let read = unsafe {
        transfer(socket, |handle, overlapped| ReadFile(handle, start, len, null_mut(), overlapped))
    };
    match read {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        read => read,
    }
}

/// Writes everything, waiting while the peer does not read.
pub(crate) fn write_all_blocking(socket: &Socket, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = write_vectored_blocking(socket, &[IoSlice::new(bytes)])?;
        bytes = &bytes[n..];
    }
    Ok(())
}

/// Writes some of `slices`, waiting until at least one byte is taken.
pub(crate) fn write_vectored_blocking(
    socket: &Socket,
    slices: &[IoSlice<'_>],
) -> io::Result<usize> {
    // One operation takes one buffer: a header and the like go with what follows.
    const SMALL: usize = 64 * 1024;
    let total: usize = slices.iter().map(|s| s.len()).sum();
    if slices.len() > 1 && total <= SMALL {
        let whole = slices.iter().flat_map(|s| s.iter().copied()).collect::<Vec<u8>>();
        // SAFETY: a live buffer.
        return unsafe { write_raw(socket, whole.as_ptr(), whole.len()) };
    }
    match slices.iter().find(|s| !s.is_empty()) {
        // SAFETY: a live buffer.
        Some(first) => unsafe { write_raw(socket, first.as_ptr(), first.len()) },
        None => Ok(0),
    }
}

/// Writes some of the `len` bytes at `start`, waiting until at least one is taken.
///
/// # Safety
/// The bytes must stay mapped during the call. Another process may change them.
pub(in crate::sys) unsafe fn write_raw(
    socket: &Socket,
    start: *const u8,
    len: usize,
) -> io::Result<usize> {
    let len = len.min(1 << 30) as u32;
    // SAFETY: the range is the caller's, and `transfer` ends only with the operation.
    let written = unsafe {
        transfer(socket, |handle, overlapped| WriteFile(handle, start, len, null_mut(), overlapped))
    };
    match written {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        written => written,
    }
}

/// Starts one operation and waits for its end, however it ends.
///
/// # Safety
/// The operation must use the given handle and structure, and memory that is valid
/// until this function returns.
unsafe fn transfer(
    socket: &Socket,
    start: impl FnOnce(HANDLE, *mut OVERLAPPED) -> BOOL,
) -> io::Result<usize> {
    thread_local! {
        /// Set by the system when the thread's one operation has ended.
        static DONE: OnceCell<OwnedHandle> = const { OnceCell::new() };
    }
    DONE.with(|done| {
        let event = match done.get() {
            Some(event) => event,
            None => {
                // SAFETY: no pointers are given.
                let event = owned(unsafe { CreateEventW(null(), 1, 0, null()) })?;
                done.get_or_init(|| event)
            }
        };
        // SAFETY: a zeroed structure is a valid one.
        let mut overlapped: OVERLAPPED = unsafe { std::mem::zeroed() };
        overlapped.hEvent = event.as_raw_handle();
        let handle = socket.raw();
        if start(handle, &mut overlapped) == 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(ERROR_IO_PENDING as i32) {
                return Err(error);
            }
        }
        let mut n = 0;
        // SAFETY: the operation was started with these; the call waits for its end.
        check(unsafe { GetOverlappedResult(handle, &overlapped, &mut n, 1) })?;
        Ok(n as usize)
    })
}
