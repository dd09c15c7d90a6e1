//! Sleeping on a word of memory that several processes see, and waking whoever does.

use std::time::Duration;

use rustix::thread::futex;

use crate::sys::SharedBlock;
use crate::sys::unix::clock::timespec;

/// Whether threads of different processes can sleep on the same word.
pub(crate) const CAN_PARK: bool = true;

/// Sleeps while the lower half of the word is that, until it is woken or the time is over; may
/// wake for no reason. Who slept first is woken first.
pub(crate) fn park(block: &SharedBlock, word: usize, is: u32, limit: Option<Duration>) {
    let limit = limit.map(timespec);
    let _ = futex::wait(block.half_word(word), futex::Flags::empty(), is, limit.as_ref());
}

/// Wakes one or all of those that sleep on the word.
pub(crate) fn unpark(block: &SharedBlock, word: usize, all: bool) {
    let n = if all { i32::MAX as u32 } else { 1 };
    let _ = futex::wake(block.half_word(word), futex::Flags::empty(), n);
}
