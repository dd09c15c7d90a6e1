//! A condition: who is notified gets a token, and there is one for each notice.
//!
//! Tokens are given to processes, to the one that waits longest first; whoever of a process's looks first
//! claims one, if it was there when the last of them was given: those that wait have numbers, and the entry says up to
//! which number they may. So a notice wakes exactly one, and none that came after it. Who has claimed one goes for the lock,
//! and only once that is held the token is used up: of a process that dies before, the arbiter finds it, and gives it to
//! another.

use super::table::{
    COUNT, Looked, Party, SEEN, SLOT, TICKET, TOKEN, Table, WAIT, Wait, enter, next_ticket, part,
    parties, poke_all, poke_surely, task_left, wake, word,
};

/// In an entry: the number of whoever waits next; and above it, how many tokens are claimed.
const NEXT: usize = SLOT;
const CLAIMED: u64 = 1 << 44;
/// Tokens that are given to whoever waits longest, one by one; what is more goes to all at once.
const IN_TURN: u64 = 64;
/// In an entry: who has a lower number may take a token.
const UP_TO: usize = SEEN;

fn tokens(wait: u64) -> u64 {
    wait >> 32
}

/// Those that wait and have no token.
fn without(wait: u64) -> u64 {
    (wait & COUNT).saturating_sub(tokens(wait))
}

/// Notifies at most `n` that wait; how many there were.
pub(in crate::sync) fn notify(t: &impl Table, n: u64) -> u64 {
    let (mut notified, mut in_vain) = (0, 0);
    while notified < n.min(IN_TURN) && in_vain < t.tries() {
        let waits = |p: &Party| without(t.load(word(*p, WAIT))) > 0;
        let Some(next) = parties(t).filter(waits).min_by_key(|p| t.load(word(*p, TICKET))) else {
            break;
        };
        let wait = t.load(word(next, WAIT));
        if without(wait) > 0 {
            raise(t, word(next, UP_TO), t.load(word(next, NEXT)) % CLAIMED);
        }
        if without(wait) == 0 || !t.swap_if(word(next, WAIT), wait, wait.wrapping_add(TOKEN)) {
            in_vain += 1;
            continue;
        }
        t.step("notified");
        notified += 1;
        if without(wait) > 1 {
            t.store(word(next, TICKET), next_ticket(t));
        }
        poke_surely(t, next);
    }
    if notified < IN_TURN { notified } else { notified + hand_on(t, n - notified) }
}

/// How many wait that have not been notified.
pub(in crate::sync) fn waiting(t: &impl Table) -> u64 {
    parties(t).map(|p| without(t.load(word(p, WAIT)))).sum()
}

/// Gives so many tokens to processes whose own wait, each of which is looked at once: how many wait may be a number that
/// some process made up. How many were given.
fn hand_on(t: &impl Table, tokens: u64) -> u64 {
    let mut left = tokens;
    for next in parties(t) {
        let given = loop {
            let wait = t.load(word(next, WAIT));
            let given = left.min(without(wait));
            if given == 0 {
                break 0;
            }
            raise(t, word(next, UP_TO), t.load(word(next, NEXT)) % CLAIMED);
            if t.swap_if(word(next, WAIT), wait, wait.wrapping_add(given * TOKEN)) {
                break given;
            }
        };
        left -= given;
        if given > 0 {
            wake(t, next, true);
        }
    }
    tokens - left
}

fn raise(t: &impl Table, word: usize, to: u64) {
    loop {
        let now = t.load(word);
        if now >= to || t.swap_if(word, now, to) {
            return;
        }
    }
}

/// One that waits.
#[derive(Debug)]
pub(in crate::sync) struct ConditionWait {
    task: bool,
    entered: bool,
    number: u64,
    /// It has been woken for a token that it may not take, and has woken the others.
    passed: bool,
}

impl ConditionWait {
    /// From here on it is notified; none if too many wait.
    pub(in crate::sync) fn enter(t: &impl Table, me: Party, task: bool) -> Option<Self> {
        let number = t.add(word(me, NEXT), 1) % CLAIMED;
        let before = t.load(word(me, WAIT));
        enter(t, me, task)?;
        if without(before) == 0 {
            t.store(word(me, TICKET), next_ticket(t));
        }
        Some(ConditionWait { task, entered: true, number, passed: false })
    }

    /// Claims a token that it may; how many there were to claim, and whether it has one.
    fn claim(&mut self, t: &impl Table, me: Party) -> (u64, bool) {
        let (unclaimed, has) = t.alone(|| {
            let unclaimed = unclaimed(t, me);
            let may = self.may(t, me, unclaimed);
            if may {
                t.add(word(me, NEXT), CLAIMED);
            }
            (unclaimed, may)
        });
        if has {
            self.entered = false;
            task_left(t, me, self.task);
            t.step("claimed");
            if unclaimed > 1 {
                // One of the others here may have been woken together with this one.
                poke_surely(t, me);
            }
        }
        (unclaimed, has)
    }

    fn may(&self, t: &impl Table, me: Party, unclaimed: u64) -> bool {
        unclaimed > 0 && self.number < t.load(word(me, UP_TO))
    }

    /// Claims a token, or leaves without one if there is none for it.
    fn claim_or_leave(&mut self, t: &impl Table, me: Party) -> bool {
        loop {
            if self.claim(t, me).1 {
                return true;
            }
            let left = t.alone(|| {
                let wait = t.load(word(me, WAIT));
                // It may be given one just now.
                let unclaimed = unclaimed(t, me);
                !self.may(t, me, unclaimed)
                    && t.swap_if(word(me, WAIT), wait, wait.saturating_sub(1))
            });
            if left {
                self.entered = false;
                task_left(t, me, self.task);
                return false;
            }
        }
    }
}

/// Tokens of a process that none of its own has claimed.
fn unclaimed(t: &impl Table, me: Party) -> u64 {
    tokens(t.load(word(me, WAIT))).saturating_sub(t.load(word(me, NEXT)) / CLAIMED)
}

/// Uses up a token that was claimed.
pub(in crate::sync) fn act(t: &impl Table, me: Party) {
    t.alone(|| {
        loop {
            let wait = t.load(word(me, WAIT));
            if t.swap_if(word(me, WAIT), wait, wait.saturating_sub(1 + TOKEN)) {
                break;
            }
        }
        t.add(word(me, NEXT), CLAIMED.wrapping_neg());
    });
}

/// Another is to have a token that was claimed.
pub(in crate::sync) fn pass_on(t: &impl Table, me: Party) {
    // In this order: of one that dies between the two, the token is still there.
    notify(t, 1);
    act(t, me);
}

impl Wait for ConditionWait {
    type Got = ();

    fn look(&mut self, t: &impl Table, me: Party, _: bool) -> Looked<()> {
        let (unclaimed, has) = self.claim(t, me);
        if has {
            return Looked::Got(());
        }
        // Once is enough: whoever may take it does not sleep any more, and a later one is for this one, too.
        if !self.passed && unclaimed > 0 {
            self.passed = true;
            wake(t, me, true);
        }
        Looked::Nothing
    }

    fn quit(&mut self, t: &impl Table, me: Party) -> Option<()> {
        (self.entered && self.claim_or_leave(t, me)).then_some(())
    }

    fn give_back((): (), t: &impl Table, me: Party) {
        pass_on(t, me);
    }
}

/// A process has ended: what it was notified of, another is.
pub(in crate::sync) fn recover(t: &impl Table, dead: Party) {
    // In one step: it is given no more tokens from then on.
    let unused = loop {
        let wait = t.load(word(dead, WAIT));
        if t.swap_if(word(dead, WAIT), wait, 0) {
            break tokens(wait);
        }
    };
    part(t, dead);
    notify(t, unused);
    poke_all(t);
}
