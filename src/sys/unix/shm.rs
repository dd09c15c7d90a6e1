//! Memory that two processes map.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

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
        let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, len as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((Self::map(fd.as_fd(), len)?, fd))
    }

    /// Maps a block that the other process made. One that could shrink under
    /// us, or has another size, is refused.
    pub(in crate::sys) fn open(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
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
        let fd = rustix::fs::memfd_create("loose", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .unwrap();
        rustix::fs::ftruncate(&fd, 4096).unwrap();
        assert!(Mapping::open(fd.as_fd(), 4096).is_err());
        let (_a, fd) = Mapping::create("test", 4096).unwrap();
        assert!(Mapping::open(fd.as_fd(), 8192).is_err());
        assert!(rustix::fs::ftruncate(&fd, 0).is_err(), "the seal holds");
    }
}
