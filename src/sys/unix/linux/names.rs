//! Names of memory that any process of this user can open.
//!
//! A block is the same sealed file in memory that blocks without a name are: nobody can cut it, the
//! kernel frees it with its last holder, and no limit of a file system applies to it. Such a file cannot be
//! linked to a name, so the name is an *entry*: a small file in `/dev/shm` that says who has the block, as
//! `/proc/<pid>/fd/<n>`, by which others get at it.
//!
//! ```text
//! head: MAGIC | inode of the memory | length of the block
//! then a slot for each time it is held: pid | descriptor     (zeroes: free)
//! ```
//!
//! Whoever holds the block, or sends it, has a shared `flock` on the entry, from before it gets its name on. So an
//! entry that nobody has locked is a dead one's, and whoever finds it removes it ([`sweep_names`]). Nobody takes
//! the exclusive lock but to remove. Slots are changed under a lock of another kind (`F_OFD_SETLK`).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, StatxFlags, flock};
use rustix::io::Errno;

use super::memory::{check_file_limit, memory_file};
use crate::sys::lock;
use crate::sys::unix::shm::Mapping;

const DIRECTORY: &str = "/dev/shm";
const MAGIC: u64 = u64::from_le_bytes(*b"procpool");
const HEAD: u64 = 24;
const SLOT: u64 = 16;
/// More than this is read of no entry.
const LONGEST: u64 = 1 << 20;
/// What memory files of ours are called where `/proc` shows them.
const SHOWN: &str = "/memfd:procpool-";
/// A slot is changed in microseconds, unless whoever does it was stopped.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same where something arrives, from a process that may do it on purpose.
const SHORT_PATIENCE: Duration = Duration::from_millis(50);
/// For how long after it was all in vain nobody has any where something arrives: many things may.
const GRUDGE: Duration = Duration::from_secs(1);
/// Files that are looked at when a name is made.
const SWEPT: usize = 1024;

/// A name, as one holder of its block has it.
#[derive(Debug)]
pub(crate) struct Name {
    text: String,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    /// With its lock; whoever the block is being sent to has it, too.
    entry: Arc<OwnedFd>,
    /// The device and the inode of the entry.
    identity: (u64, u64),
    slot: u64,
}

/// A new zeroed block of `len` bytes, mapped as `mapped` of them.
pub(in crate::sys) fn create_named(
    name: &str,
    len: usize,
    mapped: usize,
) -> io::Result<(Mapping, OwnedFd, Name)> {
    sweep_names(SWEPT);
    let memory = memory_file("procpool-named", mapped)?;
    let mapping = Mapping::of_own(memory.as_fd(), mapped)?;
    let inode = rustix::fs::fstat(&memory)?.st_ino;
    let entry = rustix::fs::open(
        DIRECTORY,
        OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    );
    let entry = File::from(entry.map_err(|e| about("cannot be made in", DIRECTORY, e.into()))?);
    flock(&entry, FlockOperation::LockShared)?;
    let slot = [u64::from(std::process::id()), memory.as_raw_fd() as u64];
    let words = [MAGIC, inode, len as u64, slot[0], slot[1]];
    write(&entry, 0, &words).map_err(|e| match e.kind() {
        io::ErrorKind::FileTooLarge => e,
        _ => about("cannot be made in", DIRECTORY, e),
    })?;
    let path = path(name);
    let unnamed = format!("/proc/self/fd/{}", entry.as_raw_fd());
    let deadline = Instant::now() + PATIENCE;
    let short_deadline = Instant::now() + SHORT_PATIENCE;
    loop {
        match rustix::fs::linkat(CWD, &unnamed, CWD, &path, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => break,
            // A dead one's is removed, by us or by whoever is at it.
            Err(Errno::EXIST) if !is_live(&path) && Instant::now() < deadline => {
                std::thread::yield_now();
            }
            // Its last holder has let go, and somebody who is just starting a process has all descriptors
            // twice for a moment.
            Err(Errno::EXIST) if !is_held(&path) && Instant::now() < short_deadline => {
                std::thread::sleep(Duration::from_micros(200));
            }
            Err(Errno::EXIST) => {
                let words = format!("there is shared memory named {name:?} already");
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, words));
            }
            Err(e) => return Err(about("cannot be made in", DIRECTORY, e.into())),
        }
    }
    let metadata = entry.metadata()?;
    let held = Held {
        identity: (metadata.dev(), metadata.ino()),
        entry: Arc::new(entry.into()),
        slot: HEAD,
    };
    Ok((mapping, memory, Name { text: name.to_owned(), held: Some(held) }))
}

/// The block of that name, and its length.
pub(in crate::sys) fn open_named(name: &str) -> io::Result<(Mapping, OwnedFd, Name, usize)> {
    let deadline = Instant::now() + SHORT_PATIENCE;
    let (entry, (mapping, memory, slot, len)) = loop {
        let entry = open_entry(name)?;
        let error = match join(&entry, name) {
            Ok(joined) => break (entry, joined),
            Err(e) => e,
        };
        drop(entry);
        // The last holder may have let go just now, and left the rest to us; or the block is about
        // to arrive somewhere.
        if remove_if_dead(&path(name)) {
            return Err(missing(name, io::ErrorKind::NotFound.into()));
        }
        if error.kind() != io::ErrorKind::WouldBlock || Instant::now() > deadline {
            return Err(error);
        }
        std::thread::sleep(Duration::from_micros(200));
    };
    let metadata = entry.metadata()?;
    let identity = (metadata.dev(), metadata.ino());
    let held = Held { entry: Arc::new(entry.into()), identity, slot };
    Ok((mapping, memory, Name { text: name.to_owned(), held: Some(held) }, len))
}

/// Gets at the block, and is one of its holders from now on.
fn join(entry: &File, name: &str) -> io::Result<(Mapping, OwnedFd, u64, usize)> {
    let ledger = Ledger::lock(entry, name, PATIENCE)?;
    let (memory, len) = ledger.memory(name)?;
    let mapped = len.checked_next_multiple_of(8).ok_or(io::ErrorKind::InvalidData)?;
    let mapping = Mapping::open(memory.as_fd(), mapped)?;
    let slot = ledger.enter(&memory)?;
    Ok((mapping, memory, slot, len))
}

/// Takes a name away from its block, whoever has that.
pub(crate) fn remove_name(name: &str) -> io::Result<()> {
    let entry = open_entry(name)?;
    let metadata = entry.metadata()?;
    let identity = (metadata.dev(), metadata.ino());
    remove(&path(name), &entry, identity, SHORT_PATIENCE).map_err(|e| missing(name, e))
}

/// Removes the names of this user's whose blocks nobody has; false if there are more files than so many, which
/// are all that it looks at.
pub(crate) fn sweep_names(most: usize) -> bool {
    let prefix = prefix();
    let mut files = std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    for file in files.by_ref().take(most) {
        if file.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
            remove_if_dead(&file.path());
        }
    }
    files.next().is_none()
}

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// What is sent along with the block's own handle.
    pub(crate) fn token(&self) -> Option<&Arc<OwnedFd>> {
        self.held.as_ref().map(|held| &held.entry)
    }

    /// The name of a block that came from another process. Should it not lead there any more, it is
    /// only a word, and the token stays with the caller.
    pub(crate) fn arrived(name: &str, token: &mut Option<OwnedFd>, memory: &OwnedFd) -> Self {
        let join = |entry: &OwnedFd| {
            let named = std::fs::symlink_metadata(path(name)).ok()?;
            let identity = (named.dev(), named.ino());
            // Whatever file it is that came, only an entry of ours is written to, or asked for more than
            // the kernel knows of it.
            if !is_ours(&named) || known_identity(entry).ok()? != identity {
                return None;
            }
            let ledger = Ledger::lock_soon(entry, name).ok()?;
            let inode = rustix::fs::fstat(memory).ok()?.st_ino;
            let [magic, of, _] = ledger.head().ok()?;
            if (magic, of) != (MAGIC, inode) {
                return None;
            }
            Some((identity, ledger.enter(memory).ok()?))
        };
        let joined = token.as_ref().and_then(join);
        let held = joined.and_then(|(identity, slot)| {
            Some(Held { entry: Arc::new(token.take()?), identity, slot })
        });
        Name { text: name.to_owned(), held }
    }

    /// Takes it away from its block.
    pub(crate) fn unlink(&self) -> io::Result<()> {
        let Some(held) = &self.held else {
            return Err(missing(&self.text, io::ErrorKind::NotFound.into()));
        };
        remove(&path(&self.text), &*held.entry, held.identity, SHORT_PATIENCE)
            .map_err(|e| missing(&self.text, e))
    }
}

/// The last holder's name goes with it.
impl Drop for Name {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        if let Ok(entry) = held.entry.try_clone() {
            let _ = write(&File::from(entry), held.slot, &[0; 2]);
        }
        drop(held);
        remove_if_dead(&path(&self.text));
    }
}

fn prefix() -> String {
    format!("procpool-{}-", rustix::process::geteuid().as_raw())
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(prefix() + name)
}

/// The device and the inode of a file, without asking whoever serves its file system.
fn known_identity(file: &OwnedFd) -> io::Result<(u64, u64)> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let known = rustix::fs::statx(file, c"", flags, StatxFlags::INO)?;
    let device = rustix::fs::makedev(known.stx_dev_major, known.stx_dev_minor);
    Ok((device, known.stx_ino))
}

fn is_ours(metadata: &std::fs::Metadata) -> bool {
    metadata.is_file() && metadata.uid() == rustix::process::geteuid().as_raw()
}

/// The entry at a path, if there is one of this user's.
fn open_own(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let entry = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !is_ours(&entry.metadata()?) {
        let words = format!("{} is no file of this user's", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, words));
    }
    Ok(entry)
}

/// Removes an entry if nobody has its block; whether it did.
fn remove_if_dead(path: &Path) -> bool {
    let removed = open_own(path).and_then(|entry| {
        flock(&entry, FlockOperation::NonBlockingLockExclusive)?;
        let metadata = entry.metadata()?;
        // Honest processes change no slot of it now.
        remove(path, &entry, (metadata.dev(), metadata.ino()), Duration::ZERO)
    });
    removed.is_ok()
}

/// Whether somebody has the block of the entry in the way. A dead one's is removed.
fn is_live(path: &Path) -> bool {
    if remove_if_dead(path) {
        return false;
    }
    match open_own(path) {
        // Who can lock it, too, shares it with its holders; who cannot, with one who removes it.
        Ok(entry) => flock(&entry, FlockOperation::NonBlockingLockShared).is_ok(),
        Err(e) => e.kind() != io::ErrorKind::NotFound,
    }
}

/// Whether the entry in the way says that some process has its block, and not only that it is locked.
fn is_held(path: &Path) -> bool {
    let slots = open_own(path).and_then(|entry| Ledger::slots(&entry));
    slots.map_or(true, |slots| slots.iter().any(|slot| *slot != [0, 0]))
}

/// Removes the entry if the path still leads to it. Two that do so at once would remove what has come in its
/// place after the first, so it is done under the entry's lock.
fn remove(
    path: &Path,
    entry: &impl AsRawFd,
    identity: (u64, u64),
    patience: Duration,
) -> io::Result<()> {
    let _alone = Ledger::lock(entry, &path.to_string_lossy(), patience)?;
    let named = std::fs::symlink_metadata(path)?;
    if (named.dev(), named.ino()) != identity {
        return Err(io::ErrorKind::NotFound.into());
    }
    std::fs::remove_file(path)
}

/// The entry of a live name, with its lock.
fn open_entry(name: &str) -> io::Result<File> {
    let path = path(name);
    let entry = open_own(&path).map_err(|e| missing(name, e))?;
    // It could be a dead one's.
    if remove_if_dead(&path)
        || flock(&entry, FlockOperation::NonBlockingLockShared).is_err()
        || entry.metadata()?.nlink() == 0
    {
        return Err(missing(name, io::ErrorKind::NotFound.into()));
    }
    Ok(entry)
}

fn missing(name: &str, error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            let words = format!("there is no shared memory named {name:?}");
            io::Error::new(io::ErrorKind::NotFound, words)
        }
        _ => about("cannot be had from", DIRECTORY, error),
    }
}

fn about(what: &str, place: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("a name of shared memory {what} {place}: {error}"))
}

/// Writes words into an entry. Beyond the limit of file sizes the system would end this process for it, also where
/// the file is that long already.
fn write(entry: &File, at: u64, words: &[u64]) -> io::Result<()> {
    let end = at.saturating_add(size_of_val(words) as u64);
    check_file_limit(usize::try_from(end).unwrap_or(usize::MAX))?;
    entry.write_all_at(bytemuck::cast_slice(words), at)
}

/// An entry whose slots nobody else changes now.
struct Ledger(File);

impl Ledger {
    /// The lock is that of an open file, and processes that were sent an entry share theirs: so it is opened anew.
    fn lock(entry: &impl AsRawFd, name: &str, patience: Duration) -> io::Result<Self> {
        let again = format!("/proc/self/fd/{}", entry.as_raw_fd());
        let entry = File::options().read(true).write(true).open(again)?;
        let deadline = Instant::now() + patience;
        while !ofd_lock(&entry)? {
            if Instant::now() >= deadline {
                let words = format!("a process that has the name {name:?} locked has stopped");
                return Err(io::Error::new(io::ErrorKind::TimedOut, words));
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(Ledger(entry))
    }

    /// The same where an entry arrives: whoever sends many that are locked holds up their reader once a second.
    fn lock_soon(entry: &impl AsRawFd, name: &str) -> io::Result<Self> {
        static IN_VAIN: Mutex<Option<Instant>> = Mutex::new(None);
        let recently = lock(&IN_VAIN).is_some_and(|at| at.elapsed() < GRUDGE);
        let patience = if recently { Duration::ZERO } else { SHORT_PATIENCE };
        let ledger = Self::lock(entry, name, patience);
        let gave_up = ledger.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::TimedOut);
        if gave_up && !recently {
            *lock(&IN_VAIN) = Some(Instant::now());
        }
        ledger
    }

    fn head(&self) -> io::Result<[u64; 3]> {
        let mut head = [0; 3];
        self.0.read_exact_at(bytemuck::cast_slice_mut(&mut head), 0)?;
        Ok(head)
    }

    fn slots(entry: &File) -> io::Result<Vec<[u64; 2]>> {
        let len = entry.metadata()?.len().min(LONGEST).saturating_sub(HEAD) / SLOT;
        let mut slots = vec![[0; 2]; len as usize];
        entry.read_exact_at(bytemuck::cast_slice_mut(&mut slots), HEAD)?;
        Ok(slots)
    }

    /// The block, from one of those who have it, and its length.
    fn memory(&self, name: &str) -> io::Result<(OwnedFd, usize)> {
        let [magic, inode, len] = self.head()?;
        let len = usize::try_from(len).ok().filter(|len| *len > 0);
        let (MAGIC, Some(len)) = (magic, len) else {
            let words = format!("what is named {name:?} is no shared memory");
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        };
        let mut refused = None;
        for (i, [pid, fd]) in Self::slots(&self.0)?.into_iter().enumerate() {
            if [pid, fd] == [0, 0] {
                continue;
            }
            match borrow(pid, fd, inode) {
                Ok(Some(memory)) => return Ok((memory, len)),
                // It has ended, by whatever.
                Ok(None) => write(&self.0, HEAD + SLOT * i as u64, &[0; 2])?,
                Err(e) => refused = Some((pid, e)),
            }
        }
        Err(match refused {
            Some((pid, e)) => io::Error::new(
                e.kind(),
                format!(
                    "process {pid} has the shared memory {name:?}, and does not let this process get at it: {e}"
                ),
            ),
            None => {
                let words = format!("the shared memory {name:?} is on its way between processes");
                io::Error::new(io::ErrorKind::WouldBlock, words)
            }
        })
    }

    /// Notes that this process has the block, too.
    fn enter(&self, memory: &OwnedFd) -> io::Result<u64> {
        let slots = Self::slots(&self.0)?;
        let free = slots.iter().position(|slot| *slot == [0, 0]).unwrap_or(slots.len());
        let slot = HEAD + SLOT * free as u64;
        let own = [u64::from(std::process::id()), memory.as_raw_fd() as u64];
        write(&self.0, slot, &own)?;
        Ok(slot)
    }
}

/// A descriptor of another process as one of this, if it is still that memory.
fn borrow(pid: u64, fd: u64, inode: u64) -> io::Result<Option<OwnedFd>> {
    let link = format!("/proc/{pid}/fd/{fd}");
    let gone = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => Ok(None),
        _ if e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        _ => Err(e),
    };
    // Before it is opened: that of something else could have effects.
    match std::fs::read_link(&link) {
        Ok(to) if to.as_os_str().as_encoded_bytes().starts_with(SHOWN.as_bytes()) => {}
        Ok(_) => return Ok(None),
        Err(e) => return gone(e),
    }
    match rustix::fs::open(&link, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(memory) if rustix::fs::fstat(&memory)?.st_ino == inode => Ok(Some(memory)),
        Ok(_) => Ok(None),
        Err(e) => gone(e.into()),
    }
}

/// Whether the lock could be had. It goes with the open file, not with the process.
fn ofd_lock(entry: &File) -> io::Result<bool> {
    // SAFETY: a structure of numbers, for which zeroes are a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open, the structure is a local that is only read.
    let got = unsafe { libc::fcntl(entry.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if got == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes that a block was sent to have the entry of whoever sent it, as it was opened there.
    #[test]
    fn those_who_share_an_open_entry_change_it_one_at_a_time() {
        let text = format!("one at a time in {}", std::process::id());
        let (_, memory, name) = create_named(&text, 8, 8).unwrap();
        let entry = name.token().unwrap();
        let first = Ledger::lock(&**entry, &text, PATIENCE).unwrap();
        let error = Ledger::lock(&**entry, &text, Duration::ZERO).map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // Whoever receives it meanwhile has no name for it, and keeps what it was sent.
        let mut token = Some(entry.try_clone().unwrap());
        // So often that it would take a minute to wait for it each time.
        let started = Instant::now();
        for _ in 0..1200 {
            assert!(Name::arrived(&text, &mut token, &memory).held.is_none());
            assert!(token.is_some());
        }
        assert!(started.elapsed() < Duration::from_secs(30));
        drop(first);
        let again = Name::arrived(&text, &mut token, &memory);
        assert!(again.held.is_some() && token.is_none());
        again.unlink().unwrap();
        assert_eq!(name.unlink().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
