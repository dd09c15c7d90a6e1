//! What a freshly started child does to itself before any user code runs, and how
//! it ends itself.

use std::io;

use windows_sys::Win32::System::Diagnostics::Debug::{
    EXCEPTION_POINTERS, SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX, SEM_NOOPENFILEERRORBOX,
    SetErrorMode, SetUnhandledExceptionFilter,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};

use super::exit::TERMINATED;

/// A hint to other systems.
pub(crate) fn advise_huge(_buf: &mut Vec<u8>) {}

/// A crash is to be a death, and at once: not a question to whoever sits at the
/// screen, not a report that takes a second, and never with another code than the
/// exception's. Ctrl-C is left to the parent by the group in which the child was
/// started.
pub(crate) fn reset_signals() {
    // SAFETY: plain calls; the filter is a function that lives as long as the program.
    unsafe {
        SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX);
        SetUnhandledExceptionFilter(Some(die_of));
    }
}

/// Ends this process by an exception nobody has handled, with its code.
unsafe extern "system" fn die_of(exception: *const EXCEPTION_POINTERS) -> i32 {
    // SAFETY: the system gives both pointers, valid during this call.
    let code = unsafe { (*(*exception).ExceptionRecord).ExceptionCode };
    end(code.cast_unsigned())
}

/// Nothing to do: the job in which the parent has put this process ends with the
/// parent, and this process with its job.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(crate) fn arm_parent_death() -> io::Result<()> {
    Ok(())
}

/// Nothing to do, as for [`arm_parent_death`].
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(crate) fn arm_group_death(_main: bool) -> io::Result<()> {
    Ok(())
}

/// Nothing to do: nobody can interrupt one process.
pub(crate) fn accept_interrupts() {}

/// Nothing to do, either.
pub(crate) fn refuse_interrupts() {}

/// Has `f` called when this process ends in order: when `main` returns.
pub(crate) fn at_exit(f: extern "C" fn()) {
    unsafe extern "C" {
        fn atexit(f: extern "C" fn()) -> std::ffi::c_int;
    }
    // SAFETY: the C library's function, as it declares it.
    unsafe { atexit(f) };
}

/// Ends this process; with its parent's hold on the job ends what it started.
pub(crate) fn kill_own_group() -> ! {
    end(TERMINATED)
}

/// Ends this process without running exit handlers or destructors, which
/// could hang and hold nothing that outlives the process.
pub(crate) fn exit_now(code: i32) -> ! {
    end(code.cast_unsigned())
}

fn end(code: u32) -> ! {
    loop {
        // SAFETY: always sound; nothing runs afterwards.
        unsafe { TerminateProcess(GetCurrentProcess(), code) };
    }
}
