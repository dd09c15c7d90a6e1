//! Holding on to a process: pidfds, which name it and nobody else.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};

use crate::sys::unix::wait::{Wait, usage as usage_of};
use crate::sys::unix::{Handle, wait_for};
use crate::sys::{READ, RawExit};

/// What this process runs, even when its file has been replaced or deleted.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(in crate::sys::unix) fn own_image() -> io::Result<PathBuf> {
    Ok("/proc/self/exe".into())
}

/// A descriptor that becomes readable when a child of ours ends.
pub(in crate::sys::unix) fn process_handle(pid: Pid) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Sends a signal to the process of a handle: to that and nobody else, even when its
/// number is another's by now.
pub(in crate::sys::unix) fn send_signal(_pid: Pid, handle: &OwnedFd, signal: Signal) {
    let _ = rustix::process::pidfd_send_signal(handle, signal);
}

/// A descriptor that becomes readable when this process ends, for a child to
/// hold: it works across pid namespaces, where the pid itself would not.
pub(crate) fn own_process_handle() -> io::Result<Handle> {
    process_handle(rustix::process::getpid())
}

/// Whether the process has ended of whose end a handle tells, or it is no such handle: nothing else is asked, since whoever
/// serves it could take his time.
pub(crate) fn has_ended(life: BorrowedFd<'_>) -> bool {
    // SAFETY: a plain call; no signal is sent, and there is nothing to be said about it.
    let known = unsafe {
        let nothing = std::ptr::null::<libc::siginfo_t>();
        libc::syscall(libc::SYS_pidfd_send_signal, life.as_raw_fd(), 0, nothing, 0)
    };
    let exists = known == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM);
    // It does until it is collected.
    !exists || wait_for(life, READ, Some(Instant::now())).unwrap_or(true)
}

/// CPU time of a child that is not reaped.
pub(in crate::sys::unix) fn cpu_time(pid: Pid) -> Option<Duration> {
    let mut clock = 0;
    // SAFETY: plain out-parameter.
    if unsafe { libc::clock_getcpuclockid(pid.as_raw_nonzero().get(), &mut clock) } != 0 {
        return None;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: plain out-parameter.
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return None;
    }
    Some(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Resident bytes of process `pid`, if it can be learnt.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Looks at a child without collecting it and without waiting.
pub(in crate::sys::unix) fn peek(_pid: Pid, handle: &OwnedFd) -> Wait {
    wait(handle, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
}

/// Collects a child that has ended, or waits until it has.
pub(in crate::sys::unix) fn collect(_pid: Pid, handle: &OwnedFd, wait_for_it: bool) -> Wait {
    wait(handle, if wait_for_it { libc::WEXITED } else { libc::WEXITED | libc::WNOHANG })
}

fn wait(handle: &OwnedFd, flags: i32) -> Wait {
    loop {
        // SAFETY: zeroed C structs are valid values of these types.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the raw call has a fifth parameter, the resource usage, that
        // the libc wrapper hides; both pointers are valid for writes.
        let result = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PIDFD,
                handle.as_raw_fd(),
                &raw mut info,
                flags,
                &raw mut usage,
            )
        };
        if result != 0 {
            if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Wait::Gone;
        }
        // SAFETY: filled by waitid (or still zero, which means nobody ended).
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        if pid == 0 {
            return Wait::Running;
        }
        let exit = match info.si_code {
            libc::CLD_EXITED => RawExit::Code(status),
            libc::CLD_KILLED => RawExit::Signal { signal: status, core: false },
            libc::CLD_DUMPED => RawExit::Signal { signal: status, core: true },
            _ => RawExit::Unknown,
        };
        return Wait::Ended(exit, usage_of(&usage, 1024));
    }
}
