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
        Ok((Self::map(fd.as_fd(), len)?, fd))
    }

    /// Maps a block that the other process made. One that could shrink under
    /// us, or has another size, is refused.
    pub(in crate::sys) fn open(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        check_memory_file(fd, len)?;
        Self::map(fd, len)
    }

    fn map(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )?
        };
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
