//! A named pipe between a parent and the child it started.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::windows::named_pipe::NamedPipeServer;
use tokio::sync::mpsc;

use crate::link::transport::{ReadHalf, Transport, WriteHalf};
use crate::sys::{self, HandleRef, PipeServer, Socket};

/// How long what a dead worker wrote is waited for: its end is certain, but it is
/// another thread that hears of it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes one write takes: tokio copies them.
const WRITE_MAX: usize = 256 * 1024;
/// Writes at least this long go out as they are, shorter ones together.
const GATHER_MAX: usize = 32 * 1024;

/// The parent's end.
pub(crate) struct Local(PipeServer);

impl Local {
    pub(crate) fn new(socket: Socket) -> io::Result<Self> {
        Ok(Local(socket.into_server()?))
    }
}

/// What both halves know.
struct Shared {
    server: PipeServer,
    connected: AtomicBool,
    /// Whoever wants to write before anybody has connected.
    writer: atomic_waker::AtomicWaker,
}

impl Transport for Local {
    type Read = PipeReader;
    type Write = PipeWriter;

    fn split(self) -> (PipeReader, PipeWriter) {
        let shared = Arc::new(Shared {
            server: self.0,
            connected: AtomicBool::new(false),
            writer: atomic_waker::AtomicWaker::new(),
        });
        let peer = shared.clone();
        let connect = Box::pin(async move { peer.server.connect().await });
        let reader =
            PipeReader { shared: shared.clone(), connect: Some(connect), drain_until: None };
        (reader, PipeWriter { shared, gathered: Vec::new() })
    }
}

pub(crate) struct PipeReader {
    shared: Arc<Shared>,
    /// Until the child has connected.
    connect: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send>>>,
    drain_until: Option<Instant>,
}

impl PipeReader {
    fn attempt(&self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        use bytes::BufMut;
        match self.shared.server.pipe().try_read_buf(&mut buf.limit(max)) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(0),
            read => read,
        }
    }
}

impl ReadHalf for PipeReader {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut Vec<u8>,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        if let Some(connect) = &mut self.connect {
            std::task::ready!(connect.as_mut().poll(cx))?;
            self.connect = None;
            self.shared.connected.store(true, Ordering::Release);
            self.shared.writer.wake();
        }
        loop {
            match self.attempt(buf, max) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
            std::task::ready!(self.shared.server.pipe().poll_read_ready(cx))?;
        }
    }

    fn read_now(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        let deadline = *self.drain_until.get_or_insert_with(|| Instant::now() + PATIENCE);
        sys::read_until(deadline, self.shared.server.pipe(), || self.attempt(buf, max))
    }

    fn try_read(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        if self.connect.is_some() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.attempt(buf, max)
    }

    /// Unknown: some of it tokio may hold already. All until the end.
    fn waiting(&self) -> usize {
        if self.connect.is_some() { 0 } else { usize::MAX }
    }
}

pub(crate) struct PipeWriter {
    shared: Arc<Shared>,
    gathered: Vec<u8>,
}

impl PipeWriter {
    fn check_connected(&self) -> io::Result<()> {
        if self.shared.connected.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
}

/// Starts writing at the beginning of `slices`: one operation takes one buffer, so short
/// pieces go together.
pub(super) fn write_some(
    pipe: &NamedPipeServer,
    slices: &[IoSlice<'_>],
    gathered: &mut Vec<u8>,
) -> io::Result<usize> {
    let Some(first) = slices.iter().find(|s| !s.is_empty()) else { return Ok(0) };
    if first.len() >= GATHER_MAX || first.len() == slices.iter().map(|s| s.len()).sum::<usize>() {
        return pipe.try_write(&first[..first.len().min(WRITE_MAX)]);
    }
    gathered.clear();
    for slice in slices {
        if gathered.len() + slice.len() > WRITE_MAX {
            break;
        }
        gathered.extend_from_slice(slice);
    }
    pipe.try_write(gathered)
}

impl WriteHalf for PipeWriter {
    type Handle<'a> = HandleRef<'a>;

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(&[IoSlice::new(bytes)])
    }

    fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.check_connected()?;
        write_some(self.shared.server.pipe(), slices, &mut self.gathered)
    }

    fn write_now(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(slices)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.check_connected().is_err() {
            self.shared.writer.register(cx.waker());
            if self.check_connected().is_err() {
                return Poll::Pending;
            }
        }
        self.shared.server.pipe().poll_write_ready(cx)
    }

    fn send_handles(&mut self, bytes: &[u8], handles: &[HandleRef<'_>]) -> io::Result<()> {
        let message = self.shared.server.message_with_handles(bytes, handles)?;
        let sent = self.shared.server.pipe().try_write(&message)?;
        if sent != message.len() {
            return Err(io::Error::new(
                io::ErrorKind::WriteZero,
                format!("{sent} of {} handshake bytes were taken", message.len()),
            ));
        }
        Ok(())
    }
}

/// Chunks that may wait between the reading thread and its taker.
const CHUNKS: usize = 4;
const CHUNK: usize = 64 * 1024;

/// The worker's end: read by blocking, or within a runtime.
///
/// From the first use within a runtime on a thread reads, for good: an operation of
/// the system's cannot be taken back without a trace.
#[derive(Debug)]
pub(crate) struct WorkerEnd {
    socket: Socket,
    chunks: Option<Chunks>,
}

#[derive(Debug)]
struct Chunks {
    incoming: mpsc::Receiver<io::Result<Vec<u8>>>,
    /// Of the chunk that was taken last, what did not fit.
    rest: Vec<u8>,
}

impl WorkerEnd {
    pub(crate) fn new(socket: Socket) -> Self {
        WorkerEnd { socket, chunks: None }
    }

    /// Appends at most `max` bytes, waiting for the first; `Ok(0)` is the end.
    pub(crate) fn recv(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        match &mut self.chunks {
            None => sys::recv_blocking(&self.socket, buf, max),
            Some(chunks) => {
                if chunks.rest.is_empty() {
                    match chunks.incoming.blocking_recv() {
                        Some(chunk) => chunks.rest = chunk?,
                        None => return Ok(0),
                    }
                }
                Ok(chunks.take(buf, max))
            }
        }
    }

    /// Reads within the current runtime until the result is dropped.
    pub(crate) fn listen(&mut self) -> io::Result<Listening<'_>> {
        let chunks = match self.chunks.take() {
            Some(chunks) => chunks,
            None => {
                Chunks { incoming: read_in_a_thread(self.socket.try_clone()?)?, rest: Vec::new() }
            }
        };
        Ok(Listening(self.chunks.insert(chunks)))
    }
}

fn read_in_a_thread(socket: Socket) -> io::Result<mpsc::Receiver<io::Result<Vec<u8>>>> {
    let (sender, incoming) = mpsc::channel(CHUNKS);
    std::thread::Builder::new().name("procpool-reader".into()).spawn(move || {
        loop {
            let mut chunk = Vec::new();
            let read = sys::recv_blocking(&socket, &mut chunk, CHUNK);
            let over = !matches!(read, Ok(n) if n > 0);
            if sender.blocking_send(read.map(|_| chunk)).is_err() || over {
                return;
            }
        }
    })?;
    Ok(incoming)
}

impl Chunks {
    fn take(&mut self, buf: &mut Vec<u8>, max: usize) -> usize {
        let n = self.rest.len().min(max);
        buf.extend_from_slice(&self.rest[..n]);
        self.rest.drain(..n);
        n
    }
}

#[derive(Debug)]
pub(crate) struct Listening<'a>(&'a mut Chunks);

impl Listening<'_> {
    /// As [`WorkerEnd::recv`]; when dropped, nothing was read.
    pub(crate) async fn recv(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        if self.0.rest.is_empty() {
            match self.0.incoming.recv().await {
                Some(chunk) => self.0.rest = chunk?,
                None => return Ok(0),
            }
        }
        Ok(self.0.take(buf, max))
    }
}
