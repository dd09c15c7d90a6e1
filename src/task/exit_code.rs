//! The exit code a task asks for by its value.

use std::any::Any;
use std::sync::atomic::{AtomicI32, Ordering};

use serde::{Deserialize, Serialize};

static ASKED: AtomicI32 = AtomicI32::new(0);

/// The exit code of a [`Process`](crate::Process), when its task returns one.
///
/// Any other value, an `Err` included, makes the exit code 0: what the task returned is
/// told by [`Process::output`](crate::Process::output). In a pool it is a value like any other.
///
/// # Platform
/// On Unix only the lowest 8 bits arrive: 256 is 0, -1 is 255.
///
/// # Examples
/// ```
/// use procpool::ExitCode;
///
/// #[procpool::task]
/// fn check(text: String) -> ExitCode {
///     if text.is_empty() { ExitCode(2) } else { ExitCode::SUCCESS }
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ExitCode(pub i32);

impl ExitCode {
    /// 0.
    pub const SUCCESS: ExitCode = ExitCode(0);
    /// 1.
    pub const FAILURE: ExitCode = ExitCode(1);
}

/// Remembers what a task's value says, if it is an exit code.
#[inline]
pub(super) fn note<T: Any>(value: &T) {
    // Also where it says nothing: what ran inside may have said something.
    let code = (value as &dyn Any).downcast_ref::<ExitCode>().map_or(0, |code| code.0);
    ASKED.store(code, Ordering::Relaxed);
}

/// What the last value said; 0 if it was no exit code.
pub(crate) fn exit_code() -> i32 {
    ASKED.load(Ordering::Relaxed)
}
