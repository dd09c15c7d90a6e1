//! What workers and processes log arrives here.

mod common;

use procpool::{Process, ProcessPool};
use tracing::{info, info_span};

procpool::test_hook!();

#[procpool::task]
fn speak(x: u64) -> u64 {
    let span = info_span!("inner", x);
    let _in = span.enter();
    info!(answer = x * 2, who = "me", "hello {x}");
    log::warn!("from log {x}");
    x
}

#[test]
fn try_it() {
    common::run(|| async {
        tracing_subscriber::fmt().with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL).init();
        let pool = ProcessPool::builder().workers(1).build().await.unwrap();
        {
            let _outer = info_span!("outer", a = 1).entered();
            let r = pool.run(speak(5));
            drop(_outer);
            r.await.unwrap();
        }
        use tracing::Instrument;
        pool.run(speak(6)).instrument(info_span!("outer", a = 1)).await.unwrap();
        pool.shutdown().await.unwrap();
        let p = Process::spawn(speak(9)).await.unwrap();
        p.join().await;
    });
}
