//! Memory that two processes see, made safe to touch.

use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, fence,
};

use super::{Handle, HandleRef, Mapping, Name, Socket, create_named, open_named};

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

    /// A new zeroed block that others of this user open by its name: of `len` bytes, rounded up to whole
    /// words.
    pub(crate) fn create_named(name: &str, len: usize) -> io::Result<(Self, Handle, Name)> {
        let mapped = len.checked_next_multiple_of(8).ok_or(io::ErrorKind::OutOfMemory)?;
        let (mapping, handle, name) = create_named(name, len, mapped)?;
        Ok((SharedBlock(mapping), handle, name))
    }

    /// The block of that name, and the length it was made with.
    pub(crate) fn open_named(name: &str) -> io::Result<(Self, Handle, Name, usize)> {
        let (mapping, handle, name, len) = open_named(name)?;
        Ok((SharedBlock(mapping), handle, name, len))
    }

    /// What is mapped already.
    pub(super) fn of(mapping: Mapping) -> Self {
        SharedBlock(mapping)
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len
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

    /// The integer at `offset`.
    ///
    /// # Panics
    /// If it is not inside the block, or not at a multiple of its length.
    pub(crate) fn atomic<A: Atomic>(&self, offset: usize) -> &A {
        let len = size_of::<A>();
        let inside = offset <= self.0.len && len <= self.0.len - offset;
        assert!(inside && offset.is_multiple_of(len), "{len} bytes at {offset} of {}", self.0.len);
        // SAFETY: in bounds, aligned (mappings start on a page, and an atomic's alignment is its
        // length), of a type that is any bytes, valid as long as `self`; every access is atomic.
        unsafe { &*self.0.start.as_ptr().add(offset).cast::<A>() }
    }

    /// The lower half of the `index`th word.
    ///
    /// # Panics
    /// As [`word`](Self::word).
    #[allow(dead_code, reason = "not every system can sleep on it")]
    pub(super) fn half_word(&self, index: usize) -> &AtomicU32 {
        let word = self.word(index).as_ptr().cast::<u32>();
        // SAFETY: the word is in bounds; the lower half comes first, here and wherever we run.
        // Nobody stores to the whole word while others use its half with another value.
        unsafe { AtomicU32::from_ptr(word) }
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

    /// Appends a copy of the `len` bytes at `offset` to `buf`.
    ///
    /// # Panics
    /// If they are not inside the block: the numbers are our own.
    pub(crate) fn append_out(&self, offset: usize, len: usize, buf: &mut Vec<u8>) {
        assert!(offset <= self.0.len && len <= self.0.len - offset);
        buf.reserve(len);
        // SAFETY: in bounds (checked); the target is private memory with room for them, of
        // which all are written.
        unsafe {
            let to = buf.as_mut_ptr().add(buf.len());
            std::ptr::copy_nonoverlapping(self.0.start.as_ptr().add(offset), to, len);
            buf.set_len(buf.len() + len);
        }
    }

    // Below and by `atomic`, accesses of several lengths may meet at one place: an array is read by words while one of its
    // elements is changed. The language's memory model has no word for that. It is built on this: on the machines that we
    // run on each of these is one instruction that does all of it or nothing, and no compiler splits an atomic access or
    // knows of the other one. So what is read is bytes of what was written before or after, and no more is said of it.

    /// Copies bytes out of the block, while others may write them: each word is whole.
    ///
    /// # Panics
    /// If they are not inside the block.
    pub(crate) fn load(&self, offset: usize, to: &mut [u8]) {
        assert!(offset <= self.0.len && to.len() <= self.0.len - offset);
        let (first, words) = head(offset, to.len());
        let (head, rest) = to.split_at_mut(first);
        let (body, tail) = rest.split_at_mut(8 * words);
        self.load_each(offset, head);
        let (chunks, _) = body.as_chunks_mut::<8>();
        for (i, chunk) in chunks.iter_mut().enumerate() {
            *chunk = self.word((offset + first) / 8 + i).load(Relaxed).to_ne_bytes();
        }
        self.load_each(offset + first + 8 * words, tail);
        // Who reads that something was written reads after that what was written before it.
        fence(Acquire);
    }

    /// Copies bytes into the block, while others may read or write them: each word is whole.
    ///
    /// # Panics
    /// If they do not fit.
    pub(crate) fn store(&self, offset: usize, from: &[u8]) {
        assert!(offset <= self.0.len && from.len() <= self.0.len - offset);
        let (first, words) = head(offset, from.len());
        let (head, rest) = from.split_at(first);
        let (body, tail) = rest.split_at(8 * words);
        fence(Release);
        self.store_each(offset, head);
        let (chunks, _) = body.as_chunks::<8>();
        for (i, chunk) in chunks.iter().enumerate() {
            self.word((offset + first) / 8 + i).store(u64::from_ne_bytes(*chunk), Relaxed);
        }
        self.store_each(offset + first + 8 * words, tail);
    }

    /// The same for less than a word: in the largest parts that lie at a multiple of their length.
    fn load_each(&self, mut offset: usize, mut to: &mut [u8]) {
        while !to.is_empty() {
            let len = part(offset, to.len());
            let (now, rest) = to.split_at_mut(len);
            // SAFETY: in bounds (checked by the caller), aligned (by `part`), valid as long as `self`;
            // every access by any process is atomic.
            unsafe {
                let at = self.0.start.as_ptr().add(offset);
                match len {
                    4 => now.copy_from_slice(
                        &AtomicU32::from_ptr(at.cast()).load(Relaxed).to_ne_bytes(),
                    ),
                    2 => now.copy_from_slice(
                        &AtomicU16::from_ptr(at.cast()).load(Relaxed).to_ne_bytes(),
                    ),
                    _ => now[0] = AtomicU8::from_ptr(at).load(Relaxed),
                }
            }
            (offset, to) = (offset + len, rest);
        }
    }

    fn store_each(&self, mut offset: usize, mut from: &[u8]) {
        while !from.is_empty() {
            let len = part(offset, from.len());
            let (now, rest) = from.split_at(len);
            // SAFETY: as in `load_each`.
            unsafe {
                let at = self.0.start.as_ptr().add(offset);
                match *now {
                    [a, b, c, d] => AtomicU32::from_ptr(at.cast())
                        .store(u32::from_ne_bytes([a, b, c, d]), Relaxed),
                    [a, b] => {
                        AtomicU16::from_ptr(at.cast()).store(u16::from_ne_bytes([a, b]), Relaxed);
                    }
                    _ => AtomicU8::from_ptr(at).store(now[0], Relaxed),
                }
            }
            (offset, from) = (offset + len, rest);
        }
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

/// An integer that is changed as a whole.
///
/// # Safety
/// Any bytes are one, its alignment is its length, and it is only accessed atomically.
pub(crate) unsafe trait Atomic {}

macro_rules! atomics {
    ($($atomic:ty)*) => {$(
        // SAFETY: of the standard library's.
        unsafe impl Atomic for $atomic {}
    )*};
}

atomics! { AtomicU8 AtomicU16 AtomicU32 AtomicU64 AtomicI8 AtomicI16 AtomicI32 AtomicI64 }

/// Of so many bytes at an offset, how many come before the first whole word, and how many whole words
/// there are.
fn head(offset: usize, len: usize) -> (usize, usize) {
    let first = (offset.wrapping_neg() % 8).min(len);
    (first, (len - first) / 8)
}

/// The largest of 4, 2 and 1 that divides the offset and is not more than `len`.
fn part(offset: usize, len: usize) -> usize {
    [4, 2].into_iter().find(|size| offset.is_multiple_of(*size) && *size <= len).unwrap_or(1)
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
    fn every_range_is_loaded_as_it_was_stored() {
        let (a, _handle) = SharedBlock::create("test", 64).unwrap();
        let bytes: Vec<u8> = (1..=64).collect();
        for start in 0..64 {
            for len in 0..=64 - start {
                a.store(0, &[0; 64]);
                a.store(start, &bytes[..len]);
                let mut all = [9; 64];
                a.load(0, &mut all);
                let mut part = vec![9; len];
                a.load(start, &mut part);
                assert_eq!(part, bytes[..len], "{len} at {start}");
                assert!(all[..start].iter().chain(&all[start + len..]).all(|byte| *byte == 0));
            }
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
