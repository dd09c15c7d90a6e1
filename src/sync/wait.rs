//! Waiting with a limit, for all kinds of objects.

use std::time::{Duration, Instant};

use super::error::SyncError;
use super::place::Place;
use super::words::table::Wait;

/// The time at which that much is over; never, if it is more than can be told.
pub(super) fn deadline(limit: Duration) -> Option<Instant> {
    Instant::now().checked_add(limit)
}

impl Place {
    /// Waits for at most so long; what there is when the time is over is taken.
    pub(super) async fn wait_timeout<W: Wait + Unpin>(
        &self,
        wait: W,
        limit: Duration,
    ) -> Result<W::Got, SyncError> {
        let mut waiting = self.wait(wait);
        match tokio::time::timeout(limit, &mut waiting).await {
            Ok(done) => done,
            Err(_) => waiting.expire(),
        }
    }
}

/// What is alike for every handle: it is cloned, shown, sent and received.
macro_rules! handle {
    ($name:ident, $kind:expr) => {
        /// Works only in what procpool itself carries.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                place::serialize(&self.place, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                place::deserialize($kind, deserializer).map(|place| $name { place })
            }
        }

        impl std::panic::UnwindSafe for $name {}
        impl std::panic::RefUnwindSafe for $name {}
    };
}
pub(super) use handle;
