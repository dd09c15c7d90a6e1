//! Socket pairs, and flags that only some systems have.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::sys::AddressFamily as Family;

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

/// Has nobody send descriptors to a socket by which none are to come: those would be closed by
/// whoever reads the bytes beside them, which can take as long as their sender likes. Kernels before
/// 6.16 know nothing of that.
pub(crate) fn refuse_handles(socket: BorrowedFd<'_>) {
    const SO_PASSRIGHTS: libc::c_int = 83;
    let off: libc::c_int = 0;
    // SAFETY: the option is a number that lives during the call, of the length given.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const off).cast(),
            size_of_val(&off) as libc::socklen_t,
        );
    }
}

/// Ends a connection whose other end has acknowledged nothing of what it was sent for so long.
pub(crate) fn limit_resending(socket: impl AsFd, limit: Duration) -> io::Result<()> {
    let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(socket, millis)?)
}

/// Has a descriptor that arrived closed on exec: it is already.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(in crate::sys::unix) fn keep_to_ourselves(_fd: &OwnedFd) -> io::Result<()> {
    Ok(())
}

/// The kinds of addresses there are here.
pub(crate) const ADDRESS_FAMILIES: &[Family] = &[Family::Path, Family::Abstract];

/// A stream socket that is not connected, closed on exec.
pub(in crate::sys::unix) fn stream_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Has a socket that was made elsewhere give errors and no signals: each call says so.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(in crate::sys::unix) fn no_signal(_socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(())
}

/// An address outside of the file system.
pub(in crate::sys::unix) fn abstract_address(
    name: &[u8],
) -> io::Result<(SocketAddr, SocketAddrUnix)> {
    Ok((SocketAddr::from_abstract_name(name)?, SocketAddrUnix::new_abstract_name(name)?))
}

/// Process and user at the other end.
pub(in crate::sys::unix) fn peer(socket: BorrowedFd<'_>) -> io::Result<(Option<u32>, u32)> {
    // Not rustix's: its type of a process id cannot be 0, which this one is where the peer cannot
    // be seen from here (outside of a container, say).
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the socket is open; the pointers are to locals, and the length is that of the first.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &mut len,
        )
    };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(((peer.pid > 0).then_some(peer.pid as u32), peer.uid))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_peer_that_cannot_be_seen_has_no_number() {
        let (ours, _theirs) = socket_pair().unwrap();
        assert_eq!(peer(ours.as_fd()).unwrap().0, Some(std::process::id()));
        // The system says 0 of one that is not there, too.
        assert_eq!(peer(stream_socket().unwrap().as_fd()).unwrap().0, None);
    }
}
