//! Files in memory that cannot change their size.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use rustix::shm::OFlags;

/// A zeroed file in memory. Its size can be set once: the system refuses to change
/// that of a shared memory object, which takes the place of a seal.
pub(in crate::sys::unix) fn memory_file(_name: &str, len: usize) -> io::Result<OwnedFd> {
    // Its name lives for a moment, and must be short.
    let name = format!("/procpool-{:016x}", RandomState::new().build_hasher().finish());
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
    // Closed on exec by the system's own rule for such objects.
    let fd = rustix::shm::open(&name, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::shm::unlink(&name)?;
    rustix::fs::ftruncate(&fd, len as u64)?;
    Ok(fd)
}

/// Refuses what another process made, if it is no memory file or of another size,
/// which the system rounds up to pages.
pub(in crate::sys::unix) fn check_memory_file(fd: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let stat = rustix::fs::fstat(fd)?;
    let page = rustix::param::page_size() as i64;
    let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    if is_file || stat.st_size < len as i64 || stat.st_size >= len as i64 + page {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a shared block of {} bytes, expected {len} bytes in memory", stat.st_size),
        ));
    }
    Ok(())
}
