//! Memory that two processes map.

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, OwnedHandle};
use std::ptr::{NonNull, null, null_mut};

use windows_sys::Win32::Foundation::{DuplicateHandle, ERROR_FILE_INVALID, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP, FILE_MAP_READ, FILE_MAP_WRITE, MEM_COMMIT, MEM_MAPPED,
    MEMORY_BASIC_INFORMATION, MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile, PAGE_READONLY,
    PAGE_READWRITE, UnmapViewOfFile, VirtualQuery,
};
use windows_sys::Win32::System::ProcessStatus::K32GetMappedFileNameW;
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
        mapping.len = region(mapping.start.as_ptr())?.RegionSize;
        Ok(mapping)
    }

    /// There are no forks.
    #[allow(clippy::unused_self, reason = "elsewhere it does something")]
    pub(in crate::sys) fn keep_from_forks(&self) {}

    fn map(section: HandleRef<'_>, len: usize, access: FILE_MAP) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the system's choice.
        let view = unsafe { MapViewOfFile(section.as_raw_handle(), access, 0, 0, len) };
        let start = NonNull::new(view.Value.cast::<u8>()).ok_or_else(io::Error::last_os_error)?;
        let mapping = Mapping { start, len };
        mapping.check(access)?;
        Ok(mapping)
    }

    /// Sees to it that no access to it can fail: of a section that another process made, pages may be
    /// there and not be committed, or have to be read from a file.
    fn check(&self, access: FILE_MAP) -> io::Result<()> {
        let refused = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        let mut at = 0;
        loop {
            let region = region(self.start.as_ptr().wrapping_add(at))?;
            let readable = access & FILE_MAP_WRITE == 0 && region.Protect == PAGE_READONLY;
            let usable = readable || region.Protect == PAGE_READWRITE;
            if region.State != MEM_COMMIT || region.Type != MEM_MAPPED || !usable {
                return refused("the memory is not all there");
            }
            // What is committed stays so for as long as it is mapped.
            at += region.RegionSize;
            if at >= self.len {
                break;
            }
        }
        let mut name = [0; 2];
        let start = self.start.as_ptr().cast();
        // SAFETY: the address is mapped, the buffer as long as is said.
        let len = unsafe {
            K32GetMappedFileNameW(GetCurrentProcess(), start, name.as_mut_ptr(), name.len() as u32)
        };
        // Of a file there is a name, or no room for it.
        let error = io::Error::last_os_error().raw_os_error();
        if len > 0 || error != Some(ERROR_FILE_INVALID as i32) {
            return refused("the memory is that of a file");
        }
        Ok(())
    }
}

/// What is known of the pages from an address in a mapping on.
fn region(at: *const u8) -> io::Result<MEMORY_BASIC_INFORMATION> {
    // SAFETY: a structure of numbers and pointers, for which zeroes are a value.
    let mut region: MEMORY_BASIC_INFORMATION = unsafe { std::mem::zeroed() };
    // SAFETY: whatever is at the address, it is only asked about; the structure is as long as is said.
    match unsafe { VirtualQuery(at.cast(), &mut region, size_of_val(&region)) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(region),
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

/// Whoever gave it may still write it; what is shorter, or not all there, is refused when it is mapped.
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

/// What is shorter, or not all there, is refused when it is mapped.
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
    use windows_sys::Win32::Foundation::HANDLE;
    use windows_sys::Win32::System::Memory::SEC_RESERVE;

    use super::*;

    #[test]
    fn a_block_that_is_shorter_is_refused() {
        let (_mapping, section) = Mapping::create("test", 4096).unwrap();
        assert!(Mapping::open(section.as_handle(), 8 * 4096).is_err());
    }

    fn made(file: HANDLE, protect: u32, len: u32) -> OwnedHandle {
        // SAFETY: no pointers are given; the handle is open, or none.
        owned(unsafe { CreateFileMappingW(file, null(), protect, 0, len, null()) }).unwrap()
    }

    #[test]
    fn a_block_that_is_not_all_there_is_refused() {
        let section = made(INVALID_HANDLE_VALUE, PAGE_READWRITE | SEC_RESERVE, 8 * 4096);
        assert!(Mapping::open(section.as_handle(), 8 * 4096).is_err());
        assert!(Mapping::read_only(section.as_handle(), 8 * 4096).is_err());
        assert!(Mapping::whole(section.as_handle()).is_err());
    }

    #[test]
    fn a_block_of_a_file_is_refused() {
        let path = std::env::temp_dir().join(format!("procpool-shm-{}", std::process::id()));
        std::fs::write(&path, [0; 4096]).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let section = made(file.as_raw_handle(), PAGE_READONLY, 4096);
        assert!(Mapping::read_only(section.as_handle(), 4096).is_err());
        drop((section, file));
        std::fs::remove_file(&path).unwrap();
    }
}
