//! How long one message and its answer take over a pipe.
//!
//! * `pipe_rtt_same`: both ends on one core, one of them blocking; against the round trip of a few bytes
//!   between two blocking processes over a bare socket pair. The worse of two: a task of this process and a worker
//!   (`pipe_rtt_parent`), two workers (`pipe_rtt_workers`).
//! * `pipe_rtt_cross`: a task of this process and an async task of a worker, on two cores; against two processes
//!   that use a bare socket with tokio.
//! * `pipe_rtt_vs_python`: blocking at both ends; against `multiprocessing.Pipe`.

#![cfg_attr(not(target_os = "linux"), no_main)]
#![cfg(target_os = "linux")]

mod support;

use std::time::Instant;

use procpool::{Connection, Process, pipe};
use support::place::{self, Place};
use support::pool::{crowd, runtime, runtime_threads};
use support::python::PythonPipe;
use support::report::{
    Bound, Run, figure, median, median_ratio, ratio, ratio_at, worst_placements,
};
use support::role::Role;
use support::socket::{PONG, PingPong, TOKIO_PONG, tokio_ping_pong};
use tokio::runtime::Runtime;

/// As long as what the floors send.
type Ping = (u64, u64);
type End = Connection<Ping, Ping>;
const PING: Ping = (u64::MAX, 7);

#[procpool::task]
fn pong(cpus: Vec<usize>, mut end: End) {
    place::pin_process(&cpus);
    while let Ok(ping) = end.blocking_recv() {
        if end.blocking_send(ping).is_err() {
            return;
        }
    }
}

#[procpool::task]
async fn pong_async(cpus: Vec<usize>, mut end: End) {
    place::pin_process(&cpus);
    while let Ok(ping) = end.recv().await {
        if end.send(ping).await.is_err() {
            return;
        }
    }
}

/// Plays so many rounds as it is told to, and answers how many seconds that took.
#[procpool::task]
fn ping(cpus: Vec<usize>, mut orders: Connection<f64, u64>, mut end: End) {
    place::pin_process(&cpus);
    while let Ok(n) = orders.blocking_recv() {
        if orders.blocking_send(blocking_rounds(&mut end, n as usize)).is_err() {
            return;
        }
    }
}

fn blocking_rounds(end: &mut End, n: usize) -> f64 {
    let start = Instant::now();
    for _ in 0..n {
        end.blocking_send(PING).expect("the worker receives");
        assert_eq!(end.blocking_recv().expect("the worker answers"), PING);
    }
    start.elapsed().as_secs_f64()
}

/// Rounds by a task of `rt`.
fn task_rounds(rt: &Runtime, end: &mut Option<End>, n: usize) -> f64 {
    let (give, taken) = std::sync::mpsc::channel();
    let shared = std::sync::Mutex::new(end.take());
    let seconds = crowd(rt, 1, || {
        let mut end = shared.lock().expect("one task").take().expect("an end");
        let give = give.clone();
        async move {
            for _ in 0..n {
                end.send(PING).await.expect("the worker receives");
                assert_eq!(end.recv().await.expect("the worker answers"), PING);
            }
            give.send(end).expect("it is waited for");
        }
    });
    *end = taken.recv().ok();
    seconds
}

fn start(
    rt: &Runtime,
    call: impl Future<Output = Result<Process<()>, procpool::Error>>,
) -> Process<()> {
    rt.block_on(call).expect("a process")
}

fn end(rt: &Runtime, process: Process<()>) {
    rt.block_on(process.join());
}

fn main() {
    support::run_role_if_child();
    procpool::init();
    let Some(run) = Run::from_args() else { return };
    runtime_threads(2);
    place::everywhere(|place| {
        same(&run, place);
        cross(&run, place);
        python(&run, place);
    });
    worst_placements();
}

fn per_round(n: usize) -> impl Fn(f64) -> f64 {
    move |seconds| seconds * 1e6 / n as f64
}

fn same(run: &Run, place: &Place) {
    let row = format!("pipe_rtt_{place}");
    let rows = [format!("pipe_rtt_parent_{place}"), format!("pipe_rtt_workers_{place}")];
    if !place.is_same() || !(run.wants(&row) || run.wants(&rows[0]) || run.wants(&rows[1])) {
        return;
    }
    let n = run.iters(10_000);
    let rt = runtime();
    let mut ping_pong = PingPong::new(place);
    let cpus = || place.worker.clone();

    let (ours, theirs) = pipe().expect("a pipe");
    let answering = start(&rt, Process::spawn(pong(cpus(), theirs)));
    let mut ours = Some(ours);

    let (mut orders, taking) = pipe::<u64, f64>().expect("a pipe");
    let (a, b) = pipe().expect("a pipe");
    let asking = start(&rt, Process::spawn(ping(cpus(), taking, a)));
    let asked = start(&rt, Process::spawn(pong(cpus(), b)));

    let per = per_round(n);
    let [socket, parent, workers] = run.alternate(
        9,
        [&mut || per(ping_pong.run(n)), &mut || per(task_rounds(&rt, &mut ours, n)), &mut || {
            orders.blocking_send(n as u64).expect("it takes orders");
            per(orders.blocking_recv().expect("it carries them out"))
        }],
    );
    figure(&format!("floor_socket_rtt@{place}"), median(&socket), "us");
    figure(&rows[0], median(&parent), "us");
    figure(&rows[1], median(&workers), "us");
    let (parent, workers) = (median_ratio(&parent, &socket), median_ratio(&workers, &socket));
    ratio(&rows[0], Some(parent), Bound::AtMost(1.5));
    ratio(&rows[1], Some(workers), Bound::AtMost(1.5));
    ratio(&row, Some(parent.max(workers)), Bound::AtMost(1.5));
    drop((ours, orders));
    for process in [answering, asking, asked] {
        end(&rt, process);
    }
}

fn cross(run: &Run, place: &Place) {
    let row = format!("pipe_rtt_{place}");
    if place.is_same() || !run.wants(&row) {
        return;
    }
    let n = run.iters(10_000);
    let rt = runtime();
    let mut tokio_pong = Role::start(TOKIO_PONG, Some(&place.worker));
    let mut plain_pong = Role::start(PONG, Some(&place.worker));
    let (ours, theirs) = pipe().expect("a pipe");
    let answering = start(&rt, Process::spawn(pong_async(place.worker.clone(), theirs)));
    let mut ours = Some(ours);
    let per = per_round(n);
    let [floor, plain, taken] = run.alternate(
        9,
        [
            &mut || per(tokio_ping_pong(&rt, &mut tokio_pong, n)),
            &mut || per(tokio_ping_pong(&rt, &mut plain_pong, n)),
            &mut || per(task_rounds(&rt, &mut ours, n)),
        ],
    );
    figure(&format!("floor_tokio_tokio_rtt@{place}"), median(&floor), "us");
    figure(&format!("floor_tokio_rtt@{place}"), median(&plain), "us");
    figure(&row, median(&taken), "us");
    if place.pinned() {
        ratio(&row, Some(median_ratio(&taken, &floor)), Bound::AtMost(1.15));
    }
    drop(ours);
    end(&rt, answering);
}

fn python(run: &Run, place: &Place) {
    let row = "pipe_rtt_vs_python";
    if !run.wants(&format!("{row}@{place}")) {
        return;
    }
    let n = run.iters(10_000);
    let Some(mut peer) = PythonPipe::start(place, n) else {
        return ratio(row, None, Bound::AtMost(1.0));
    };
    let rt = runtime();
    let (mut ours, theirs) = pipe().expect("a pipe");
    let answering = start(&rt, Process::spawn(pong(place.worker.clone(), theirs)));
    let per = per_round(n);
    let [peer, taken] = run.alternate(
        9,
        [&mut || per(peer.run().expect("Python answers")), &mut || {
            per(blocking_rounds(&mut ours, n))
        }],
    );
    figure(&format!("python_pipe_rtt@{place}"), median(&peer), "us");
    figure(&format!("pipe_rtt_blocking@{place}"), median(&taken), "us");
    ratio_at(row, place, &taken, &peer, Bound::AtMost(1.0));
    drop(ours);
    end(&rt, answering);
}
