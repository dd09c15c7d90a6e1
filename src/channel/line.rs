//! One end of a pipe with what waits on either side of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Poll, ready};
use std::time::Instant;

use super::error::{MessageKind, RecvError};
use super::inlet::Inlet;
use super::outlet::Outlet;
use super::streams::Tasks;
use crate::link::{End, Pace};
use crate::sys::{BOTH, Interest, READ, WRITE, handle_access};

#[derive(Debug)]
pub(super) struct Line {
    pub(super) end: End,
    pub(super) inlet: Inlet,
    pub(super) outlet: Outlet,
    /// What this end is used for.
    uses: Interest,
    /// One of two for the same end: what it is used for ends with it.
    pub(super) is_half: bool,
    /// It was passed to another process, whose it is now.
    pub(super) given: AtomicBool,
    pub(super) tasks: Option<Arc<Tasks>>,
}

handle_access!(Line, end);

impl Line {
    pub(super) fn new(end: End, uses: Interest) -> Self {
        let (inlet, outlet) = (Inlet::new(), Outlet::new());
        let given = AtomicBool::new(false);
        Line { end, inlet, outlet, uses, is_half: false, given, tasks: None }
    }

    /// An end for both directions.
    pub(super) fn of(end: End) -> Self {
        Line::new(end, BOTH)
    }

    /// Two of them.
    pub(super) fn pair() -> io::Result<(Line, Line)> {
        let (a, b) = End::pair().map_err(named)?;
        Ok((Line::of(a), Line::of(b)))
    }

    /// An end to send into and one to receive from.
    pub(super) fn one_way() -> io::Result<(Line, Line)> {
        let (a, b) = End::pair().map_err(named)?;
        Ok((Line::new(a, WRITE), Line::new(b, READ)))
    }

    /// The same end for sending and for receiving, each with what waits there.
    pub(super) fn split(mut self) -> io::Result<(Line, Line)> {
        let mut sender = Line::new(self.end.try_clone()?, WRITE);
        sender.is_half = true;
        std::mem::swap(&mut sender.outlet, &mut self.outlet);
        self.uses = READ;
        self.is_half = true;
        Ok((sender, self))
    }

    pub(super) fn set_max_message(&mut self, max: u64) {
        self.inlet.set_max_message(max);
        self.outlet.set_max_message(max);
    }

    /// Ready when a whole message is there, or the reason why there will be none.
    pub(super) fn poll_front(
        &mut self,
        pace: &mut Pace<'_, '_>,
    ) -> Poll<Result<(MessageKind, u64), RecvError>> {
        loop {
            if let Some(front) = self.inlet.front()? {
                return Poll::Ready(Ok(front));
            }
            if !self.outlet.is_empty() {
                // What a dropped `send` has begun: the other end may wait for its rest.
                if let Poll::Ready(Err(error)) = self.poll_write(&mut pace.unhurried()) {
                    // For whoever sends or flushes next.
                    self.outlet.refuse(&error);
                }
            }
            let (buf, max, sets) = self.inlet.target();
            match ready!(self.end.read(pace, buf, max, sets)) {
                Ok(n) => self.inlet.received(n),
                Err(error) if !self.end.can_wait(pace) => {
                    return Poll::Ready(Err(RecvError::Wait(error)));
                }
                Err(error) => self.inlet.fail(&error),
            }
        }
    }

    /// What is there now; `None` if it would have to be waited for.
    pub(super) fn now<R>(
        &mut self,
        mut attempt: impl FnMut(&mut Self, &mut Pace<'_, '_>) -> Poll<R>,
    ) -> Option<R> {
        let mut settled = false;
        loop {
            match attempt(self, &mut Pace::Now) {
                Poll::Ready(done) => return Some(done),
                Poll::Pending if settled || !self.end.settle() => return None,
                Poll::Pending => settled = true,
            }
        }
    }

    /// Ready when everything that was queued has been written. What arrives meanwhile is
    /// taken in: the other end may be sending just as much.
    pub(super) fn poll_flush(&mut self, pace: &mut Pace<'_, '_>) -> Poll<io::Result<()>> {
        let written = self.poll_write(pace);
        if written.is_pending() && self.uses.read {
            while self.inlet.has_room() {
                let (buf, max, sets) = self.inlet.target();
                match self.end.read(&mut pace.unhurried(), buf, max, sets) {
                    Poll::Ready(Ok(n)) => self.inlet.received(n),
                    Poll::Ready(Err(error)) => self.inlet.fail(&error),
                    Poll::Pending => break,
                }
                self.inlet.take_in();
            }
        }
        written
    }

    fn poll_write(&mut self, pace: &mut Pace<'_, '_>) -> Poll<io::Result<()>> {
        self.outlet.check()?;
        while !self.outlet.is_empty() {
            let end = &mut self.end;
            match ready!(self.outlet.offer(|slices, handles| end.write(pace, slices, handles))) {
                Ok(n) => self.outlet.advance(n),
                Err(error) => {
                    if self.outlet.fail(&error) {
                        self.end.shut(WRITE);
                    }
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Repeats `attempt` on this thread until it is ready; `None` when the time comes
    /// first. `receives` says what it waits for, besides what must be written.
    pub(super) fn block<R>(
        &mut self,
        receives: bool,
        deadline: Option<Instant>,
        mut attempt: impl FnMut(&mut Self, &mut Pace<'_, '_>) -> Poll<R>,
    ) -> io::Result<Option<R>> {
        let mut in_time = true;
        loop {
            let may_wait = receives && deadline.is_none() && self.outlet.is_empty();
            let mut pace = if may_wait { Pace::Wait } else { Pace::Now };
            if let Poll::Ready(done) = attempt(self, &mut pace) {
                return Ok(Some(done));
            }
            if !in_time {
                return Ok(None);
            }
            let takes_in = self.uses.read && self.inlet.has_room();
            let interest = Interest { read: receives || takes_in, write: !self.outlet.is_empty() };
            in_time = self.end.wait(interest, deadline)?;
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_half && !*self.given.get_mut() {
            self.end.shut(self.uses);
        }
    }
}

fn named(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("a pipe could not be made: {error}"))
}
