//! What an exit code says.

use std::time::Duration;

use windows_sys::Win32::Foundation::FILETIME;

use crate::sys::RawExit;

/// With what this crate ends a process: a number nobody else will use by chance.
pub(super) const TERMINATED: u32 = 0x7070_6B6C;

/// A code in the range of the system's own is taken for an exception: a process
/// may exit with one by itself, but nobody does.
pub(super) fn meaning(code: u32) -> RawExit {
    match code {
        TERMINATED => RawExit::Terminated,
        0x8000_0001..=0x8000_FFFF | 0xC000_0001..=0xCFFF_FFFF | 0xE06D_7363 => {
            RawExit::Exception(code)
        }
        _ => RawExit::Code(code.cast_signed()),
    }
}

/// Signals end no process here.
pub(crate) fn signal_name(_signal: i32) -> Option<&'static str> {
    None
}

pub(super) fn duration(time: FILETIME) -> Duration {
    let ticks = u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    Duration::new(ticks / 10_000_000, (ticks % 10_000_000) as u32 * 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_negative_codes_are_codes_and_those_of_the_system_are_not() {
        for code in [0, 1, 3, 255, 1816, -1, -2, i32::MAX] {
            assert_eq!(meaning(code.cast_unsigned()), RawExit::Code(code));
        }
        for code in [0xC000_0005, 0xC000_00FD, 0xC000_0409, 0x8000_0003, 0xE06D_7363] {
            assert_eq!(meaning(code), RawExit::Exception(code));
        }
        assert_eq!(meaning(TERMINATED), RawExit::Terminated);
    }
}
