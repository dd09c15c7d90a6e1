//! Socket pairs, and what other systems have flags for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::SocketAddr;
use std::time::Duration;

use rustix::io::FdFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::sys::AddressFamily as Family;

/// The socket itself is told to give an error and no signal.
pub(in crate::sys::unix) const SEND: SendFlags = SendFlags::empty();
pub(in crate::sys::unix) const RECV_HANDLES: RecvFlags = RecvFlags::empty();

/// As long as the system likes.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(crate) fn limit_resending(_socket: impl AsFd, _limit: Duration) -> io::Result<()> {
    Ok(())
}

/// Two connected ends, both closed on exec: from a moment after they were made, which
/// a child that another thread starts may just meet.
pub(in crate::sys::unix) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (a, b) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::empty(),
        None,
    )?;
    for end in [&a, &b] {
        keep_to_ourselves(end)?;
        rustix::net::sockopt::set_socket_nosigpipe(end, true)?;
    }
    Ok((a, b))
}

/// Nobody can be kept from sending descriptors here.
pub(crate) fn refuse_handles(_socket: BorrowedFd<'_>) {}

/// Has a descriptor closed on exec.
pub(in crate::sys::unix) fn keep_to_ourselves(fd: &OwnedFd) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC)?)
}

/// The kinds of addresses there are here.
pub(crate) const ADDRESS_FAMILIES: &[Family] = &[Family::Path];

/// A stream socket that is not connected, closed on exec from a moment later on.
pub(in crate::sys::unix) fn stream_socket() -> io::Result<OwnedFd> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    keep_to_ourselves(&socket)?;
    rustix::net::sockopt::set_socket_nosigpipe(&socket, true)?;
    Ok(socket)
}

/// Has a socket that was made elsewhere give errors and no signals.
pub(in crate::sys::unix) fn no_signal(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_nosigpipe(socket, true)?)
}

/// An address outside of the file system: only Linux has them.
pub(in crate::sys::unix) fn abstract_address(
    _name: &[u8],
) -> io::Result<(SocketAddr, SocketAddrUnix)> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Process and user at the other end.
pub(in crate::sys::unix) fn peer(socket: BorrowedFd<'_>) -> io::Result<(Option<u32>, u32)> {
    let (mut user, mut group) = (0, 0);
    // SAFETY: the socket is open, the pointers are to locals.
    if unsafe { libc::getpeereid(socket.as_raw_fd(), &mut user, &mut group) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut pid: libc::pid_t = 0;
    let mut len = size_of::<libc::pid_t>() as libc::socklen_t;
    // SAFETY: as above; the length is that of what the pointer leads to.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_LOCAL,
            libc::LOCAL_PEERPID,
            (&raw mut pid).cast(),
            &mut len,
        )
    };
    Ok(((got == 0 && pid > 0).then_some(pid as u32), user))
}
