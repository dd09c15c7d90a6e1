//! How a parent wakes a thread of its child, without ever waiting: a futex in memory that both
//! see.

use std::io;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::thread::futex;

use crate::sys::SharedBlock;
use crate::sys::unix::Handle;
use crate::sys::unix::clock::timespec;

/// The end that rings.
#[derive(Debug)]
pub(crate) struct Bell;

/// The end that sleeps, in another process.
#[derive(Debug)]
pub(crate) struct Sleeper;

/// Both ends; the second by what its process must be given for it.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(crate) fn bell() -> io::Result<(Bell, Option<Handle>)> {
    Ok((Bell, None))
}

impl Bell {
    /// One whose end that rings came from another process.
    #[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn open(_: Option<Handle>) -> io::Result<Self> {
        Ok(Bell)
    }

    /// What another process must be given to ring in place of this one.
    pub(crate) fn into_handle(self) -> Option<Handle> {
        None
    }

    /// Wakes whoever sleeps on the block's word, which has been set to zero before.
    pub(crate) fn ring(&self, block: &SharedBlock, word: usize) {
        let _ = futex::wake(low(block, word), futex::Flags::empty(), 1);
    }
}

impl Sleeper {
    /// Whether its end is a handle that the process must be given.
    pub(crate) const GIVEN: bool = false;

    #[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn new(_: Option<Handle>) -> io::Result<Self> {
        Ok(Sleeper)
    }

    /// Wakes whoever sleeps in this process; the word has been set to zero before.
    pub(crate) fn interrupt(&self, block: &SharedBlock, word: usize) {
        let _ = futex::wake(low(block, word), futex::Flags::empty(), 1);
    }

    /// Sleeps while the word is 1, until it is rung or the time is over; may wake for no reason.
    pub(crate) fn sleep(&self, block: &SharedBlock, word: usize, limit: Option<Duration>) {
        let limit = limit.map(timespec);
        let _ = futex::wait(low(block, word), futex::Flags::empty(), 1, limit.as_ref());
    }
}

/// The lower half of a word, which is what a futex can be.
fn low(block: &SharedBlock, word: usize) -> &AtomicU32 {
    block.half_word(word)
}
