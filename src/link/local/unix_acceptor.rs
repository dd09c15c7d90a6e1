//! Where ends of pipes are made for whoever connects: a listening Unix socket.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener as PlainListener, UnixStream};
use std::path::PathBuf;
use std::task::{Poll, ready};
use std::time::Instant;

use tokio::net::UnixListener;
use tokio::runtime;

use super::unix_end::{End, current};
use crate::link::pace::Pace;
use crate::sys::{self, AddressFamily, Caller, FileIdentity, Interest, PrivateDirectory};

#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: PlainListener,
    registered: Option<(UnixListener, runtime::Id)>,
    /// What is removed at the end.
    file: Option<(PathBuf, FileIdentity)>,
    /// And after it.
    _directory: Option<PrivateDirectory>,
}

impl Acceptor {
    /// Listens there; on others' behalf, too, if `_everybody` says so: they are told apart
    /// when they have connected.
    pub(crate) fn bind(family: AddressFamily, name: &OsStr, _everybody: bool) -> io::Result<Self> {
        let listener = sys::listen(family, name)?;
        let mut acceptor = Acceptor { listener, registered: None, file: None, _directory: None };
        if family == AddressFamily::Path {
            let path = std::path::absolute(name)?;
            acceptor.file = Some((path.clone(), sys::file_identity(&path)?));
        }
        Ok(acceptor)
    }

    /// Listens at an address of its own, which is returned.
    pub(crate) fn bind_anywhere() -> io::Result<(Self, std::ffi::OsString)> {
        let directory = sys::private_directory()?;
        let path = directory.socket();
        let mut acceptor = Self::bind(AddressFamily::Path, path.as_os_str(), false)?;
        acceptor._directory = Some(directory);
        Ok((acceptor, path.into_os_string()))
    }

    /// The next end whose other end has been asked for.
    pub(crate) fn accept(&mut self, pace: &mut Pace<'_, '_>) -> Poll<io::Result<(End, Caller)>> {
        let accepted = match pace {
            Pace::Now | Pace::Wait => sys::accept(&self.listener),
            Pace::Task(cx) => match sys::accept(&self.listener) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let (stream, _) = ready!(self.registered()?.poll_accept(cx))?;
                    sys::adopt(stream.into_std()?)
                }
                accepted => accepted,
            },
        };
        match accepted {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            accepted => Poll::Ready(accepted.and_then(with_caller)),
        }
    }

    /// Waits on this thread until somebody may have connected or the time has come.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> io::Result<bool> {
        let interest = Interest { read: true, write: false };
        sys::wait_for(self.listener.as_fd(), interest, deadline)
    }

    fn registered(&mut self) -> io::Result<&UnixListener> {
        let here = current()?;
        if !matches!(&self.registered, Some((_, id)) if *id == here) {
            self.registered = None;
            let listener = UnixListener::from_std(self.listener.try_clone()?)?;
            self.registered = Some((listener, here));
        }
        match &self.registered {
            Some((listener, _)) => Ok(listener),
            None => unreachable!("just registered"),
        }
    }
}

fn with_caller(stream: UnixStream) -> io::Result<(End, Caller)> {
    let caller = sys::caller(stream.as_fd())?;
    Ok((End::from_handle(stream.into()), caller))
}

/// The other end of what [`Acceptor::accept`] makes; `WouldBlock` if too many others
/// are waiting for theirs.
pub(crate) fn connect(family: AddressFamily, name: &OsStr) -> io::Result<End> {
    Ok(End::from_handle(sys::connect(family, name)?))
}

sys::handle_access!(Acceptor, listener);

impl Drop for Acceptor {
    fn drop(&mut self) {
        if let Some((path, identity)) = &self.file
            // Somebody may have put another one in its place.
            && sys::file_identity(path).is_ok_and(|there| there == *identity)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}
