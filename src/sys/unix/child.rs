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

/// Has the kernel kill this process when the thread that started it ends.
/// Works even while this process is stopped, where a watchdog cannot run.
pub(crate) fn arm_parent_death() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Has the end of the parent take this process's whole group along, and not, as
/// the plain signal does, this process alone before it can see to the rest.
///
/// Call on the main thread and, with `false`, on one that lives as long as the
/// process: the kernel keeps one signal a thread and sends them all. One is
/// handled by killing the group; the other wakes a stopped process so that it
/// can handle the first.
pub(crate) fn arm_group_death(main: bool) -> io::Result<()> {
    if main {
        return Ok(rustix::process::set_parent_process_death_signal(Some(Signal::CONT))?);
    }
    extern "C" fn kill_group(_: libc::c_int) {
        kill_own_group()
    }
    let signal = libc::SIGRTMAX();
    // SAFETY: a zeroed `sigaction` is a valid one, the pointers are to locals, and
    // the handler makes only system calls, which are safe in a handler.
    let armed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = kill_group as *const () as usize;
        action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
        libc::sigaction(signal, &action, std::ptr::null_mut()) == 0
            && libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong) == 0
    };
    if armed { Ok(()) } else { Err(io::Error::last_os_error()) }
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
