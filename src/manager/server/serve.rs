//! Lets processes in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::entrance::Entrance;
use super::gate::Gate;
use super::store::Store;

/// How often is looked for what has been on its way for too long.
const SWEEP: Duration = Duration::from_secs(10);
/// How long is waited after a connection could not be taken, for want of descriptors.
const PAUSE: Duration = Duration::from_millis(20);

/// Serves whoever comes until the manager ends, and they have all been told.
pub(in crate::manager) async fn serve(store: Arc<Store>, mut entrance: Entrance, gate: Gate) {
    let gate = Arc::new(gate);
    let mut connections = JoinSet::new();
    let mut ending = store.ending();
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = ending.wait_for(|ending| *ending) => break,
            // Before whoever comes next: they may come faster than they are let in.
            Some(_) = connections.join_next() => continue,
            _ = sweep.tick() => {
                store.sweep(Instant::now());
                continue;
            }
            accepted = entrance.accept() => accepted,
        };
        match accepted {
            Ok(Some(guest)) => {
                let place = gate.enter(guest.from());
                connections.spawn(guest.serve(store.clone(), gate.clone(), place));
            }
            Ok(None) => {}
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
        // Others run now and then, however many come.
        tokio::task::coop::consume_budget().await;
    }
    drop(entrance);
    while connections.join_next().await.is_some() {}
}
