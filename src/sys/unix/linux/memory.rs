//! Files in memory that cannot change their size.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};

/// A zeroed file in memory that can neither shrink nor grow.
pub(in crate::sys::unix) fn memory_file(name: &str, len: usize) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&fd, len as u64)?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

/// Refuses what another process made, if it could shrink or has another size.
pub(in crate::sys::unix) fn check_memory_file(fd: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let seals = rustix::fs::fcntl_get_seals(fd)?;
    let size = rustix::fs::fstat(fd)?.st_size;
    if !seals.contains(SealFlags::SHRINK) || size != len as i64 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "a shared block of {size} bytes with seals {seals:?}, expected {len} bytes sealed against shrinking"
            ),
        ));
    }
    Ok(())
}
