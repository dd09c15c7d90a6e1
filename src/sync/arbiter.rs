//! The owner's side of an object: it takes back what processes held that have ended, and passes pokes on to
//! tasks of others.

use std::cell::{Cell, RefCell};
use std::io;

use super::place::say;
use super::segment::{Segment, words_of};
use super::words::table::{self, parties, seat};
use super::words::{Kind, Table};
use crate::hub::{Note, OWNER, Object, ObjectKind, Out, SeatId};
use crate::sys;
use crate::wire::Payload;

/// The number of this kind of objects.
pub(super) const SYNC: u64 = 2;

inventory::submit! {
    ObjectKind { number: SYNC, make: |config, handles| {
        let kind = postcard::from_bytes(config).map_err(|_| io::ErrorKind::InvalidInput)?;
        let segment = Segment::open(*handles.first().ok_or(io::ErrorKind::InvalidInput)?)?;
        Ok(Box::new(Arbiter { kind, segment }))
    } }
}

/// In the memory every process has a number of its own; the owner's seat is 0, which is nobody there.
pub(super) fn own_seat(seat: SeatId) -> u64 {
    if seat == OWNER { u64::MAX } else { seat }
}

struct Arbiter {
    kind: Kind,
    segment: Segment,
}

impl Arbiter {
    fn table<'a>(&'a self, out: &'a mut Out) -> At<'a> {
        At { segment: &self.segment, out: RefCell::new(out), failed: Cell::new(0) }
    }
}

impl Object for Arbiter {
    fn note(
        &mut self,
        _: SeatId,
        note: Note,
        value: Payload,
        out: &mut Out,
    ) -> Result<(), &'static str> {
        out.drop_later(value);
        match note.code {
            say::POKE => {
                let [party, all, _] = note.numbers;
                self.table(out).tell(u16::try_from(party).unwrap_or(0), all != 0);
                Ok(())
            }
            _ => Err("it said something that no lock and nothing like it understands"),
        }
    }

    fn mappings(&self) -> usize {
        1
    }

    fn is_used_unheard(&self) -> bool {
        true
    }

    /// It has given up its entry by itself, and may have another by now.
    fn left(&mut self, _: SeatId, _: &mut Out) {}

    fn over(&mut self, _: &mut Out) {}

    fn ended(&mut self, by: SeatId, out: &mut Out) {
        let table = self.table(out);
        let its = parties(&table).filter(|p| seat(&table, *p) == own_seat(by));
        let its: Vec<_> = its.take(MAX_ENTRIES).collect();
        its.into_iter().for_each(|party| self.kind.recover(&table, party));
    }
}

/// The memory, where wakes are notes.
struct At<'a> {
    segment: &'a Segment,
    out: RefCell<&'a mut Out>,
    /// Swaps that found something else than was read before.
    failed: Cell<u32>,
}

/// Entries that an honest process has at a time: one, and those it has just given up.
const MAX_ENTRIES: usize = 16;
/// Swaps that may fail in one go. A process that is honest changes a word now and then; one that does so all the
/// time keeps nobody here, and has spoilt the object for whoever has it.
const MAX_FAILED: u32 = 1000;

impl At<'_> {
    /// Tells the tasks of a process.
    fn tell(&self, party: table::Party, all: bool) {
        let to = match seat(self, party) {
            0 => return,
            u64::MAX => OWNER,
            seat => seat,
        };
        let note = Note::new(say::POKE, [party.into(), all.into(), 0]);
        self.out.borrow_mut().poke(to, note);
    }
}

impl Table for At<'_> {
    words_of!(segment, but swap_if);

    fn swap_if(&self, word: usize, old: u64, new: u64) -> bool {
        let done = self.segment.swap_if(word, old, new);
        if !done {
            self.failed.set(self.failed.get() + 1);
        }
        // All loops end with a swap, or after so many tries.
        done || self.failed.get() > MAX_FAILED
    }

    fn tries(&self) -> u32 {
        MAX_FAILED
    }

    fn wake(&self, party: table::Party, pokes: usize, tasks: bool, all: bool) {
        sys::unpark(self.segment.block(), pokes, all);
        if tasks {
            self.tell(party, all);
        }
    }

    /// Of those that have ended nobody else does anything.
    fn alone<R>(&self, f: impl FnOnce() -> R) -> R {
        f()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::words::table::WORDS;

    /// Whatever a process writes into the memory of an object, its end is dealt with.
    #[test]
    fn nonsense_in_the_memory_holds_up_nobody() {
        let mut seed = 1u64;
        let mut chance = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        const KINDS: [Kind; 6] =
            [Kind::Lock, Kind::RLock, Kind::Semaphore, Kind::Event, Kind::Condition, Kind::Barrier];
        let by = 77;
        for round in 0..240 {
            let (segment, _) = Segment::create().unwrap();
            for word in 0..WORDS {
                // Some all of it, some a little, some with all bits set here and there.
                let written = match chance() % 8 {
                    0 => u64::MAX,
                    1 => chance() % 1024,
                    _ => chance(),
                };
                if round % 3 != 1 || chance().is_multiple_of(50) {
                    segment.store(word, written);
                }
            }
            for entry in [1, 2, 500, 1023] {
                segment.store(8 * entry, own_seat(by));
            }
            let mut arbiter = Arbiter { kind: KINDS[round % KINDS.len()], segment };
            let mut out = Out::default();
            arbiter.ended(by, &mut out);
            let note = Note::new(say::POKE, [chance(), chance() % 2, 0]);
            arbiter.note(by, note, Payload::empty(), &mut out).unwrap();
        }
    }
}
