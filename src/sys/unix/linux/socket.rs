//! Socket pairs, and flags that only some systems have.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// A peer that is gone is an error and no signal.
pub(in crate::sys::unix) const SEND: SendFlags = SendFlags::NOSIGNAL;
/// Descriptors that arrive are closed on exec.
pub(in crate::sys::unix) const RECV_HANDLES: RecvFlags = RecvFlags::CMSG_CLOEXEC;

/// Two connected ends, both closed on exec.
pub(in crate::sys::unix) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Has a descriptor that arrived closed on exec: it is already.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(in crate::sys::unix) fn keep_to_ourselves(_fd: &OwnedFd) -> io::Result<()> {
    Ok(())
}
