//! The connection of a parent and the child it started: a Unix socket pair, or a
//! named pipe.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{Listening, Local, WorkerEnd};
#[cfg(windows)]
pub(crate) use windows::{Listening, Local, WorkerEnd};
