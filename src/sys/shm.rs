//! Memory that two processes see, made safe to touch.

use std::io;
use std::sync::atomic::AtomicU64;

use super::{Handle, HandleRef, Mapping, Socket};

/// A fixed block of memory mapped into this process and one other.
///
/// The other process may write any byte at any time, so nothing here hands
/// out a reference to plain data: words are atomics, bytes are copied.
#[derive(Debug)]
pub(crate) struct SharedBlock(Mapping);

impl SharedBlock {
    /// A new zeroed block and the handle by which another process maps it. It can
    /// neither shrink (which would turn a read here into a fault) nor grow.
    pub(crate) fn create(name: &str, len: usize) -> io::Result<(Self, Handle)> {
        let (mapping, handle) = Mapping::create(name, len)?;
        Ok((SharedBlock(mapping), handle))
    }

    /// Maps a block that the other process made. One that could shrink under
    /// us, or has another size, is refused.
    pub(crate) fn open(handle: HandleRef<'_>, len: usize) -> io::Result<Self> {
        Ok(SharedBlock(Mapping::open(handle, len)?))
    }

    /// The `index`th 64-bit word.
    ///
    /// # Panics
    /// If the word lies outside the block: offsets are our own constants.
    #[inline]
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        assert!((index + 1) * 8 <= self.0.len, "word {index} of a block of {} bytes", self.0.len);
        // SAFETY: in bounds, aligned (mappings start on a page), and valid
        // for as long as `self`; every access by either process is atomic.
        unsafe { AtomicU64::from_ptr(self.0.start.as_ptr().cast::<u64>().add(index)) }
    }

    /// Copies `bytes` into the block at `offset`.
    ///
    /// # Panics
    /// If they do not fit: offsets are our own.
    #[inline]
    pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.0.len && bytes.len() <= self.0.len - offset);
        // SAFETY: in bounds (checked); the source is a private slice, so the
        // two do not overlap. A racing writer can only spoil the values.
        unsafe {
            let to = self.0.start.as_ptr().add(offset);
            let (from, len) = (bytes.as_ptr(), bytes.len());
            // Most copies are a few bytes, for which a call of memcpy costs more
            // than two overlapping words.
            match len {
                8..=16 => {
                    let (first, last) = (from.cast::<u64>(), from.add(len - 8).cast::<u64>());
                    to.cast::<u64>().write_unaligned(first.read_unaligned());
                    to.add(len - 8).cast::<u64>().write_unaligned(last.read_unaligned());
                }
                4..8 => {
                    let (first, last) = (from.cast::<u32>(), from.add(len - 4).cast::<u32>());
                    to.cast::<u32>().write_unaligned(first.read_unaligned());
                    to.add(len - 4).cast::<u32>().write_unaligned(last.read_unaligned());
                }
                2..4 => {
                    let (first, last) = (from.cast::<u16>(), from.add(len - 2).cast::<u16>());
                    to.cast::<u16>().write_unaligned(first.read_unaligned());
                    to.add(len - 2).cast::<u16>().write_unaligned(last.read_unaligned());
                }
                _ => std::ptr::copy_nonoverlapping(from, to, len),
            }
        }
    }

    /// A private copy of `len` bytes at `offset`, or `None` if they are not
    /// inside the block (the numbers may come from the other process).
    pub(crate) fn copy_out(&self, offset: usize, len: usize) -> Option<Vec<u8>> {
        if offset > self.0.len || len > self.0.len - offset {
            return None;
        }
        let mut bytes = vec![0u8; len];
        // SAFETY: in bounds (checked); the target is private memory.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.0.start.as_ptr().add(offset),
                bytes.as_mut_ptr(),
                len,
            );
        }
        Some(bytes)
    }

    /// Writes some of the `len` bytes at `offset` to `socket` without copying
    /// them here, waiting until at least one is taken.
    ///
    /// # Panics
    /// If they are not inside the block: the numbers are our own.
    pub(crate) fn write_to(&self, socket: &Socket, offset: usize, len: usize) -> io::Result<usize> {
        assert!(offset <= self.0.len && len <= self.0.len - offset);
        // SAFETY: the range is in bounds (checked) and stays mapped; the kernel
        // only reads it.
        unsafe { super::write_raw(socket, self.0.start.as_ptr().add(offset), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::handle_ref;
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn two_mappings_see_the_same_words_and_bytes() {
        let (a, handle) = SharedBlock::create("test", 8192).unwrap();
        let b = SharedBlock::open(handle_ref(&handle), 8192).unwrap();
        a.word(3).store(77, Ordering::Release);
        assert_eq!(b.word(3).load(Ordering::Acquire), 77);
        let bytes: Vec<u8> = (1..=40).collect();
        for len in 0..bytes.len() {
            b.copy_in(8192 - len, &bytes[..len]);
            assert_eq!(a.copy_out(8192 - len, len).unwrap(), bytes[..len]);
        }
    }

    #[test]
    fn ranges_that_a_peer_made_up_are_refused() {
        let (a, _handle) = SharedBlock::create("test", 4096).unwrap();
        assert!(a.copy_out(4096, 1).is_none());
        assert!(a.copy_out(usize::MAX, 2).is_none());
        assert!(a.copy_out(2, usize::MAX).is_none());
        assert_eq!(a.copy_out(4096, 0).unwrap(), Vec::<u8>::new());
    }
}
