//! What a call of the system says.

use std::io;

/// The error behind a call that gave `FALSE`.
pub(super) fn check(result: windows_sys::core::BOOL) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Text as the system takes it: UTF-16 with a zero at its end.
pub(super) fn wide(text: impl AsRef<std::ffi::OsStr>) -> Vec<u16> {
    use std::os::windows::ffi::OsStrExt;
    text.as_ref().encode_wide().chain([0]).collect()
}
