//! Names of memory that any process of this user can open: those of shared memory objects.
//!
//! The system takes names of at most 30 bytes, so theirs are the hashes of ours. It knows no way to learn that
//! nobody has an object any more: one whose name was not taken away stays until the machine is started again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::shm::OFlags;

use crate::sys::tail::Tail;
use crate::sys::unix::shm::Mapping;

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
) -> io::Result<(Mapping, OwnedFd, Name)> {
    let whole = Tail::whole(len, rustix::param::page_size())?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
    let fd = match rustix::shm::open(object(name), flags, Mode::RUSR | Mode::WUSR) {
        Err(Errno::EXIST) => {
            let words = format!("there is shared memory named {name:?} already");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, words));
        }
        fd => fd?,
    };
    let map = || {
        rustix::fs::ftruncate(&fd, whole as u64)?;
        let tail = Tail::write(Mapping::of_own(fd.as_fd(), whole)?, len);
        Ok((Mapping::of_own(fd.as_fd(), mapped)?, tail))
    };
    let made: io::Result<_> = map();
    if made.is_err() {
        let _ = rustix::shm::unlink(object(name));
    }
    let (mapping, tail) = made?;
    Ok((mapping, fd, Name { text: name.to_owned(), whole: Some(tail) }))
}

/// The block of that name, and its length.
pub(in crate::sys) fn open_named(name: &str) -> io::Result<(Mapping, OwnedFd, Name, usize)> {
    let fd = match rustix::shm::open(object(name), OFlags::RDWR, Mode::empty()) {
        Err(Errno::NOENT) => return Err(missing(name)),
        fd => fd?,
    };
    // One that is just being made has no length yet.
    let (tail, len) = whole(&fd).ok_or_else(|| missing(name))?;
    let mapping = Mapping::of_own(fd.as_fd(), len.next_multiple_of(8))?;
    Ok((mapping, fd, Name { text: name.to_owned(), whole: Some(tail) }, len))
}

/// Takes a name away from its block, whoever has that.
pub(crate) fn remove_name(name: &str) -> io::Result<()> {
    let (.., name, _) = open_named(name)?;
    name.unlink()
}

/// Nobody can know whose blocks nobody has.
pub(crate) fn sweep_names(_: usize) -> bool {
    true
}

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// What is sent along with the block's own handle.
    pub(crate) fn token(&self) -> Option<&Arc<OwnedFd>> {
        None
    }

    /// The name of a block that came from another process.
    pub(crate) fn arrived(name: &str, _: &mut Option<OwnedFd>, memory: &OwnedFd) -> Self {
        Name { text: name.to_owned(), whole: whole(memory).map(|(tail, _)| tail) }
    }

    /// Takes it away from its block.
    pub(crate) fn unlink(&self) -> io::Result<()> {
        match &self.whole {
            Some(whole) if whole.unlink() => Ok(rustix::shm::unlink(object(&self.text))?),
            _ => Err(missing(&self.text)),
        }
    }
}

fn object(name: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (rustix::process::geteuid().as_raw(), name).hash(&mut hasher);
    format!("/procpool-{:016x}", hasher.finish())
}

fn whole(fd: &OwnedFd) -> Option<(Tail, usize)> {
    let size = usize::try_from(rustix::fs::fstat(fd).ok()?.st_size).ok().filter(|len| *len > 0)?;
    Tail::read(Mapping::of_own(fd.as_fd(), size).ok()?).filter(|(tail, _)| !tail.is_unlinked())
}

fn missing(name: &str) -> io::Error {
    let words = format!("there is no shared memory named {name:?}");
    io::Error::new(io::ErrorKind::NotFound, words)
}
