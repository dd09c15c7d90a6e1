//! One end of a pipe: a named pipe's, which a reactor of this crate's own waits for.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, RawHandle};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use bytes::BufMut;
use tokio::net::windows::named_pipe::NamedPipeServer;

use super::windows::write_some;
use crate::link::pace::Pace;
use crate::sys::{self, Handle, HandleRef, HandleSet, Interest};

/// How long the reactor may take to look at a new pipe.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it takes it to hear of what was sent.
const MOMENT: Duration = Duration::from_millis(1);

/// Reads and writes at whatever pace; with the reactor from its first use on, for good:
/// the system ties the pipe itself to one process's reactor.
#[derive(Debug)]
pub(crate) struct End {
    state: State,
    gathered: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Unused(Handle),
    Registered(Arc<NamedPipeServer>),
}

impl End {
    pub(crate) fn pair() -> io::Result<(End, End)> {
        let (a, b) = sys::stream_pair()?;
        Ok((End::from_handle(a), End::from_handle(b)))
    }

    pub(crate) fn from_handle(handle: Handle) -> Self {
        End { state: State::Unused(handle), gathered: Vec::new() }
    }

    pub(super) fn from_stream(stream: Arc<NamedPipeServer>) -> Self {
        End { state: State::Registered(stream), gathered: Vec::new() }
    }

    /// No connection over TCP is an end here: it comes back.
    #[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn of_tcp(socket: TcpStream) -> io::Result<Result<Self, TcpStream>> {
        Ok(Err(socket))
    }

    /// Another end at the same place, each for one direction.
    pub(crate) fn try_clone(&mut self) -> io::Result<Self> {
        Ok(End::from_stream(self.registered()?))
    }

    /// Does nothing: a pipe ends in both directions, with the last handle.
    pub(crate) fn shut(&self, _: Interest) {}

    /// The same end for another process, once this one has let go of it.
    pub(crate) fn to_handle(&self) -> io::Result<Handle> {
        match &self.state {
            State::Unused(handle) => handle.try_clone(),
            State::Registered(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "on Windows an end of a pipe can be passed before it is first used, and not later",
            )),
        }
    }

    /// Appends at most `max` bytes; 0 is the end.
    pub(crate) fn read(
        &mut self,
        pace: &mut Pace<'_, '_>,
        buf: &mut Vec<u8>,
        max: usize,
        _: &mut VecDeque<HandleSet>,
    ) -> Poll<io::Result<usize>> {
        let stream = self.registered()?;
        loop {
            match stream.try_read_buf(&mut (&mut *buf).limit(max)) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Poll::Ready(Ok(0)),
                read => return Poll::Ready(read),
            }
            match pace {
                Pace::Now | Pace::Wait => return Poll::Pending,
                Pace::Task(cx) => ready!(stream.poll_read_ready(cx))?,
            }
        }
    }

    /// Writes what there is room for; never waits in the thread.
    pub(crate) fn write(
        &mut self,
        pace: &mut Pace<'_, '_>,
        slices: &[IoSlice<'_>],
        _: &[HandleRef<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.registered()?;
        loop {
            match write_some(&stream, slices, &mut self.gathered) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
            match pace {
                Pace::Now | Pace::Wait => return Poll::Pending,
                Pace::Task(cx) => ready!(stream.poll_write_ready(cx))?,
            }
        }
    }

    /// Gives what was sent a moment ago the time to be seen here; true if there is
    /// something now.
    pub(crate) fn settle(&mut self) -> bool {
        let deadline = Some(Instant::now() + MOMENT);
        self.registered().is_ok_and(|stream| sys::wait_for(&stream, sys::READ, deadline))
    }

    /// Waits on this thread until one of these may succeed or the time has come; true
    /// if it is not the time.
    pub(crate) fn wait(
        &mut self,
        interest: Interest,
        deadline: Option<Instant>,
    ) -> io::Result<bool> {
        Ok(sys::wait_for(&*self.registered()?, interest, deadline))
    }

    /// Whether there is what it takes to wait. Where there is not, reading and writing fail before
    /// they have done anything, and may succeed later.
    pub(crate) fn can_wait(&self, _: &Pace<'_, '_>) -> bool {
        matches!(self.state, State::Registered(_))
    }

    fn registered(&mut self) -> io::Result<Arc<NamedPipeServer>> {
        if let State::Unused(handle) = &self.state {
            // By a handle of its own, so that nothing is lost should that fail.
            let stream = sys::stream(handle.try_clone()?)?;
            // Until the reactor has looked, nothing is known to have room.
            sys::wait_for(&stream, sys::WRITE, Some(Instant::now() + PATIENCE));
            self.state = State::Registered(Arc::new(stream));
        }
        match &self.state {
            State::Registered(stream) => Ok(stream.clone()),
            State::Unused(_) => unreachable!("just registered"),
        }
    }
}

impl AsHandle for End {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        match &self.state {
            State::Unused(handle) => handle.as_handle(),
            State::Registered(stream) => stream.as_handle(),
        }
    }
}

impl AsRawHandle for End {
    fn as_raw_handle(&self) -> RawHandle {
        self.as_handle().as_raw_handle()
    }
}
