//! How many items a second a map takes.
//!
//! `map_1m`: the identity over 1,000,000 `u64`, default chunks, two workers; against CPython's
//! `multiprocessing.Pool(2).map` of the same, when there is a `python3`.

#![cfg_attr(not(target_os = "linux"), no_main)]
#![cfg(target_os = "linux")]

mod support;

use std::time::{Duration, Instant};

use criterion::Throughput;
use procpool::ProcessPool;
use support::place::{self, Place};
use support::pool::{Pool, ident, runtime};
use support::python::PythonMap;
use support::report::{Bound, Run, figure, median, ratio, ratio_at, worst_placements};
use tokio::runtime::Runtime;

const WORKERS: usize = 2;
const BOUND: Bound = Bound::AtLeast(2.0);

fn main() {
    support::run_role_if_child();
    procpool::init();
    let Some(run) = Run::from_args() else { return };
    place::everywhere(|place| {
        if run.wants(&format!("map_1m@{place}")) {
            map(&run, place);
        }
    });
    worst_placements();
}

fn map(run: &Run, place: &Place) {
    let items = run.iters(1_000_000);
    let name = format!("map_1m@{place}");
    let rt = runtime();
    let pool = Pool::new(&rt, WORKERS, Some(place));
    let rate = || items as f64 / seconds(&rt, &pool.pool, items);
    if let Some(mut python) = PythonMap::start(place, WORKERS, items) {
        let [floor, ours] =
            run.alternate(7, [&mut || python.run().expect("Python answers"), &mut || rate()]);
        figure(&format!("floor_python_{name}"), median(&floor), "items/s");
        figure(&name, median(&ours), "items/s");
        ratio_at("map_1m", place, &ours, &floor, BOUND);
    } else {
        let [ours] = run.alternate(7, [&mut || rate()]);
        figure(&name, median(&ours), "items/s");
        if place.pinned() {
            ratio(&name, None, BOUND);
        }
    }

    let mut criterion = run.criterion();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(items as u64));
    group.bench_function("procpool", |b| {
        b.iter_custom(|n| {
            let each = (0..n).map(|_| seconds(&rt, &pool.pool, items));
            Duration::from_secs_f64(each.sum())
        });
    });
    group.finish();
}

/// Seconds for one map, from a spawned task.
fn seconds(rt: &Runtime, pool: &ProcessPool, items: usize) -> f64 {
    let pool = pool.clone();
    let map = rt.spawn(async move {
        let start = Instant::now();
        let out = pool.map(ident, 0..items as u64).await.expect("a map");
        let took = start.elapsed();
        assert_eq!(out.len(), items);
        took.as_secs_f64()
    });
    rt.block_on(map).expect("a map")
}
