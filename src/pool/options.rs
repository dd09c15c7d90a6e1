//! Options of one call or map, given before `.await`.

use std::sync::Arc;
use std::time::Duration;

use crate::process::{Error, check_time};

/// What dropping a call's future does to the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnDrop {
    /// The call is cancelled: a waiting one vanishes, a running async task is
    /// dropped in its worker, a running blocking task is killed with its worker.
    #[default]
    Cancel,
    /// The call goes on, and its result is thrown away.
    Detach,
}

pub(super) type ProgressFn = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Boxed and mostly absent: a plain call pays for none of it.
#[derive(Clone, Default)]
pub(super) struct Options {
    pub(super) timeout: Option<Duration>,
    pub(super) run_timeout: Option<Duration>,
    pub(super) cpu_timeout: Option<Duration>,
    pub(super) retries: u16,
    pub(super) priority: i32,
    pub(super) label: Option<String>,
    pub(super) progress: Option<ProgressFn>,
    pub(super) on_drop: OnDrop,
}

impl Options {
    pub(super) fn check(&self) -> Result<(), Error> {
        check_time("timeout", self.timeout)?;
        check_time("run_timeout", self.run_timeout)?;
        check_time("cpu_timeout", self.cpu_timeout)
    }
}

/// The setters that calls and maps have in common.
macro_rules! option_methods {
    ($($field:ident).+) => {
        /// Gives up after this time, counted from the first poll: waiting for
        /// a worker included. What runs by then is stopped. It counts for the whole:
        /// a map or a stream ends with the error after so long, however many of its
        /// elements are done.
        pub fn timeout(mut self, limit: std::time::Duration) -> Self {
            self.$($field).+.get_or_insert_default().timeout = Some(limit);
            self
        }

        /// Stops the task when one run takes longer than this. In a map it counts
        /// for every element by itself. Default: the pool's `call_timeout`.
        pub fn run_timeout(mut self, limit: std::time::Duration) -> Self {
            self.$($field).+.get_or_insert_default().run_timeout = Some(limit);
            self
        }

        /// Stops the task when one run uses more CPU time than this, all its
        /// threads together. Blocking tasks only: several async calls share a
        /// worker's clock, so for them this is `Unsupported`.
        ///
        /// # Platform
        /// Windows counts CPU time in ticks of its clock, of 16 ms.
        pub fn cpu_timeout(mut self, limit: std::time::Duration) -> Self {
            self.$($field).+.get_or_insert_default().cpu_timeout = Some(limit);
            self
        }

        /// How often a call that panicked, or whose worker died, is run again.
        /// For tasks that may run twice. Default: 0.
        pub fn retries(mut self, n: u16) -> Self {
            self.$($field).+.get_or_insert_default().retries = n;
            self
        }

        /// Calls of higher priority begin first; equal ones in their order.
        /// Default: 0.
        pub fn priority(mut self, priority: i32) -> Self {
            self.$($field).+.get_or_insert_default().priority = priority;
            self
        }

        /// A name for errors and traces.
        pub fn label(mut self, label: impl Into<String>) -> Self {
            self.$($field).+.get_or_insert_default().label = Some(label.into());
            self
        }
    };
}
pub(super) use option_methods;
