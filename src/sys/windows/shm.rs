//! Memory that two processes map.

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, OwnedHandle};
use std::ptr::{NonNull, null, null_mut};

use windows_sys::Win32::Foundation::{DuplicateHandle, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP, FILE_MAP_READ, FILE_MAP_WRITE, MEMORY_BASIC_INFORMATION,
    MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile, PAGE_READWRITE, UnmapViewOfFile, VirtualQuery,
};

use windows_sys::Win32::System::Threading::GetCurrentProcess;

use super::HandleRef;
use super::error::check;
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
        let section = section(len)?;
        Ok((Self::open(section.as_handle(), len)?, section))
    }

    /// Maps a block that the other process made. One that is shorter is refused.
    pub(in crate::sys) fn open(section: HandleRef<'_>, len: usize) -> io::Result<Self> {
        Self::map(section, len, FILE_MAP_READ | FILE_MAP_WRITE)
    }

    /// Maps what this process has made.
    pub(in crate::sys) fn of_own(section: HandleRef<'_>, len: usize) -> io::Result<Self> {
        Self::open(section, len)
    }

    /// Maps it only to be read.
    pub(in crate::sys) fn read_only(section: HandleRef<'_>, len: usize) -> io::Result<Self> {
        Self::map(section, len, FILE_MAP_READ)
    }

    /// The same while others write it.
    pub(in crate::sys) fn read_changing(section: HandleRef<'_>, len: usize) -> io::Result<Self> {
        Self::read_only(section, len)
    }

    /// Maps all there is, in whole pages.
    pub(in crate::sys) fn whole(section: HandleRef<'_>) -> io::Result<Self> {
        // Of length zero is what is all of it.
        let mut mapping = Self::map(section, 0, FILE_MAP_READ | FILE_MAP_WRITE)?;
        // SAFETY: a structure of numbers and pointers, for which zeroes are a value.
        let mut region: MEMORY_BASIC_INFORMATION = unsafe { std::mem::zeroed() };
        let size = size_of_val(&region);
        // SAFETY: the address is mapped, the structure as long as is said.
        let got = unsafe { VirtualQuery(mapping.start.as_ptr().cast(), &mut region, size) };
        if got == 0 {
            return Err(io::Error::last_os_error());
        }
        mapping.len = region.RegionSize;
        Ok(mapping)
    }

    /// There are no forks.
    #[allow(clippy::unused_self, reason = "elsewhere it does something")]
    pub(in crate::sys) fn keep_from_forks(&self) {}

    fn map(section: HandleRef<'_>, len: usize, access: FILE_MAP) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the system's choice.
        let view = unsafe { MapViewOfFile(section.as_raw_handle(), access, 0, 0, len) };
        let start = NonNull::new(view.Value.cast::<u8>()).ok_or_else(io::Error::last_os_error)?;
        Ok(Mapping { start, len })
    }
}

/// A zeroed section of the paging file, all of it committed.
fn section(len: usize) -> io::Result<OwnedHandle> {
    // SAFETY: no pointers are given.
    owned(unsafe {
        CreateFileMappingW(
            INVALID_HANDLE_VALUE,
            private(),
            PAGE_READWRITE,
            (len as u64 >> 32) as u32,
            len as u32,
            null(),
        )
    })
}

/// Memory to be filled, and later given to others.
pub(in crate::sys) fn unsealed(
    _name: &str,
    len: usize,
) -> io::Result<(OwnedHandle, Option<OwnedHandle>)> {
    Ok((section(len)?, None))
}

/// Here a copy is made by filling.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(in crate::sys) fn unsealed_copy(_: &str, _: &[u8]) -> io::Result<Option<OwnedHandle>> {
    Ok(None)
}

/// Others get it only to read.
pub(in crate::sys) fn seal(
    section: OwnedHandle,
    _: Option<OwnedHandle>,
) -> io::Result<OwnedHandle> {
    let mut read_only = null_mut();
    // SAFETY: the handle is open, the pointer is to a local.
    check(unsafe {
        let here = GetCurrentProcess();
        DuplicateHandle(here, section.as_raw_handle(), here, &mut read_only, FILE_MAP_READ, 0, 0)
    })?;
    owned(read_only)
}

/// Whoever gave it may still write it; what is shorter is refused when it is mapped.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(in crate::sys) fn opens_as_is(_: HandleRef<'_>, _: usize) -> io::Result<bool> {
    Ok(false)
}

/// The same for memory that this process goes on writing.
pub(in crate::sys) fn keep_to_write(
    section: OwnedHandle,
    read_only: Option<OwnedHandle>,
) -> io::Result<OwnedHandle> {
    seal(section, read_only)
}

/// What is shorter is refused when it is mapped; all of it is always there.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(in crate::sys) fn check_lent(_: HandleRef<'_>, _: usize) -> io::Result<()> {
    Ok(())
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
