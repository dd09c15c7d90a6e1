//! How many calls a second one worker takes.
//!
//! * `calls_1000`: 1,000 tasks that each await no-ops in a loop; against the same with tokio's `spawn_blocking` as
//!   it comes, and against a bare batched multiplexer (`calls_1000_vs_mux`).
//! * `calls_64`: 64 tasks; against `spawn_blocking`.
//!
//! With a single blocking thread, which nobody configures for work that blocks, `spawn_blocking` has no contention
//! and is several times faster: the rows' ratios to that are reported as figures
//! (`ROW_vs_spawn_blocking_one_thread`).

#![cfg_attr(not(target_os = "linux"), no_main)]
#![cfg(target_os = "linux")]

mod support;

use std::time::Duration;

use criterion::Throughput;
use support::blocking::{DEFAULT_THREADS, SpawnBlocking};
use support::mux::MuxFloor;
use support::place::{self, Place};
use support::pool::{Pool, crowd, runtime};
use support::report::{Bound, Run, figure, median, median_ratio, ratio_at, worst_placements};

fn main() {
    support::run_role_if_child();
    procpool::init();
    let Some(run) = Run::from_args() else { return };
    place::everywhere(|place| {
        for tasks in [1000, 64] {
            if run.wants(&format!("calls_{tasks}@{place}")) {
                calls(&run, place, tasks);
            }
        }
    });
    worst_placements();
}

fn calls(run: &Run, place: &Place, tasks: usize) {
    let row = format!("calls_{tasks}");
    let rt = runtime();
    let blocking = SpawnBlocking::new(place, 1);
    let default = SpawnBlocking::new(place, DEFAULT_THREADS);
    let floor = MuxFloor::new(&rt, place);
    let pool = Pool::new(&rt, 1, Some(place));
    let mux = |calls| {
        crowd(&rt, tasks, || {
            let mux = floor.mux.clone();
            async move {
                for x in 0..calls {
                    assert_eq!(mux.call(x as u64).await, x as u64);
                }
            }
        })
    };
    // Calls a second of a slice of about `total` calls.
    let rate = |total: usize, side: &dyn Fn(usize) -> f64| {
        let each = run.iters(total) / tasks;
        (tasks * each) as f64 / side(each)
    };
    let [one_thread, threads, mux, ours] = run.alternate(
        9,
        [
            &mut || rate(50_000, &|each| blocking.run(tasks, each)),
            &mut || rate(20_000, &|each| default.run(tasks, each)),
            &mut || rate(400_000, &mux),
            &mut || rate(200_000, &|each| pool.run(tasks, each)),
        ],
    );
    for (floor, rates) in
        [("spawn_blocking_one_thread", &one_thread), ("spawn_blocking", &threads), ("mux", &mux)]
    {
        figure(&format!("floor_{floor}_{row}@{place}"), median(rates), "calls/s");
    }
    figure(&format!("{row}@{place}"), median(&ours), "calls/s");
    let name = format!("{row}_vs_spawn_blocking_one_thread@{place}");
    figure(&name, median_ratio(&ours, &one_thread), "x");
    if tasks == 1000 {
        ratio_at(&row, place, &ours, &threads, Bound::AtLeast(4.0));
        let vs_mux = format!("{row}_vs_mux");
        ratio_at(&vs_mux, place, &ours, &mux, Bound::AtLeast(0.1));
    } else {
        ratio_at(&row, place, &ours, &threads, Bound::AtLeast(2.0));
    }

    let mut criterion = run.criterion();
    let mut group = criterion.benchmark_group(format!("{row}@{place}"));
    group.throughput(Throughput::Elements(tasks as u64));
    group.bench_function("procpool", |b| {
        b.iter_custom(|n| Duration::from_secs_f64(pool.run(tasks, n as usize)));
    });
    group.finish();
}
