//! What many outstanding calls cost.
//!
//! * `in_flight_1m_memory`, `in_flight_1m_fds`: 1,000,000 calls with 8-byte arguments, their handles held, behind
//!   one that does not return until all are submitted. MiB and descriptors of this process above those
//!   of the idle pool; the MiB are the peak, up to the last result.
//! * `in_flight_1m_time`: time of a call, all submitted and then all awaited; 1,000,000 against 1,000.

#![cfg_attr(not(target_os = "linux"), no_main)]
#![cfg(target_os = "linux")]

mod support;

use std::path::Path;
use std::time::Duration;

use procpool::ProcessPool;
use support::place::{self, Place};
use support::pool::{Pool, crowd, ident, runtime};
use support::proc::{self, TempDir};
use support::report::{Bound, Run, figure, median, ratio, ratio_at, worst_placements};
use tokio::runtime::Runtime;

const FEW: usize = 1_000;

/// Keeps its worker busy until there is a file at `gate`.
#[procpool::task]
fn hold(gate: String) {
    while !Path::new(&gate).exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn main() {
    support::run_role_if_child();
    procpool::init();
    let Some(run) = Run::from_args() else { return };
    // First, in a process that never had more memory than this takes.
    footprint(&run);
    place::everywhere(|place| time(&run, place));
    worst_placements();
}

fn footprint(run: &Run) {
    let rows = ["in_flight_1m_memory", "in_flight_1m_fds"];
    if !run.wants_any(&rows) {
        return;
    }
    let calls = run.iters(1_000_000);
    let rt = runtime();
    let pool = Pool::new(&rt, 1, None);
    all(&rt, &pool.pool, FEW, 10);
    let dir = TempDir::new();
    let held = rt.spawn(held(pool.pool.clone(), calls, dir.path("gate")));
    let (mib, descriptors) = rt.block_on(held).expect("every call returned");
    ratio(rows[0], mib, Bound::AtMost(400.0));
    ratio(rows[1], Some(descriptors), Bound::AtMost(0.0));
}

/// What `calls` outstanding calls took: MiB and descriptors.
async fn held(pool: ProcessPool, calls: usize, gate: String) -> (Option<f64>, f64) {
    let status = |key| proc::mib("/proc/self/status", key);
    // Makes the peak start from here.
    let reset = std::fs::write("/proc/self/clear_refs", "5");
    let (resident, descriptors) = (status("VmRSS:"), proc::descriptors());
    let first = pool.spawn(hold(gate.clone()));
    let handles: Vec<_> = (0..calls as u64).map(|x| pool.spawn(ident(x))).collect();
    let more = proc::descriptors() as f64 - descriptors as f64;
    std::fs::write(gate, []).expect("a gate that opens");
    first.await.expect("the held call");
    for (x, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.await.expect("a call"), x as u64);
    }
    let grown = reset.ok().and(status("VmHWM:")).zip(resident);
    (grown.map(|(peak, idle)| peak - idle), more)
}

fn time(run: &Run, place: &Place) {
    let row = "in_flight_1m_time";
    if !run.wants(&format!("{row}@{place}")) {
        return;
    }
    let calls = run.iters(1_000_000);
    let rt = runtime();
    let pool = Pool::new(&rt, 1, Some(place));
    let [few, many] = run.alternate(
        5,
        [&mut || all(&rt, &pool.pool, FEW, calls / FEW / 2), &mut || {
            all(&rt, &pool.pool, calls, 1)
        }],
    );
    figure(&format!("in_flight_1k_time@{place}"), median(&few) * 1e9, "ns");
    figure(&format!("{row}_ns@{place}"), median(&many) * 1e9, "ns");
    ratio_at(row, place, &many, &few, Bound::AtMost(1.3));
}

/// Seconds a call, `outstanding` of them submitted and then awaited, `rounds` times.
fn all(rt: &Runtime, pool: &ProcessPool, outstanding: usize, rounds: usize) -> f64 {
    let seconds = crowd(rt, 1, || {
        let pool = pool.clone();
        async move {
            for _ in 0..rounds {
                let calls = 0..outstanding as u64;
                let handles: Vec<_> = calls.map(|x| pool.spawn(ident(x))).collect();
                for handle in handles {
                    handle.await.expect("a call");
                }
            }
        }
    });
    seconds / (outstanding * rounds) as f64
}
