//! What a process logs, in memory that its parent sees: it outlives the process, and
//! writing to it never waits.
//!
//! ```text
//! word   0       bytes ever written          (the child's to write)
//!        8       bytes ever read             (the parent's)
//!       16       records that found no room  (the child's)
//!       24       1: ring before I sleep on   (both)
//!       32       what is wanted: 0 nothing … 5 everything   (the parent's)
//!       64…      of each callsite, two bits: unknown, wanted, unwanted (the parent's)
//! byte 4 Ki…     the records, each after its length in four bytes
//! ```
//!
//! As with the status block, the child may scribble anywhere: the parent keeps count by
//! itself, and what it reads is treated like bytes from a socket.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU64, fence};

use crate::sys::SharedBlock;

const WRITTEN: usize = 0;
const READ: usize = 8;
const LOST: usize = 16;
const ASLEEP: usize = 24;
const WANTED: usize = 32;
const SITES: usize = 64;
const DATA: usize = 4 * 1024;
const DATA_LEN: usize = 256 * 1024;
/// Bytes of a block that a ring takes.
pub(crate) const RING_LEN: usize = DATA + DATA_LEN;

/// Room that only records which end something may use: without them it would stay open.
const RESERVE: usize = 16 * 1024;
/// Longest record.
pub(super) const MAX_RECORD: usize = 32 * 1024;
/// Most bytes read at a time.
const BATCH: usize = 64 * 1024;
const PREFIX: usize = 4;
/// Callsites a process may number.
pub(super) const MAX_SITES: u32 = 8 * 1024;
const _: () = assert!((SITES + MAX_SITES as usize / 32) * 8 <= DATA);

/// What the parent makes of a callsite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// It does not know it yet.
    Unknown = 0,
    Wanted = 1,
    Unwanted = 2,
}

/// Whatever holds a block with a ring in it.
pub(crate) trait HasRing: Send + Sync {
    /// The block, and the byte of it at which the ring begins.
    fn ring(&self) -> (&SharedBlock, usize);
}

/// The ring, from either side.
#[derive(Clone, Copy)]
pub(super) struct Ring<'a> {
    block: &'a SharedBlock,
    at: usize,
}

/// The other process has made nonsense of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scribbled;

impl<'a> Ring<'a> {
    pub(super) fn of(holder: &'a (impl HasRing + ?Sized)) -> Self {
        let (block, at) = holder.ring();
        Ring { block, at }
    }

    fn word(&self, index: usize) -> &'a AtomicU64 {
        self.block.word(self.at / 8 + index)
    }

    // Both sides.

    /// As it says itself.
    pub(super) fn written(&self) -> u64 {
        self.word(WRITTEN).load(Acquire)
    }

    /// Records that found no room so far.
    pub(super) fn lost(&self) -> u64 {
        self.word(LOST).load(Acquire)
    }

    // The child's side; one thread at a time.

    /// How much is wanted: 0 nothing, 1 errors … 5 everything.
    pub(super) fn wanted(&self) -> u8 {
        self.word(WANTED).load(Relaxed) as u8
    }

    pub(super) fn wish(&self, site: u32) -> Wish {
        if site >= MAX_SITES {
            return Wish::Unknown;
        }
        let bits = self.word(SITES + site as usize / 32).load(Relaxed) >> (site % 32 * 2) & 3;
        match bits {
            1 => Wish::Wanted,
            2 => Wish::Unwanted,
            _ => Wish::Unknown,
        }
    }

    /// Appends all records or none; false if there is no room. Those that end something may
    /// use the last of it.
    pub(super) fn push(&self, records: &[&[u8]], ends: bool) -> bool {
        let written = self.word(WRITTEN).load(Relaxed);
        let unread = written.wrapping_sub(self.word(READ).load(Acquire));
        // More than there can be: its own process has written over it by mistake.
        let free = (DATA_LEN as u64).saturating_sub(unread);
        let needed: usize = records.iter().map(|r| PREFIX + r.len()).sum();
        let free = if ends { free } else { free.saturating_sub(RESERVE as u64) };
        if needed as u64 > free {
            return false;
        }
        let mut at = written;
        for record in records {
            debug_assert!(record.len() <= MAX_RECORD);
            self.put(at, &(record.len() as u32).to_le_bytes());
            self.put(at.wrapping_add(PREFIX as u64), record);
            at = at.wrapping_add((PREFIX + record.len()) as u64);
        }
        self.word(WRITTEN).store(at, Release);
        true
    }

    /// Counts a record that found no room.
    pub(super) fn lose(&self) {
        let word = self.word(LOST);
        word.store(word.load(Relaxed).wrapping_add(1), Release);
    }

    /// Whether the parent is to be rung for; true once a sleep.
    pub(super) fn is_reader_asleep(&self) -> bool {
        // Against the parent's order: asleep, then a look at what is written.
        fence(SeqCst);
        let word = self.word(ASLEEP);
        word.load(Relaxed) != 0 && word.swap(0, AcqRel) != 0
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        let start = (at % DATA_LEN as u64) as usize;
        let first = bytes.len().min(DATA_LEN - start);
        self.block.copy_in(self.at + DATA + start, &bytes[..first]);
        if first < bytes.len() {
            self.block.copy_in(self.at + DATA, &bytes[first..]);
        }
    }

    // The parent's side.

    /// Up to where what is logged by now can be, when so much is read.
    pub(super) fn logged_by_now(&self, read: u64) -> u64 {
        self.written().min(read.saturating_add(DATA_LEN as u64))
    }

    pub(super) fn want(&self, level: u8) {
        self.word(WANTED).store(level.into(), Relaxed);
    }

    /// Says of a callsite whether it is wanted; one thread at a time.
    pub(super) fn set_wish(&self, site: u32, wish: Wish) {
        if site < MAX_SITES {
            let word = self.word(SITES + site as usize / 32);
            let shift = site % 32 * 2;
            let bits = word.load(Relaxed) & !(3 << shift);
            word.store(bits | (wish as u64) << shift, Relaxed);
        }
    }

    /// Says that the reader is going to sleep; true if it must not, as there is more
    /// than the `read` bytes it knows of.
    pub(super) fn sleep(&self, read: u64) -> bool {
        self.word(ASLEEP).store(1, Relaxed);
        fence(SeqCst);
        self.written() != read
    }

    /// Calls `f` with a batch of records behind the `read` bytes read so far, and moves
    /// that on; gives whether there was one. The room is free again afterwards.
    pub(super) fn read(&self, read: &mut u64, mut f: impl FnMut(&[u8])) -> Result<bool, Scribbled> {
        let there = self.written().wrapping_sub(*read);
        if there > DATA_LEN as u64 {
            return Err(Scribbled);
        }
        if there == 0 {
            return Ok(false);
        }
        let bytes = self.copy(*read, (there as usize).min(BATCH))?;
        let mut rest = &bytes[..];
        while let Some((prefix, behind)) = rest.split_first_chunk::<PREFIX>() {
            let len = u32::from_le_bytes(*prefix) as usize;
            if len > MAX_RECORD {
                return Err(Scribbled);
            }
            let Some((record, behind)) = behind.split_at_checked(len) else {
                break;
            };
            f(record);
            rest = behind;
        }
        let whole = bytes.len() - rest.len();
        if whole == 0 {
            // Records are published whole.
            return Err(Scribbled);
        }
        *read += whole as u64;
        self.word(READ).store(*read, Release);
        Ok(true)
    }

    fn copy(&self, at: u64, len: usize) -> Result<Vec<u8>, Scribbled> {
        let start = (at % DATA_LEN as u64) as usize;
        let first = len.min(DATA_LEN - start);
        let mut bytes = self.block.copy_out(self.at + DATA + start, first).ok_or(Scribbled)?;
        if first < len {
            bytes.extend(self.block.copy_out(self.at + DATA, len - first).ok_or(Scribbled)?);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::log) struct Block(SharedBlock);

    impl HasRing for Block {
        fn ring(&self) -> (&SharedBlock, usize) {
            (&self.0, 4096)
        }
    }

    pub(in crate::log) fn block() -> Block {
        Block(SharedBlock::create("test", 4096 + RING_LEN).unwrap().0)
    }

    fn all(ring: Ring<'_>, read: &mut u64) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        while ring.read(read, |r| records.push(r.to_vec())).unwrap() {}
        records
    }

    #[test]
    fn records_come_out_as_they_went_in_round_and_round() {
        let block = block();
        let (ring, mut read) = (Ring::of(&block), 0);
        for round in 0..2_000_u32 {
            let record = vec![round as u8; (round * 37 % 3000) as usize];
            assert!(ring.push(&[&record, b"second"], false));
            assert_eq!(all(ring, &mut read), [record, b"second".to_vec()]);
        }
        assert!(read > 4 * DATA_LEN as u64);
    }

    #[test]
    fn what_finds_no_room_leaves_the_rest_whole() {
        let block = block();
        let (ring, mut read) = (Ring::of(&block), 0);
        let record = vec![7; 1000];
        let mut n = 0;
        while ring.push(&[&record], false) {
            n += 1;
        }
        assert_eq!(n, (DATA_LEN - RESERVE) / 1004);
        assert!(!ring.push(&[b"x", &record], false), "all or nothing");
        assert!(ring.push(&[b"an end"], true), "room is kept for that");
        ring.lose();
        assert_eq!(ring.lost(), 1);
        assert_eq!(all(ring, &mut read).len(), n + 1);
        assert!(ring.push(&[&record], false));
    }

    #[test]
    fn whoever_writes_rings_once_a_sleep() {
        let block = block();
        let ring = Ring::of(&block);
        assert!(!ring.is_reader_asleep());
        assert!(!ring.sleep(0));
        ring.push(&[b"a"], false);
        assert!(ring.is_reader_asleep());
        assert!(!ring.is_reader_asleep());
        assert!(ring.sleep(0), "there is something already");
    }

    #[test]
    fn wishes_do_not_touch_each_other() {
        let block = block();
        let ring = Ring::of(&block);
        for site in 0..MAX_SITES + 10 {
            ring.set_wish(site, if site % 3 == 0 { Wish::Wanted } else { Wish::Unwanted });
        }
        ring.set_wish(33, Wish::Unknown);
        assert_eq!(ring.wish(33), Wish::Unknown);
        assert_eq!([ring.wish(32), ring.wish(34)], [Wish::Unwanted, Wish::Unwanted]);
        assert_eq!(ring.wish(MAX_SITES - 2), Wish::Wanted);
        assert_eq!(ring.wish(MAX_SITES), Wish::Unknown);
    }

    #[test]
    fn nonsense_is_noticed() {
        let block = block();
        let ring = Ring::of(&block);
        ring.word(WRITTEN).store(u64::MAX, Release);
        assert_eq!(ring.read(&mut 0, |_| ()), Err(Scribbled));
        ring.word(WRITTEN).store(3, Release);
        assert_eq!(ring.read(&mut 0, |_| ()), Err(Scribbled), "less than a length");
        ring.word(WRITTEN).store(100, Release);
        ring.put(0, &u32::MAX.to_le_bytes());
        assert_eq!(ring.read(&mut 0, |_| ()), Err(Scribbled), "a length beyond all");
        ring.put(0, &97_u32.to_le_bytes());
        assert_eq!(ring.read(&mut 0, |_| ()), Err(Scribbled), "a record beyond the end");
    }
}
