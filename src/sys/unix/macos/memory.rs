//! Files in memory that cannot change their size.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use rustix::shm::OFlags;

/// A zeroed file in memory. Its size can be set once: the system refuses to change
/// that of a shared memory object, which takes the place of a seal.
pub(in crate::sys::unix) fn memory_file(name: &str, len: usize) -> io::Result<OwnedFd> {
    unsealed(name, len).map(|(fd, _)| fd)
}

/// The same, and a descriptor by which it can only be read.
pub(in crate::sys) fn unsealed(_name: &str, len: usize) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    // Its name lives for a moment, and must be short.
    let name = format!("/procpool-{:016x}", RandomState::new().build_hasher().finish());
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
    // Closed on exec by the system's own rule for such objects.
    let fd = rustix::shm::open(&name, flags, Mode::RUSR | Mode::WUSR)?;
    let read_only = rustix::shm::open(&name, OFlags::RDONLY, Mode::empty());
    rustix::shm::unlink(&name)?;
    rustix::fs::ftruncate(&fd, len as u64)?;
    Ok((fd, Some(read_only?)))
}

/// Here a copy is made by filling.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(in crate::sys) fn unsealed_copy(_: &str, _: &[u8]) -> io::Result<Option<OwnedFd>> {
    Ok(None)
}

/// Others get it only to read.
pub(in crate::sys) fn seal(_: OwnedFd, read_only: Option<OwnedFd>) -> io::Result<OwnedFd> {
    read_only.ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// The same for memory that this process goes on writing.
pub(in crate::sys) fn keep_to_write(
    fd: OwnedFd,
    read_only: Option<OwnedFd>,
) -> io::Result<OwnedFd> {
    seal(fd, read_only)
}

/// Refuses what another process lent, if it is no memory of that length.
pub(in crate::sys) fn check_lent(fd: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    check_memory_file(fd, len)
}

/// Refuses what is no memory of that length. Whoever gave it may still write it.
pub(in crate::sys) fn opens_as_is(fd: BorrowedFd<'_>, len: usize) -> io::Result<bool> {
    check_memory_file(fd, len).map(|()| false)
}

/// Refuses what another process made, if it is no memory file or of another size,
/// which the system rounds up to pages (and a named block has some words more).
pub(in crate::sys::unix) fn check_memory_file(fd: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let stat = rustix::fs::fstat(fd)?;
    let page = rustix::param::page_size() as i64;
    let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    if is_file || stat.st_size < len as i64 || stat.st_size >= len as i64 + 2 * page {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a shared block of {} bytes, expected {len} bytes in memory", stat.st_size),
        ));
    }
    Ok(())
}
