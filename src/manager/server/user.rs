//! Running what is not ours: methods of a program's own types, and tasks.
//!
//! What is over in no time runs where it is asked for. Anything else, and what nobody knows yet, would keep others from being
//! served, the runtime's other threads from hearing of them, and a program's own tasks from running: it has a thread for
//! as long as it takes.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};

use super::object::Reply;
use crate::manager::fault::Fault;
use crate::task::Cost;

/// Threads that run the user's code at a time.
const MOST: usize = 64;

/// Who may have one.
#[derive(Debug, Clone)]
pub(super) struct Threads(Arc<Semaphore>);

impl Threads {
    pub(super) fn new() -> Self {
        Threads(Arc::new(Semaphore::new(MOST)))
    }

    /// Runs it. Dropped, it goes on if it has begun.
    pub(super) async fn run(
        self,
        cost: impl AsRef<Cost> + Send + 'static,
        body: impl FnOnce() -> Reply + Send + 'static,
    ) -> Reply {
        if cost.as_ref().is_quick() {
            return cost.as_ref().of(body);
        }
        let permit = self.0.acquire_owned().await.map_err(|_| Fault::Closed)?;
        let mut running = Running(spawn_blocking(move || {
            let _permit = permit;
            cost.as_ref().of(body)
        }));
        (&mut running.0).await.unwrap_or_else(|e| Err(Fault::Panicked(e.to_string())))
    }
}

/// What has not begun does not begin once nobody waits for it.
struct Running(JoinHandle<Reply>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}
