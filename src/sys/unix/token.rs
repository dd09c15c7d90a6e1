//! What tells a process that no other has something any more: a pipe. The writing end goes along with it, and nobody
//! writes; the reading end stays. Of a socket one who has the end could end it for all.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::handles::Handle;

/// The end that stays, and the token.
pub(crate) fn token_pair() -> io::Result<(Handle, Handle)> {
    let (ours, theirs) = std::io::pipe()?;
    Ok((ours.into(), theirs.into()))
}

/// Whether what came can be one. Nobody is asked who could take his time, as whoever serves a file system can.
#[cfg(target_os = "linux")]
pub(crate) fn is_token(handle: BorrowedFd<'_>) -> bool {
    rustix::pipe::fcntl_getpipe_size(handle).is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_token(handle: BorrowedFd<'_>) -> bool {
    let stat = rustix::fs::fstat(handle);
    stat.is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_fifo())
}

/// Waits on this thread until the token is closed everywhere or the time has come; whether it is closed. What was
/// written is not looked at.
pub(crate) fn wait_for_token(end: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(end, PollFlags::HUP)];
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let is_over = left.is_some_and(|left| left.is_zero());
        // A time beyond what the system counts is none.
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) if fds[0].revents().contains(PollFlags::HUP) => return Ok(true),
            Ok(_) if is_over => return Ok(false),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn it_is_over_when_the_last_one_is_closed_whatever_was_written() {
        let (end, token) = token_pair().unwrap();
        let now = || Some(Instant::now());
        assert!(is_token(token.as_fd()));
        let other = token.try_clone().unwrap();
        let mut file = std::fs::File::from(token);
        file.write_all(&[7; 5000]).unwrap();
        assert!(!wait_for_token(end.as_fd(), now()).unwrap());
        drop(file);
        assert!(!wait_for_token(end.as_fd(), now()).unwrap());
        let waits = std::thread::spawn(move || wait_for_token(end.as_fd(), None).unwrap());
        drop(other);
        assert!(waits.join().unwrap());
    }

    #[test]
    fn other_things_are_no_tokens() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(!is_token(file.as_fd()) && !is_token(socket.as_fd()));
    }
}
