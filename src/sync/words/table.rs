//! The memory of one object as all who use it see it: a word of state, and an entry for each process.
//!
//! ```text
//! word 0       the state: what it means is the kind's
//!      1       tickets given out
//!      2       the highest entry in use so far
//!      3, 4    what the object was made with
//! entry p (64 bytes at 64·p, from 1 on), of one process:
//!      0       its seat; 0: free
//!      1       its process id
//!      2       its ticket: who has the lowest waits longest
//!      3       how many wait; FAIR, POKED; above them, tokens
//!      4, 5    of semaphores: what it holds and does, and which of its deeds was seen last; of conditions: numbers
//!              of those that wait, and how many tokens are claimed; of barriers: in which trip it sits
//!      6       counts its pokes; on the lower half its threads sleep
//!      7       how many of those that wait are tasks
//! ```
//!
//! *No wake-up is lost.* Who waits counts itself into its entry, then looks at the state, then sleeps unless its
//! entry's pokes have changed since before it looked. Who changes the state looks at the entries after that, and pokes by
//! changing the count of pokes before it wakes. So whoever does not see the change is seen by who makes it. All
//! operations are sequentially consistent.
//!
//! *Who dies* may have changed the state and not poked: the arbiter pokes everybody after each death. What the state says
//! of the dead one it takes back.
//!
//! *POKED* spares system calls: who finds it set need not wake again, since the one that was woken clears it
//! before it looks, and passes the wake on if it goes without what it waited for.

use std::time::Duration;

/// The number of an entry, from 1 on.
pub(in crate::sync) type Party = u16;

pub(in crate::sync) const STATE: usize = 0;
pub(in crate::sync) const TICKETS: usize = 1;
const HIGH: usize = 2;
pub(in crate::sync) const MADE_WITH: usize = 3;
pub(in crate::sync) const MADE_WITH_TOO: usize = 4;

const SEAT: usize = 0;
const PID: usize = 1;
pub(super) const TICKET: usize = 2;
pub(super) const WAIT: usize = 3;
pub(super) const SLOT: usize = 4;
pub(super) const SEEN: usize = 5;
const POKES: usize = 6;
const TASKS: usize = 7;

/// Words of an entry.
const ENTRY: usize = 8;
/// Processes that can use one object at a time.
pub(in crate::sync) const MAX_PARTIES: Party = 1023;
/// Words of it all.
pub(in crate::sync) const WORDS: usize = (MAX_PARTIES as usize + 1) * ENTRY;

/// Of the word of those that wait: how many.
pub(super) const COUNT: u64 = (1 << 20) - 1;
pub(super) const POKED: u64 = 1 << 30;
/// One of them has waited for so long that it is to be served before anybody who comes now.
pub(super) const FAIR: u64 = 1 << 31;
/// One token; as many as wait at most.
pub(super) const TOKEN: u64 = 1 << 32;
/// Those that may wait in one process.
pub(super) const MAX_WAITING: u64 = COUNT - 1;

/// The memory, and how to wake who waits.
pub(in crate::sync) trait Table {
    fn load(&self, word: usize) -> u64;
    fn store(&self, word: usize, value: u64);
    /// Whether the word was `old`, and is `new` now.
    fn swap_if(&self, word: usize, old: u64, new: u64) -> bool;
    fn add(&self, word: usize, n: u64) -> u64;
    fn or(&self, word: usize, bits: u64) -> u64;
    fn and(&self, word: usize, bits: u64) -> u64;

    /// Wakes threads of a process that sleep on that word, and tells its tasks, if there are any; one
    /// of them or all.
    fn wake(&self, party: Party, pokes: usize, tasks: bool, all: bool);

    /// Keeps others of this process away from the slot of its entry.
    fn alone<R>(&self, f: impl FnOnce() -> R) -> R;

    /// How often it is tried to change a word for which all entries are looked at after it was read, which gives others time
    /// to change it, too. Who is honest does not do so as often as this in a row; who is not keeps nobody here, and has
    /// spoilt the object for whoever has it.
    fn tries(&self) -> u32 {
        1 << 16
    }

    /// A step at which this process may be killed, in tests.
    fn step(&self, _name: &'static str) {}
}

pub(super) fn word(party: Party, index: usize) -> usize {
    usize::from(party) * ENTRY + index
}

/// Takes a free entry for the process in that seat; none if there is none.
pub(in crate::sync) fn join(t: &impl Table, seat: u64, pid: u32) -> Option<Party> {
    let free = |p: &Party| t.load(word(*p, SEAT)) == 0;
    // Whoever dies here is looked for up to there.
    let take = |p: &Party| free(p) && reaches(t, *p) && t.swap_if(word(*p, SEAT), 0, seat);
    let party = (1..=MAX_PARTIES).find(take)?;
    t.store(word(party, PID), u64::from(pid));
    Some(party)
}

/// Has whoever looks at all entries look as far as that one.
fn reaches(t: &impl Table, party: Party) -> bool {
    loop {
        let high = t.load(HIGH);
        if high >= u64::from(party) || t.swap_if(HIGH, high, party.into()) {
            return true;
        }
    }
}

/// Gives an entry up; nothing in it means anything any more.
pub(super) fn part(t: &impl Table, party: Party) {
    part_at(t, party, 0);
}

/// The same, but whoever has it next goes on counting its deeds from that number.
pub(super) fn part_at(t: &impl Table, party: Party, deed: u64) {
    [PID, TICKET, WAIT, TASKS].iter().for_each(|index| t.store(word(party, *index), 0));
    [SLOT, SEEN].iter().for_each(|index| t.store(word(party, *index), deed));
    t.store(word(party, SEAT), 0);
}

/// All entries that may be in use.
pub(in crate::sync) fn parties(t: &impl Table) -> impl Iterator<Item = Party> {
    1..=t.load(HIGH).min(MAX_PARTIES.into()) as Party
}

pub(in crate::sync) fn seat(t: &impl Table, party: Party) -> u64 {
    if (1..=MAX_PARTIES).contains(&party) { t.load(word(party, SEAT)) } else { 0 }
}

pub(in crate::sync) fn pid(t: &impl Table, party: Party) -> u32 {
    if (1..=MAX_PARTIES).contains(&party) { t.load(word(party, PID)) as u32 } else { 0 }
}

/// How many wait, in all processes.
pub(in crate::sync) fn waiting(t: &impl Table) -> u64 {
    parties(t).map(|p| t.load(word(p, WAIT)) & COUNT).sum()
}

/// How many wait in one process.
pub(super) fn count(t: &impl Table, party: Party) -> u64 {
    t.load(word(party, WAIT)) & COUNT
}

pub(super) fn next_ticket(t: &impl Table) -> u64 {
    t.add(TICKETS, 1).wrapping_add(1)
}

/// Counts one that waits into its entry; how many there were, or none if that is full.
pub(super) fn enter(t: &impl Table, me: Party, task: bool) -> Option<u64> {
    if task {
        t.add(word(me, TASKS), 1);
    }
    let before = t.add(word(me, WAIT), 1) & COUNT;
    if before >= MAX_WAITING {
        leave(t, me, task);
        return None;
    }
    // It may have been set for one that has gone without clearing it, at a time when there was no task to tell. Now
    // whoever sets it wakes this one.
    t.and(word(me, WAIT), !POKED);
    if before == 0 {
        t.store(word(me, TICKET), next_ticket(t));
    }
    t.step("entered");
    Some(before)
}

/// Counts it out; how many there were with it.
pub(super) fn leave(t: &impl Table, me: Party, task: bool) -> u64 {
    task_left(t, me, task);
    t.add(word(me, WAIT), u64::MAX) & COUNT
}

/// Counts it out of the tasks, if it is one.
pub(super) fn task_left(t: &impl Table, me: Party, task: bool) {
    if task {
        t.add(word(me, TASKS), u64::MAX);
    }
}

/// The same for one that has what it waited for: others of its process go to the end.
pub(super) fn leave_served(t: &impl Table, me: Party, task: bool) {
    t.and(word(me, WAIT), !FAIR);
    if leave(t, me, task) > 1 {
        t.store(word(me, TICKET), next_ticket(t));
    }
}

/// Who waits longest.
pub(super) fn oldest(t: &impl Table) -> Option<Party> {
    parties(t).filter(|p| count(t, *p) > 0).min_by_key(|p| t.load(word(*p, TICKET)))
}

/// Whether one of a process that waits is to be served before anybody who comes now: tasks
/// always are.
pub(super) fn is_fair(t: &impl Table, party: Party) -> bool {
    t.load(word(party, WAIT)) & FAIR != 0 || has_tasks(t, party)
}

pub(super) fn be_fair(t: &impl Table, me: Party) {
    t.or(word(me, WAIT), FAIR);
}

fn has_tasks(t: &impl Table, party: Party) -> bool {
    t.load(word(party, TASKS)) > 0
}

/// Has one of a process's look again, unless one is about to.
pub(super) fn poke(t: &impl Table, party: Party) {
    if t.or(word(party, WAIT), POKED) & POKED == 0 {
        wake(t, party, false);
    }
}

/// Has one look again, whatever another is about to do.
pub(super) fn poke_surely(t: &impl Table, party: Party) {
    t.or(word(party, WAIT), POKED);
    wake(t, party, false);
}

/// Has all look again.
pub(super) fn poke_all(t: &impl Table) {
    parties(t).filter(|p| count(t, *p) > 0).for_each(|p| wake(t, p, true));
}

/// Wakes one of a process's, or all.
pub(super) fn wake(t: &impl Table, party: Party, all: bool) {
    let pokes = word(party, POKES);
    t.add(pokes, 1);
    t.step("woken");
    t.wake(party, pokes, has_tasks(t, party), all);
}

/// Before one that was woken looks: who changes anything from now on must wake again. What its
/// entry's pokes are now, which it may sleep on.
pub(in crate::sync) fn about_to_look(t: &impl Table, me: Party) -> u32 {
    // In this order: whoever sets POKED after it was cleared here changes the pokes after they were read, and so
    // nobody sleeps while it is set.
    let pokes = t.load(word(me, POKES)) as u32;
    t.and(word(me, WAIT), !POKED);
    pokes
}

/// On which of the words the threads of a process sleep.
pub(in crate::sync) fn bed(me: Party) -> usize {
    word(me, POKES)
}

/// Who waits for something.
pub(in crate::sync) trait Wait {
    type Got;

    /// Whether it has it; if not, it may sleep while its entry has not been poked since before
    /// this look. `late`: it has waited for [`PATIENCE`].
    fn look(&mut self, t: &impl Table, me: Party, late: bool) -> Looked<Self::Got>;

    /// Its time is over; it quits next.
    fn expire(&mut self, _t: &impl Table) {}

    /// It waits no more; it may have it all the same.
    fn quit(&mut self, t: &impl Table, me: Party) -> Option<Self::Got>;

    /// Nobody wants what it got.
    fn give_back(got: Self::Got, t: &impl Table, me: Party);
}

/// What a look has shown.
#[derive(Debug)]
pub(in crate::sync) enum Looked<T> {
    Got(T),
    Nothing,
    /// More wait in this process than can be counted.
    TooMany,
}

/// How long one that waits is overtaken at most, once there is anything to be had.
pub(in crate::sync) const PATIENCE: Duration = Duration::from_millis(1);
