//! Names of memory that any process of this user can open: those of sections, in the session's namespace. The
//! system keeps one as long as somebody has the section open.

use std::io;
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::sync::Arc;

use windows_sys::Win32::Foundation::{
    ERROR_ALREADY_EXISTS, ERROR_FILE_NOT_FOUND, ERROR_INVALID_HANDLE, GetLastError,
    INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, OpenFileMappingW, PAGE_READWRITE,
};

use super::error::wide;
use super::pipe::owned;
use super::security::owner_only;
use super::shm::Mapping;
use crate::sys::tail::Tail;

const PAGE: usize = 4096;

/// A name, as one holder of its block has it.
#[derive(Debug)]
pub(crate) struct Name {
    text: String,
    whole: Option<Tail>,
}

/// A new zeroed block of `len` bytes, mapped as `mapped` of them.
pub(in crate::sys) fn create_named(
    name: &str,
    len: usize,
    mapped: usize,
) -> io::Result<(Mapping, OwnedHandle, Name)> {
    let whole = Tail::whole(len, PAGE)?;
    let attributes = owner_only()?;
    // SAFETY: the name ends with a zero, the attributes are valid during the call.
    let (section, error) = unsafe {
        let section = CreateFileMappingW(
            INVALID_HANDLE_VALUE,
            &attributes,
            PAGE_READWRITE,
            (whole as u64 >> 32) as u32,
            whole as u32,
            wide(object(name)).as_ptr(),
        );
        (section, GetLastError())
    };
    // Of another kind is what has the name in the last case.
    if error == ERROR_ALREADY_EXISTS || (section.is_null() && error == ERROR_INVALID_HANDLE) {
        drop(owned(section));
        let words = format!("there is shared memory named {name:?} already");
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, words));
    }
    let section = owned(section)?;
    let tail = Tail::write(Mapping::of_own(section.as_handle(), whole)?, len);
    let mapping = Mapping::of_own(section.as_handle(), mapped)?;
    Ok((mapping, section, Name { text: name.to_owned(), whole: Some(tail) }))
}

/// The block of that name, and its length.
pub(in crate::sys) fn open_named(name: &str) -> io::Result<(Mapping, OwnedHandle, Name, usize)> {
    let access = FILE_MAP_READ | FILE_MAP_WRITE;
    // SAFETY: the name ends with a zero.
    let section = owned(unsafe { OpenFileMappingW(access, 0, wide(object(name)).as_ptr()) });
    let section = section.map_err(|e| match e.raw_os_error() {
        Some(code) if code == ERROR_FILE_NOT_FOUND as i32 => missing(name),
        _ => e,
    })?;
    // One that is just being made says nothing of itself yet.
    let (tail, len) = whole(&section).ok_or_else(|| missing(name))?;
    let mapping = Mapping::open(section.as_handle(), len.next_multiple_of(8))?;
    Ok((mapping, section, Name { text: name.to_owned(), whole: Some(tail) }, len))
}

/// Takes a name away from its block, whoever has that.
pub(crate) fn remove_name(name: &str) -> io::Result<()> {
    let (.., name, _) = open_named(name)?;
    name.unlink()
}

/// The system does that.
pub(crate) fn sweep_names(_: usize) -> bool {
    true
}

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// What is sent along with the block's own handle.
    #[allow(clippy::unused_self, reason = "elsewhere there is something")]
    pub(crate) fn token(&self) -> Option<&Arc<OwnedHandle>> {
        None
    }

    /// The name of a block that came from another process.
    pub(crate) fn arrived(name: &str, _: &mut Option<OwnedHandle>, memory: &OwnedHandle) -> Self {
        Name { text: name.to_owned(), whole: whole(memory).map(|(tail, _)| tail) }
    }

    /// Takes it away from its block. (The section has it until nobody has that.)
    pub(crate) fn unlink(&self) -> io::Result<()> {
        match &self.whole {
            Some(whole) if whole.unlink() => Ok(()),
            _ => Err(missing(&self.text)),
        }
    }
}

fn object(name: &str) -> String {
    format!(r"Local\procpool-{name}")
}

fn whole(section: &OwnedHandle) -> Option<(Tail, usize)> {
    let mapping = Mapping::whole(section.as_handle()).ok()?;
    Tail::read(mapping).filter(|(tail, _)| !tail.is_unlinked())
}

fn missing(name: &str) -> io::Error {
    let words = format!("there is no shared memory named {name:?}");
    io::Error::new(io::ErrorKind::NotFound, words)
}
