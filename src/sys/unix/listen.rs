//! Sockets that others connect to.

use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

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

/// A new directory that only this user can look into.
pub(crate) fn private_directory() -> io::Result<PathBuf> {
    let parent = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let parent = parent.filter(|dir| dir.is_absolute() && dir.is_dir());
    let parent = parent.unwrap_or_else(std::env::temp_dir);
    loop {
        // Only to find a free name soon: making it fails if there is one.
        let number = RandomState::new().build_hasher().finish();
        let path = parent.join(format!("procpool-{number:016x}"));
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
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
