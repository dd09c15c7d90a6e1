//! Streams both ends of which are this process's at first.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown};

use super::handles::{Handle, HandleRef, MAX_SENT};
use super::platform::{RECV_HANDLES, SEND, keep_to_ourselves, socket_pair};
use crate::sys::{HandleSet, Interest, MAX_PASSED};

/// Whether [`write_stream`] can take handles along.
pub(crate) const STREAMS_CARRY_HANDLES: bool = true;

/// Two connected ends, both closed on exec.
pub(crate) fn stream_pair() -> io::Result<(Handle, Handle)> {
    socket_pair()
}

/// Ends one direction of a stream whose descriptor somebody else here has, too.
pub(crate) fn shut(socket: BorrowedFd<'_>, direction: Interest) -> io::Result<()> {
    let how = match direction {
        Interest { read: true, write: false } => Shutdown::Read,
        Interest { read: false, write: true } => Shutdown::Write,
        Interest { read: true, write: true } => Shutdown::Both,
        Interest { read: false, write: false } => return Ok(()),
    };
    Ok(rustix::net::shutdown(socket, how)?)
}

/// Waits on this thread until the stream is ready for one of these, is over, or the
/// time has come; true if it is not the time.
pub(crate) fn wait_for(
    socket: BorrowedFd<'_>,
    interest: Interest,
    deadline: Option<Instant>,
) -> io::Result<bool> {
    let mut events = PollFlags::empty();
    events.set(PollFlags::IN, interest.read);
    events.set(PollFlags::OUT, interest.write);
    let mut fds = [PollFd::from_borrowed_fd(socket, events)];
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        // A time beyond what the system counts is none.
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends what there is room for, and with the first byte of it `handles`; `WouldBlock` if
/// there is none.
pub(crate) fn write_stream(
    socket: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    handles: &[HandleRef<'_>],
) -> io::Result<usize> {
    if handles.is_empty() {
        return super::send_now(socket, slices);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_PASSED))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fits = handles.len() <= MAX_PASSED;
    if !fits || !control.push(SendAncillaryMessage::ScmRights(handles)) {
        let words = format!("{} descriptors with one message", handles.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
    }
    let flags = SEND | SendFlags::DONTWAIT;
    Ok(rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, slices, &mut control, flags))?)
}

/// Appends at most `max` bytes to `buf`, and what came along with them to `sets`. Waits for
/// the first byte if asked to, unless the descriptor itself was told not to wait. `Ok(0)`
/// is the end.
pub(crate) fn read_stream(
    socket: BorrowedFd<'_>,
    buf: &mut Vec<u8>,
    max: usize,
    waits: bool,
    sets: &mut VecDeque<HandleSet>,
) -> io::Result<usize> {
    if buf.capacity() - buf.len() < max {
        buf.reserve(max);
    }
    let flags = if waits { RECV_HANDLES } else { RECV_HANDLES | RecvFlags::DONTWAIT };
    let room = &mut buf.spare_capacity_mut()[..max];
    let mut part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    // Words, so that it is aligned for what the system writes there.
    let mut control = [const { MaybeUninit::<u64>::uninit() }; MAX_SENT / 2 + 4];
    // SAFETY: a plain calculation.
    let control_len = unsafe { libc::CMSG_SPACE((MAX_SENT * size_of::<RawFd>()) as u32) };
    debug_assert!(control_len as usize <= size_of_val(&control));
    // SAFETY: a structure of numbers and pointers, for which zeroes are a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    let got = loop {
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = control_len as _;
        // SAFETY: the structure leads to the spare room and to the buffer above, with their
        // lengths.
        let got = unsafe {
            libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags.bits() as libc::c_int)
        };
        if got >= 0 {
            break got as usize;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    if message.msg_controllen > 0 || message.msg_flags & libc::MSG_CTRUNC != 0 {
        // SAFETY: the system has just filled in the structure and what it leads to.
        let handles = unsafe { passed(&message) };
        handles.iter().try_for_each(keep_to_ourselves)?;
        let lost = message.msg_flags & libc::MSG_CTRUNC != 0;
        if lost || !handles.is_empty() {
            sets.push_back(HandleSet { handles, lost });
        }
    }
    // SAFETY: the system has written `got` bytes at the start of the spare room.
    unsafe { buf.set_len(buf.len() + got) };
    Ok(got)
}

/// The descriptors that came with a message.
///
/// # Safety
/// It must be as `recvmsg` has left it, and not have been looked at before.
#[cold]
#[allow(clippy::unnecessary_cast, reason = "elsewhere lengths are shorter")]
unsafe fn passed(message: &libc::msghdr) -> Vec<Handle> {
    let mut handles = Vec::new();
    // SAFETY: the caller vouches for the structure; the macros stay within its buffer, and
    // each descriptor in it is new and nobody else's.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(there) = header.as_ref() {
            if there.cmsg_level == libc::SOL_SOCKET && there.cmsg_type == libc::SCM_RIGHTS {
                let bytes = there.cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let first: *const RawFd = libc::CMSG_DATA(header).cast();
                for i in 0..bytes / size_of::<RawFd>() {
                    handles.push(OwnedFd::from_raw_fd(first.add(i).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    handles
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    fn read(socket: &Handle, sets: &mut VecDeque<HandleSet>) -> Vec<u8> {
        let mut buf = Vec::new();
        read_stream(socket.as_fd(), &mut buf, 100, false, sets).unwrap();
        buf
    }

    #[test]
    fn handles_come_with_their_bytes_and_sets_stay_apart() {
        let (a, b) = stream_pair().unwrap();
        let mut sets = VecDeque::new();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let many = [writer.as_fd(); MAX_PASSED];
        for (bytes, handles) in [(&b"12"[..], &many[..1]), (b"3", &[]), (b"45", &many[..])] {
            write_stream(a.as_fd(), &[IoSlice::new(bytes)], handles).unwrap();
        }
        drop(writer);
        let mut all = Vec::new();
        while all.len() < 5 {
            all.extend(read(&b, &mut sets));
        }
        assert_eq!(all, b"12345");
        assert_eq!(
            sets.iter().map(|s| (s.handles.len(), s.lost)).collect::<Vec<_>>(),
            [(1, false), (MAX_PASSED, false)]
        );
        for handle in sets.drain(..).flat_map(|set| set.handles) {
            let flags = rustix::io::fcntl_getfd(&handle).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            std::fs::File::from(handle).write_all(b"x").unwrap();
        }
        let mut text = String::new();
        io::Read::read_to_string(&mut reader, &mut text).unwrap();
        assert_eq!(text.len(), MAX_PASSED + 1, "each leads to the pipe, and all are closed");
        let too_many = [b.as_fd(); MAX_PASSED + 1];
        assert!(write_stream(a.as_fd(), &[IoSlice::new(b"6")], &too_many).is_err());
    }
}
