//! Holding on to a process: a kqueue that hears of its end.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::kqueue::{self, Event, EventFilter, EventFlags, ProcessEvents, UserFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::poll::{change, user_event};
use super::socket::keep_to_ourselves;
use crate::sys::RawExit;
use crate::sys::unix::wait::{Wait, usage};

/// The file this program came from, as it was called when the first pool was built.
/// One that was replaced meanwhile is another build, which the handshake refuses.
pub(in crate::sys::unix) fn own_image() -> io::Result<PathBuf> {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = IMAGE.get() {
        return Ok(path.clone());
    }
    let path = std::env::current_exe()?;
    Ok(IMAGE.get_or_init(|| path).clone())
}

/// A descriptor that becomes readable when a child of ours ends.
pub(in crate::sys::unix) fn process_handle(pid: Pid) -> io::Result<OwnedFd> {
    let queue = kqueue::kqueue()?;
    keep_to_ourselves(&queue)?;
    let exit = EventFilter::Proc { pid, flags: ProcessEvents::EXIT };
    let watched = change(&queue, Event::new(exit, EventFlags::ADD, std::ptr::null_mut()));
    match watched {
        Ok(()) => {}
        // It has ended already, and waits to be collected.
        Err(e) if e == Errno::SRCH => {
            change(&queue, user_event(EventFlags::ADD, UserFlags::empty()))?;
            change(&queue, user_event(EventFlags::empty(), UserFlags::TRIGGER))?;
        }
        Err(e) => return Err(e.into()),
    }
    Ok(queue)
}

/// Sends a signal to a child that is not reaped.
pub(in crate::sys::unix) fn send_signal(pid: Pid, _handle: &OwnedFd, signal: Signal) {
    let _ = rustix::process::kill_process(pid, signal);
}

/// CPU time of a child that is not reaped.
#[allow(deprecated, reason = "the crate that it names instead is no dependency of ours")]
pub(in crate::sys::unix) fn cpu_time(pid: Pid) -> Option<Duration> {
    let info = task_info(pid.as_raw_nonzero().get())?;
    let ticks = u128::from(info.pti_total_user + info.pti_total_system);
    let mut base = libc::mach_timebase_info { numer: 0, denom: 0 };
    // SAFETY: plain out-parameter.
    let known = unsafe { libc::mach_timebase_info(&mut base) } == 0;
    if !known || base.denom == 0 {
        return None;
    }
    let nanos = ticks * u128::from(base.numer) / u128::from(base.denom);
    Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

/// Resident bytes of process `pid`, if it can be learnt.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    Some(task_info(pid.cast_signed())?.pti_resident_size)
}

fn task_info(pid: i32) -> Option<libc::proc_taskinfo> {
    // SAFETY: a zeroed structure is a valid one.
    let mut info: libc::proc_taskinfo = unsafe { std::mem::zeroed() };
    let size = size_of_val(&info) as libc::c_int;
    // SAFETY: the structure is as long as is said.
    let got =
        unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDTASKINFO, 0, (&raw mut info).cast(), size) };
    (got == size).then_some(info)
}

/// Looks at a child without collecting it and without waiting.
pub(in crate::sys::unix) fn peek(pid: Pid, _handle: &OwnedFd) -> Wait {
    loop {
        // SAFETY: a zeroed structure is a valid one.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let pid = pid.as_raw_nonzero().get();
        // SAFETY: the pointer is to a local.
        if unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags) } == 0 {
            return if info.si_pid == 0 {
                Wait::Running
            } else {
                Wait::Ended(RawExit::Unknown, Default::default())
            };
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Wait::Gone;
        }
    }
}

/// Collects a child that has ended, or waits until it has.
pub(in crate::sys::unix) fn collect(pid: Pid, _handle: &OwnedFd, wait_for_it: bool) -> Wait {
    loop {
        let mut status = 0;
        // SAFETY: a zeroed structure is a valid one.
        let mut raw: libc::rusage = unsafe { std::mem::zeroed() };
        let flags = if wait_for_it { 0 } else { libc::WNOHANG };
        // SAFETY: the pointers are to locals.
        let got = unsafe { libc::wait4(pid.as_raw_nonzero().get(), &mut status, flags, &mut raw) };
        if got == 0 {
            return Wait::Running;
        }
        if got > 0 {
            let exit = if libc::WIFEXITED(status) {
                RawExit::Code(libc::WEXITSTATUS(status))
            } else {
                RawExit::Signal { signal: libc::WTERMSIG(status), core: libc::WCOREDUMP(status) }
            };
            return Wait::Ended(exit, usage(&raw, 1));
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Wait::Gone;
        }
    }
}
