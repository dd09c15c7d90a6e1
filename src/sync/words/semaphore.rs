//! A semaphore: how many permits are left; and in each entry how many its process holds.
//!
//! A permit moves between the two in two steps, and whoever does that may die between them. So a process first says in
//! its slot what it is about to do, and by which number of its own; the state names who changed it last and by which
//! number; and before anybody overwrites that, it notes it in that one's entry. So of a deed that was begun it can be
//! told whether it was done. (Detectable compare-and-swap; after Attiya, Ben-Baruch and Hendler, "Nesting-safe
//! recoverable linearizability", PODC 2018.)
//!
//! ```text
//! state:  permits 22 | WAITED | who 10 | by which deed 16 | calls 15
//! slot:   held 32 | what is being done 16 | deed 16
//! ```

use super::table::{
    Looked, MADE_WITH, Party, SEEN, SLOT, STATE, TICKET, Table, WAIT, Wait, be_fair, count, enter,
    is_fair, leave, leave_served, oldest, part_at, parties, poke, poke_all, poke_surely, word,
};

const PERMITS: u64 = (1 << 22) - 1;
/// Permits that a semaphore can have.
pub(in crate::sync) const MAX_PERMITS: u32 = PERMITS as u32;
const WAITED: u64 = 1 << 22;
const WHO: u32 = 23;
const DEED: u32 = 33;
const CALL: u64 = 1 << 49;
const WHO_AND_DEED: u64 = (1 << 49) - (1 << WHO);

const TAKES: u64 = 1 << 16;
const RETURNS: u64 = 2 << 16;
const DOING: u64 = 3 << 16;
const HELD: u64 = 1 << 32;

fn permits(state: u64) -> u64 {
    state & PERMITS
}

fn who(state: u64) -> Party {
    (state >> WHO & 0x3ff) as Party
}

fn deed(state: u64) -> u64 {
    state >> DEED & 0xffff
}

fn by(state: u64, who: Party, deed: u64) -> u64 {
    state & !WHO_AND_DEED | u64::from(who) << WHO | deed << DEED
}

/// With so many permits; `most`: as many as there may ever be.
pub(in crate::sync) fn init(t: &impl Table, n: u32, most: u32) {
    t.store(STATE, n.into());
    t.store(MADE_WITH, most.into());
}

/// Permits that can be had.
pub(in crate::sync) fn available(t: &impl Table) -> u64 {
    permits(t.load(STATE))
}

/// Notes the last deed where its doer looks for it, unless the state has changed: then no swap will succeed.
fn see(t: &impl Table, state: u64) {
    let who = who(state);
    if who == 0 {
        return;
    }
    let seen = t.load(word(who, SEEN));
    // If the state is still that, its doer has begun nothing since, and what was seen is either this deed or
    // the one before it; if it begins something meanwhile, the swap fails.
    if t.load(STATE) == state && seen != deed(state) {
        t.swap_if(word(who, SEEN), seen, deed(state));
    }
}

/// Changes the permits by one for this process, if `may` says so of the state.
fn change(t: &impl Table, me: Party, doing: u64, may: impl Fn(u64) -> bool) -> bool {
    t.alone(|| {
        let slot = t.load(word(me, SLOT));
        let held = slot & !(HELD - 1);
        let deed = slot.wrapping_add(1) & 0xffff;
        t.store(word(me, SEEN), slot & 0xffff);
        t.store(word(me, SLOT), held | doing | deed);
        t.step("intent");
        let try_once = || {
            let state = t.load(STATE);
            if !may(state) {
                return Some(false);
            }
            see(t, state);
            t.step("seen");
            let n = if doing == TAKES { state - 1 } else { state.wrapping_add(1) };
            t.swap_if(STATE, state, by(n, me, deed)).then_some(true)
        };
        if (0..t.tries()).find_map(|_| try_once()) != Some(true) {
            // The number was not used: so what the state says of this process is always its last deed.
            t.store(word(me, SLOT), held | slot & 0xffff);
            return false;
        }
        t.step("changed");
        let held = if doing == TAKES { held.wrapping_add(HELD) } else { held.saturating_sub(HELD) };
        t.store(word(me, SLOT), held | deed);
        true
    })
}

/// Changes the permits by so many, for nobody in particular, if `may` says so of the state.
fn add(t: &impl Table, n: u64, may: impl Fn(u64) -> bool) -> bool {
    for _ in 0..t.tries() {
        let state = t.load(STATE);
        if !may(state) {
            // What it was asked about holds only if the state is still the same.
            if t.swap_if(STATE, state, state) {
                return false;
            }
            continue;
        }
        see(t, state);
        if t.swap_if(STATE, state, by(state + n, 0, 0)) {
            return true;
        }
    }
    false
}

/// Takes a permit if there is one for somebody who comes now.
pub(in crate::sync) fn take(t: &impl Table, me: Party) -> bool {
    change(t, me, TAKES, |state| {
        permits(state) > 0 && (state & WAITED == 0 || !oldest(t).is_some_and(|p| is_fair(t, p)))
    })
}

/// Gives back a permit that this process holds.
pub(in crate::sync) fn give_back(t: &impl Table, me: Party) {
    let most = most(t);
    if !change(t, me, RETURNS, |state| permits(state) < most) {
        // Somebody has added one in its place.
        forget(t, me);
    }
    wake_next(t);
}

/// This process does not hold one of its permits any more, and nobody has it.
pub(in crate::sync) fn forget(t: &impl Table, me: Party) {
    t.alone(|| {
        let slot = t.load(word(me, SLOT));
        t.store(word(me, SLOT), if slot >= HELD { slot - HELD } else { slot });
    });
}

/// Adds permits; false if there would be more than there may be, with those that are held.
pub(in crate::sync) fn release(t: &impl Table, n: u32) -> bool {
    let (most, n) = (most(t), u64::from(n));
    if !add(t, n, |state| permits(state) + all_held(t, state) + n <= most) {
        return false;
    }
    wake_next(t);
    true
}

/// As many as there may be.
fn most(t: &impl Table) -> u64 {
    t.load(MADE_WITH).min(PERMITS)
}

/// Permits that processes hold in that state; right if it is still the state afterwards.
fn all_held(t: &impl Table, state: u64) -> u64 {
    parties(t).map(|p| held(t, p, t.load(word(p, SLOT)), state).min(PERMITS)).sum()
}

/// Permits that a process holds whose slot that is, in a state that was or is loaded after it or before, if nothing has
/// changed it in between: what it is doing counts if it was done.
fn held(t: &impl Table, party: Party, slot: u64, state: u64) -> u64 {
    let number = slot & 0xffff;
    // In this order: who overwrites the one has noted it in the other before.
    let done = || {
        who(state) == party && deed(state) == number || t.load(word(party, SEEN)) & 0xffff == number
    };
    match slot & DOING {
        TAKES if done() => (slot >> 32).saturating_add(1),
        RETURNS if done() => (slot >> 32).saturating_sub(1),
        _ => slot >> 32,
    }
}

/// Has the one that waits longest look, if there is something for it.
fn wake_next(t: &impl Table) {
    for _ in 0..t.tries() {
        let state = t.load(STATE);
        if state & WAITED == 0 || permits(state) == 0 {
            return;
        }
        match oldest(t) {
            Some(next) => return poke(t, next),
            None => {
                if t.swap_if(STATE, state, state & !WAITED) {
                    return;
                }
            }
        }
    }
}

/// One that waits.
#[derive(Debug)]
pub(in crate::sync) struct SemaphoreWait {
    task: bool,
    entered: bool,
    called: bool,
    /// Others of this process waited before it, and it has not been woken yet.
    behind: bool,
}

impl SemaphoreWait {
    pub(in crate::sync) fn new(task: bool) -> Self {
        SemaphoreWait { task, entered: false, called: false, behind: false }
    }

    fn call(&mut self, t: &impl Table) -> u64 {
        loop {
            let state = t.load(STATE);
            if self.called && state & WAITED != 0 {
                return state;
            }
            let new = (state | WAITED).wrapping_add(CALL);
            if t.swap_if(STATE, state, new) {
                self.called = true;
                return new;
            }
        }
    }

    fn left(&mut self, t: &impl Table, me: Party) {
        self.entered = false;
        leave_served(t, me, self.task);
        // There may be more than one.
        wake_next(t);
    }
}

impl Wait for SemaphoreWait {
    type Got = ();

    fn look(&mut self, t: &impl Table, me: Party, late: bool) -> Looked<()> {
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
            let state = self.call(t);
            if permits(state) == 0 {
                return Looked::Nothing;
            }
            match oldest(t) {
                Some(next) if next != me => {
                    poke(t, next);
                    return Looked::Nothing;
                }
                // They were woken, or wake this one when they go, now that the state says that it waits.
                _ if self.behind && count(t, me) > 1 => return Looked::Nothing,
                _ => {}
            }
            if change(t, me, TAKES, |state| permits(state) > 0) {
                self.left(t, me);
                return Looked::Got(());
            }
        }
    }

    fn quit(&mut self, t: &impl Table, me: Party) -> Option<()> {
        if !self.entered {
            return None;
        }
        let first = oldest(t) == Some(me);
        if first && change(t, me, TAKES, |state| permits(state) > 0) {
            self.left(t, me);
            return Some(());
        }
        self.entered = false;
        leave(t, me, self.task);
        if permits(t.load(STATE)) > 0
            && let Some(next) = oldest(t)
        {
            poke_surely(t, next);
        }
        None
    }

    fn give_back((): (), t: &impl Table, me: Party) {
        give_back(t, me);
    }
}

/// A process has ended: what it held is to be had again.
pub(in crate::sync) fn recover(t: &impl Table, dead: Party) {
    t.store(word(dead, WAIT), 0);
    t.store(word(dead, TICKET), 0);
    let slot = t.load(word(dead, SLOT));
    let held = held(t, dead, slot, t.load(STATE));
    // Not more than there can have been.
    let most = most(t);
    loop {
        let state = t.load(STATE);
        let held = held.min(most.saturating_sub(permits(state)));
        if held == 0 {
            break;
        }
        see(t, state);
        if t.swap_if(STATE, state, by(state + held, 0, 0)) {
            break;
        }
    }
    // Nothing is to be noted of it any more. Who has read the state before may still do so, and late: so whoever takes the
    // entry next does not begin to count anew.
    loop {
        let state = t.load(STATE);
        if who(state) != dead || t.swap_if(STATE, state, by(state, 0, 0)) {
            break;
        }
    }
    part_at(t, dead, slot & 0xffff);
    poke_all(t);
}
