//! The block of memory a worker shares with its parent.
//!
//! It makes two things cost no message: the evidence that a call has begun, and
//! finished results that were not written to the socket yet when the worker
//! died.
//!
//! ```text
//! word 0         stream offset of the first byte of the outgoing buffer
//!      1         stream offset of the end of its whole frames
//!      2         open items frame: count << 32 | bytes of its items
//!      3                           stream offset at which it will start
//!      4                           id of its call
//!      5                           slot << 32 | first item
//!      6         progress: calls and items begun
//! words 64…      one per slot: id << 2 | state
//! byte 12 Ki…    the outgoing buffer
//!      behind it what it logs (see `log/ring.rs`), and what it says to the hub and hears
//!               (see `hub/ring.rs`)
//! ```
//!
//! A slot's word decides, by compare-and-swap, whether a call that waits at a
//! worker is begun by the worker or taken back by the parent: never both.
//! The worker may scribble anywhere: what is read here is treated like bytes from
//! the socket.

use std::io;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::hub::{HasRings, RINGS_LEN};
use crate::log::{HasRing, RING_LEN};
use crate::session::{ItemsMeta, MAX_SLOTS};
use crate::sys::{Handle, HandleRef, SharedBlock, Socket};
use crate::wire::{HEADER_LEN, Header, Kind, MAX_INLINE};

const BASE: usize = 0;
const COMMITTED: usize = 1;
const OPEN: usize = 2;
const OPEN_AT: usize = 3;
const OPEN_ID: usize = 4;
const OPEN_FIRST: usize = 5;
const PROGRESS: usize = 6;
const SLOTS: usize = 64;
const OUT: usize = 12 * 1024;
/// Room for the longest frame and then some.
pub(super) const OUT_LEN: usize = 2 * MAX_INLINE;
const LOG: usize = OUT + OUT_LEN;
const HUB: usize = (LOG + RING_LEN).next_multiple_of(4096);
const LEN: usize = HUB + RINGS_LEN;
const _: () = assert!((SLOTS + MAX_SLOTS as usize) * 8 <= OUT);

/// States of a slot's call.
const QUEUED: u64 = 1;
const BEGUN: u64 = 2;
const UNWANTED: u64 = 3;

fn slot_word(id: u64, state: u64) -> u64 {
    id << 2 | state
}

/// The block, from either side.
#[derive(Debug)]
pub(crate) struct StatusBlock(SharedBlock);

impl StatusBlock {
    /// A new one, and the handle by which the child maps it.
    pub(super) fn create() -> io::Result<(Self, Handle)> {
        let (block, handle) = SharedBlock::create("procpool-status", LEN)?;
        Ok((StatusBlock(block), handle))
    }

    pub(super) fn open(handle: HandleRef<'_>) -> io::Result<Self> {
        Ok(StatusBlock(SharedBlock::open(handle, LEN)?))
    }

    // The parent's side.

    /// Declares that a call waits in `slot`; before its frame is sent.
    #[inline]
    pub(crate) fn queue(&self, slot: u16, id: u64) {
        self.0.word(SLOTS + usize::from(slot)).store(slot_word(id, QUEUED), Release);
    }

    /// Takes a waiting call back; false if the worker has begun it.
    pub(crate) fn take_back(&self, slot: u16, id: u64) -> bool {
        self.0
            .word(SLOTS + usize::from(slot))
            .compare_exchange(slot_word(id, QUEUED), 0, AcqRel, Acquire)
            .is_ok()
    }

    /// Marks a begun call as no longer wanted, for the task to notice.
    pub(crate) fn mark_unwanted(&self, slot: u16, id: u64) {
        let _ = self.0.word(SLOTS + usize::from(slot)).compare_exchange(
            slot_word(id, BEGUN),
            slot_word(id, UNWANTED),
            AcqRel,
            Acquire,
        );
    }

    /// Whether the call in `slot` may have begun. Anything but the untouched
    /// word counts as begun.
    pub(crate) fn may_have_begun(&self, slot: u16, id: u64) -> bool {
        self.0.word(SLOTS + usize::from(slot)).load(Acquire) != slot_word(id, QUEUED)
    }

    /// Grows with every call and item the worker begins.
    pub(crate) fn progress(&self) -> u64 {
        self.0.word(PROGRESS).load(Acquire)
    }

    /// Whole frames a dead worker had finished but not written, given that
    /// `received` bytes of its stream arrived.
    pub(crate) fn unwritten(&self, received: u64) -> Vec<u8> {
        let base = self.0.word(BASE).load(Acquire);
        let committed = self.0.word(COMMITTED).load(Acquire);
        if base > received || committed <= received || committed - base > OUT_LEN as u64 {
            return Vec::new();
        }
        let skip = (received - base) as usize;
        let len = (committed - received) as usize;
        self.0.copy_out(OUT + skip, len).unwrap_or_default()
    }

    /// The items a dead worker had finished of the chunk it was in, as the
    /// frame it would have written next.
    pub(crate) fn open_items(&self) -> Option<Vec<u8>> {
        let base = self.0.word(BASE).load(Acquire);
        let committed = self.0.word(COMMITTED).load(Acquire);
        let open = self.0.word(OPEN).load(Acquire);
        let (count, len) = ((open >> 32) as u32, open as u32 as usize);
        if count == 0
            || self.0.word(OPEN_AT).load(Acquire) != committed
            || committed < base
            || committed - base > OUT_LEN as u64
            || len > MAX_INLINE
        {
            return None;
        }
        let id = self.0.word(OPEN_ID).load(Acquire);
        let first = self.0.word(OPEN_FIRST).load(Acquire);
        let at = OUT + (committed - base) as usize + HEADER_LEN + ItemsMeta::LEN;
        let items = self.0.copy_out(at, len)?;
        let (header, meta) = items_head((first >> 32) as u16, id, first as u32, count, len);
        Some([&header[..], &meta[..], &items[..]].concat())
    }

    // The worker's side.

    /// Begins the call in `slot`, unless the parent has taken it back.
    #[inline]
    pub(super) fn begin(&self, slot: u16, id: u64) -> bool {
        let begun = self
            .0
            .word(SLOTS + usize::from(slot))
            .compare_exchange(slot_word(id, QUEUED), slot_word(id, BEGUN), AcqRel, Acquire)
            .is_ok();
        if begun {
            self.note_progress();
        }
        begun
    }

    /// Whether the parent no longer wants this call's result.
    pub(super) fn is_unwanted(&self, slot: u16, id: u64) -> bool {
        self.0.word(SLOTS + usize::from(slot)).load(Acquire) == slot_word(id, UNWANTED)
    }

    #[inline]
    pub(super) fn note_progress(&self) {
        // Only this process's main thread writes it.
        let word = self.0.word(PROGRESS);
        word.store(word.load(Relaxed).wrapping_add(1), Release);
    }

    pub(super) fn set_base(&self, base: u64) {
        self.0.word(BASE).store(base, Release);
    }

    #[inline]
    pub(super) fn commit(&self, end: u64) {
        self.0.word(COMMITTED).store(end, Release);
    }

    pub(super) fn open_frame(&self, at: u64, id: u64, slot: u16, first: u32) {
        self.0.word(OPEN).store(0, Release);
        self.0.word(OPEN_AT).store(at, Release);
        self.0.word(OPEN_ID).store(id, Release);
        self.0.word(OPEN_FIRST).store(u64::from(slot) << 32 | u64::from(first), Release);
    }

    #[inline]
    pub(super) fn publish_items(&self, count: u32, len: usize) {
        self.0.word(OPEN).store(u64::from(count) << 32 | len as u64, Release);
    }

    #[inline]
    pub(super) fn put(&self, at: usize, bytes: &[u8]) {
        debug_assert!(at + bytes.len() <= OUT_LEN);
        self.0.copy_in(OUT + at, bytes);
    }

    pub(super) fn write_to(&self, socket: &Socket, at: usize, len: usize) -> io::Result<usize> {
        self.0.write_to(socket, OUT + at, len)
    }
}

impl HasRing for StatusBlock {
    fn ring(&self) -> (&SharedBlock, usize) {
        (&self.0, LOG)
    }
}

impl HasRings for StatusBlock {
    fn rings(&self) -> (&SharedBlock, usize) {
        (&self.0, HUB)
    }
}

/// Header and meta of an items frame whose items take `len` bytes.
pub(super) fn items_head(
    slot: u16,
    id: u64,
    first: u32,
    count: u32,
    len: usize,
) -> ([u8; HEADER_LEN], [u8; ItemsMeta::LEN]) {
    (
        Header::new(Kind::Items, slot, id, ItemsMeta::LEN + len).encode(),
        ItemsMeta { first, count }.encode(),
    )
}
