//! A clock that all processes read alike.

/// What no process of this machine finds earlier than what any of them has found before.
#[allow(deprecated, reason = "the crate that it names instead is no dependency of ours")]
pub(crate) fn ticks() -> u64 {
    // SAFETY: no pointers. `CLOCK_MONOTONIC` counts but microseconds here.
    unsafe { libc::mach_absolute_time() }
}
