//! What a child writes to its standard error.

use std::io;
use std::os::windows::io::OwnedHandle;
use std::sync::OnceLock;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tokio::net::windows::named_pipe::NamedPipeServer;
use windows_sys::Win32::Foundation::GENERIC_WRITE;
use windows_sys::Win32::Storage::FileSystem::PIPE_ACCESS_INBOUND;

use super::pipe::{open, register, server};
use super::reactor::read_until;

/// How long an ended child's pipe is waited for: its end is certain, but it is
/// another thread that hears of it.
const PATIENCE: Duration = Duration::from_millis(500);

/// The reading end of a child's standard error.
#[derive(Debug)]
pub(crate) struct OutputPipe {
    pipe: NamedPipeServer,
    /// Told whenever there is something to read.
    waker: OnceLock<Waker>,
}

/// A pipe, and the end that a child writes to as to any file.
pub(super) fn output_pipe() -> io::Result<(OutputPipe, OwnedHandle)> {
    let (pipe, name) = server(PIPE_ACCESS_INBOUND)?;
    let writer = open(&name, GENERIC_WRITE, 0)?;
    Ok((OutputPipe { pipe: register(pipe)?, waker: OnceLock::new() }, writer))
}

impl OutputPipe {
    /// Appends what the pipe holds, at most `max` bytes; `Ok(0)` is the end.
    pub(crate) fn read_now(&self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        let start = buf.len();
        buf.resize(start + max, 0);
        let read = match self.pipe.try_read(&mut buf[start..]) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(0),
            read => read,
        };
        buf.truncate(start + *read.as_ref().unwrap_or(&0));
        if !matches!(read, Ok(0))
            && let Some(waker) = self.waker.get()
        {
            self.arm(waker);
        }
        read
    }

    /// The same once the child has ended: waits a moment for what it wrote.
    pub(crate) fn read_last(&self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        read_until(Instant::now() + PATIENCE, &self.pipe, || self.read_now(buf, max))
    }

    /// Has `waker` told when there is something to read, now and after every
    /// [`OutputPipe::read_now`].
    pub(super) fn watch(&self, waker: Waker) {
        self.arm(self.waker.get_or_init(|| waker));
    }

    fn arm(&self, waker: &Waker) {
        if self.pipe.poll_read_ready(&mut Context::from_waker(waker)).is_ready() {
            waker.wake_by_ref();
        }
    }
}
