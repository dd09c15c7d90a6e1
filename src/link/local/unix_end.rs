//! One end of a pipe: a Unix socket, in a runtime or without one.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream as PlainStream;
use std::task::{Poll, ready};
use std::time::Instant;

use tokio::net::UnixStream;
use tokio::runtime;

use crate::link::pace::Pace;
use crate::sys::{self, Handle, HandleRef, HandleSet, Interest};

/// Reads and writes at whatever pace; registered with a runtime when a task first has
/// to wait, and anew when that is on another runtime.
#[derive(Debug)]
pub(crate) struct End {
    state: State,
    /// The last write took nothing: the next one asks first.
    full: bool,
}

#[derive(Debug)]
enum State {
    Plain(PlainStream),
    Registered(UnixStream, runtime::Id),
}

impl End {
    pub(crate) fn pair() -> io::Result<(End, End)> {
        let (a, b) = sys::stream_pair()?;
        Ok((End::from_handle(a), End::from_handle(b)))
    }

    pub(crate) fn from_handle(handle: Handle) -> Self {
        End { state: State::Plain(handle.into()), full: false }
    }

    /// A connection over TCP, which is a stream socket like any other here; elsewhere it comes back.
    pub(crate) fn of_tcp(socket: TcpStream) -> io::Result<Result<Self, TcpStream>> {
        // As all ends are: each call says by itself whether it waits.
        socket.set_nonblocking(false)?;
        Ok(Ok(End::from_handle(socket.into())))
    }

    /// Another end at the same place, each for one direction.
    pub(crate) fn try_clone(&mut self) -> io::Result<Self> {
        Ok(End::from_handle(self.as_fd().try_clone_to_owned()?))
    }

    /// Ends a direction for everybody who has this end.
    pub(crate) fn shut(&self, direction: Interest) {
        // All that can fail is that the other end is gone, with both directions.
        let _ = sys::shut(self.as_fd(), direction);
    }

    /// The same end for another process, once this one has let go of it.
    pub(crate) fn to_handle(&self) -> io::Result<Handle> {
        self.as_fd().try_clone_to_owned()
    }

    /// Appends at most `max` bytes, and what came along with them; 0 is the end.
    pub(crate) fn read(
        &mut self,
        pace: &mut Pace<'_, '_>,
        buf: &mut Vec<u8>,
        max: usize,
        sets: &mut VecDeque<HandleSet>,
    ) -> Poll<io::Result<usize>> {
        let read = match pace {
            Pace::Now => sys::read_stream(self.as_fd(), buf, max, false, sets),
            Pace::Wait => sys::read_stream(self.as_fd(), buf, max, true, sets),
            Pace::Task(cx) => loop {
                let stream = self.registered()?;
                ready!(stream.poll_read_ready(cx))?;
                let mut short = None;
                let read = stream.try_io(tokio::io::Interest::READABLE, || {
                    let n = sys::read_stream(stream.as_fd(), buf, max, false, sets)?;
                    if n > 0 && n < max && sets.is_empty() {
                        // That was all there is: the next read need not find it out by
                        // a system call that gets nothing. (Handles end a read early.)
                        short = Some(n);
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    Ok(n)
                });
                match (short, read) {
                    (Some(n), _) => break Ok(n),
                    (None, Err(e)) if e.kind() == io::ErrorKind::WouldBlock => {}
                    (None, read) => break read,
                }
            },
        };
        match read {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            // The other end was closed with something of ours unread.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Poll::Ready(Ok(0)),
            read => Poll::Ready(read),
        }
    }

    /// Writes what there is room for, with `handles` at its beginning; never waits in the
    /// thread.
    pub(crate) fn write(
        &mut self,
        pace: &mut Pace<'_, '_>,
        slices: &[IoSlice<'_>],
        handles: &[HandleRef<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Pace::Now | Pace::Wait = pace {
            return at_once(sys::write_stream(self.as_fd(), slices, handles));
        }
        if !self.full {
            let written = at_once(sys::write_stream(self.as_fd(), slices, handles));
            if written.is_ready() {
                return written;
            }
        }
        let Pace::Task(cx) = pace else { unreachable!("the others have returned") };
        self.full = true;
        loop {
            let stream = self.registered()?;
            ready!(stream.poll_write_ready(cx))?;
            let written = at_once(stream.try_io(tokio::io::Interest::WRITABLE, || {
                sys::write_stream(stream.as_fd(), slices, handles)
            }));
            if written.is_ready() {
                self.full = false;
                return written;
            }
        }
    }

    /// Whether what was sent a moment ago may be there after all: no, it was seen at once.
    pub(crate) fn settle(&mut self) -> bool {
        false
    }

    /// Waits on this thread until one of these may succeed or the time has come; true
    /// if it is not the time.
    pub(crate) fn wait(
        &mut self,
        interest: Interest,
        deadline: Option<Instant>,
    ) -> io::Result<bool> {
        sys::wait_for(self.as_fd(), interest, deadline)
    }

    /// Whether there is what it takes to wait at this pace. Where there is not, reading and writing
    /// fail before they have done anything, and may succeed later.
    pub(crate) fn can_wait(&self, pace: &Pace<'_, '_>) -> bool {
        let Pace::Task(_) = pace else { return true };
        matches!((&self.state, current()), (State::Registered(_, id), Ok(here)) if *id == here)
    }

    /// The socket in the current runtime.
    fn registered(&mut self) -> io::Result<&UnixStream> {
        let here = current()?;
        if !matches!(&self.state, State::Registered(_, id) if *id == here) {
            // With a descriptor of its own, so that nothing is lost should that fail.
            let socket = PlainStream::from(self.as_fd().try_clone_to_owned()?);
            // tokio insists on the flag. Nothing here depends on it: each call says by
            // itself whether it waits, and those that wait are for plain threads.
            socket.set_nonblocking(true)?;
            let stream = UnixStream::from_std(socket)?;
            sys::set_nonblocking(stream.as_fd(), false)?;
            self.state = State::Registered(stream, here);
        }
        match &self.state {
            State::Registered(stream, _) => Ok(stream),
            State::Plain(_) => unreachable!("just registered"),
        }
    }
}

/// The runtime of the task that is being polled.
pub(super) fn current() -> io::Result<runtime::Id> {
    match runtime::Handle::try_current() {
        Ok(current) => Ok(current.id()),
        Err(_) => Err(io::Error::other(
            "waiting here needs a tokio runtime with I/O enabled; on a plain thread use the `blocking_` methods",
        )),
    }
}

fn at_once(result: io::Result<usize>) -> Poll<io::Result<usize>> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.state {
            State::Plain(stream) => stream.as_fd(),
            State::Registered(stream, _) => stream.as_fd(),
        }
    }
}

impl AsRawFd for End {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
