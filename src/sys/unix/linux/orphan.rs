//! What the kernel does to a child when its parent ends.

use std::io;

use rustix::process::Signal;

use crate::sys::unix::kill_own_group;

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
