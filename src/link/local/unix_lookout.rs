//! Looks out for the end of a token: the reading end of a pipe, in a runtime or without one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Instant;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime;

use super::unix_end::current;
use crate::link::pace::Pace;
use crate::sys::{self, Handle};

/// Sees when a token is closed in all processes that it was given to.
#[derive(Debug)]
pub(crate) struct Lookout {
    end: Arc<OwnedFd>,
    /// Registered with a runtime when a task first has to wait, and anew when that is on another runtime.
    registered: Option<(AsyncFd<Arc<OwnedFd>>, runtime::Id)>,
}

impl Lookout {
    /// And its token.
    pub(crate) fn new() -> io::Result<(Self, Handle)> {
        let (end, token) = sys::token_pair()?;
        Ok((Lookout { end: Arc::new(end), registered: None }, token))
    }

    /// Whether what came as a token can be one. (Closing something else could take its time.)
    pub(crate) fn is_token(handle: &Handle) -> bool {
        sys::is_token(handle.as_fd())
    }

    /// Whether it is closed everywhere.
    pub(crate) fn poll_over(&mut self, pace: &mut Pace<'_, '_>) -> Poll<io::Result<()>> {
        loop {
            if self.wait(Some(Instant::now()))? {
                return Poll::Ready(Ok(()));
            }
            let Pace::Task(cx) = pace else { return Poll::Pending };
            // Whatever is written wakes it, and is left lying there.
            ready!(self.registered()?.poll_read_ready(cx))?.clear_ready();
        }
    }

    /// Waits on this thread until it is closed or the time has come; whether it is closed.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> io::Result<bool> {
        sys::wait_for_token(self.end.as_fd(), deadline)
    }

    fn registered(&mut self) -> io::Result<&AsyncFd<Arc<OwnedFd>>> {
        let here = current()?;
        if !matches!(&self.registered, Some((_, id)) if *id == here) {
            // What is to replace it is newer than the oldest tokio that will do. It is about types whose descriptor
            // changes, and this one's does not.
            #[allow(deprecated)]
            let end = AsyncFd::with_interest(self.end.clone(), Interest::READABLE)?;
            self.registered = Some((end, here));
        }
        match &self.registered {
            Some((end, _)) => Ok(end),
            None => unreachable!("just registered"),
        }
    }
}
