//! Where threads of different processes cannot sleep on a word that both see.

use std::time::Duration;

use super::SharedBlock;

pub(crate) const CAN_PARK: bool = false;

/// Not to be called.
pub(crate) fn park(_: &SharedBlock, _: usize, _: u32, _: Option<Duration>) {
    unreachable!("nobody sleeps on a word here");
}

/// Nobody sleeps on one.
pub(crate) fn unpark(_: &SharedBlock, _: usize, _: bool) {}
