//! Time as the system is told it.

use std::time::Duration;

use rustix::time::Timespec;

/// As long as the system can be told to wait.
pub(super) fn timespec(wait: Duration) -> Timespec {
    let longest = Timespec { tv_sec: i64::MAX, tv_nsec: 0 };
    wait.try_into().unwrap_or(longest)
}
