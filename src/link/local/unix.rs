//! A Unix socket pair between a parent and the child it started.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream as BlockingStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BufMut;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::link::transport::{ReadHalf, Transport, WriteHalf};
use crate::sys::{self, Socket};

/// The parent's end.
pub(crate) struct Local(UnixStream);

impl Local {
    /// Registers the socket with the current runtime.
    pub(crate) fn new(socket: Socket) -> io::Result<Self> {
        sys::set_nonblocking(socket.as_fd(), true)?;
        sys::refuse_handles(socket.as_fd());
        Ok(Local(UnixStream::from_std(socket.into())?))
    }
}

impl Transport for Local {
    type Read = OwnedReadHalf;
    type Write = OwnedWriteHalf;

    fn split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        self.0.into_split()
    }
}

impl ReadHalf for OwnedReadHalf {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut Vec<u8>,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        // `poll_read` and not `try_read`: after a short read it knows without
        // another system call that the socket is empty.
        tokio_util::io::poll_read_buf(Pin::new(self), cx, &mut buf.limit(max))
    }

    fn read_now(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        sys::recv_now(self.as_ref().as_fd(), buf, max)
    }

    fn try_read(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        self.read_now(buf, max)
    }

    fn waiting(&self) -> usize {
        sys::bytes_waiting(self.as_ref().as_fd())
    }
}

impl WriteHalf for OwnedWriteHalf {
    type Handle<'a> = BorrowedFd<'a>;

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        OwnedWriteHalf::try_write(self, bytes)
    }

    fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        OwnedWriteHalf::try_write_vectored(self, slices)
    }

    fn write_now(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        sys::send_now(self.as_ref().as_fd(), slices)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.as_ref().poll_write_ready(cx)
    }

    fn send_handles(&mut self, bytes: &[u8], handles: &[BorrowedFd<'_>]) -> io::Result<()> {
        sys::send_with_handles(self.as_ref().as_fd(), bytes, handles)
    }
}

/// The worker's end: read by blocking, or within a runtime.
#[derive(Debug)]
pub(crate) struct WorkerEnd(Socket);

impl WorkerEnd {
    pub(crate) fn new(socket: Socket) -> Self {
        WorkerEnd(socket)
    }

    /// Appends at most `max` bytes, waiting for the first; `Ok(0)` is the end.
    pub(crate) fn recv(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        sys::recv_blocking(&self.0, buf, max)
    }

    /// Reads within the current runtime until the result is dropped.
    pub(crate) fn listen(&mut self) -> io::Result<Listening<'_>> {
        let stream = BlockingStream::from(self.0.try_clone()?);
        stream.set_nonblocking(true)?;
        Ok(Listening { stream: UnixStream::from_std(stream)?, socket: &self.0 })
    }
}

#[derive(Debug)]
pub(crate) struct Listening<'a> {
    stream: UnixStream,
    socket: &'a Socket,
}

impl Listening<'_> {
    /// As [`WorkerEnd::recv`]; when dropped, nothing was read.
    pub(crate) async fn recv(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            let read = self.stream.try_io(tokio::io::Interest::READABLE, || {
                sys::recv_now(self.socket.as_fd(), buf, max)
            });
            match read {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let _ = sys::set_nonblocking(self.socket.as_fd(), false);
    }
}
