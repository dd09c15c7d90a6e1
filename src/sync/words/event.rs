//! An event: a flag, and how often it was set.

use super::table::{Looked, Party, STATE, Table, Wait, enter, leave, part, poke_all};

const SET: u64 = 1;
/// Somebody may wait.
const WAITED: u64 = 2;
/// Counts how often it was set: who waits has it even if it is cleared at once.
const TIME: u64 = 1 << 8;
const TIMES: u64 = !(TIME - 1);

pub(in crate::sync) fn is_set(t: &impl Table) -> bool {
    t.load(STATE) & SET != 0
}

pub(in crate::sync) fn set(t: &impl Table) {
    loop {
        let state = t.load(STATE);
        if state & SET != 0 {
            return;
        }
        let new = (state & TIMES).wrapping_add(TIME) | SET;
        if t.swap_if(STATE, state, new) {
            t.step("set");
            if state & WAITED != 0 {
                poke_all(t);
            }
            return;
        }
    }
}

pub(in crate::sync) fn clear(t: &impl Table) {
    t.and(STATE, !SET);
}

/// One that waits.
#[derive(Debug)]
pub(in crate::sync) struct EventWait {
    task: bool,
    entered: bool,
    /// How often it had been set when this one came.
    times: Option<u64>,
}

impl EventWait {
    pub(in crate::sync) fn new(task: bool) -> Self {
        EventWait { task, entered: false, times: None }
    }
}

impl Wait for EventWait {
    type Got = ();

    fn look(&mut self, t: &impl Table, me: Party, _: bool) -> Looked<()> {
        if !self.entered {
            if is_set(t) {
                return Looked::Got(());
            }
            if enter(t, me, self.task).is_none() {
                return Looked::TooMany;
            }
            self.entered = true;
        }
        loop {
            let state = t.load(STATE);
            let times = *self.times.get_or_insert(state & TIMES);
            if state & SET != 0 || state & TIMES != times {
                self.quit(t, me);
                return Looked::Got(());
            }
            if state & WAITED != 0 || t.swap_if(STATE, state, state | WAITED) {
                return Looked::Nothing;
            }
        }
    }

    fn quit(&mut self, t: &impl Table, me: Party) -> Option<()> {
        if std::mem::take(&mut self.entered) {
            leave(t, me, self.task);
        }
        None
    }

    fn give_back((): (), _: &impl Table, _: Party) {}
}

/// A process has ended.
pub(in crate::sync) fn recover(t: &impl Table, dead: Party) {
    part(t, dead);
    // It may have set it and woken nobody.
    poke_all(t);
}
