//! The memory of one object, mapped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::words::table::WORDS;
use crate::sys::{Handle, HandleRef, SharedBlock};

/// Bytes of it, of which the system keeps no more than are used.
const LEN: usize = WORDS * 8;

/// A block of words that several processes change.
pub(super) struct Segment {
    block: SharedBlock,
}

impl Segment {
    /// A new one, and the handle by which other processes map it.
    pub(super) fn create() -> io::Result<(Self, Arc<Handle>)> {
        let (block, handle) = SharedBlock::create("procpool-sync", LEN)?;
        Ok((Segment { block }, Arc::new(handle)))
    }

    pub(super) fn open(handle: HandleRef<'_>) -> io::Result<Self> {
        Ok(Segment { block: SharedBlock::open(handle, LEN)? })
    }

    pub(super) fn block(&self) -> &SharedBlock {
        &self.block
    }

    #[inline]
    pub(super) fn load(&self, word: usize) -> u64 {
        self.block.word(word).load(SeqCst)
    }

    #[inline]
    pub(super) fn store(&self, word: usize, value: u64) {
        self.block.word(word).store(value, SeqCst);
    }

    #[inline]
    pub(super) fn swap_if(&self, word: usize, old: u64, new: u64) -> bool {
        self.block.word(word).compare_exchange(old, new, SeqCst, SeqCst).is_ok()
    }

    #[inline]
    pub(super) fn add(&self, word: usize, n: u64) -> u64 {
        self.block.word(word).fetch_add(n, SeqCst)
    }

    #[inline]
    pub(super) fn or(&self, word: usize, bits: u64) -> u64 {
        self.block.word(word).fetch_or(bits, SeqCst)
    }

    #[inline]
    pub(super) fn and(&self, word: usize, bits: u64) -> u64 {
        self.block.word(word).fetch_and(bits, SeqCst)
    }
}

/// The part of a [`Table`](super::words::Table) that is memory.
macro_rules! words_of {
    ($segment:ident) => {
        words_of!($segment, but swap_if);

        #[inline]
        fn swap_if(&self, word: usize, old: u64, new: u64) -> bool {
            self.$segment.swap_if(word, old, new)
        }
    };
    ($segment:ident, but swap_if) => {
        #[inline]
        fn load(&self, word: usize) -> u64 {
            self.$segment.load(word)
        }

        #[inline]
        fn store(&self, word: usize, value: u64) {
            self.$segment.store(word, value);
        }

        #[inline]
        fn add(&self, word: usize, n: u64) -> u64 {
            self.$segment.add(word, n)
        }

        #[inline]
        fn or(&self, word: usize, bits: u64) -> u64 {
            self.$segment.or(word, bits)
        }

        #[inline]
        fn and(&self, word: usize, bits: u64) -> u64 {
            self.$segment.and(word, bits)
        }
    };
}
pub(super) use words_of;
