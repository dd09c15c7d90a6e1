//! What the kinds of objects are, in shared memory; pure: over any [`Table`], without a clock.

pub(super) mod barrier;
pub(super) mod condition;
pub(super) mod event;
pub(super) mod lock;
// The checker is not for every platform, and what it checks is the same on all.
#[cfg(all(test, unix))]
mod model;
#[cfg(all(test, unix))]
mod model_tests;
pub(super) mod semaphore;
pub(super) mod table;
#[cfg(test)]
mod wake_tests;

pub(super) use table::Table;

/// What a word of state means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Kind {
    Lock,
    RLock,
    Semaphore,
    Event,
    Condition,
    Barrier,
}

impl Kind {
    /// As users know it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Lock => "lock",
            Kind::RLock => "rlock",
            Kind::Semaphore => "semaphore",
            Kind::Event => "event",
            Kind::Condition => "condition",
            Kind::Barrier => "barrier",
        }
    }

    /// A process has ended, or has no handle any more.
    pub(super) fn recover(self, t: &impl Table, party: table::Party) {
        match self {
            Kind::Lock | Kind::RLock => lock::recover(t, party),
            Kind::Semaphore => semaphore::recover(t, party),
            Kind::Event => event::recover(t, party),
            Kind::Condition => condition::recover(t, party),
            Kind::Barrier => barrier::recover(t, party),
        }
    }
}
