//! The parent's session over a transport.
//!
//! Two locks: the receiving side (held while bytes are read and their events
//! are dealt with, so that a death is dealt with after all that was read before
//! it) and the session with the sending side (held for moments). The receiving
//! lock may be held when the session's is taken, never the other way.
//!
//! Writes happen in two places, both under the session's lock and both from the
//! one outbox, so they cannot interleave: by the driver task, everything that has
//! collected in one call; and by whoever queues the only outstanding call, which
//! saves waking the driver.

use std::io;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;

use super::transport::{ReadHalf, Transport, WriteHalf};
use crate::session::{ParentEvent, ParentSession, Violation};
use crate::sys::{self, lock};
use crate::wire::{Assembler, Hello, Outbox};

/// Reads between two looks at what arrived, so that one flood cannot keep a
/// runtime thread for itself.
const READS: usize = 16;

/// Why a link is over.
#[derive(Debug)]
pub(crate) enum LinkEnd {
    /// The peer closed its end, or the socket failed.
    Closed,
    Violation(Violation),
}

impl From<Violation> for LinkEnd {
    fn from(violation: Violation) -> Self {
        LinkEnd::Violation(violation)
    }
}

pub(crate) struct Link<T: Transport> {
    rx: Mutex<Rx<T::Read>>,
    tx: Mutex<Tx<T::Write>>,
    driver: AtomicWaker,
}

/// The receiving side; whoever holds it deals with its events.
pub(crate) struct Rx<R> {
    half: R,
    assembler: Assembler,
    /// Bytes of the stream received so far.
    received: u64,
    ended: bool,
    /// The peer broke the protocol: nothing more of it is believed.
    distrusted: Option<Violation>,
}

struct Tx<W> {
    half: W,
    session: ParentSession,
    /// The driver has been woken and has not looked yet.
    woken: bool,
    /// It has looked, and put off sending once.
    deferred: bool,
    broken: bool,
}

impl<T: Transport> Link<T> {
    /// A link that waits for its peer's hello.
    pub(crate) fn new(transport: T, ours: Hello, max_message: u64) -> Self {
        let (read, write) = transport.split();
        Link {
            rx: Mutex::new(Rx {
                half: read,
                assembler: Assembler::new(max_message, sys::advise_huge),
                received: 0,
                ended: false,
                distrusted: None,
            }),
            tx: Mutex::new(Tx {
                half: write,
                session: ParentSession::new(ours),
                woken: false,
                deferred: false,
                broken: false,
            }),
            driver: AtomicWaker::new(),
        }
    }

    /// Gives commands to the session; follow with [`Link::kick`] once other
    /// locks are released.
    #[inline]
    pub(crate) fn with_session<R>(&self, f: impl FnOnce(&mut ParentSession) -> R) -> R {
        f(&mut lock(&self.tx).session)
    }

    /// Sends a short message together with handles; only during the handshake,
    /// when nothing else is being sent.
    pub(crate) fn send_handles(
        &self,
        bytes: &[u8],
        handles: &[<T::Write as WriteHalf>::Handle<'_>],
    ) -> io::Result<()> {
        lock(&self.tx).half.send_handles(bytes, handles)
    }

    /// Sees to it that what was queued is sent.
    #[inline]
    pub(crate) fn kick(&self) {
        let mut tx = lock(&self.tx);
        if tx.session.outbox().is_empty() {
            return;
        }
        if tx.session.is_alone() && !tx.woken && tx.flush() {
            return;
        }
        if !tx.woken {
            tx.woken = true;
            drop(tx);
            self.driver.wake();
        }
    }

    /// Has the driver look at everything again.
    pub(crate) fn wake(&self) {
        self.driver.wake();
    }

    pub(crate) fn receiver(&self) -> MutexGuard<'_, Rx<T::Read>> {
        lock(&self.rx)
    }

    /// One turn of the driver task: sends what waits, receives what is there.
    /// Ready when there are events; they must be dealt with before `rx` is
    /// released.
    pub(crate) fn poll(
        &self,
        rx: &mut Rx<T::Read>,
        cx: &mut Context<'_>,
        events: &mut Vec<ParentEvent>,
    ) -> Poll<Result<(), LinkEnd>> {
        self.driver.register(cx.waker());
        if rx.ended || rx.distrusted.is_some() {
            return Poll::Ready(Err(LinkEnd::Closed));
        }
        let mut tx = lock(&self.tx);
        // Woken to send while the peer has work: first let the tasks that are ready
        // to run add what they have, so that it all goes in one write.
        if tx.woken && !tx.deferred && tx.session.is_busy() {
            tx.deferred = true;
            cx.waker().wake_by_ref();
        } else {
            tx.woken = false;
            tx.deferred = false;
        }
        while !tx.deferred && !tx.broken && !tx.flush() {
            match tx.half.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => tx.broken = true,
                Poll::Pending => break,
            }
        }
        drop(tx);
        for _ in 0..READS {
            let (buf, max) = rx.assembler.target();
            match rx.half.poll_read(cx, buf, max) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    rx.took(n);
                    let short = n < max;
                    if let Err(violation) = self.sort(rx, events) {
                        rx.distrusted = Some(violation.clone());
                        return Poll::Ready(Err(violation.into()));
                    }
                    if short && !events.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(_) => {
                    rx.ended = true;
                    return Poll::Ready(Err(LinkEnd::Closed));
                }
                Poll::Pending if events.is_empty() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(Ok(())),
            }
        }
        if events.is_empty() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what waits and takes in what has come, without a runtime; a bounded part
    /// of it at a time.
    pub(crate) fn serve_now(
        &self,
        rx: &mut Rx<T::Read>,
        events: &mut Vec<ParentEvent>,
    ) -> Result<(), Violation> {
        lock(&self.tx).flush_now();
        for _ in 0..READS {
            if rx.ended || rx.distrusted.is_some() {
                break;
            }
            let (buf, max) = rx.assembler.target();
            match rx.half.try_read(buf, max) {
                Ok(n) if n > 0 => {
                    rx.took(n);
                    if let Err(violation) = self.sort(rx, events) {
                        rx.distrusted = Some(violation.clone());
                        return Err(violation);
                    }
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// After the peer's death: everything that had reached the socket, and then
    /// what `rest` still knows of, given the number of bytes that arrived. The link ends:
    /// nothing more is read, whoever else may hold the other end, and the driver leaves.
    pub(crate) fn drain(
        &self,
        rx: &mut Rx<T::Read>,
        events: &mut Vec<ParentEvent>,
        rest: impl FnOnce(u64) -> [Vec<u8>; 2],
    ) -> Result<(), Violation> {
        let drained = self.read_rest(rx, events, rest);
        rx.ended = true;
        self.wake();
        drained
    }

    fn read_rest(
        &self,
        rx: &mut Rx<T::Read>,
        events: &mut Vec<ParentEvent>,
        rest: impl FnOnce(u64) -> [Vec<u8>; 2],
    ) -> Result<(), Violation> {
        if let Some(violation) = &rx.distrusted {
            return Err(violation.clone());
        }
        // What the dead peer wrote is there by now. Somebody else (a grandchild)
        // may still hold the other end and go on writing: none of that is read.
        let mut left = rx.half.waiting();
        while !rx.ended && left > 0 {
            let (buf, max) = rx.assembler.target();
            match rx.half.read_now(buf, max.min(left)) {
                Ok(n) if n > 0 => {
                    left -= n;
                    rx.took(n);
                    self.sort(rx, events)?;
                }
                _ => rx.ended = true,
            }
        }
        for bytes in rest(rx.received) {
            rx.assembler.extend(&bytes);
            self.sort(rx, events)?;
        }
        Ok(())
    }

    fn sort(&self, rx: &mut Rx<T::Read>, events: &mut Vec<ParentEvent>) -> Result<(), Violation> {
        let mut tx = lock(&self.tx);
        while let Some(message) = rx.assembler.next()? {
            events.extend(tx.session.handle(message)?);
        }
        Ok(())
    }
}

impl<R> Rx<R> {
    fn took(&mut self, n: usize) {
        self.received += n as u64;
        self.assembler.received(n);
    }
}

impl<W: WriteHalf> Tx<W> {
    /// Writes until nothing is left (true) or the socket is full.
    fn flush(&mut self) -> bool {
        self.flush_by(|half, out| match out.single() {
            Some(bytes) => half.try_write(bytes),
            None => half.try_write_vectored(&out.slices()),
        })
    }

    /// The same without a runtime.
    fn flush_now(&mut self) -> bool {
        self.flush_by(|half, out| half.write_now(&out.slices()))
    }

    #[inline]
    fn flush_by(&mut self, write: impl Fn(&mut W, &mut Outbox) -> io::Result<usize>) -> bool {
        if self.broken {
            return true;
        }
        loop {
            let out = self.session.outbox();
            if out.is_empty() {
                return true;
            }
            match write(&mut self.half, out) {
                Ok(n) => out.advance(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
                // The reading side hears of the peer's end.
                Err(_) => {
                    self.broken = true;
                    return true;
                }
            }
        }
    }
}
