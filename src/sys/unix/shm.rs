//! Memory that two processes map.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags};

use super::platform::{check_memory_file, memory_file};

/// A shared mapping of a whole memory file.
#[derive(Debug)]
pub(in crate::sys) struct Mapping {
    pub(in crate::sys) start: NonNull<u8>,
    pub(in crate::sys) len: usize,
}

// SAFETY: plain memory that is valid until `drop`; how it is accessed is up to
// whoever holds the pointer.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// A new zeroed block and the descriptor by which another process maps
    /// it. It can neither shrink (which would turn a read here into a fault)
    /// nor grow.
    pub(in crate::sys) fn create(name: &str, len: usize) -> io::Result<(Self, OwnedFd)> {
        let fd = memory_file(name, len)?;
        Ok((Self::of_own(fd.as_fd(), len)?, fd))
    }

    /// Maps what this process has made.
    pub(in crate::sys) fn of_own(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::map(fd, len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)
    }

    /// Maps it only to be read.
    pub(in crate::sys) fn read_only(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        // What nobody can write is the same either way, and kernels before 6.7 refuse to share what is
        // sealed against writing.
        let linux = cfg!(target_os = "linux");
        let flags = if linux { MapFlags::PRIVATE } else { MapFlags::SHARED };
        Self::map(fd, len, ProtFlags::READ, flags)
    }

    /// Maps it only to be read, while others write it.
    pub(in crate::sys) fn read_changing(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::map(fd, len, ProtFlags::READ, MapFlags::SHARED)
    }

    /// Maps a block that the other process made. One that could shrink under
    /// us, or has another size, is refused.
    pub(in crate::sys) fn open(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        check_memory_file(fd, len)?;
        Self::of_own(fd, len)
    }

    /// Has no forked process get it: one that has it to write can be in the way of a seal.
    pub(in crate::sys) fn keep_from_forks(&self) {
        #[cfg(target_os = "linux")]
        {
            let advice = rustix::mm::Advice::LinuxDontFork;
            // SAFETY: the range is the mapping; a forked process that touches it faults, as it
            // would with any memory of a type that is not its own.
            let _ = unsafe { rustix::mm::madvise(self.start.as_ptr().cast(), self.len, advice) };
        }
    }

    fn map(fd: BorrowedFd<'_>, len: usize, access: ProtFlags, flags: MapFlags) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let start = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, access, flags, fd, 0)? };
        let start = NonNull::new(start.cast::<u8>())
            .ok_or_else(|| io::Error::other("the shared block was mapped at address zero"))?;
        Ok(Mapping { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` and nothing borrows it now.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_could_shrink_or_is_of_another_size_is_refused() {
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let len = file.metadata().unwrap().len() as usize;
        assert!(Mapping::open(file.as_fd(), len).is_err(), "it is no memory file");
        let (_a, fd) = Mapping::create("test", 4096).unwrap();
        assert!(Mapping::open(fd.as_fd(), 8192).is_err());
        assert!(rustix::fs::ftruncate(&fd, 0).is_err(), "it cannot shrink");
    }
}
