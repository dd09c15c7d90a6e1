//! Waiting for what children have logged to be passed on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::exit::Obituary;
use super::supervisor::{Child, Supervisor, Watcher};
use crate::log;

/// How long a subscriber is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Rung by supervision, so that it needs no runtime's timer.
struct Patience(Notify);

impl Watcher for Patience {
    fn spawned(&self, _: u64, _: std::io::Result<Child>) {}

    fn exited(&self, _: u64, _: Obituary) {}

    fn tick(&self, _: Instant) -> Option<Instant> {
        self.0.notify_one();
        None
    }
}

/// Returns once everything that children have logged so far has been passed on, or after
/// a second.
pub(crate) async fn last_words() {
    let (Some(caught_up), Ok(supervisor)) = (log::caught_up(), Supervisor::get()) else {
        return;
    };
    let patience = Arc::new(Patience(Notify::new()));
    supervisor.wake_at(patience.clone(), Instant::now() + PATIENCE);
    tokio::select! {
        () = caught_up => {}
        () = patience.0.notified() => {}
    }
}
