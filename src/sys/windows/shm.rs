//! Memory that two processes map.

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, OwnedHandle};
use std::ptr::{NonNull, null};

use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile,
    PAGE_READWRITE, UnmapViewOfFile,
};

use super::HandleRef;
use super::pipe::owned;
use super::security::private;

/// A mapping of a section without a name, backed by the paging file.
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
    /// A new zeroed block and the handle by which another process maps it. A section
    /// never changes its size; the name is for systems that show one.
    pub(in crate::sys) fn create(_name: &str, len: usize) -> io::Result<(Self, OwnedHandle)> {
        // SAFETY: no pointers are given.
        let section = owned(unsafe {
            CreateFileMappingW(
                INVALID_HANDLE_VALUE,
                private(),
                PAGE_READWRITE,
                (len as u64 >> 32) as u32,
                len as u32,
                null(),
            )
        })?;
        Ok((Self::open(section.as_handle(), len)?, section))
    }

    /// Maps a block that the other process made. One that is shorter is refused.
    pub(in crate::sys) fn open(section: HandleRef<'_>, len: usize) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the system's choice.
        let view = unsafe {
            MapViewOfFile(section.as_raw_handle(), FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, len)
        };
        let start = NonNull::new(view.Value.cast::<u8>()).ok_or_else(io::Error::last_os_error)?;
        Ok(Mapping { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `open` and nothing borrows it now.
        unsafe {
            UnmapViewOfFile(MEMORY_MAPPED_VIEW_ADDRESS { Value: self.start.as_ptr().cast() })
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_is_shorter_is_refused() {
        let (_mapping, section) = Mapping::create("test", 4096).unwrap();
        assert!(Mapping::open(section.as_handle(), 8 * 4096).is_err());
    }
}
