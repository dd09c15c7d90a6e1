//! A clock that all processes read alike.

use rustix::time::{ClockId, clock_gettime};

/// What no process of this machine finds earlier than what any of them has found before.
pub(crate) fn ticks() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
