//! A subscriber that is set when workers run already. One test, as a program sets its
//! subscriber once.

mod common;
mod kit;
#[path = "common/recorder.rs"]
mod recorder;

use kit::Gate;
use procpool::{Process, ProcessPool};
use recorder::Recorder;
use tracing::level_filters::LevelFilter;

procpool::test_hook!();

/// Logs until it is told to stop.
#[procpool::task]
fn chatter(gate: &str) {
    while !std::fs::exists(format!("{gate}/open")).unwrap() {
        tracing::info!("chatter");
        std::thread::yield_now();
    }
}

#[procpool::task]
fn say(x: u64) {
    tracing::info!(x, "said");
}

#[test]
fn a_subscriber_that_comes_late_hears_those_that_run() {
    common::run(|| async {
        let gate = Gate::new("log-late");
        let pool = ProcessPool::builder().workers(1).build().await.unwrap();
        pool.run(say(1)).await.unwrap();
        let process = Process::spawn(chatter(&gate.path())).await.unwrap();
        let (recorder, dispatch) = Recorder::with(LevelFilter::INFO);
        tracing::dispatcher::set_global_default(dispatch).unwrap();
        common::eventually("a running task is heard", || {
            recorder.events().iter().any(|e| e.message() == "chatter")
        })
        .await;
        pool.run(say(2)).await.unwrap();
        gate.open();
        process.join().await;
        pool.shutdown().await.unwrap();
        let events = recorder.events();
        let said: Vec<_> = events.iter().filter(|e| e.message() == "said").collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(said[0].text("x"), "2");
    });
}
