//! What a freshly exec'd child does to itself before any user code runs.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::process::Signal;

use super::Socket;

/// The connection to the parent, which placed it on standard input; the null
/// device takes its place.
///
/// An error means that there is none: this process was not started as a worker.
pub(crate) fn parent_socket() -> io::Result<Socket> {
    // SAFETY: descriptor 0 is open or the calls on it fail with EBADF.
    let stdin = unsafe { BorrowedFd::borrow_raw(0) };
    rustix::net::sockopt::socket_type(stdin)
        .map_err(|e| io::Error::other(format!("standard input is not the pool's socket ({e})")))?;
    close_inherited();
    let socket = rustix::io::fcntl_dupfd_cloexec(stdin, 3)?;
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())
        .or_else(|_| {
            // No /dev here: an empty pipe reads as end of file just as well.
            let (reader, _writer) = rustix::pipe::pipe()?;
            Ok::<OwnedFd, rustix::io::Errno>(reader)
        })?;
    rustix::stdio::dup2_stdin(&null)?;
    if null.as_raw_fd() == 0 {
        std::mem::forget(null);
    }
    Ok(socket)
}

/// Closes what the parent has left open over exec, by oversight most likely: nothing
/// that was opened here is without the flag, save by code before `main` that is
/// careless in the same way.
fn close_inherited() {
    let Ok(open) = std::fs::read_dir("/dev/fd") else { return };
    let numbers: Vec<i32> =
        open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in numbers.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: plain calls; nobody here owns a descriptor that survived exec.
        unsafe {
            let flags = libc::fcntl(fd, libc::F_GETFD);
            if flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
                libc::close(fd);
            }
        }
    }
}

/// Default dispositions and an empty mask: both are inherited across exec,
/// and the parent's choices are not ours. Ctrl-C is left to the parent.
pub(crate) fn reset_signals() {
    // SAFETY: plain calls on local structs; numbers that cannot be changed
    // (SIGKILL, SIGSTOP, those of the C library) just fail.
    unsafe {
        for signal in 1..=64 {
            let handler = match signal {
                libc::SIGINT | libc::SIGQUIT | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => {
                    libc::SIG_IGN
                }
                // Rust programs expect a broken pipe as an error.
                libc::SIGPIPE => libc::SIG_IGN,
                // The runtime's guard-page handler reports stack overflows.
                libc::SIGSEGV | libc::SIGBUS => continue,
                _ => libc::SIG_DFL,
            };
            libc::signal(signal, handler);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Has SIGINT end this process again, as by default.
pub(crate) fn accept_interrupts() {
    // SAFETY: a plain call.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
}

/// Has SIGINT not end this process.
pub(crate) fn refuse_interrupts() {
    // SAFETY: a plain call.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
}

/// Has `f` called when this process ends in order: when `main` returns or
/// `std::process::exit` is called.
pub(crate) fn at_exit(f: extern "C" fn()) {
    // SAFETY: a plain call; the function lives as long as the program.
    unsafe { libc::atexit(f) };
}

/// Kills this process and everything it started that stayed in its group.
pub(crate) fn kill_own_group() -> ! {
    // Only a group we lead is ours to kill.
    if rustix::process::getpgrp() == rustix::process::getpid() {
        let _ = rustix::process::kill_current_process_group(Signal::KILL);
    }
    exit_now(1)
}

/// Ends this process without running exit handlers or destructors, which
/// could hang and hold nothing that outlives the process.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: always sound; nothing runs afterwards.
    unsafe { libc::_exit(code) }
}
