//! A connection inside this process: what a link needs, without an operating system.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::transport::{ReadHalf, Transport, WriteHalf};

/// Bytes that may wait in one direction.
const CAPACITY: usize = 64 * 1024;

/// One direction.
#[derive(Debug, Default)]
struct Pipe {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    /// The writing or the reading end is gone.
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, state: &mut State, buf: &mut Vec<u8>, max: usize) -> Option<usize> {
        let n = state.bytes.len().min(max);
        if n == 0 && !state.ended {
            return None;
        }
        buf.extend(state.bytes.drain(..n));
        state.writer.take().into_iter().for_each(Waker::wake);
        self.changed.notify_all();
        Some(n)
    }

    fn write(&self, state: &mut State, bytes: &[u8]) -> io::Result<usize> {
        if state.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let n = bytes.len().min(CAPACITY - state.bytes.len());
        if n == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.bytes.extend(&bytes[..n]);
        state.reader.take().into_iter().for_each(Waker::wake);
        self.changed.notify_all();
        Ok(n)
    }

    fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.reader.take().into_iter().for_each(Waker::wake);
        state.writer.take().into_iter().for_each(Waker::wake);
        self.changed.notify_all();
    }
}

/// The end that a link drives.
pub(super) struct Memory {
    incoming: Incoming,
    outgoing: Outgoing,
}

/// The other end, for a plain thread.
pub(super) struct MemoryPeer {
    incoming: Incoming,
    outgoing: Outgoing,
}

/// Ends its direction when dropped.
pub(super) struct Incoming(Arc<Pipe>);
/// Ends its direction when dropped.
pub(super) struct Outgoing(Arc<Pipe>);

impl Drop for Incoming {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Two connected ends.
pub(super) fn memory() -> (Memory, MemoryPeer) {
    let (there, back) = (Arc::new(Pipe::default()), Arc::new(Pipe::default()));
    let ours = Memory { incoming: Incoming(back.clone()), outgoing: Outgoing(there.clone()) };
    (ours, MemoryPeer { incoming: Incoming(there), outgoing: Outgoing(back) })
}

impl MemoryPeer {
    /// Waits for the first byte; `0` is the end.
    pub(super) fn read(&mut self, buf: &mut Vec<u8>, max: usize) -> usize {
        let pipe = &self.incoming.0;
        let mut state = pipe.lock();
        loop {
            if let Some(n) = pipe.read(&mut state, buf, max) {
                return n;
            }
            state = pipe.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits while the other end does not read.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let pipe = &self.outgoing.0;
        let mut state = pipe.lock();
        loop {
            match pipe.write(&mut state, bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                written => return written,
            }
            state = pipe.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Transport for Memory {
    type Read = Incoming;
    type Write = Outgoing;

    fn split(self) -> (Incoming, Outgoing) {
        (self.incoming, self.outgoing)
    }
}

impl ReadHalf for Incoming {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut Vec<u8>,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        match self.0.read(&mut state, buf, max) {
            Some(n) => Poll::Ready(Ok(n)),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn read_now(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        let mut state = self.0.lock();
        self.0.read(&mut state, buf, max).ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    fn try_read(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        self.read_now(buf, max)
    }

    fn waiting(&self) -> usize {
        self.0.lock().bytes.len()
    }
}

impl WriteHalf for Outgoing {
    /// There is no other process to give one to.
    type Handle<'a> = std::convert::Infallible;

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&mut self.0.lock(), bytes)
    }

    fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let first = slices.iter().find(|s| !s.is_empty());
        first.map_or(Ok(0), |first| self.try_write(first))
    }

    fn write_now(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(slices)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.ended || state.bytes.len() < CAPACITY {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn send_handles(&mut self, bytes: &[u8], _handles: &[Self::Handle<'_>]) -> io::Result<()> {
        self.try_write(bytes).map(drop)
    }
}
