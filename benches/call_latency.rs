//! How long one call takes.
//!
//! * `call_rtt_same`, `call_rtt_cross`: a no-op, one outstanding, from a spawned task; against the round
//!   trip of a few bytes between two blocking processes over a bare socket pair.
//! * `call_rtt_vs_spawn_blocking`: the same on one core; against tokio's `spawn_blocking`.
//!   Both on a runtime of two threads, as tokio has it on a machine of two cores. On a runtime of one thread
//!   (`BENCH_RUNTIME=current_thread`) `spawn_blocking` saves a wake, and even a bare round trip of tokio's over a
//!   socket takes more than twice as long; `floor_tokio_rtt` shows that.
//! * `short_before_long_ms`, `short_behind_long_cancel_ms`: no-ops before and after a ten-second call to a pool
//!   of one. The first must not wait for the long one's end; the second runs once the long one is dropped.

#![cfg_attr(not(target_os = "linux"), no_main)]
#![cfg(target_os = "linux")]

mod support;

use std::time::{Duration, Instant};

use procpool::ProcessPool;
use support::blocking::SpawnBlocking;
use support::place::{self, Place};
use support::pool::{Pool, nap, noop, runtime, runtime_threads};
use support::report::{Bound, Run, figure, max, median, median_ratio, ratio};
use support::role::Role;
use support::socket::{PONG, PingPong, tokio_ping_pong};

fn main() {
    support::run_role_if_child();
    procpool::init();
    let Some(run) = Run::from_args() else { return };
    runtime_threads(2);
    place::everywhere(|place| round_trips(&run, place));
    short_around_long(&run);
}

fn round_trips(run: &Run, place: &Place) {
    let row = format!("call_rtt_{place}");
    let in_process = "call_rtt_vs_spawn_blocking";
    if !(run.wants(&row) || place.is_same() && run.wants(in_process)) {
        return;
    }
    let n = run.iters(5_000);
    let rt = runtime();
    let mut ping_pong = PingPong::new(place);
    let mut pong = Role::start(PONG, Some(&place.worker));
    let blocking = SpawnBlocking::new(place, 1);
    let pool = Pool::new(&rt, 1, Some(place));
    let per_call = |seconds: f64| seconds * 1e6 / n as f64;
    let [socket, tokio, spawn_blocking, ours] = run.alternate(
        9,
        [
            &mut || per_call(ping_pong.run(n)),
            &mut || per_call(tokio_ping_pong(&rt, &mut pong, n)),
            &mut || per_call(blocking.run(1, n)),
            &mut || per_call(pool.run(1, n)),
        ],
    );
    figure(&format!("floor_socket_rtt@{place}"), median(&socket), "us");
    figure(&format!("floor_tokio_rtt@{place}"), median(&tokio), "us");
    let name = format!("floor_spawn_blocking_rtt@{place}");
    figure(&name, median(&spawn_blocking), "us");
    figure(&row, median(&ours), "us");
    if place.pinned() {
        let k = if place.is_same() { 1.5 } else { 1.3 };
        let measured = median_ratio(&ours, &socket);
        ratio(&row, Some(measured), Bound::AtMost(k));
    }
    if place.is_same() {
        let measured = median_ratio(&ours, &spawn_blocking);
        ratio(in_process, Some(measured), Bound::AtMost(2.0));

        let mut criterion = run.criterion();
        let mut group = criterion.benchmark_group(row);
        let took = Duration::from_secs_f64;
        group.bench_function("socket", |b| {
            b.iter_custom(|n| took(ping_pong.run(n as usize)));
        });
        group.bench_function("spawn_blocking", |b| {
            b.iter_custom(|n| took(blocking.run(1, n as usize)));
        });
        group.bench_function("procpool", |b| {
            b.iter_custom(|n| took(pool.run(1, n as usize)));
        });
        group.finish();
    }
}

fn short_around_long(run: &Run) {
    let rows = ["short_before_long_ms", "short_behind_long_cancel_ms"];
    if !run.wants_any(&rows) {
        return;
    }
    let rt = runtime();
    let pool = Pool::new(&rt, 1, None);
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    for _ in 0..run.iters(10) {
        let scene = rt.spawn(scene(pool.pool.clone()));
        let (first, second) = rt.block_on(scene).expect("the scene was played");
        before.push(first.as_secs_f64() * 1e3);
        behind.push(second.as_secs_f64() * 1e3);
    }
    for ((row, times), limit) in rows.iter().zip([before, behind]).zip([5.0, 50.0]) {
        figure(&format!("{row}_median"), median(&times), "ms");
        ratio(row, Some(max(&times)), Bound::AtMost(limit));
    }
}

/// A no-op, a ten-second call, a no-op: how long the first took, and the last after the long one was dropped.
async fn scene(pool: ProcessPool) -> (Duration, Duration) {
    pool.run(noop()).await.expect("a worker that is up");
    let start = Instant::now();
    let before = pool.spawn(noop());
    let mut long = Box::pin(async { pool.run(nap(10_000)).await });
    tokio::select! {
        biased;
        _ = &mut long => panic!("the long call ended"),
        done = before => done.expect("a no-op"),
    }
    let before = start.elapsed();
    let behind = pool.spawn(noop());
    tokio::select! {
        _ = &mut long => panic!("the long call ended"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    let start = Instant::now();
    drop(long);
    behind.await.expect("a no-op");
    (before, start.elapsed())
}
