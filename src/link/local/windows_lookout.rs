//! Looks out for the end of a token: one end of a named pipe, of which others have the other.

use std::collections::VecDeque;
use std::io;
use std::task::{Poll, ready};
use std::time::Instant;

use super::windows_end::End;
use crate::link::pace::Pace;
use crate::sys::{Handle, READ};

/// What one that says something is listened to, before others' turn comes.
const PATIENCE: usize = 16;

/// Sees when a token is closed in all processes that it was given to.
#[derive(Debug)]
pub(crate) struct Lookout(End);

impl Lookout {
    /// And its token.
    pub(crate) fn new() -> io::Result<(Self, Handle)> {
        let (end, theirs) = End::pair()?;
        Ok((Lookout(end), theirs.to_handle()?))
    }

    /// What else it could be is not known here.
    pub(crate) fn is_token(_: &Handle) -> bool {
        true
    }

    /// Whether it is closed everywhere.
    pub(crate) fn poll_over(&mut self, pace: &mut Pace<'_, '_>) -> Poll<io::Result<()>> {
        // There is nothing to be said over it. Whoever does all the same is not listened to.
        let (mut said, mut sets) = (Vec::new(), VecDeque::new());
        for _ in 0..PATIENCE {
            said.clear();
            if ready!(self.0.read(pace, &mut said, 64, &mut sets))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        if let Pace::Task(cx) = pace {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Waits on this thread until it is closed or the time has come; whether it is closed.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> io::Result<bool> {
        loop {
            if self.poll_over(&mut Pace::Now)?.is_ready() {
                return Ok(true);
            }
            if deadline.is_some_and(|at| Instant::now() > at) || !self.0.wait(READ, deadline)? {
                // What was closed a moment ago may be seen only now.
                let settled = self.0.settle();
                return Ok(settled && self.poll_over(&mut Pace::Now)?.is_ready());
            }
        }
    }
}
