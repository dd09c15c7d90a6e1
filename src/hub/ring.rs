//! A stream of bytes in memory that two processes see: what was written to it outlives its
//! writer, and neither end makes a system call while the other is awake.
//!
//! ```text
//! word   0       bytes ever written   (the writer's)
//!        8       bytes ever read      (the reader's)
//!       16       1: the reader sleeps, ring before it is left to
//!       24       1: the writer wants to hear of room
//!       32       1: nobody reads any more
//! byte 4 Ki…     the bytes
//! ```
//!
//! Each end keeps count by itself and takes the other's number only for what it may be: a
//! process that scribbles here ends its own session, and nothing else.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release, SeqCst};
use std::sync::atomic::fence;

use crate::sys::SharedBlock;

const WRITTEN: usize = 0;
const READ: usize = 8;
const ASLEEP: usize = 16;
const WANTS_ROOM: usize = 24;
const OVER: usize = 32;
const DATA: usize = 4096;
const DATA_LEN: usize = 512 * 1024;
const LEN: usize = DATA + DATA_LEN;
/// Bytes of a block that both directions take.
pub(crate) const RINGS_LEN: usize = 2 * LEN;

/// Whatever holds a block with both rings in it.
pub(crate) trait HasRings: Send + Sync {
    /// The block, and the byte of it at which the rings begin.
    fn rings(&self) -> (&SharedBlock, usize);
}

/// Which of the two.
#[derive(Debug, Clone, Copy)]
pub(super) enum Direction {
    /// From a child to the hub.
    Up = 0,
    Down = 1,
}

#[derive(Clone)]
struct Ring {
    holder: Arc<dyn HasRings>,
    direction: Direction,
}

impl Ring {
    fn block(&self) -> (&SharedBlock, usize) {
        let (block, at) = self.holder.rings();
        (block, at + self.direction as usize * LEN)
    }

    fn word(&self, index: usize) -> &std::sync::atomic::AtomicU64 {
        let (block, at) = self.block();
        block.word(at / 8 + index)
    }
}

fn scribbled() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it made nonsense of the memory it shares")
}

/// The end that writes.
pub(super) struct Writer {
    ring: Ring,
    written: u64,
}

impl Writer {
    pub(super) fn new(holder: Arc<dyn HasRings>, direction: Direction) -> Self {
        Writer { ring: Ring { holder, direction }, written: 0 }
    }

    /// Writes what there is room for; 0 is none.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let used = self.written.wrapping_sub(self.ring.word(READ).load(Acquire));
        if used > DATA_LEN as u64 {
            return Err(scribbled());
        }
        let mut room = DATA_LEN - used as usize;
        let before = self.written;
        let (block, at) = self.ring.block();
        for slice in slices {
            let mut bytes = &slice[..slice.len().min(room)];
            room -= bytes.len();
            while !bytes.is_empty() {
                let place = (self.written % DATA_LEN as u64) as usize;
                let n = bytes.len().min(DATA_LEN - place);
                block.copy_in(at + DATA + place, &bytes[..n]);
                self.written += n as u64;
                bytes = &bytes[n..];
            }
            if room == 0 {
                break;
            }
        }
        self.ring.word(WRITTEN).store(self.written, Release);
        Ok((self.written - before) as usize)
    }

    /// Whether the reader must be rung for what was written; it is to be, if so.
    pub(super) fn must_ring(&self) -> bool {
        fence(SeqCst);
        let word = self.ring.word(ASLEEP);
        word.load(Acquire) != 0 && word.swap(0, AcqRel) != 0
    }

    /// Whether what was written last may never be read.
    pub(super) fn is_over(&self) -> bool {
        fence(SeqCst);
        self.ring.word(OVER).load(Acquire) != 0
    }

    /// Whether at least half of it is filled.
    pub(super) fn is_half_full(&self) -> bool {
        self.written.wrapping_sub(self.ring.word(READ).load(Acquire)) > DATA_LEN as u64 / 2
    }

    /// Whether the reader has read all of it, and whether it has fallen asleep since.
    pub(super) fn is_heard(&self) -> (bool, bool) {
        fence(SeqCst);
        let read = self.ring.word(READ).load(Acquire) == self.written;
        (read, read && self.ring.word(ASLEEP).load(Acquire) != 0)
    }

    /// Has the reader ring once there is room; false if there is some by now.
    pub(super) fn want_room(&self) -> bool {
        self.ring.word(WANTS_ROOM).store(1, Release);
        fence(SeqCst);
        self.written.wrapping_sub(self.ring.word(READ).load(Acquire)) >= DATA_LEN as u64
    }

    /// The word on which the reader sleeps, and its block.
    pub(super) fn sleeps_on(&self) -> (&SharedBlock, usize) {
        let (block, at) = self.ring.block();
        (block, at / 8 + ASLEEP)
    }
}

/// The end that reads.
pub(super) struct Reader {
    ring: Ring,
    read: u64,
}

impl Reader {
    pub(super) fn new(holder: Arc<dyn HasRings>, direction: Direction) -> Self {
        Reader { ring: Ring { holder, direction }, read: 0 }
    }

    /// Says that what is there now is the last that is read: a writer sees that after it has
    /// written, or what it has written is there.
    pub(super) fn end(&self) {
        self.ring.word(OVER).store(1, Release);
        fence(SeqCst);
    }

    /// Whether there is anything to read.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.ring.word(WRITTEN).load(Acquire) == self.read
    }

    /// How much there is to read, if that can be believed.
    pub(super) fn waiting(&self) -> usize {
        let there = self.ring.word(WRITTEN).load(Acquire).wrapping_sub(self.read);
        // One more than there can be, so that reading tells.
        there.min(DATA_LEN as u64 + 1) as usize
    }

    /// Appends at most `max` bytes to `buf`; 0 is none.
    pub(super) fn read(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        let there = self.ring.word(WRITTEN).load(Acquire).wrapping_sub(self.read);
        if there > DATA_LEN as u64 {
            return Err(scribbled());
        }
        let n = (there as usize).min(max);
        let (block, at) = self.ring.block();
        let place = (self.read % DATA_LEN as u64) as usize;
        let first = n.min(DATA_LEN - place);
        block.append_out(at + DATA + place, first, buf);
        block.append_out(at + DATA, n - first, buf);
        self.read += n as u64;
        self.ring.word(READ).store(self.read, Release);
        Ok(n)
    }

    /// Whether the writer must be rung for the room that reading has made; it is to be, if so.
    pub(super) fn must_ring(&self) -> bool {
        fence(SeqCst);
        let word = self.ring.word(WANTS_ROOM);
        word.load(Acquire) != 0 && word.swap(0, AcqRel) != 0
    }

    /// Has the writer ring from now on; false if there is something to read by now.
    pub(super) fn fall_asleep(&self) -> bool {
        let word = self.ring.word(ASLEEP);
        if word.load(Acquire) == 0 {
            word.store(1, Release);
        }
        fence(SeqCst);
        self.is_empty()
    }

    pub(super) fn wake_up(&self) {
        self.ring.word(ASLEEP).store(0, Release);
    }

    /// The word on which this end sleeps, and its block.
    pub(super) fn sleeps_on(&self) -> (&SharedBlock, usize) {
        let (block, at) = self.ring.block();
        (block, at / 8 + ASLEEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Block(SharedBlock);
    impl HasRings for Block {
        fn rings(&self) -> (&SharedBlock, usize) {
            (&self.0, 0)
        }
    }

    fn ends() -> (Arc<Block>, Writer, Reader) {
        let (block, _) = SharedBlock::create("test", RINGS_LEN).unwrap();
        let block = Arc::new(Block(block));
        let writer = Writer::new(block.clone(), Direction::Down);
        let reader = Reader::new(block.clone(), Direction::Down);
        (block, writer, reader)
    }

    #[test]
    fn bytes_arrive_in_order_across_the_seam() {
        let (_block, mut writer, mut reader) = ends();
        let bytes: Vec<u8> = (0..100_003u32).map(|i| (i % 251) as u8).collect();
        let mut got = Vec::new();
        for _ in 0..20 {
            let mut sent = 0;
            while sent < bytes.len() {
                let (a, b) = bytes[sent..].split_at((bytes.len() - sent) / 3);
                sent += writer.write(&[IoSlice::new(a), IoSlice::new(b)]).unwrap();
                while reader.read(&mut got, 70_001).unwrap() > 0 {}
            }
        }
        assert_eq!(got, bytes.repeat(20));
    }

    #[test]
    fn a_full_ring_takes_no_more_until_it_is_read() {
        let (_block, mut writer, mut reader) = ends();
        let bytes = vec![1; DATA_LEN + 5];
        assert_eq!(writer.write(&[IoSlice::new(&bytes)]).unwrap(), DATA_LEN);
        assert_eq!(writer.write(&[IoSlice::new(&bytes)]).unwrap(), 0);
        assert!(writer.want_room());
        assert_eq!(reader.read(&mut Vec::new(), 10).unwrap(), 10);
        assert!(reader.must_ring() && !reader.must_ring());
        assert_eq!(writer.write(&[IoSlice::new(&bytes)]).unwrap(), 10);
    }

    #[test]
    fn a_sleeping_reader_is_rung_once() {
        let (_block, mut writer, reader) = ends();
        assert!(!writer.must_ring());
        assert!(reader.fall_asleep());
        writer.write(&[IoSlice::new(b"x")]).unwrap();
        assert!(writer.must_ring() && !writer.must_ring());
        assert!(!reader.fall_asleep());
    }

    #[test]
    fn a_writer_hears_that_nobody_reads_any_more() {
        let (_block, mut writer, mut reader) = ends();
        writer.write(&[IoSlice::new(b"x")]).unwrap();
        assert!(!writer.is_over());
        reader.end();
        assert_eq!(reader.read(&mut Vec::new(), 10).unwrap(), 1);
        writer.write(&[IoSlice::new(b"y")]).unwrap();
        assert!(writer.is_over());
    }

    #[test]
    fn made_up_numbers_are_noticed() {
        let (block, mut writer, mut reader) = ends();
        block.0.word((LEN / 8) + WRITTEN).store(DATA_LEN as u64 + 1, Release);
        assert!(reader.read(&mut Vec::new(), 10).is_err());
        block.0.word((LEN / 8) + READ).store(1, Release);
        assert!(writer.write(&[IoSlice::new(b"x")]).is_err());
    }
}
