//! What starting workers costs.
//!
//! * `pool2_first_result`: a pool of two made and its first call's result; against two bare processes started
//!   at the same time, to both first bytes.
//! * `pool256_up`: a pool of 256 until every worker ran its initializer; against 256 bare processes.
//! * `idle_pss`: memory of one of 16 idle workers, in MiB.
//! * `spawn_4gib_stall_ms`: the longest stall of a 1 ms ticker on the runtime while this process has 4 GiB
//!   resident and workers are killed and replaced all the time; the ticker alone is reported beside it.
//!
//! A bare process is this binary, which builds a current-thread runtime before its first byte. Parent and
//! children are all on one core (`@same`) or where the system puts them (`@free`): children start where
//! they are started, so that there is no placement across cores.

#![cfg_attr(not(target_os = "linux"), no_main)]
#![cfg(target_os = "linux")]

mod support;

use std::collections::HashSet;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use procpool::ProcessPool;
use support::place::{self, Place};
use support::pool::{Pool, ident, noop, pids, runtime};
use support::proc::{self, TempDir};
use support::report::{Bound, Run, figure, max, median, median_ratio, ratio, worst_placements};
use support::spawn::{Flavour, all_up};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Of the pool whose workers are killed and replaced.
const WORKERS: usize = 2;

/// Tells the parent that this worker is up.
#[procpool::task]
fn report_up(path: String) {
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.send_to(&[1], path).expect("the parent listens");
}

fn main() {
    support::run_role_if_child();
    procpool::init();
    let Some(run) = Run::from_args() else { return };
    place::same_and_free(|place| {
        pool2_first_result(&run, place);
        pool256_up(&run, place);
    });
    idle_pss(&run);
    spawn_4gib(&run);
    worst_placements();
}

fn pool2_first_result(run: &Run, place: &Place) {
    let rt = runtime();
    spawns(run, place, &rt, ("pool2_first_result", 2, 15), || first_result(&rt));
}

fn pool256_up(run: &Run, place: &Place) {
    let rt = runtime();
    spawns(run, place, &rt, ("pool256_up", 256, 5), || all_report_up(&rt, 256));
}

/// A row, of so many processes and slices: `ours`, in seconds, against bare processes.
fn spawns(
    run: &Run,
    place: &Place,
    rt: &Runtime,
    (row, processes, slices): (&str, usize, usize),
    mut ours: impl FnMut() -> f64,
) {
    let name = format!("{row}@{place}");
    if !run.wants(&name) {
        return;
    }
    let floor = |flavour| all_up(rt, processes, flavour).as_secs_f64();
    let [current, multi, ours] = run.alternate(
        slices,
        [&mut || floor(Flavour::CurrentThread), &mut || floor(Flavour::MultiThread), &mut ours],
    );
    figure(&format!("floor_{name}"), median(&current) * 1e3, "ms");
    let multi = median(&multi) * 1e3;
    figure(&format!("floor_multi_thread_{name}"), multi, "ms");
    figure(&name, median(&ours) * 1e3, "ms");
    let measured = median_ratio(&ours, &current);
    ratio(&name, Some(measured), Bound::AtMost(1.5));
}

fn first_result(rt: &Runtime) -> f64 {
    let first = rt.spawn(async {
        let start = Instant::now();
        let pool = ProcessPool::builder().workers(2).build().await?;
        pool.run(noop()).await?;
        Ok((start.elapsed(), pool))
    });
    ended(rt, first)
}

fn all_report_up(rt: &Runtime, workers: usize) -> f64 {
    let dir = TempDir::new();
    let path = dir.path("up");
    let up = rt.spawn(async move {
        let socket = tokio::net::UnixDatagram::bind(&path).expect("a socket");
        let start = Instant::now();
        let builder = ProcessPool::builder().workers(workers).initializer(report_up, path);
        let reports = async {
            for _ in 0..workers {
                socket.recv(&mut [0]).await.expect("a report");
            }
            Ok(())
        };
        let (pool, ()) = tokio::try_join!(async { builder.build().await }, reports)?;
        Ok((start.elapsed(), pool))
    });
    ended(rt, up)
}

/// The seconds that the pool of `made` took, which ends here, outside them.
fn ended(rt: &Runtime, made: JoinHandle<Result<(Duration, ProcessPool), procpool::Error>>) -> f64 {
    rt.block_on(async {
        let (took, pool) = made.await.expect("a task").expect("a pool");
        pool.shutdown().await.expect("shutdown");
        took.as_secs_f64()
    })
}

fn idle_pss(run: &Run) {
    let row = "idle_pss";
    if !run.wants(row) {
        return;
    }
    let rt = runtime();
    let pool = Pool::new(&rt, 16, None);
    let map = async { pool.pool.map(ident, 0..1_000).await };
    rt.block_on(map).expect("a map");
    std::thread::sleep(Duration::from_millis(500));
    let each: Option<Vec<f64>> = pids(&pool.pool)
        .into_iter()
        .map(|pid| proc::mib(format!("/proc/{pid}/smaps_rollup"), "Pss:"))
        .collect();
    let mean = each.map(|pss| pss.iter().sum::<f64>() / pss.len() as f64);
    ratio(row, mean, Bound::AtMost(2.0));
}

fn spawn_4gib(run: &Run) {
    let row = "spawn_4gib_stall_ms";
    if !run.wants(row) {
        return;
    }
    let bound = Bound::AtMost(10.0);
    if proc::mib("/proc/meminfo", "MemAvailable:").is_none_or(|mib| mib < 8192.0) {
        return ratio(row, None, bound);
    }
    let rt = runtime();
    let pool = Pool::new(&rt, WORKERS, None);
    let window = Duration::from_millis(run.iters(2_000) as u64);
    let resident = vec![1_u8; 4 << 30];
    let mut replaced = 0;
    let [alone, stalls] = run.alternate(
        5,
        [&mut || rt.block_on(async { longest_stall(window).await }), &mut || {
            let churn = rt.spawn(churn(pool.pool.clone(), window));
            let stall = rt.block_on(async { longest_stall(window).await });
            replaced += rt.block_on(churn).expect("the churn");
            stall
        }],
    );
    std::hint::black_box(&resident);
    figure("spawn_4gib_stall_alone_ms", max(&alone), "ms");
    figure("spawn_4gib_stall_median_ms", median(&stalls), "ms");
    figure("spawn_4gib_replaced", replaced as f64, "workers");
    // Without workers to replace there was nothing to measure.
    let measured = (replaced > 10).then(|| max(&stalls));
    ratio(row, measured, bound);
}

/// The longest that a 1 ms ticker on the runtime was late during `window`, in milliseconds.
async fn longest_stall(window: Duration) -> f64 {
    let ticker = tokio::spawn(async move {
        let period = Duration::from_millis(1);
        let start = Instant::now();
        let (mut last, mut longest) = (start, Duration::ZERO);
        while last - start < window {
            tokio::time::sleep(period).await;
            let now = Instant::now();
            longest = longest.max((now - last).saturating_sub(period));
            last = now;
        }
        longest.as_secs_f64() * 1e3
    });
    ticker.await.expect("the ticker")
}

/// Kills workers as fast as they come up, for `window`; returns how many.
async fn churn(pool: ProcessPool, window: Duration) -> usize {
    let start = Instant::now();
    let mut killed = HashSet::new();
    while start.elapsed() < window {
        // Resolves once a worker is up.
        let _ = tokio::time::timeout(window, async { pool.run(noop()).await }).await;
        for pid in pids(&pool) {
            if killed.insert(pid) {
                proc::kill(pid);
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // What comes next starts with all workers up.
    let up = async {
        while pids(&pool).len() < WORKERS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = tokio::time::timeout(window, up).await;
    killed.len()
}
