//! How long an operation on a stream may take.

use std::task::Context;

/// What becomes of an operation that cannot be done at once: pending in any case.
pub(crate) enum Pace<'a, 'b> {
    /// It is given up.
    Now,
    /// This thread waits for it where the system can do that in the same call.
    Wait,
    /// The task is woken when it is time to try again.
    Task(&'a mut Context<'b>),
}

impl<'b> Pace<'_, 'b> {
    /// The same, but without waiting in this thread.
    pub(crate) fn unhurried(&mut self) -> Pace<'_, 'b> {
        match self {
            Pace::Now | Pace::Wait => Pace::Now,
            Pace::Task(cx) => Pace::Task(cx),
        }
    }
}
