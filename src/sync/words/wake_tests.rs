//! Another process comes between any two operations of one that waits.

use std::cell::{Cell, RefCell};

use super::barrier::{self, BarrierWait};
use super::condition;
use super::lock::{self, LockWait};
use super::semaphore::{self, SemaphoreWait};
use super::table::{self, Looked, Party, Table, WORDS, Wait, about_to_look, join};

/// The memory, as one process sees it.
struct Memory<'a> {
    words: &'a RefCell<Vec<u64>>,
    /// Called after every operation with how many there have been.
    between: &'a dyn Fn(u32),
    operations: Cell<u32>,
    /// Others of this process must not do anything by its slot.
    alone: Cell<bool>,
}

impl<'a> Memory<'a> {
    fn new(words: &'a RefCell<Vec<u64>>, between: &'a dyn Fn(u32)) -> Self {
        Memory { words, between, operations: Cell::new(0), alone: Cell::new(false) }
    }

    /// Changes a word; what it was.
    fn change(&self, word: usize, f: impl FnOnce(u64) -> u64) -> u64 {
        let old = {
            let mut words = self.words.borrow_mut();
            let new = f(words[word]);
            std::mem::replace(&mut words[word], new)
        };
        self.operations.set(self.operations.get() + 1);
        (self.between)(self.operations.get());
        old
    }
}

impl Table for Memory<'_> {
    fn load(&self, word: usize) -> u64 {
        self.change(word, |old| old)
    }

    fn store(&self, word: usize, value: u64) {
        self.change(word, |_| value);
    }

    fn swap_if(&self, word: usize, old: u64, new: u64) -> bool {
        self.change(word, |is| if is == old { new } else { is }) == old
    }

    fn add(&self, word: usize, n: u64) -> u64 {
        self.change(word, |old| old.wrapping_add(n))
    }

    fn or(&self, word: usize, bits: u64) -> u64 {
        self.change(word, |old| old | bits)
    }

    fn and(&self, word: usize, bits: u64) -> u64 {
        self.change(word, |old| old & bits)
    }

    /// Who sleeps finds that the count of its pokes has changed.
    fn wake(&self, _: Party, _: usize, _: bool, _: bool) {}

    fn alone<R>(&self, f: impl FnOnce() -> R) -> R {
        self.alone.set(true);
        let done = f();
        self.alone.set(false);
        done
    }
}

/// What one that has something does with it.
trait Use {
    fn take(&self, t: &Memory<'_>, who: Party);
    fn give(&self, t: &Memory<'_>, who: Party);
}

struct Lock;

impl Use for Lock {
    fn take(&self, t: &Memory<'_>, who: Party) {
        lock::take(t, who);
    }

    fn give(&self, t: &Memory<'_>, who: Party) {
        lock::unlock(t, who);
    }
}

struct Semaphore;

impl Use for Semaphore {
    fn take(&self, t: &Memory<'_>, who: Party) {
        semaphore::take(t, who);
    }

    fn give(&self, t: &Memory<'_>, who: Party) {
        // It holds none if the one that waits has it.
        if t.load(table::word(who, table::SLOT)) >> 32 > 0 {
            semaphore::give_back(t, who);
        }
    }
}

/// All permits there are, had or not.
fn permits(t: &Memory<'_>, holders: &[Party]) -> u64 {
    let held = |who: &Party| t.load(table::word(*who, table::SLOT)) >> 32;
    semaphore::available(t) + holders.iter().map(held).sum::<u64>()
}

/// One does something to a semaphore with a bound, and another releases a permit too many, or one that may be, after any of
/// the first one's operations: that is told from the other, and so it is the other way round.
#[test]
fn a_bound_holds_between_any_two_operations() {
    let nothing = |_: u32| ();
    for (most, takes) in [(1, true), (1, false), (2, true), (2, false)] {
        let (mut at, mut any) = (0, true);
        while any {
            any = false;
            at += 1;
            for releases_first in [true, false] {
                let words = RefCell::new(vec![0; WORDS]);
                let other = Memory::new(&words, &nothing);
                semaphore::init(&other, 1, most);
                let one = join(&other, 1, 1).unwrap();
                join(&other, 2, 2).unwrap();
                if !takes {
                    assert!(semaphore::take(&other, one));
                }
                let released = Cell::new(None);
                let release = |t: &Memory<'_>| released.set(Some(semaphore::release(t, 1)));
                let change = |t: &Memory<'_>| match takes {
                    true => assert!(semaphore::take(t, one)),
                    false => semaphore::give_back(t, one),
                };
                let between = |n: u32| match (n == at, releases_first) {
                    (false, _) => {}
                    (true, true) => change(&other),
                    (true, false) => release(&other),
                };
                let mine = Memory::new(&words, &between);
                if releases_first {
                    release(&mine)
                } else {
                    change(&mine)
                }
                if mine.operations.get() < at {
                    continue;
                }
                any = true;
                let expected = (Some(most == 2), most.into());
                assert_eq!((released.get(), permits(&other, &[one])), expected, "{takes} {at}");
            }
        }
        assert!(at > 5);
    }
}

/// Somebody is about to note what a process did that has died since; and the next one to have its entry dies, too.
#[test]
fn a_late_note_is_not_taken_for_one_of_the_next_process() {
    let nothing = |_: u32| ();
    let (mut at, mut any) = (0, true);
    while any {
        any = false;
        at += 1;
        for last in 1..30 {
            let words = RefCell::new(vec![0; WORDS]);
            let other = Memory::new(&words, &nothing);
            semaphore::init(&other, 3, semaphore::MAX_PERMITS);
            let first = join(&other, 1, 1).unwrap();
            let late = join(&other, 2, 2).unwrap();
            assert!(semaphore::take(&other, first));
            let between = |n: u32| {
                if n == at {
                    semaphore::recover(&other, first);
                    assert_eq!(join(&other, 3, 3), Some(first));
                    let dies = |n: u32| {
                        if n == last {
                            std::panic::resume_unwind(Box::new(()));
                        }
                    };
                    let dying = Memory::new(&words, &dies);
                    let take = std::panic::AssertUnwindSafe(|| semaphore::take(&dying, first));
                    let _ = std::panic::catch_unwind(take);
                }
            };
            let mine = Memory::new(&words, &between);
            assert!(semaphore::take(&mine, late));
            any |= mine.operations.get() >= at;
            if mine.operations.get() >= at {
                semaphore::recover(&other, first);
                let all = permits(&other, &[late]);
                assert_eq!(all, 3, "after {at} operations, died after {last}");
            }
        }
    }
    assert!(at > 5);
}

/// Whoever changes a word all the time keeps nobody who uses it.
#[test]
fn nobody_is_kept_by_one_that_changes_the_memory() {
    let nothing = |_: u32| ();
    let each = |init: &dyn Fn(&Memory<'_>, Party), f: &dyn Fn(&Memory<'_>, Party)| {
        let words = RefCell::new(vec![0; WORDS]);
        let other = Memory::new(&words, &nothing);
        let me = join(&other, 1, 1).unwrap();
        init(&other, me);
        // The calls, which every kind counts in its highest bits.
        let between = |_: u32| words.borrow_mut()[table::STATE] ^= 1 << 62;
        f(&Memory::new(&words, &between), me);
    };
    each(&|t, me| assert!(lock::take(t, me).is_some()), &|t, me| lock::unlock(t, me));
    each(&|t, me| assert!(lock::take(t, me).is_some()), &|t, me| lock::recover(t, me));
    let permits = |t: &Memory<'_>, _| semaphore::init(t, 2, 2);
    each(&permits, &|t, me| assert!(!semaphore::take(t, me)));
    each(&permits, &|t, _| assert!(!semaphore::release(t, 1)));
    let held = |t: &Memory<'_>, me| {
        permits(t, me);
        assert!(semaphore::take(t, me));
    };
    each(&held, &|t, me| semaphore::give_back(t, me));
    // Somebody waits whenever it is looked for, and nobody when it is to be notified.
    let words = RefCell::new(vec![0; WORDS]);
    let party = join(&Memory::new(&words, &nothing), 1, 1).unwrap();
    let between =
        |n: u32| words.borrow_mut()[table::word(party, table::WAIT)] = u64::from(n % 4 == 1);
    let looks = Memory::new(&words, &between);
    assert_eq!(condition::notify(&looks, 1), 0);
    assert!(looks.operations.get() > looks.tries());
}

/// One waits, has looked once, and looks again; the other, which had it, gives it up after any of that one's operations, takes
/// it again after any later one, and gives it up at last: the one has it by now, or is to look once more.
fn nobody_sleeps_on<W: Wait>(it: &dyn Use, init: impl Fn(&Memory<'_>), wait: impl Fn() -> W) {
    let nothing = |_: u32| ();
    let (mut first, mut any) = (0, true);
    while any {
        any = false;
        first += 1;
        for again in first..first + 40 {
            let words = RefCell::new(vec![0; WORDS]);
            let other = Memory::new(&words, &nothing);
            init(&other);
            let me = join(&other, 1, 1).unwrap();
            let who = join(&other, 2, 2).unwrap();
            it.take(&other, who);
            let mut wait = wait();
            about_to_look(&other, me);
            assert!(matches!(wait.look(&other, me, false), Looked::Nothing));
            let between = |n: u32| {
                if n == first {
                    it.give(&other, who);
                }
                if n == again {
                    it.take(&other, who);
                }
            };
            let mine = Memory::new(&words, &between);
            let pokes = about_to_look(&mine, me);
            let looked = wait.look(&mine, me, false);
            any |= mine.operations.get() >= first;
            it.give(&other, who);
            let slept_on = words.borrow()[table::bed(me)] as u32 == pokes;
            let sleeps = matches!(looked, Looked::Nothing) && slept_on;
            assert!(!sleeps, "given up after {first} operations, taken again after {again}");
        }
    }
}

#[test]
fn nobody_sleeps_on_a_free_lock() {
    nobody_sleeps_on(&Lock, |_| (), || LockWait::new(false));
}

#[test]
fn nobody_sleeps_while_there_is_a_permit() {
    let init = |t: &Memory<'_>| semaphore::init(t, 1, 1);
    nobody_sleeps_on(&Semaphore, init, || SemaphoreWait::new(false));
}

/// Of a process one sits in a barrier from after any operation on of another that comes too; if the process dies after any
/// later one, the barrier breaks.
#[test]
fn a_barrier_breaks_whatever_another_of_the_dead_one_was_doing() {
    let nothing = |_: u32| ();
    let broken = Cell::new(0);
    for trips in 0..4 {
        for (sits, dies) in (1..24).flat_map(|sits| (sits..24).map(move |dies| (sits, dies))) {
            let words = RefCell::new(vec![0; WORDS]);
            let one = Memory::new(&words, &nothing);
            barrier::init(&one, 9);
            let me = join(&one, 1, 1).unwrap();
            (0..trips).for_each(|_| {
                let mut wait = BarrierWait::new(false);
                assert!(matches!(wait.look(&one, me, false), Looked::Nothing));
                barrier::reset(&one);
                assert!(matches!(wait.look(&one, me, false), Looked::Got(_)));
            });
            let sat = Cell::new(false);
            let mine = Cell::new(None::<&Memory<'_>>);
            let between = |n: u32| {
                let alone = mine.get().is_some_and(|mine| mine.alone.get());
                if n >= sits && !sat.get() && !alone {
                    // Before that the trip it would have been in ends.
                    barrier::reset(&one);
                    let mut wait = BarrierWait::new(false);
                    assert!(matches!(wait.look(&one, me, false), Looked::Nothing));
                    sat.set(true);
                }
                if n == dies && sat.get() {
                    let then = RefCell::new(words.borrow().clone());
                    let arbiter = Memory::new(&then, &nothing);
                    barrier::recover(&arbiter, me);
                    assert!(barrier::is_broken(&arbiter), "sat after {sits}, died after {dies}");
                    broken.set(broken.get() + 1);
                }
            };
            // Somebody else has come.
            let other = join(&one, 2, 2).unwrap();
            let _ = BarrierWait::new(false).look(&one, other, false);
            let another = Memory::new(&words, &between);
            mine.set(Some(&another));
            let _ = BarrierWait::new(false).look(&another, me, false);
        }
    }
    assert!(broken.get() > 0);
}

/// What is handed to one that waits is not for another of its process that comes just then.
#[test]
fn a_lock_that_is_handed_over_is_for_whoever_waited_first() {
    let (words, nothing) = (RefCell::new(vec![0; WORDS]), |_: u32| ());
    let t = Memory::new(&words, &nothing);
    let me = join(&t, 1, 1).unwrap();
    let who = join(&t, 2, 2).unwrap();
    for holder in [me, who] {
        assert!(lock::take(&t, holder).is_some());
        let (mut first, mut next) = (LockWait::new(true), LockWait::new(true));
        assert!(matches!(first.look(&t, me, false), Looked::Nothing));
        lock::unlock(&t, holder);
        assert!(matches!(next.look(&t, me, false), Looked::Nothing));
        assert!(matches!(first.look(&t, me, false), Looked::Got(_)));
        lock::unlock(&t, me);
        assert!(matches!(next.look(&t, me, false), Looked::Got(_)));
        lock::unlock(&t, me);
        // If the first goes, the next has it.
        assert!(lock::take(&t, holder).is_some());
        let (mut first, mut next) = (LockWait::new(true), LockWait::new(true));
        assert!(matches!(first.look(&t, me, false), Looked::Nothing));
        lock::unlock(&t, holder);
        let pokes = about_to_look(&t, me);
        assert!(matches!(next.look(&t, me, false), Looked::Nothing));
        let got = first.quit(&t, me);
        got.into_iter().for_each(|got| LockWait::give_back(got, &t, me));
        assert_ne!(about_to_look(&t, me), pokes, "nobody wakes it");
        assert!(matches!(next.look(&t, me, false), Looked::Got(_)));
        lock::unlock(&t, me);
        assert_eq!((lock::held_by(&t), table::waiting(&t)), (None, 0));
    }
}

/// A process holds the only permit, tries in vain to have another, any number of times, and dies when it has just said that it is
/// about to.
#[test]
fn tries_in_vain_are_no_deeds() {
    let (words, nothing) = (RefCell::new(vec![0; WORDS]), |_: u32| ());
    let one = Memory::new(&words, &nothing);
    semaphore::init(&one, 1, 1);
    let me = join(&one, 1, 1).unwrap();
    assert!(semaphore::take(&one, me));
    for _ in 0..0xffff {
        assert!(!semaphore::take(&one, me));
    }
    let permits = Cell::new(None);
    let dies = |n: u32| {
        if n == 3 {
            let then = RefCell::new(words.borrow().clone());
            let arbiter = Memory::new(&then, &nothing);
            semaphore::recover(&arbiter, me);
            permits.set(Some(semaphore::available(&arbiter)));
        }
    };
    semaphore::take(&Memory::new(&words, &dies), me);
    assert_eq!(permits.get(), Some(1));
}
