//! A Unix socket pair between a parent and the child it started.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BufMut;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::transport::{ReadHalf, Transport, WriteHalf};
use crate::sys;

pub(crate) struct Local(UnixStream);

impl Local {
    /// Registers the socket with the current runtime.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        sys::set_nonblocking(socket.as_fd(), true)?;
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

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.as_ref().poll_write_ready(cx)
    }

    fn send_handles(&mut self, bytes: &[u8], handles: &[BorrowedFd<'_>]) -> io::Result<()> {
        sys::send_with_handles(self.as_ref().as_fd(), bytes, handles)
    }
}
