//! A barrier: how many have come, and how the last trips ended.
//!
//! ```text
//! state:  trips 32 | how each of the last 16 ended 16 | broken | come 12
//! ```
//!
//! The last to come runs the action, and then begins the next trip: whoever waits sees that, and how its own
//! trip ended. In its entry each process says in which trip it sits last (plus one): if it dies in that, the barrier
//! breaks.

use super::table::{
    Looked, MADE_WITH, Party, SLOT, STATE, Table, Wait, count, enter, leave, part, poke_all, word,
};

const COME: u64 = (1 << 12) - 1;
/// Processes and tasks that a barrier can be for.
pub(in crate::sync) const MAX_PARTIES: u32 = COME as u32;
const BROKEN: u64 = 1 << 12;
const ENDS: u32 = 16;
const TRIP: u64 = 1 << 32;

fn trip(state: u64) -> u64 {
    state >> 32
}

/// The state once this trip has ended.
fn after(state: u64, broken: bool) -> u64 {
    let ends = (state >> ENDS & 0xffff) << 1 & 0xffff | u64::from(broken);
    (state & !(TRIP - 1)).wrapping_add(TRIP) | ends << ENDS
}

/// How a trip ended, if it has; `true` is broken.
fn ended(state: u64, one: u64) -> Option<bool> {
    let since = trip(state).wrapping_sub(one) & 0xffff_ffff;
    match since {
        0 if state & BROKEN != 0 => Some(true),
        0 => None,
        1..=16 => Some(state >> ENDS >> (since - 1) & 1 != 0),
        // So many trips later nobody knows.
        _ => Some(false),
    }
}

pub(in crate::sync) fn init(t: &impl Table, parties: u32) {
    t.store(MADE_WITH, parties.into());
}

pub(in crate::sync) fn parties(t: &impl Table) -> u64 {
    t.load(MADE_WITH)
}

/// How many have come.
pub(in crate::sync) fn come(t: &impl Table) -> u64 {
    t.load(STATE) & COME
}

pub(in crate::sync) fn is_broken(t: &impl Table) -> bool {
    t.load(STATE) & BROKEN != 0
}

/// Breaks the barrier until it is reset; only `trip`, if one is given.
pub(in crate::sync) fn abort(t: &impl Table, only: Option<u64>) {
    loop {
        let state = t.load(STATE);
        if state & BROKEN != 0 || only.is_some_and(|one| one != trip(state)) {
            return;
        }
        if t.swap_if(STATE, state, state | BROKEN) {
            t.step("broken");
            return poke_all(t);
        }
    }
}

/// Whoever waits finds it broken, and whoever comes next does not.
pub(in crate::sync) fn reset(t: &impl Table) {
    loop {
        let state = t.load(STATE);
        if state & (BROKEN | COME) == 0 {
            return;
        }
        if t.swap_if(STATE, state, after(state, true)) {
            return poke_all(t);
        }
    }
}

/// What one that came finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sync) enum End {
    /// It is the last: the others wait until it calls [`depart`].
    Last(u64),
    /// All have come; how many had come before it.
    Passed(u64),
    Broken,
}

/// The last one lets all go; false if the trip has been broken meanwhile.
pub(in crate::sync) fn depart(t: &impl Table, me: Party, task: bool, one: u64) -> bool {
    let passed = loop {
        let state = t.load(STATE);
        if trip(state) != one || state & BROKEN != 0 {
            break false;
        }
        if t.swap_if(STATE, state, after(state, false)) {
            t.step("departed");
            poke_all(t);
            break true;
        }
    };
    leave(t, me, task);
    passed
}

/// One that waits.
#[derive(Debug)]
pub(in crate::sync) struct BarrierWait {
    task: bool,
    entered: bool,
    /// Its trip, and how many had come before it.
    place: Option<(u64, u64)>,
}

impl BarrierWait {
    pub(in crate::sync) fn new(task: bool) -> Self {
        BarrierWait { task, entered: false, place: None }
    }

    fn left(&mut self, t: &impl Table, me: Party) {
        self.entered = false;
        leave(t, me, self.task);
    }
}

impl Wait for BarrierWait {
    type Got = End;

    fn look(&mut self, t: &impl Table, me: Party, _: bool) -> Looked<End> {
        if !self.entered {
            if enter(t, me, self.task).is_none() {
                return Looked::TooMany;
            }
            self.entered = true;
        }
        while self.place.is_none() {
            let state = t.load(STATE);
            let before = state & COME;
            if state & BROKEN != 0 {
                self.left(t, me);
                return Looked::Got(End::Broken);
            }
            if before >= parties(t) {
                // The last one of the trip before is at its action.
                return Looked::Nothing;
            }
            // One after the other: none of this process may say that it sits in a trip that is over, while another
            // sits in the next.
            let came = t.alone(|| {
                if t.load(STATE) != state {
                    return false;
                }
                t.store(word(me, SLOT), trip(state) + 1);
                t.step("sits");
                t.swap_if(STATE, state, state.wrapping_add(1))
            });
            if came {
                self.place = Some((trip(state), before));
                t.step("come");
                if before + 1 == parties(t) {
                    // Whoever breaks it from now on is seen by `depart`, which counts it out too.
                    self.entered = false;
                    return Looked::Got(End::Last(trip(state)));
                }
            }
        }
        let Some((one, before)) = self.place else { return Looked::Nothing };
        match ended(t.load(STATE), one) {
            None => Looked::Nothing,
            Some(broken) => {
                self.left(t, me);
                Looked::Got(if broken { End::Broken } else { End::Passed(before) })
            }
        }
    }

    /// Whoever has waited too long breaks it for all.
    fn expire(&mut self, t: &impl Table) {
        if let Some((one, _)) = self.place {
            abort(t, Some(one));
        }
    }

    /// As if it had not come, unless all have.
    fn quit(&mut self, t: &impl Table, me: Party) -> Option<End> {
        if !self.entered {
            return None;
        }
        if let Some((one, before)) = self.place {
            loop {
                let state = t.load(STATE);
                if let Some(broken) = ended(state, one) {
                    self.left(t, me);
                    return Some(if broken { End::Broken } else { End::Passed(before) });
                }
                let full = state & COME >= parties(t);
                if full || t.swap_if(STATE, state, state.wrapping_sub(1)) {
                    break;
                }
            }
        }
        self.left(t, me);
        None
    }

    fn give_back(_: End, _: &impl Table, _: Party) {}
}

/// A process has ended: if it sat in the barrier, that breaks.
pub(in crate::sync) fn recover(t: &impl Table, dead: Party) {
    let state = t.load(STATE);
    let sat = count(t, dead) > 0 && t.load(word(dead, SLOT)) == trip(state) + 1;
    let any = state & COME > 0;
    part(t, dead);
    if sat && any {
        abort(t, Some(trip(state)));
    }
    poke_all(t);
}
