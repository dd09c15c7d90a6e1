//! What shared memory may be called.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;

/// Bytes of a name.
const LONGEST: usize = 200;

/// Refuses what not every system takes, saying what is allowed.
pub(super) fn check(name: &str) -> io::Result<()> {
    let wrong = match name {
        "" => "is empty".to_owned(),
        name if name.len() > LONGEST => format!("has {} bytes", name.len()),
        name => match name.find(['\0', '/', '\\']) {
            Some(at) => format!("has {:?} at byte {at}", char::from(name.as_bytes()[at])),
            None => return Ok(()),
        },
    };
    let words = format!(
        "the name {name:?} of shared memory {wrong}: it must have 1 to {LONGEST} bytes, none of them NUL, slash or backslash"
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, words))
}

/// A name that nobody else has, but for an unlikely accident.
pub(super) fn generated() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}
