//! A clock that all processes read alike.

use windows_sys::Win32::System::Performance::QueryPerformanceCounter;

/// What no process of this machine finds earlier than what any of them has found before.
pub(crate) fn ticks() -> u64 {
    let mut ticks = 0;
    // SAFETY: plain out-parameter. It cannot fail where Rust's std runs.
    unsafe { QueryPerformanceCounter(&mut ticks) };
    ticks as u64
}
