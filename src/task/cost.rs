//! What running something takes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// How long something of the user's has taken so far: a long run counts at once, and is forgotten by and by.
#[derive(Debug)]
pub(crate) struct Cost {
    micros: AtomicU32,
}

/// In whose way this long is nobody.
const QUICK: u32 = 100;
const UNKNOWN: u32 = u32::MAX;

impl Cost {
    /// Of what was never run.
    pub(crate) const fn unknown() -> Self {
        Cost { micros: AtomicU32::new(UNKNOWN) }
    }

    /// Whether it is most likely over in no time.
    pub(crate) fn is_quick(&self) -> bool {
        self.micros.load(Ordering::Relaxed) <= QUICK
    }

    /// Runs it.
    pub(crate) fn of<R>(&self, f: impl FnOnce() -> R) -> R {
        let began = Instant::now();
        let result = f();
        self.note(u32::try_from(began.elapsed().as_micros()).unwrap_or(UNKNOWN - 1));
        result
    }

    fn note(&self, took: u32) {
        let before = self.micros.load(Ordering::Relaxed);
        let known = before != UNKNOWN && took < before;
        let now = if known { before - (before - took).div_ceil(8) } else { took };
        self.micros.store(now.min(UNKNOWN - 1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_long_once_is_quick_again_by_and_by() {
        let cost = Cost::unknown();
        assert!(!cost.is_quick());
        cost.note(3);
        assert!(cost.is_quick());
        cost.note(10_000);
        assert!(!cost.is_quick());
        let again = (1..).find(|_| {
            cost.note(3);
            cost.is_quick()
        });
        assert!((20..60).contains(&again.unwrap()), "after {again:?} times");
    }
}
