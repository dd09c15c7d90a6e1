//! How fast many bytes go there and back.
//!
//! `echo_64mib_vec`, `echo_64mib_bytes`: 64 MiB through a call that returns its argument; against an echo
//! over a bare socket pair, read into fresh buffers at both ends. An echo whose child keeps its buffer
//! is reported beside it, as a figure.

#![cfg_attr(not(target_os = "linux"), no_main)]
#![cfg(target_os = "linux")]

mod support;

use std::time::Instant;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use procpool::{Call, ProcessPool};
use support::place::{self, Place};
use support::pool::{Pool, runtime};
use support::report::{Bound, Run, figure, median, median_ratio, ratio_at, worst_placements};
use support::socket::{Buffers, Echo};
use tokio::runtime::Runtime;

const LEN: usize = 64 << 20;

#[procpool::task]
fn echo_vec(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

#[procpool::task]
fn echo_bytes(bytes: Bytes) -> Bytes {
    bytes
}

fn main() {
    support::run_role_if_child();
    procpool::init();
    let Some(run) = Run::from_args() else { return };
    place::everywhere(|place| {
        row(&run, place, "echo_64mib_vec", vec![3; LEN], echo_vec);
        row(&run, place, "echo_64mib_bytes", vec![3; LEN].into(), echo_bytes);
    });
    worst_placements();
}

fn row<T>(run: &Run, place: &Place, row: &str, payload: T, task: impl Fn(T) -> Call<T>)
where
    T: AsRef<[u8]> + Default + DeserializeOwned + Send + 'static,
{
    let name = format!("{row}@{place}");
    if !run.wants(&name) {
        return;
    }
    let rt = runtime();
    let mut floor = Echo::new(place, LEN);
    let mut kept = Echo::new(place, LEN);
    let pool = Pool::new(&rt, 1, Some(place));
    let mut payload = payload;
    let [floor, kept, ours] = run.alternate(
        9,
        [&mut || floor.run(Buffers::Fresh), &mut || kept.run(Buffers::Kept), &mut || {
            seconds(&rt, &pool.pool, &mut payload, &task)
        }],
    );
    figure(&format!("floor_{name}"), median(&floor) * 1e3, "ms");
    figure(&format!("floor_kept_{name}"), median(&kept) * 1e3, "ms");
    figure(&name, median(&ours) * 1e3, "ms");
    figure(&format!("{row}_vs_kept@{place}"), median_ratio(&ours, &kept), "x");
    ratio_at(row, place, &ours, &floor, Bound::AtMost(1.5));
}

/// Seconds for one call, from a spawned task; what comes back is the next call's payload.
fn seconds<T>(
    rt: &Runtime,
    pool: &ProcessPool,
    payload: &mut T,
    task: &impl Fn(T) -> Call<T>,
) -> f64
where
    T: AsRef<[u8]> + Default + DeserializeOwned + Send + 'static,
{
    let pool = pool.clone();
    let call = task(std::mem::take(payload));
    let echo = rt.spawn(async move {
        let start = Instant::now();
        let back = pool.run(call).await.expect("an echo");
        (start.elapsed(), back)
    });
    let (took, back) = rt.block_on(echo).expect("an echo");
    assert_eq!((back.as_ref().len(), back.as_ref().last()), (LEN, Some(&3)));
    *payload = back;
    took.as_secs_f64()
}
