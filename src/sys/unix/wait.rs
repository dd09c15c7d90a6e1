//! What is learnt of a child by looking.

use super::exit::timeval;
use crate::sys::{RawExit, Usage};

pub(super) enum Wait {
    Running,
    Ended(RawExit, Usage),
    Gone,
}

/// What a `rusage` says; `unit` is what its memory is counted in, in bytes.
pub(super) fn usage(raw: &libc::rusage, unit: u64) -> Usage {
    Usage {
        user: timeval(raw.ru_utime),
        system: timeval(raw.ru_stime),
        peak_resident: raw.ru_maxrss as u64 * unit,
    }
}
