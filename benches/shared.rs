//! What bytes cost that other processes read where they are.
//!
//! * `shared_bytes_64mib`: 64 MiB are filled, handed over, and read by a worker from one end to the other; against
//!   the same with a bare memory file and a bare socket, as fresh each time (`floor_file`).
//! * `shared_bytes_64mib_filled`: the same when they are filled already; against sending them over a bare socket into
//!   a fresh buffer.
//! * `loan_64mib`: the same memory filled again each time, copied out by the worker in pieces; against `SharedBytes`.
//! * `vec_*`: a `Vec<u8>` as an argument, which goes over the socket; against one that would go in a memory file
//!   (`as_file`: filled here, copied out there) and against `SharedBytes` where the worker needs no `Vec`.
//! * `shared_bytes_handover_*`: what is filled already to 16 workers: the time for each until it has looked at the first byte;
//!   and by how much the memory of all of them grows when each has read all of it (proportional set size).

#![cfg_attr(not(target_os = "linux"), no_main)]
#![cfg(target_os = "linux")]

mod support;

use std::time::{Duration, Instant};

use procpool::{Call, Loan, Loaned, ProcessPool, RawValue, SharedBytes, SharedBytesMut};
use support::memory::{Reader, filled, sum};
use support::place::{self, Place};
use support::pool::{Pool, pids, runtime};
use support::report::{
    Bound, Run, figure, median, median_ratio, ratio, ratio_at, worst_placements,
};
use tokio::runtime::Runtime;

const LEN: usize = 64 << 20;

#[procpool::task]
fn sum_shared(bytes: SharedBytes) -> u64 {
    sum(&bytes)
}

#[procpool::task]
fn sum_copy(bytes: SharedBytes) -> u64 {
    let copy = std::hint::black_box(bytes.to_vec());
    sum(&copy)
}

#[procpool::task]
fn sum_vec(bytes: Vec<u8>) -> u64 {
    sum(&bytes)
}

#[procpool::task]
fn sum_lent(loaned: Loaned) -> u64 {
    const PIECE: usize = 128 << 10;
    let mut piece = vec![0; PIECE];
    (0..loaned.len()).step_by(PIECE).fold(0, |all, at| {
        let piece = &mut piece[..PIECE.min(loaned.len() - at)];
        loaned.read(at, piece);
        all.wrapping_add(sum(piece))
    })
}

fn main() {
    support::run_role_if_child();
    procpool::init();
    let Some(run) = Run::from_args() else { return };
    place::everywhere(|place| {
        fresh(&run, place);
        already_filled(&run, place);
        lent(&run, place);
        for (name, len) in
            [("64kib", 64 << 10), ("1mib", 1 << 20), ("16mib", 16 << 20), ("64mib", LEN)]
        {
            arguments(&run, place, name, len);
        }
    });
    worst_placements();
    for (name, len) in [("1mib", 1 << 20), ("64mib", LEN), ("1gib", 1 << 30)] {
        handover(&run, name, len);
    }
}

/// Seconds for one call, from a spawned task.
fn seconds(
    rt: &Runtime,
    pool: &ProcessPool,
    call: impl FnOnce() -> Call<u64> + Send + 'static,
) -> f64 {
    let pool = pool.clone();
    let call = rt.spawn(async move {
        let start = Instant::now();
        assert_ne!(pool.run(call()).await.expect("a sum"), 0);
        start.elapsed().as_secs_f64()
    });
    rt.block_on(call).expect("a task that ends")
}

/// Bytes that live as long as the program, for tasks of the runtime to read.
fn source(len: usize) -> &'static [u8] {
    Box::leak((0..len).map(|i| (i % 251) as u8).collect())
}

fn fresh(run: &Run, place: &Place) {
    let row = "shared_bytes_64mib";
    let name = format!("{row}@{place}");
    if !run.wants(&name) {
        return;
    }
    let rt = runtime();
    let mut reader = Reader::new(place);
    let pool = Pool::new(&rt, 1, Some(place));
    let bytes = source(LEN);
    let [floor, ours] = run.alternate(
        9,
        [&mut || LEN as f64 / reader.by_fresh_file(bytes), &mut || {
            let make = move || sum_shared(SharedBytes::copy_from(bytes).expect("memory"));
            LEN as f64 / seconds(&rt, &pool.pool, make)
        }],
    );
    figure(&format!("floor_file_64mib@{place}"), median(&floor) / 1e9, "GB/s");
    figure(&name, median(&ours) / 1e9, "GB/s");
    ratio_at(row, place, &ours, &floor, Bound::AtLeast(0.9));
}

fn already_filled(run: &Run, place: &Place) {
    let row = "shared_bytes_64mib_filled";
    let name = format!("{row}@{place}");
    if !run.wants(&name) {
        return;
    }
    let rt = runtime();
    let mut by_file = Reader::new(place);
    let mut by_socket = Reader::new(place);
    let pool = Pool::new(&rt, 1, Some(place));
    let bytes = source(LEN);
    let file = filled(bytes);
    let shared = SharedBytes::copy_from(bytes).expect("memory");
    let [file, socket, ours] = run.alternate(
        9,
        [&mut || by_file.by_file(&file, bytes), &mut || by_socket.by_socket(bytes), &mut || {
            let shared = shared.clone();
            seconds(&rt, &pool.pool, || sum_shared(shared))
        }],
    );
    figure(&format!("floor_file_64mib_filled@{place}"), median(&file) * 1e3, "ms");
    figure(&format!("floor_socket_64mib@{place}"), median(&socket) * 1e3, "ms");
    figure(&name, median(&ours) * 1e3, "ms");
    figure(&format!("{row}_vs_file@{place}"), median_ratio(&ours, &file), "x");
    ratio_at(row, place, &ours, &socket, Bound::AtMost(0.5));
}

fn lent(run: &Run, place: &Place) {
    let row = "loan_64mib";
    let name = format!("{row}@{place}");
    if !run.wants(&name) {
        return;
    }
    let rt = runtime();
    let pool = Pool::new(&rt, 1, Some(place));
    let bytes = source(LEN);
    let mut loan = Some(Loan::new(LEN).expect("memory"));
    let [fresh, ours] = run.alternate(
        9,
        [
            &mut || {
                let make = move || sum_shared(SharedBytes::copy_from(bytes).expect("memory"));
                seconds(&rt, &pool.pool, make)
            },
            &mut || {
                let (pool, mut mine) = (pool.pool.clone(), loan.take().expect("it comes back"));
                let call = rt.spawn(async move {
                    let start = Instant::now();
                    let call = sum_lent(mine.fill(bytes).expect("it was returned"));
                    assert_ne!(pool.run(call).await.expect("a sum"), 0);
                    mine.returned().await.expect("it comes back");
                    (start.elapsed(), mine)
                });
                let (took, mine) = rt.block_on(call).expect("a task that ends");
                loan = Some(mine);
                took.as_secs_f64()
            },
        ],
    );
    figure(&format!("loan_fresh_64mib@{place}"), median(&fresh) * 1e3, "ms");
    figure(&name, median(&ours) * 1e3, "ms");
    ratio_at(row, place, &ours, &fresh, Bound::AtMost(1.0));
}

fn arguments(run: &Run, place: &Place, size: &str, len: usize) {
    let row = format!("vec_{size}");
    let name = format!("{row}@{place}");
    if !run.wants(&name) {
        return;
    }
    let rt = runtime();
    let pool = Pool::new(&rt, 1, Some(place));
    let bytes = source(len);
    let calls = (LEN / len).clamp(1, 200);
    let each = |call: fn(&'static [u8]) -> Call<u64>| {
        // The argument is made in each call: whoever has a `Vec` has filled it before.
        (0..calls).map(|_| seconds(&rt, &pool.pool, move || call(bytes))).sum::<f64>()
            / calls as f64
    };
    let [socket, as_file, shared] = run.alternate(
        7,
        [
            &mut || each(|bytes| sum_vec(bytes.to_vec())),
            &mut || {
                each(|bytes| {
                    let vec = std::hint::black_box(bytes.to_vec());
                    sum_copy(SharedBytes::copy_from(vec).expect("memory"))
                })
            },
            &mut || each(|bytes| sum_shared(SharedBytes::copy_from(bytes).expect("memory"))),
        ],
    );
    figure(&name, median(&socket) * 1e3, "ms");
    figure(&format!("{row}_as_file@{place}"), median(&as_file) * 1e3, "ms");
    figure(&format!("{row}_as_shared_bytes@{place}"), median(&shared) * 1e3, "ms");
    figure(&format!("{row}_as_file_x@{place}"), median_ratio(&as_file, &socket), "x");
    figure(&format!("{row}_as_shared_bytes_x@{place}"), median_ratio(&shared, &socket), "x");
}

const WORKERS: u64 = 16;

/// Looks at the first byte, reads all when it is told to, and goes when it is told to. Who waits sleeps: there may be
/// more workers than cores.
#[procpool::task]
fn look(table: SharedBytes, came: RawValue<u64>, read: RawValue<u64>, may: RawValue<u8>) -> u64 {
    let first = u64::from(table[1]);
    came.fetch_add(1);
    wait_until(|| may.get() >= READ);
    let sum = sum(&table);
    read.fetch_add(1);
    wait_until(|| may.get() >= GO);
    sum.wrapping_add(first)
}

const READ: u8 = 1;
const GO: u8 = 2;

fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn handover(run: &Run, size: &str, len: usize) {
    let row = format!("shared_bytes_handover_{size}");
    if !run.wants(&row) {
        return;
    }
    let rt = runtime();
    let pool = Pool::new(&rt, WORKERS as usize, None);
    let mut table = SharedBytesMut::zeroed(len).expect("memory");
    table.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i % 251) as u8);
    let table = table.freeze().expect("memory");
    // This process has all of it, too.
    let expected = sum(&table).wrapping_add(u64::from(table[1]));
    let pids = pids(&pool.pool);
    let mut taken = Vec::new();
    let mut grown = Vec::new();
    for round in 0..=run.iters(10).max(3) {
        let values = || RawValue::new(0u64).expect("memory");
        let (came, read, may) = (values(), values(), RawValue::new(0u8).expect("memory"));
        let before = proportional(&pids);
        let calls =
            vec![(table.clone(), came.clone(), read.clone(), may.clone()); WORKERS as usize];
        let start = Instant::now();
        let _inside = rt.enter();
        let calls = pool.pool.starmap(look, calls).chunk_size(1).spawn();
        while came.get() < WORKERS {
            std::thread::yield_now();
        }
        let took = start.elapsed().as_secs_f64();
        may.set(READ);
        wait_until(|| read.get() == WORKERS);
        let after = proportional(&pids);
        may.set(GO);
        let sums = rt.block_on(calls.get()).expect("sums");
        assert!(sums.iter().all(|sum| *sum == expected));
        if round > 0 {
            taken.push(took / WORKERS as f64);
            grown.push((after - before) / WORKERS as f64);
        }
    }
    figure(&row, median(&taken) * 1e3, "ms");
    ratio(&row, Some(median(&taken) * 1e3), Bound::AtMost(1.0));
    ratio(&format!("{row}_mib"), Some(median(&grown)), Bound::AtMost(2.0));
}

/// MiB that this process and these have, what they share counted once.
fn proportional(pids: &[u32]) -> f64 {
    let own = std::process::id();
    let kib = pids.iter().chain([&own]).map(|pid| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a process");
        let line = text.lines().find(|line| line.starts_with("Pss:")).expect("a size");
        line.split_ascii_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<f64>().ok())
            .expect("a number")
    });
    kib.sum::<f64>() / 1024.0
}
