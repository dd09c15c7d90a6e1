//! Handles given to another process, beside the stream that tells of them.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::handles::MAX_SENT;
use super::platform::{RECV_HANDLES, SEND, keep_to_ourselves};
use super::{ChildSocket, Handle, HandleRef, pair};
use crate::sys::lock;

/// How many descriptors this process may have, if that is limited.
fn limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Handles that may have arrived without being asked for: four messages' worth, or an eighth of what
/// this process may have open, if that is more.
fn max_waiting() -> usize {
    (limit().unwrap_or(u64::MAX) / 8).clamp(512, 4096) as usize
}

/// Whether this process keeps a descriptor that it has received, whoever gave it: a thirty-second of
/// what it may have is for other things.
fn may_keep() -> bool {
    // So many more, before they are counted again: older kernels take their time for that.
    static UNCOUNTED: Mutex<u64> = Mutex::new(0);
    let mut uncounted = lock(&UNCOUNTED);
    if *uncounted == 0 {
        let (Some(limit), Some(open)) = (limit(), open_descriptors()) else { return true };
        let spare = (limit - limit / 32 + 1).saturating_sub(open);
        *uncounted = spare.div_ceil(2).min(limit / 64 + 1);
    }
    let may = *uncounted > 0;
    *uncounted = uncounted.saturating_sub(1);
    may
}

/// How many descriptors this process has; too many, if that cannot be learnt for want of one; `None`
/// if it cannot be learnt at all.
fn open_descriptors() -> Option<u64> {
    const TABLE: &str = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let size = std::fs::metadata(TABLE).ok()?.len();
    // Older kernels do not say so.
    if size > 0 && cfg!(target_os = "linux") {
        return Some(size);
    }
    match std::fs::read_dir(TABLE) {
        Ok(entries) => Some(entries.count() as u64),
        Err(e) => matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)).then_some(1 << 40),
    }
}

/// One end of a way for handles: each goes with a number, its token, by which the other end
/// asks for it.
#[derive(Debug)]
pub(crate) struct HandleChannel {
    socket: OwnedFd,
    outgoing: Mutex<Outgoing>,
    /// `None` is one for which this process had no descriptor left.
    arrived: Mutex<HashMap<u64, Option<Handle>>>,
    /// The peer gave handles against the rules.
    cheated: AtomicBool,
}

#[derive(Debug, Default)]
struct Outgoing {
    next: u64,
    /// What the socket had no room for.
    backlog: VecDeque<(u64, Handle)>,
}

impl HandleChannel {
    /// One to a child-to-be, and what that must be given for its end.
    pub(crate) fn to_child(_: &ChildSocket) -> io::Result<(Self, Option<Handle>)> {
        let (ours, theirs) = pair()?;
        Ok((Self::new(ours), Some(theirs)))
    }

    /// Whether what was given and not taken is lost when its giver ends.
    pub(crate) const ENDS_WITH_GIVER: bool = false;

    /// The child's end.
    pub(crate) fn to_parent(given: Option<Handle>) -> io::Result<Self> {
        let socket = given.ok_or_else(|| io::Error::other("the way for handles did not come"))?;
        Ok(Self::new(socket))
    }

    /// Both ends of one between two other processes, where this one can make that.
    pub(crate) fn between() -> io::Result<Option<[Handle; 2]>> {
        let (one, other) = pair()?;
        Ok(Some([one, other]))
    }

    /// An end of one that another process has made.
    #[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn open(given: Handle) -> io::Result<Self> {
        Ok(Self::new(given))
    }

    fn new(socket: OwnedFd) -> Self {
        HandleChannel {
            socket,
            outgoing: Mutex::default(),
            arrived: Mutex::default(),
            cheated: AtomicBool::new(false),
        }
    }

    /// Gives a handle away; the token by which the peer can [`take`](Self::take) it. Never
    /// waits: what finds no room is kept until [`flush`](Self::flush).
    pub(crate) fn give(&self, handle: HandleRef<'_>) -> io::Result<u64> {
        let mut outgoing = lock(&self.outgoing);
        self.flush_into(&mut outgoing)?;
        let token = outgoing.next;
        let full = !outgoing.backlog.is_empty() || !self.send(token, handle)?;
        if full {
            let kept = handle.try_clone_to_owned()?;
            outgoing.backlog.push_back((token, kept));
        }
        outgoing.next += 1;
        Ok(token)
    }

    /// Sends what found no room before; false if there is still none.
    pub(crate) fn flush(&self) -> io::Result<bool> {
        let mut outgoing = lock(&self.outgoing);
        self.flush_into(&mut outgoing)?;
        Ok(outgoing.backlog.is_empty())
    }

    /// The same, waiting for room.
    pub(crate) fn flush_blocking(&self) -> io::Result<()> {
        while !self.flush()? {
            self.wait(PollFlags::OUT)?;
        }
        Ok(())
    }

    fn flush_into(&self, outgoing: &mut Outgoing) -> io::Result<()> {
        while let Some((token, handle)) = outgoing.backlog.front() {
            if !self.send(*token, handle.as_fd())? {
                break;
            }
            outgoing.backlog.pop_front();
        }
        Ok(())
    }

    /// False if there is no room.
    fn send(&self, token: u64, handle: BorrowedFd<'_>) -> io::Result<bool> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let handles = [handle];
        control.push(SendAncillaryMessage::ScmRights(&handles));
        let bytes = token.to_le_bytes();
        let sent = rustix::io::retry_on_intr(|| {
            let flags = SEND | SendFlags::DONTWAIT;
            rustix::net::sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, flags)
        });
        match sent {
            Ok(_) => Ok(true),
            // The second: more descriptors are on their way than this process may have.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::TOOMANYREFS) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether this process has hardly any descriptors left to take so many handles with: so many, and
    /// a sixteenth for other things.
    pub(crate) fn is_short(&self, handles: usize) -> bool {
        let Some(limit) = limit() else { return false };
        open_descriptors().is_some_and(|open| open + handles as u64 + limit.div_ceil(16) > limit)
    }

    /// Whether the peer gave handles against the rules. What it sends later is not received.
    pub(crate) fn is_cheated(&self) -> bool {
        self.cheated.load(Ordering::Acquire)
    }

    /// The handle that the peer gave under this token, which it must have done before it
    /// spoke of it. What is not to be kept goes to `discard`: closing it may wait for whomever the
    /// peer likes.
    pub(crate) fn take(&self, token: u64, discard: impl Fn(Vec<Handle>)) -> io::Result<Handle> {
        self.take_if(token, may_keep, discard)
    }

    /// The same from a peer that is trusted, to the last descriptor, and waiting for what the peer had no
    /// room to send, after `there_is_room` each time.
    pub(crate) fn take_blocking(&self, token: u64, there_is_room: impl Fn()) -> io::Result<Handle> {
        loop {
            match self.take_if(token, || true, drop) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    there_is_room();
                    self.wait(PollFlags::IN)?;
                }
                taken => return taken,
            }
        }
    }

    fn take_if(
        &self,
        token: u64,
        may_keep: impl Fn() -> bool,
        discard: impl Fn(Vec<Handle>),
    ) -> io::Result<Handle> {
        let mut arrived = lock(&self.arrived);
        loop {
            if let Some(handle) = arrived.remove(&token) {
                return handle.ok_or_else(|| {
                    let words = "a handle was given to this process, which had hardly any descriptor left for it; raise the limit of open files";
                    io::Error::other(words)
                });
            }
            if self.is_cheated() {
                return Err(against_the_rules("it gave handles against the rules before"));
            }
            let mut handles = Vec::new();
            let received = self.recv(&mut handles);
            if let Ok(number) = received {
                let handle = handles.pop();
                if handle.is_none() || may_keep() {
                    handles.extend(arrived.insert(number, handle).flatten());
                } else {
                    discard(handle.into_iter().collect());
                    handles.extend(arrived.insert(number, None).flatten());
                }
            }
            let mut wrong = None;
            if !handles.is_empty() {
                wrong = Some("several handles came as one");
            } else if arrived.len() > max_waiting() {
                wrong = Some("more handles came than anybody spoke of");
                handles.extend(arrived.drain().filter_map(|(_, handle)| handle));
            }
            if let Some(wrong) = wrong {
                self.cheated.store(true, Ordering::Release);
                discard(handles);
                return Err(received.err().unwrap_or_else(|| against_the_rules(wrong)));
            }
            received?;
        }
    }

    /// A token; what came with it, or with something that is none, is added to `handles`.
    fn recv(&self, handles: &mut Vec<Handle>) -> io::Result<u64> {
        let mut bytes = [0; 8];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SENT))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = rustix::io::retry_on_intr(|| {
            let flags = RECV_HANDLES | RecvFlags::DONTWAIT;
            rustix::net::recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut control,
                flags,
            )
        })?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                handles.extend(fds);
            }
        }
        handles.iter().try_for_each(keep_to_ourselves)?;
        match got.bytes {
            8 => Ok(u64::from_le_bytes(bytes)),
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => Err(against_the_rules(&format!("{n} of 8 bytes came"))),
        }
    }

    fn wait(&self, for_what: PollFlags) -> io::Result<()> {
        let mut fds = [PollFd::from_borrowed_fd(self.socket.as_fd(), for_what)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        Ok(())
    }
}

fn against_the_rules(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn ends() -> (HandleChannel, HandleChannel) {
        let (socket, child) = pair().unwrap();
        drop(socket);
        let (ours, theirs) = HandleChannel::to_child(&child).unwrap();
        (ours, HandleChannel::to_parent(theirs).unwrap())
    }

    #[test]
    fn handles_are_had_by_their_tokens_in_any_order() {
        let (a, b) = ends();
        let (pipe, other) = rustix::pipe::pipe().unwrap();
        let first = a.give(pipe.as_fd()).unwrap();
        let second = a.give(other.as_fd()).unwrap();
        let writer = b.take(second, drop).unwrap();
        let reader = b.take(first, drop).unwrap();
        drop((pipe, other));
        rustix::io::write(&writer, b"x").unwrap();
        let mut byte = [0];
        assert_eq!(rustix::io::read(&reader, &mut byte).unwrap(), 1);
        assert_eq!(b.take(77, drop).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(a);
        assert_eq!(b.take(77, drop).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_finds_no_room_is_sent_later() {
        let (a, b) = ends();
        let (pipe, _other) = rustix::pipe::pipe().unwrap();
        let tokens: Vec<u64> = (0..900).map(|_| a.give(pipe.as_fd()).unwrap()).collect();
        assert!(!a.flush().unwrap());
        for token in tokens {
            let taken = b.take(token, drop);
            drop(taken.or_else(|_| a.flush().and_then(|_| b.take(token, drop))).unwrap());
        }
        assert!(a.flush().unwrap());
    }

    fn send(channel: &HandleChannel, bytes: &[u8], handles: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(handles)));
        let flags = SendFlags::empty();
        rustix::net::sendmsg(&channel.socket, &[IoSlice::new(bytes)], &mut control, flags).unwrap();
    }

    #[test]
    fn what_comes_against_the_rules_is_handed_on_and_nothing_after_it_is_had() {
        for (bytes, n) in [(&b"7 bytes"[..], 1), (b"a number", 2)] {
            let (a, b) = ends();
            let (reader, writer) = rustix::pipe::pipe().unwrap();
            super::super::set_nonblocking(reader.as_fd(), true).unwrap();
            send(&a, bytes, &[writer.as_fd(), writer.as_fd()][..n]);
            drop(writer);
            let token = a.give(a.socket.as_fd()).unwrap();
            let discarded = RefCell::new(Vec::new());
            for _ in 0..2 {
                b.take(token, |handles| discarded.borrow_mut().extend(handles)).unwrap_err();
                assert!(b.is_cheated());
            }
            assert_eq!(discarded.borrow().len(), 1);
            let still_open = Err(rustix::io::Errno::AGAIN);
            assert_eq!(rustix::io::read(&reader, &mut [0; 1]), still_open, "{bytes:?}");
            drop((discarded, b));
            assert_eq!(rustix::io::read(&reader, &mut [0; 1]), Ok(0));
        }
    }

    #[test]
    fn who_gives_many_handles_and_speaks_of_none_breaks_the_rules() {
        let (a, b) = ends();
        let (pipe, _other) = rustix::pipe::pipe().unwrap();
        let discarded = RefCell::new(0);
        let discard = |handles: Vec<Handle>| *discarded.borrow_mut() += handles.len();
        let mut given = 0;
        while !b.is_cheated() {
            assert!(given < 10_000);
            for _ in 0..100 {
                a.give(pipe.as_fd()).unwrap();
                given += 1;
            }
            b.take(u64::MAX, discard).unwrap_err();
        }
        assert!(*discarded.borrow() > max_waiting());
        assert!(lock(&b.arrived).is_empty());
    }
}
