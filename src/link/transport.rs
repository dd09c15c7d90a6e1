//! What a link needs of a connection.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

/// A connected byte stream that can also carry handles of the operating system.
pub(crate) trait Transport: Send + 'static {
    type Read: ReadHalf;
    type Write: WriteHalf;

    fn split(self) -> (Self::Read, Self::Write);
}

pub(crate) trait ReadHalf: Send + 'static {
    /// Appends at most `max` bytes to `buf`; `Ok(0)` is the end.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut Vec<u8>,
        max: usize,
    ) -> Poll<io::Result<usize>>;

    /// The same on any thread, without a runtime, once the peer has ended:
    /// `WouldBlock` if nothing is there.
    fn read_now(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize>;

    /// The same while the peer lives: never waits.
    fn try_read(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize>;

    /// How many bytes a peer that has ended may have left; more than there are where
    /// that is not known before the end is read.
    fn waiting(&self) -> usize;
}

pub(crate) trait WriteHalf: Send + 'static {
    /// A handle of the operating system that can be sent along.
    type Handle<'a>;

    /// Writes what can be written at once; `WouldBlock` if that is nothing.
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// The same without a runtime: tries, whatever was found out before.
    fn write_now(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ready when a write may succeed.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Sends a short message together with handles.
    fn send_handles(&mut self, bytes: &[u8], handles: &[Self::Handle<'_>]) -> io::Result<()>;
}
