//! A lock: the state names the process that holds it.
//!
//! ```text
//! free ──take──> held by p ──unlock, nobody waits──> free
//!   ▲                │  └─unlock, the one that waits longest is late, or a task──> handed to q ──q takes──> held by q
//!   └── unlock, somebody waits: it is poked, and whoever comes first takes ──┘
//! ```
//!
//! *WAITED* stays set as long as somebody may wait. It is taken away together with the holder by one who has seen no
//! one in the entries; that somebody has counted itself in meanwhile shows in the calls, which changes with
//! each who finds the lock held and waits for it.

use super::table::{
    Looked, Party, STATE, Table, WAIT, Wait, be_fair, count, enter, is_fair, leave, leave_served,
    oldest, part, poke, poke_all, poke_surely, word,
};

/// As many as there are entries, whatever another process writes here.
const HOLDER: u64 = 0x3ff;
const WAITED: u64 = 1 << 16;
/// Who held it last has died with it.
const RECOVERED: u64 = 1 << 17;
/// It is for one of the holder's that wait, and none has taken it yet.
const HANDED: u64 = 1 << 18;
const LOW: u64 = u32::MAX as u64;
/// Counts those that found it held.
const CALL: u64 = 1 << 32;

fn holder(state: u64) -> Party {
    (state & HOLDER) as Party
}

/// A lock that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sync) struct Taken {
    /// Who held it before has died with it.
    pub(in crate::sync) recovered: bool,
}

/// Takes it, if it is free and nobody waits.
#[inline]
pub(in crate::sync) fn take_at_once(t: &impl Table, me: Party) -> bool {
    let state = t.load(STATE);
    state & LOW == 0 && t.swap_if(STATE, state, state | u64::from(me))
}

/// Takes it if it is free.
pub(in crate::sync) fn take(t: &impl Table, me: Party) -> Option<Taken> {
    loop {
        let state = t.load(STATE);
        if holder(state) != 0 {
            return None;
        }
        if t.swap_if(STATE, state, state & !RECOVERED | u64::from(me)) {
            return Some(Taken { recovered: state & RECOVERED != 0 });
        }
    }
}

/// Takes it if it is free; or if it was handed to this process, unless others of it that came before are to have it.
fn take_waiting(t: &impl Table, me: Party, behind: bool) -> Option<Taken> {
    loop {
        let state = t.load(STATE);
        let handed = state & HANDED != 0 && holder(state) == me;
        if !handed {
            return take(t, me);
        }
        if behind {
            return None;
        }
        if t.swap_if(STATE, state, state & !(HANDED | RECOVERED)) {
            return Some(Taken { recovered: state & RECOVERED != 0 });
        }
    }
}

#[inline]
pub(in crate::sync) fn unlock(t: &impl Table, me: Party) {
    let state = t.load(STATE);
    if state & LOW != u64::from(me) || !t.swap_if(STATE, state, state & !LOW) {
        release(t, me, 0);
    }
}

/// Releases it for `whose`, unless that does not hold it.
fn release(t: &impl Table, whose: Party, recovered: u64) -> bool {
    release_if(t, recovered, |state| holder(state) == whose)
}

/// Releases it, if `may` says so of the state.
fn release_if(t: &impl Table, recovered: u64, may: impl Fn(u64) -> bool) -> bool {
    for _ in 0..t.tries() {
        let state = t.load(STATE);
        if !may(state) {
            return false;
        }
        let free = state & !(HOLDER | HANDED) | recovered;
        let next = oldest(t);
        t.step("releasing");
        let (new, poked) = match next {
            None => (free & !WAITED, None),
            Some(next) if is_fair(t, next) => (free | HANDED | u64::from(next), Some((next, true))),
            Some(next) => (free, Some((next, false))),
        };
        if t.swap_if(STATE, state, new) {
            t.step("released");
            let Some((next, handed)) = poked else { return true };
            if handed {
                // Whoever was woken before may not know that it is for it.
                poke_surely(t, next);
            } else {
                poke(t, next);
            }
            // It may have gone after it was found, and before it could see that it has something to pass on.
            if count(t, next) == 0 {
                pass_on(t, next);
            }
            return true;
        }
    }
    // Whatever it is by now, it is none of this process's.
    true
}

/// Releases it, whoever holds it; false if nobody does.
pub(in crate::sync) fn release_anyones(t: &impl Table) -> bool {
    loop {
        let state = t.load(STATE);
        if holder(state) == 0 {
            return false;
        }
        if release(t, holder(state), 0) {
            return true;
        }
    }
}

/// Who holds it.
pub(in crate::sync) fn held_by(t: &impl Table) -> Option<Party> {
    Some(holder(t.load(STATE))).filter(|party| *party != 0)
}

/// One that waits.
#[derive(Debug)]
pub(in crate::sync) struct LockWait {
    task: bool,
    entered: bool,
    called: bool,
    /// Others of this process waited before it, and it has not been woken yet.
    behind: bool,
}

impl LockWait {
    pub(in crate::sync) fn new(task: bool) -> Self {
        LockWait { task, entered: false, called: false, behind: false }
    }

    /// Makes the state say that somebody waits; false if there is something to be had by now. What was handed to those
    /// before it they have been woken for, and pass on if they go.
    fn call(&mut self, t: &impl Table, me: Party) -> bool {
        loop {
            let state = t.load(STATE);
            let handed = state & HANDED != 0 && holder(state) == me;
            if holder(state) == 0 || handed && !self.behind {
                return false;
            }
            if self.called && state & WAITED != 0 {
                return true;
            }
            if t.swap_if(STATE, state, (state | WAITED).wrapping_add(CALL)) {
                self.called = true;
                return true;
            }
        }
    }
}

impl Wait for LockWait {
    type Got = Taken;

    fn look(&mut self, t: &impl Table, me: Party, late: bool) -> Looked<Taken> {
        if self.entered {
            self.behind = false;
        } else {
            let Some(before) = enter(t, me, self.task) else { return Looked::TooMany };
            (self.entered, self.behind) = (true, before > 0);
        }
        if late {
            be_fair(t, me);
        }
        loop {
            if let Some(taken) = take_waiting(t, me, self.behind) {
                t.step("taken");
                leave_served(t, me, self.task);
                self.entered = false;
                return Looked::Got(taken);
            }
            if self.call(t, me) {
                return Looked::Nothing;
            }
        }
    }

    fn quit(&mut self, t: &impl Table, me: Party) -> Option<Taken> {
        if !std::mem::take(&mut self.entered) {
            return None;
        }
        if let Some(taken) = take_waiting(t, me, false) {
            leave_served(t, me, self.task);
            return Some(taken);
        }
        leave(t, me, self.task);
        pass_on(t, me);
        None
    }

    fn give_back(_: Taken, t: &impl Table, me: Party) {
        unlock(t, me);
    }
}

/// One has gone that may have been woken: another is to look.
fn pass_on(t: &impl Table, from: Party) {
    let handed = |state| state & HANDED != 0 && holder(state) == from;
    let state = t.load(STATE);
    if handed(state) {
        if count(t, from) > 0 {
            return poke_surely(t, from);
        }
        // Nobody of that process waits any more; if one has come just now, it takes it or finds it gone. In one step:
        // nobody may die while that process holds it and does not know.
        release_if(t, 0, |state| handed(state) && count(t, from) == 0);
    } else if holder(state) == 0
        && state & WAITED != 0
        && let Some(next) = oldest(t)
    {
        poke_surely(t, next);
    }
}

/// A process has ended, or has no handle any more: what it held passes on.
pub(in crate::sync) fn recover(t: &impl Table, dead: Party) {
    t.store(word(dead, WAIT), 0);
    let state = t.load(STATE);
    let entered = holder(state) == dead && state & HANDED == 0;
    release(t, dead, if entered { RECOVERED } else { 0 });
    part(t, dead);
    // It may have handed it to one that had gone, and not seen that.
    let state = t.load(STATE);
    if state & HANDED != 0 {
        pass_on(t, holder(state));
    }
    poke_all(t);
}
