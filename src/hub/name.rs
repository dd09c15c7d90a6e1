//! Names that nobody can guess.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use crate::wire::ObjectName;

/// A number that nobody can guess, and no other process comes upon.
pub(super) fn random() -> u64 {
    // The standard library seeds these from the system's random numbers.
    RandomState::new().build_hasher().finish()
}

pub(super) fn random_name() -> ObjectName {
    ObjectName { id: random(), key: u128::from(random()) << 64 | u128::from(random()) }
}
