//! Where ends of pipes are made for whoever connects: instances of a named pipe.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use tokio::net::windows::named_pipe::NamedPipeServer;

use super::windows_end::End;
use crate::link::pace::Pace;
use crate::sys::{self, AddressFamily, Caller};

pub(crate) struct Acceptor {
    name: OsString,
    /// The instance that waits to be opened.
    next: Arc<NamedPipeServer>,
    // A lock that nobody waits for: what is in it cannot be looked at by two threads.
    opening: Mutex<Opening>,
}

enum Opening {
    Awaited(Pin<Box<dyn Future<Output = io::Result<()>> + Send>>),
    Done(io::Result<()>),
}

impl Acceptor {
    pub(crate) fn bind(_: AddressFamily, name: &OsStr, everybody: bool) -> io::Result<Self> {
        if everybody {
            let words = "on Windows a listener lets in processes of its own user alone";
            return Err(io::Error::new(io::ErrorKind::Unsupported, words));
        }
        let next = Arc::new(sys::listen(name, true)?);
        let opening = Mutex::new(Opening::of(&next));
        Ok(Acceptor { name: name.to_owned(), next, opening })
    }

    /// Listens at an address of its own, which is returned.
    pub(crate) fn bind_anywhere() -> io::Result<(Self, OsString)> {
        let name = sys::unguessable_name()?;
        Ok((Self::bind(AddressFamily::NamedPipe, &name, false)?, name))
    }

    /// The next end whose other end has been opened.
    pub(crate) fn accept(&mut self, pace: &mut Pace<'_, '_>) -> Poll<io::Result<(End, Caller)>> {
        ready!(match pace {
            Pace::Now | Pace::Wait => self.poll_opened(&mut Context::from_waker(Waker::noop())),
            Pace::Task(cx) => self.poll_opened(cx),
        });
        // Before anything else: while there is none, nobody can connect.
        let fresh = Arc::new(sys::listen(&self.name, false)?);
        let opening = Mutex::new(Opening::of(&fresh));
        let opened = std::mem::replace(&mut self.next, fresh);
        let opening = std::mem::replace(&mut self.opening, opening);
        match opening.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Opening::Done(Err(error)) => Poll::Ready(Err(error)),
            _ => {
                let caller = sys::caller(&opened);
                Poll::Ready(Ok((End::from_stream(opened), caller)))
            }
        }
    }

    /// Waits on this thread until somebody may have connected or the time has come.
    #[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> io::Result<bool> {
        Ok(sys::park_until(deadline, |cx| self.poll_opened(cx)).is_some())
    }

    fn poll_opened(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let opening = self.opening.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Opening::Awaited(future) = opening {
            let done = ready!(future.as_mut().poll(cx));
            *opening = Opening::Done(done);
        }
        Poll::Ready(())
    }
}

impl Opening {
    /// Begins to wait: whoever opens it from now on, and be it for a moment, is heard.
    fn of(instance: &Arc<NamedPipeServer>) -> Self {
        let instance = instance.clone();
        let mut future: Pin<Box<dyn Future<Output = io::Result<()>> + Send>> =
            Box::pin(async move { instance.connect().await });
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Opening::Done(done),
            Poll::Pending => Opening::Awaited(future),
        }
    }
}

/// The other end of what [`Acceptor::accept`] makes; `WouldBlock` if there is none that
/// is free.
pub(crate) fn connect(_: AddressFamily, name: &OsStr) -> io::Result<End> {
    Ok(End::from_handle(sys::connect(name)?))
}

impl AsHandle for Acceptor {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.next.as_handle()
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("name", &self.name).finish_non_exhaustive()
    }
}
