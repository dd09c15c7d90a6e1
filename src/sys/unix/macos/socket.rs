//! Socket pairs, and what other systems have flags for.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::FdFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// The socket itself is told to give an error and no signal.
pub(in crate::sys::unix) const SEND: SendFlags = SendFlags::empty();
pub(in crate::sys::unix) const RECV_HANDLES: RecvFlags = RecvFlags::empty();

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

/// Has a descriptor closed on exec.
pub(in crate::sys::unix) fn keep_to_ourselves(fd: &OwnedFd) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC)?)
}
