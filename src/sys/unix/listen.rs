//! Sockets that others connect to.

use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::net::SocketAddrUnix;

use super::handles::Handle;
use super::platform::{abstract_address, no_signal, peer, stream_socket};
use crate::sys::{AddressFamily, Caller};

/// A text without its first byte, which must be an ASCII character.
pub(crate) fn without_first(text: &OsStr) -> &OsStr {
    OsStr::from_bytes(text.as_bytes().get(1..).unwrap_or_default())
}

/// Makes a socket that others can connect to, and that never waits.
pub(crate) fn listen(family: AddressFamily, name: &OsStr) -> io::Result<UnixListener> {
    let address = match family {
        AddressFamily::Abstract => abstract_address(name.as_bytes())?.0,
        _ => SocketAddr::from_pathname(name)?,
    };
    let listener = UnixListener::bind_addr(&address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The next connection; `WouldBlock` if there is none.
pub(crate) fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => return adopt(stream),
            // Interrupted, or somebody who has changed their mind.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                ) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Makes a connection that was accepted like those that are made here.
pub(crate) fn adopt(stream: UnixStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(false)?;
    no_signal(stream.as_fd())?;
    Ok(stream)
}

/// Connects; `WouldBlock` if too many others are waiting to be accepted.
pub(crate) fn connect(family: AddressFamily, name: &OsStr) -> io::Result<Handle> {
    let address = match family {
        AddressFamily::Abstract => abstract_address(name.as_bytes())?.1,
        _ => SocketAddrUnix::new(name)?,
    };
    let socket = stream_socket()?;
    super::set_nonblocking(socket.as_fd(), true)?;
    rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address))?;
    super::set_nonblocking(socket.as_fd(), false)?;
    Ok(socket)
}

/// Who has connected.
pub(crate) fn caller(socket: BorrowedFd<'_>) -> io::Result<Caller> {
    let (pid, user) = peer(socket)?;
    let is_same_user = user == rustix::process::geteuid().as_raw();
    Ok(Caller { pid, user: Some(user), is_same_user })
}

/// A directory that only this user can look into, for one socket. It goes with this; what a program leaves that is killed
/// goes when the next one is made.
#[derive(Debug)]
pub(crate) struct PrivateDirectory {
    path: PathBuf,
    /// Locked as long as somebody has it.
    _lock: OwnedFd,
}

const PREFIX: &str = "procpool-";
/// The socket in it.
const SOCKET: &str = "listener";
/// One that is younger may be just about to be locked.
const YOUNG: Duration = Duration::from_secs(10);

impl PrivateDirectory {
    /// Where the socket is to be.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// The right to remove it, if nobody has it.
fn lock_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
    Ok(fd)
}

/// Removes those that nobody has any more.
fn sweep_directories(parent: &Path) {
    let user = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let is_one = |number: &str| number.len() == 16 && u64::from_str_radix(number, 16).is_ok();
        if !number.is_some_and(is_one) {
            continue;
        }
        let path = entry.path();
        let is_old = path.symlink_metadata().is_ok_and(|file| {
            let age = file.modified().ok().and_then(|at| at.elapsed().ok());
            file.is_dir() && file.uid() == user && age.is_some_and(|age| age >= YOUNG)
        });
        if is_old && let Ok(_lock) = lock_directory(&path) {
            let _ = std::fs::remove_file(path.join(SOCKET));
            let _ = std::fs::remove_dir(path);
        }
    }
}

/// A new one.
pub(crate) fn private_directory() -> io::Result<PrivateDirectory> {
    let parent = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let parent = parent.filter(|dir| dir.is_absolute() && dir.is_dir());
    let parent = parent.unwrap_or_else(std::env::temp_dir);
    sweep_directories(&parent);
    loop {
        // Only to find a free name soon: making it fails if there is one.
        let number = RandomState::new().build_hasher().finish();
        let path = parent.join(format!("{PREFIX}{number:016x}"));
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {
                let lock = lock_directory(&path).inspect_err(|_| {
                    let _ = std::fs::remove_dir(&path);
                })?;
                return Ok(PrivateDirectory { path, _lock: lock });
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => {
                return Err(io::Error::new(e.kind(), format!("{}: {e}", path.display())));
            }
        }
    }
}

/// What tells a file from another one that takes its name later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileIdentity(u64, u64);

pub(crate) fn file_identity(path: &Path) -> io::Result<FileIdentity> {
    let file = path.symlink_metadata()?;
    Ok(FileIdentity(file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn directories_that_nobody_has_are_swept() {
        let parent = private_directory().unwrap();
        let make = |name: &str, age: u64| {
            let path = parent.path.join(name);
            std::fs::create_dir(&path).unwrap();
            File::create(path.join(SOCKET)).unwrap();
            let at = SystemTime::now() - Duration::from_secs(age);
            File::open(&path).unwrap().set_modified(at).unwrap();
            path
        };
        let left = make("procpool-0123456789abcdef", 3600);
        let had = make("procpool-0123456789abcde0", 3600);
        let young = make("procpool-0123456789abcde1", 0);
        let others = make("procpool-of-another-kind", 3600);
        let lock = lock_directory(&had).unwrap();
        sweep_directories(&parent.path);
        assert!(!left.exists() && had.exists() && young.exists() && others.exists());
        drop(lock);
        sweep_directories(&parent.path);
        assert!(!had.exists());
        for path in [young, others] {
            std::fs::remove_dir_all(path).unwrap();
        }
        let path = parent.path.clone();
        drop(parent);
        assert!(!path.exists());
    }
}
