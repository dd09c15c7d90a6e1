//! How a child learns that its parent has ended: by a pipe that only the parent holds.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::socket::keep_to_ourselves;
use crate::sys::READ;
use crate::sys::unix::{Handle, is_token, wait_for};

/// Nothing to do: the kernel has no such signal, and the watchdog alone ends a
/// worker. One that is stopped ends when it is continued.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(crate) fn arm_parent_death() -> io::Result<()> {
    Ok(())
}

/// Nothing to do, as for [`arm_parent_death`].
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(crate) fn arm_group_death(_main: bool) -> io::Result<()> {
    Ok(())
}

/// A descriptor that becomes readable when this process ends, for a child to hold:
/// the end of a pipe that is written by nobody and held for as long as this process
/// lives.
pub(crate) fn own_process_handle() -> io::Result<Handle> {
    static LIFE: Mutex<Option<(OwnedFd, OwnedFd)>> = Mutex::new(None);
    let mut life = LIFE.lock().unwrap_or_else(PoisonError::into_inner);
    let (reader, _) = match &*life {
        Some(pipe) => pipe,
        None => {
            let (reader, writer) = rustix::pipe::pipe()?;
            keep_to_ourselves(&reader)?;
            keep_to_ourselves(&writer)?;
            life.insert((reader, writer))
        }
    };
    reader.try_clone()
}

/// Whether the process has ended of whose end a handle tells, or it is no such handle.
pub(crate) fn has_ended(life: BorrowedFd<'_>) -> bool {
    !is_token(life) || wait_for(life, READ, Some(Instant::now())).unwrap_or(true)
}
