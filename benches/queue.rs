//! What a queue costs.
//!
//! * `queue_rtt_same`, `queue_rtt_cross`: an item to a worker and one back, through two queues, between a task of this
//!   process and a blocking one of a worker; against the round trip of a few bytes over a bare socket pair between two
//!   blocking processes (on one core) or two that use tokio (on two), and CPython's `Queue`.
//! * `queue_throughput`: small items from one worker to another, one of which puts and the other gets; against
//!   CPython's.
//! * `item_64mib`: one of 64 MiB to a worker, and from one worker to another; against a bare socket
//!   into a fresh buffer.
//! * `kill_queue`: producers and consumers killed at any moment: how many items were lost, doubled beyond the ones
//!   marked as redelivered, and how many of the ends hung.

#![cfg_attr(not(target_os = "linux"), no_main)]
#![cfg(target_os = "linux")]

mod support;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use procpool::{Process, Queue};
use support::place::{self, Place};
use support::pool::{Pool, crowd, runtime, runtime_threads};
use support::python::PythonQueue;
use support::report::{Bound, Run, figure, median, median_ratio, ratio};
use support::role::Role;
use support::socket::{PONG, PingPong, TAKE, TOKIO_PONG, tokio_ping_pong};

const LARGE: usize = 64 << 20;

fn main() {
    support::run_role_if_child();
    procpool::init();
    let Some(run) = Run::from_args() else { return };
    runtime_threads(2);
    place::everywhere(|place| {
        round_trips(&run, place);
        throughput(&run, place);
        large_items(&run, place);
    });
    kill_queue(&run);
}

#[procpool::task]
fn reply(from: Queue<u64>, to: Queue<u64>) {
    while let Ok(x) = from.blocking_get() {
        to.blocking_put(x).expect("an open queue");
    }
}

fn round_trips(run: &Run, place: &Place) {
    let row = format!("queue_rtt_{place}");
    if !run.wants(&row) {
        return;
    }
    let n = run.iters(5_000);
    let rt = runtime();
    let mut ping_pong = PingPong::new(place);
    let mut pong = Role::start(PONG, Some(&place.worker));
    let mut tokio_pong = Role::start(TOKIO_PONG, Some(&place.worker));
    let mut python = PythonQueue::start(place);
    let pool = Pool::new(&rt, 1, Some(place));
    let (there, back) = (queue(), queue());
    let replying = pool.pool.spawn(reply(there.clone(), back.clone()));
    let per_item = |seconds: f64| seconds * 1e6 / n as f64;
    let [socket, half, tokio, cpython, ours] = run.alternate(
        9,
        [
            &mut || per_item(ping_pong.run(n)),
            &mut || per_item(tokio_ping_pong(&rt, &mut pong, n)),
            &mut || per_item(tokio_ping_pong(&rt, &mut tokio_pong, n)),
            &mut || python.as_mut().and_then(|p| p.run("rtt", n)).map_or(f64::NAN, per_item),
            &mut || {
                per_item(crowd(&rt, 1, || {
                    let (there, back) = (there.clone(), back.clone());
                    async move {
                        for x in 0..n as u64 {
                            there.put(x).await.expect("an open queue");
                            assert_eq!(back.get().await, Ok(x));
                        }
                    }
                }))
            },
        ],
    );
    there.close();
    rt.block_on(replying.get()).expect("a task that ends");
    figure(&format!("floor_socket_rtt@{place}"), median(&socket), "us");
    figure(&format!("floor_tokio_rtt@{place}"), median(&half), "us");
    figure(&format!("floor_tokio_tokio_rtt@{place}"), median(&tokio), "us");
    figure(&format!("cpython_queue_rtt@{place}"), median(&cpython), "us");
    figure(&row, median(&ours), "us");
    if place.pinned() {
        let (floor, k, k_python) =
            if place.is_same() { (&socket, 2.0, 0.6) } else { (&tokio, 1.3, 1.0) };
        ratio(&row, Some(median_ratio(&ours, floor)), Bound::AtMost(k));
        let name = format!("{row}_vs_cpython");
        let measured = python.is_some().then(|| median_ratio(&ours, &cpython));
        ratio(&name, measured, Bound::AtMost(k_python));
    }
}

fn queue<T>() -> Queue<T> {
    Queue::unbounded().expect("a queue")
}

#[procpool::task]
fn produce(to: Queue<u64>, n: u64) {
    for x in 0..n {
        to.blocking_put(x).expect("an open queue");
    }
}

#[procpool::task]
fn consume(from: Queue<u64>, n: u64) {
    for x in 0..n {
        assert_eq!(from.blocking_get(), Ok(x));
    }
}

fn throughput(run: &Run, place: &Place) {
    let row = format!("queue_throughput@{place}");
    if !run.wants(&row) {
        return;
    }
    let n = run.iters(1_000_000);
    let rt = runtime();
    let mut python = PythonQueue::start(place);
    let pool = Pool::new(&rt, 2, Some(place));
    let rate = |n: usize, seconds: f64| n as f64 / seconds;
    let few = n / 10;
    let [cpython, ours] = run.alternate(
        5,
        [
            &mut || {
                let run = python.as_mut().and_then(|p| p.run("throughput", few));
                run.map_or(f64::NAN, |seconds| rate(few, seconds))
            },
            &mut || {
                let queue = queue();
                let start = Instant::now();
                rt.block_on(async {
                    let consumer = pool.pool.spawn(consume(queue.clone(), n as u64));
                    let producer = pool.pool.spawn(produce(queue.clone(), n as u64));
                    producer.get().await.expect("a producer");
                    consumer.get().await.expect("a consumer");
                });
                rate(n, start.elapsed().as_secs_f64())
            },
        ],
    );
    figure(&format!("cpython_queue_throughput@{place}"), median(&cpython) / 1e3, "k/s");
    figure(&row, median(&ours) / 1e3, "k/s");
    let measured = python.is_some().then(|| median_ratio(&ours, &cpython));
    ratio(&row, measured, Bound::AtLeast(4.0));
}

#[procpool::task]
fn take(from: Queue<Vec<u8>>, to: Queue<u64>) {
    while let Ok(bytes) = from.blocking_get() {
        to.blocking_put(bytes.len() as u64).expect("an open queue");
    }
}

/// Makes an item, says so, and puts it when it is told to.
#[procpool::task]
fn give(when: Queue<u64>, made: Queue<u64>, to: Queue<Vec<u8>>) {
    while let Ok(len) = when.blocking_get() {
        let item = vec![3; len as usize];
        made.blocking_put(len).expect("an open queue");
        when.blocking_get().expect("an open queue");
        to.blocking_put(item).expect("an open queue");
    }
}

fn large_items(run: &Run, place: &Place) {
    let row = format!("item_64mib@{place}");
    if !run.wants(&row) || !place.pinned() && !run.wants("item_64mib") {
        return;
    }
    let rt = runtime();
    let mut taker = Role::start(TAKE, Some(&place.worker));
    let pool = Pool::new(&rt, 2, Some(place));
    let (items, when, made, taken) = (queue(), queue(), queue(), queue());
    let tasks = [
        pool.pool.spawn(take(items.clone(), taken.clone())),
        pool.pool.spawn(give(when.clone(), made.clone(), items.clone())),
    ];
    let out = vec![3; LARGE];
    let [socket, to_worker, between] = run.alternate(
        7,
        [
            &mut || send(&mut taker.socket, &out),
            &mut || {
                let item = out.clone();
                rt.block_on(async {
                    let start = Instant::now();
                    items.put(item).await.expect("an open queue");
                    assert_eq!(taken.get().await, Ok(LARGE as u64));
                    start.elapsed().as_secs_f64()
                })
            },
            &mut || {
                rt.block_on(async {
                    // As of the others' it is not measured how it is made.
                    when.put(LARGE as u64).await.expect("an open queue");
                    made.get().await.expect("an open queue");
                    let start = Instant::now();
                    when.put(0).await.expect("an open queue");
                    assert_eq!(taken.get().await, Ok(LARGE as u64));
                    start.elapsed().as_secs_f64()
                })
            },
        ],
    );
    when.close();
    items.close();
    for task in tasks {
        rt.block_on(task.get()).expect("a task that ends");
    }
    figure(&format!("floor_socket_64mib@{place}"), median(&socket) * 1e3, "ms");
    figure(&row, median(&to_worker) * 1e3, "ms");
    figure(&format!("item_64mib_between@{place}"), median(&between) * 1e3, "ms");
    ratio(&row, Some(median_ratio(&to_worker, &socket)), Bound::AtMost(1.5));
    let name = format!("item_64mib_between@{place}");
    ratio(&name, Some(median_ratio(&between, &socket)), Bound::AtMost(2.2));
}

/// Seconds until a blocking process has it all in a fresh buffer.
fn send(socket: &mut UnixStream, bytes: &[u8]) -> f64 {
    let start = Instant::now();
    socket.write_all(&(bytes.len() as u64).to_le_bytes()).expect("child reads");
    socket.write_all(bytes).expect("child reads");
    socket.read_exact(&mut [0]).expect("child answers");
    start.elapsed().as_secs_f64()
}

#[procpool::task]
fn put_for_ever(to: Queue<(u64, u64)>, me: u64) {
    for x in 0.. {
        to.blocking_put((me, x)).expect("an open queue");
        if x % 64 == 0 {
            std::thread::yield_now();
        }
    }
}

#[procpool::task]
fn pass_for_ever(from: Queue<(u64, u64)>, to: Queue<(u64, u64, bool)>) {
    loop {
        let delivery = from.blocking_get_delivery().expect("an open queue");
        let (me, x) = delivery.item;
        to.blocking_put((me, x, delivery.redelivered)).expect("an open queue");
    }
}

/// Kills one after the other at no particular moment; what arrives is counted.
fn kill_queue(run: &Run) {
    if !run.wants("kill_queue") {
        return;
    }
    let kills = run.iters(10_000);
    let rt = runtime();
    let (mut lost, mut doubled, mut redelivered) = (0u64, 0u64, 0u64);
    let start = Instant::now();
    let hung = rt.block_on(async {
        let (from, to) = (Queue::with_bounds(256, u64::MAX).expect("a queue"), queue());
        let mut next = 0u64;
        let mut seen: HashMap<u64, u64> = HashMap::new();
        for kill in 0..kills {
            next += 1;
            let producer = Process::spawn(put_for_ever(from.clone(), next)).await.expect("one");
            let consumer =
                Process::spawn(pass_for_ever(from.clone(), to.clone())).await.expect("one");
            // From the first item on at any time.
            let limit = Duration::from_secs(20);
            let mut left = kill % 97;
            while left > 0 || !seen.contains_key(&next) {
                let Ok((me, x, again)) = to.get_timeout(limit).await else { return true };
                note(&mut seen, me, x, again, [&mut lost, &mut doubled, &mut redelivered]);
                left = left.saturating_sub(1);
            }
            let (first, second) =
                if kill % 2 == 0 { (&producer, &consumer) } else { (&consumer, &producer) };
            first.kill();
            second.kill();
            producer.join().await;
            consumer.join().await;
            // What is left belongs to producers that are dead: it is read here.
            while let Ok((me, x, again)) = to.try_get().await {
                note(&mut seen, me, x, again, [&mut lost, &mut doubled, &mut redelivered]);
            }
            while from.len().await > 0 {
                let Ok(delivery) = from.try_get().await.map(|item| (item, ())) else { break };
                let ((me, x), ()) = delivery;
                // Whether it was redelivered does not matter for what is lost.
                note(&mut seen, me, x, true, [&mut lost, &mut doubled, &mut redelivered]);
            }
            seen.remove(&next);
        }
        false
    });
    figure("kill_queue_kills", 2.0 * kills as f64, "processes");
    figure("kill_queue_seconds", start.elapsed().as_secs_f64(), "s");
    figure("kill_queue_redelivered", redelivered as f64, "items");
    ratio("kill_queue_lost", Some(lost as f64), Bound::AtMost(0.0));
    ratio("kill_queue_doubled", Some(doubled as f64), Bound::AtMost(0.0));
    ratio("kill_queue_hung", Some(u64::from(hung) as f64), Bound::AtMost(0.0));
}

/// Items of one producer come in order; one that was redelivered may be the last again.
fn note(seen: &mut HashMap<u64, u64>, me: u64, x: u64, again: bool, counts: [&mut u64; 3]) {
    let [lost, doubled, redelivered] = counts;
    let next = seen.entry(me).or_default();
    if x < *next {
        *(if again { redelivered } else { doubled }) += 1;
        return;
    }
    *lost += x - *next;
    *next = x + 1;
}
