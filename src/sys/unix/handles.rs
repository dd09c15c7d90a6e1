//! Sockets between two processes, and descriptors sent over them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::platform::{RECV_HANDLES, SEND, keep_to_ourselves, socket_pair};

/// Whatever of the system's this process holds.
pub(crate) type Handle = OwnedFd;
pub(crate) type HandleRef<'a> = BorrowedFd<'a>;

/// Gives a type of ours the system's trait for what it holds.
macro_rules! handle_access {
    ($type:ty, $field:ident $(, $param:ident)*) => {
        impl<$($param),*> std::os::fd::AsFd for $type {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                std::os::fd::AsFd::as_fd(&self.$field)
            }
        }

        impl<$($param),*> std::os::fd::AsRawFd for $type {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                std::os::fd::AsRawFd::as_raw_fd(&self.$field)
            }
        }
    };
}
pub(crate) use handle_access;

/// One end of a connected stream.
pub(crate) type Socket = OwnedFd;

/// The end that a child is to get.
pub(crate) type ChildSocket = OwnedFd;

pub(crate) fn handle_ref(handle: &Handle) -> HandleRef<'_> {
    handle.as_fd()
}

/// Descriptors that the system lets one message carry: who has less room for them has it close the
/// others here and now, which can take as long as their sender likes.
pub(super) const MAX_SENT: usize = 253;

/// Descriptors one message may carry; more is refused before sending and
/// closed on arrival.
const MAX_HANDLES: usize = 16;

/// Two connected ends that nobody else can name, both closed on exec.
pub(crate) fn pair() -> io::Result<(Socket, ChildSocket)> {
    socket_pair()
}

/// The child's end, used by this process.
#[cfg(test)]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(crate) fn connect_here(child: ChildSocket) -> io::Result<Socket> {
    Ok(child)
}

pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(fd)?;
    flags.set(rustix::fs::OFlags::NONBLOCK, on);
    Ok(rustix::fs::fcntl_setfl(fd, flags)?)
}

/// Sends `bytes` together with `handles`, waiting if the socket is full.
///
/// The bytes must be few (they are one message of the handshake): a short
/// write is reported as an error instead of being continued without the
/// descriptors.
pub(crate) fn send_with_handles(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    handles: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_HANDLES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !handles.is_empty() && !control.push(SendAncillaryMessage::ScmRights(handles)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} descriptors do not fit one message (at most {MAX_HANDLES})", handles.len()),
        ));
    }
    let sent = rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SEND)
    })?;
    if sent != bytes.len() {
        return Err(io::Error::new(
            io::ErrorKind::WriteZero,
            format!("{sent} of {} handshake bytes were taken", bytes.len()),
        ));
    }
    Ok(())
}

/// Receives the beginning of a message and the descriptors that came with it
/// (closed on exec).
pub(crate) fn recv_with_handles(
    socket: &Socket,
    bytes: &mut [u8],
) -> io::Result<(usize, Vec<Handle>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_HANDLES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, RECV_HANDLES)
    })?;
    let mut handles = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            for fd in fds {
                keep_to_ourselves(&fd)?;
                handles.push(fd);
            }
        }
    }
    Ok((got.bytes, handles))
}

/// Appends at most `max` bytes to `buf`, waiting for the first of them.
/// `Ok(0)` is the end of the stream.
pub(crate) fn recv_blocking(socket: &Socket, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
    recv(socket.as_fd(), buf, max, RecvFlags::empty())
}

/// Appends at most `max` bytes to `buf` if some are there, else
/// `WouldBlock`. `Ok(0)` is the end of the stream.
pub(crate) fn recv_now(socket: BorrowedFd<'_>, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
    recv(socket, buf, max, RecvFlags::DONTWAIT)
}

/// Sends what the socket takes at once, else `WouldBlock`.
pub(crate) fn send_now(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut none = SendAncillaryBuffer::default();
    let flags = SEND | SendFlags::DONTWAIT;
    Ok(rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, slices, &mut none, flags))?)
}

/// Bytes of a stream that can be received without waiting; 0 if that cannot be
/// learnt.
pub(crate) fn bytes_waiting(socket: BorrowedFd<'_>) -> usize {
    rustix::io::ioctl_fionread(socket).map_or(0, |n| n as usize)
}

fn recv(
    socket: BorrowedFd<'_>,
    buf: &mut Vec<u8>,
    max: usize,
    flags: RecvFlags,
) -> io::Result<usize> {
    if buf.capacity() - buf.len() < max {
        buf.reserve(max);
    }
    let (_, got) = rustix::io::retry_on_intr(|| {
        let spare = &mut buf.spare_capacity_mut()[..max];
        rustix::net::recv(socket, spare, flags).map(|((init, _), _)| ((), init.len()))
    })?;
    // SAFETY: `recv` has initialised `got` bytes at the start of the spare
    // room, which is at least `max >= got` bytes long.
    unsafe { buf.set_len(buf.len() + got) };
    Ok(got)
}

/// Writes everything, waiting while the peer does not read.
pub(crate) fn write_all_blocking(socket: &Socket, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = write_vectored_blocking(socket, &[IoSlice::new(bytes)])?;
        bytes = &bytes[n..];
    }
    Ok(())
}

/// Writes some of `slices`, waiting until at least one byte is taken,
/// whether or not the socket is in non-blocking mode.
pub(crate) fn write_vectored_blocking(
    socket: &Socket,
    slices: &[IoSlice<'_>],
) -> io::Result<usize> {
    loop {
        let mut none = SendAncillaryBuffer::default();
        match rustix::net::sendmsg(socket, slices, &mut none, SEND) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => return Ok(n),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => wait_writable(socket)?,
            Err(e) => return Err(e.into()),
        }
    }
}

fn wait_writable(socket: &Socket) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT)];
    match poll(&mut fds, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
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
    loop {
        // SAFETY: the caller vouches for the range; the kernel only reads it.
        let n = unsafe {
            libc::send(socket.as_raw_fd(), start.cast(), len, SEND.bits() as libc::c_int)
        };
        if n > 0 {
            return Ok(n as usize);
        }
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => wait_writable(socket)?,
            _ => return Err(error),
        }
    }
}
