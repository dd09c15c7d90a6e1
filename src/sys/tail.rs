//! What a named block says of itself, where the system only knows lengths in pages: three words at the end
//! of its last page.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use super::Mapping;

const MAGIC: u64 = u64::from_le_bytes(*b"procpool");
const LEN: usize = 24;

/// The whole of a named block, with those words.
#[derive(Debug)]
pub(super) struct Tail(Mapping);

impl Tail {
    /// How long all of a block of so many bytes is.
    pub(super) fn whole(len: usize, page: usize) -> io::Result<usize> {
        let whole = len.checked_next_multiple_of(8).and_then(|len| len.checked_add(LEN));
        let whole = whole.and_then(|len| len.checked_next_multiple_of(page));
        whole.ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Writes them, in a new block of `len` bytes.
    pub(super) fn write(mapping: Mapping, len: usize) -> Self {
        let tail = Tail(mapping);
        tail.word(1).store(len as u64, Release);
        tail.word(0).store(MAGIC, Release);
        tail
    }

    /// Reads them: the block's length. `None` if there are none.
    pub(super) fn read(mapping: Mapping) -> Option<(Self, usize)> {
        if mapping.len < LEN || !mapping.len.is_multiple_of(8) {
            return None;
        }
        let tail = Tail(mapping);
        if tail.word(0).load(Acquire) != MAGIC {
            return None;
        }
        let len = usize::try_from(tail.word(1).load(Acquire)).ok()?;
        let fits = len.checked_next_multiple_of(8).is_some_and(|len| len <= tail.0.len - LEN);
        (fits && len > 0).then_some((tail, len))
    }

    /// Whether the name was taken away from it.
    pub(super) fn is_unlinked(&self) -> bool {
        self.word(2).load(Acquire) != 0
    }

    /// Notes that; whether it was not so before.
    pub(super) fn unlink(&self) -> bool {
        self.word(2).swap(1, AcqRel) == 0
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        let offset = self.0.len - LEN + 8 * index;
        // SAFETY: in bounds and aligned (the length was checked, mappings start on a page), valid as
        // long as `self`; every access is atomic.
        unsafe { AtomicU64::from_ptr(self.0.start.as_ptr().add(offset).cast()) }
    }
}
