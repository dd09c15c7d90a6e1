//! The connection of a parent and the child it started: a Unix socket pair, or a
//! named pipe.

mod flush;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
mod unix_acceptor;
#[cfg(unix)]
mod unix_end;
#[cfg(unix)]
mod unix_lookout;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
mod windows_acceptor;
#[cfg(windows)]
mod windows_end;
#[cfg(windows)]
mod windows_lookout;

#[cfg(unix)]
pub(crate) use unix::{Listening, Local, WorkerEnd};
#[cfg(unix)]
pub(crate) use unix_acceptor::{Acceptor, connect};
#[cfg(unix)]
pub(crate) use unix_end::End;
#[cfg(unix)]
pub(crate) use unix_lookout::Lookout;
#[cfg(windows)]
pub(crate) use windows::{Listening, Local, WorkerEnd};
#[cfg(windows)]
pub(crate) use windows_acceptor::{Acceptor, connect};
#[cfg(windows)]
pub(crate) use windows_end::End;
#[cfg(windows)]
pub(crate) use windows_lookout::Lookout;
