//! Files in memory that cannot change their size.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;

/// Refuses more than this process may write to a file: the system would end it for the attempt.
pub(super) fn check_file_limit(len: usize) -> io::Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    match limit {
        Some(limit) if limit < len as u64 => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{len} bytes of shared memory, where the limit of file sizes is {limit}"),
        )),
        _ => Ok(()),
    }
}

/// Refuses more than the machine has: pages of such files belong to no process, so that for what is too much the
/// system would end others. `now`: all of it is needed now, and not only an address for it.
fn check_memory(len: usize, now: bool) -> io::Result<()> {
    let has = if now && len >= LARGE { available() } else { None }.unwrap_or_else(|| {
        let info = rustix::system::sysinfo();
        let unit = u64::from(info.mem_unit.max(1));
        (info.totalram as u64).saturating_add(info.totalswap as u64).saturating_mul(unit)
    });
    if len as u64 <= has {
        return Ok(());
    }
    let words = format!("{len} bytes of shared memory, where the machine has {has}");
    Err(io::Error::new(io::ErrorKind::OutOfMemory, words))
}

/// From here on it is worth asking how much can be had.
const LARGE: usize = 64 << 20;
/// Bytes that are had at once; short enough that a signal does not undo too much.
const PIECE: u64 = 16 << 20;

/// Bytes of memory that can be had without others being pushed out.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Whether the system promises no more memory than it has (`vm.overcommit_memory=2`). It counts pages of such files when
/// they are first used, and refuses one by a deadly signal: so all are to be had at once. Elsewhere that would cost ten times
/// as much as making the file, for pages that may never be used.
fn is_frugal() -> bool {
    static FRUGAL: OnceLock<bool> = OnceLock::new();
    *FRUGAL.get_or_init(|| {
        let mode = std::fs::read_to_string("/proc/sys/vm/overcommit_memory");
        mode.is_ok_and(|mode| mode.trim() == "2")
    })
}

/// Has all of the file be there, or fails.
fn allocate(fd: &OwnedFd, len: usize) -> io::Result<()> {
    let len = len as u64;
    for at in (0..len).step_by(PIECE as usize) {
        let piece = PIECE.min(len - at);
        // Any signal interrupts it, also one whose handler has asked for the call to go on.
        rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(fd, FallocateFlags::empty(), at, piece)
        })?;
    }
    Ok(())
}

/// A zeroed file in memory that can neither shrink nor grow.
pub(in crate::sys::unix) fn memory_file(name: &str, len: usize) -> io::Result<OwnedFd> {
    memory_file_of(name, len, is_frugal())
}

fn memory_file_of(name: &str, len: usize, at_once: bool) -> io::Result<OwnedFd> {
    check_file_limit(len)?;
    check_memory(len, at_once)?;
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&fd, len as u64)?;
    if at_once {
        allocate(&fd, len)?;
    }
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

/// Refuses what another process made, if it could shrink or has another size.
pub(in crate::sys::unix) fn check_memory_file(fd: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let seals = rustix::fs::fcntl_get_seals(fd)?;
    check_pages(fd)?;
    let size = rustix::fs::fstat(fd)?.st_size;
    if !seals.contains(SealFlags::SHRINK) || size != len as i64 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "a shared block of {size} bytes with seals {seals:?}, expected {len} bytes sealed against shrinking"
            ),
        ));
    }
    // It may have holes only: what it costs here is room for addresses.
    check_memory(len, false)
}

/// A zeroed file in memory, which may be written until it is sealed. All of it is there: no access
/// to it can fail later.
pub(in crate::sys) fn unsealed(name: &str, len: usize) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    check_file_limit(len)?;
    check_memory(len, true)?;
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    allocate(&fd, len)?;
    Ok((fd, None))
}

/// Nobody can write the file from now on but by what is mapped already, nor cut it; it can be sealed further.
pub(in crate::sys) fn keep_writers_out(fd: BorrowedFd<'_>) -> io::Result<()> {
    let some = SealFlags::FUTURE_WRITE | SealFlags::SHRINK | SealFlags::GROW;
    Ok(rustix::fs::fcntl_add_seals(fd, some)?)
}

/// A file in memory that holds these bytes. Written, not mapped: so no page is cleared first, and none faults, which is
/// half the time.
pub(in crate::sys) fn unsealed_copy(name: &str, bytes: &[u8]) -> io::Result<Option<OwnedFd>> {
    check_file_limit(bytes.len())?;
    check_memory(bytes.len(), true)?;
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    Ok(Some(file.into()))
}

/// How often a file is tried to be sealed that is busy.
const SEALS: usize = 10;

/// Nobody can write the file or change its length from now on.
pub(in crate::sys) fn seal(fd: OwnedFd, _: Option<OwnedFd>) -> io::Result<OwnedFd> {
    let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    // The kernel waits for some tenths of a second for pages that it has in its own hands (to move them, for
    // instance), and gives up then, though nobody writes them.
    for _ in 1..SEALS {
        match rustix::fs::fcntl_add_seals(&fd, all) {
            Err(Errno::BUSY) => {}
            sealed => return Ok(sealed.map(|()| fd)?),
        }
    }
    rustix::fs::fcntl_add_seals(&fd, all)?;
    Ok(fd)
}

/// Refuses what another process gave, unless it is sealed, of that length, and all there. It can be
/// mapped as it is.
pub(in crate::sys) fn opens_as_is(fd: BorrowedFd<'_>, len: usize) -> io::Result<bool> {
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    let needed = SealFlags::WRITE | SealFlags::SHRINK;
    match rustix::fs::fcntl_get_seals(fd) {
        Ok(seals) if seals.contains(needed) => {}
        Ok(seals) => return refuse(format!("memory that could be written or shrink: {seals:?}")),
        Err(_) => return refuse("a file that cannot be sealed".to_owned()),
    }
    check_pages(fd)?;
    check_all_there(fd, len).map(|()| true)
}

/// Refuses a file of huge pages, of which there are only so many: where it has a hole, and somebody else has the last of
/// them, an access is a deadly signal. Files that cannot be sealed must have been refused before: of another's file
/// system this asks whoever serves it.
fn check_pages(fd: BorrowedFd<'_>) -> io::Result<()> {
    if rustix::fs::fstatfs(fd)?.f_type as libc::c_long == libc::TMPFS_MAGIC as libc::c_long {
        return Ok(());
    }
    let words = "shared memory in pages that the system can run out of";
    Err(io::Error::new(io::ErrorKind::InvalidData, words))
}

/// Nobody can change the file's length from now on, and write it by what is mapped already alone.
pub(in crate::sys) fn keep_to_write(fd: OwnedFd, _: Option<OwnedFd>) -> io::Result<OwnedFd> {
    let all = SealFlags::FUTURE_WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&fd, all)?;
    Ok(fd)
}

/// Refuses what another process lent, unless it cannot shrink, is of that length, and all there. Where nobody can
/// write anew, nobody makes holes either.
pub(in crate::sys) fn check_lent(fd: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    check_memory_file(fd, len)?;
    if !rustix::fs::fcntl_get_seals(fd)?.intersects(SealFlags::FUTURE_WRITE | SealFlags::WRITE) {
        let words = "what was lent can be written by others than its lender";
        return Err(io::Error::new(io::ErrorKind::InvalidData, words));
    }
    check_all_there(fd, len)
}

/// Refuses what has holes: one costs memory when it is read, so that a few bytes could become gigabytes.
fn check_all_there(fd: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    let stat = rustix::fs::fstat(fd)?;
    if stat.st_size != len as i64 {
        return refuse(format!("{} bytes of memory, {len} were said to come", stat.st_size));
    }
    if (stat.st_blocks as u64).saturating_mul(512) < len as u64 {
        return refuse(format!("{len} bytes of memory, of which not all are there"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn more_than_the_machine_has_is_refused_before_it_is_taken() {
        for len in [1usize << 46, usize::MAX / 2] {
            let errors = [memory_file("test", len).err(), unsealed("test", len).err()];
            for error in errors {
                let error = error.expect("no machine has so much");
                assert_eq!(error.kind(), io::ErrorKind::OutOfMemory, "{error}");
            }
        }
        assert!(available().is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn all_of_a_file_is_there_where_the_system_promises_no_more() {
        let len = 3 * PIECE as usize + 4096;
        let sparse = memory_file_of("test", len, false).unwrap();
        assert!(check_all_there(sparse.as_fd(), len).is_err());
        let whole = memory_file_of("test", len, true).unwrap();
        check_all_there(whole.as_fd(), len).unwrap();
        check_memory_file(whole.as_fd(), len).unwrap();
    }

    #[test]
    fn what_was_lent_gets_no_holes() {
        let (fd, _) = unsealed("test", 8192).unwrap();
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW).unwrap();
        let error = check_lent(fd.as_fd(), 8192).unwrap_err().to_string();
        assert!(error.contains("by others"), "{error}");
        let fd = keep_to_write(fd, None).unwrap();
        check_lent(fd.as_fd(), 8192).unwrap();
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert_eq!(rustix::fs::fallocate(&fd, punch, 0, 4096), Err(Errno::PERM));
    }

    /// Where the kernel has none (`ENOSYS`, `ENODEV`), none can come.
    #[test]
    fn huge_pages_are_refused() {
        let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
        let Ok(fd) = rustix::fs::memfd_create("test", flags) else { return };
        let len = 1 << 30;
        rustix::fs::ftruncate(&fd, len as u64).unwrap();
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::WRITE).unwrap();
        for error in [check_memory_file(fd.as_fd(), len).err(), opens_as_is(fd.as_fd(), len).err()]
        {
            let error = error.expect("it is refused").to_string();
            assert!(error.contains("run out of"), "{error}");
        }
    }
}
