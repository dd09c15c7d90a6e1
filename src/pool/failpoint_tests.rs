//! The crash rules, proved at each atomic step of a worker.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ProcessPool;
use crate::process::{ExitReason, FAILPOINT_VARIABLE, Progress};

crate::test_hook!();

/// Writes its number down, in one write, and gives it back. Each process has a file
/// of its own: not every system adds whole lines to one.
#[procpool::task]
fn note(path: String, x: u64) -> u64 {
    let path = format!("{path}.{}", std::process::id());
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(format!("{x}\n").as_bytes()).unwrap();
    x
}

/// Has its worker killed after the call has returned, once there is such a file.
#[procpool::task]
fn die_later(sign: String) {
    std::thread::spawn(move || {
        while !Path::new(&sign).exists() {
            std::thread::yield_now();
        }
        crate::sys::kill_own_group()
    });
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("procpool-failpoint-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn ledger(path: &str) -> HashMap<u64, usize> {
    let path = Path::new(path);
    let mut counts = HashMap::new();
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap().flatten() {
        if !file.file_name().to_string_lossy().starts_with("ledger.") {
            continue;
        }
        for line in std::fs::read_to_string(file.path()).unwrap().lines() {
            *counts.entry(line.parse().unwrap()).or_default() += 1;
        }
    }
    counts
}

async fn pool(place: &str, hit: u64, scratch: &Scratch) -> ProcessPool {
    ProcessPool::builder()
        .workers(2)
        .env(FAILPOINT_VARIABLE, format!("{place}:{hit}:{}", scratch.path("killed")))
        .build()
        .await
        .unwrap()
}

/// What the failpoint leaves.
fn killed(error: &crate::process::Error) -> bool {
    let reason = error.exit_reason();
    matches!(reason, Some(ExitReason::Signaled { signal: 9, .. } | ExitReason::Terminated))
}

/// Places where a worker dies in a call, and those where no call may be hurt.
const IN_A_CALL: [&str; 2] = ["begun", "ran"];
const BETWEEN_CALLS: [&str; 3] = ["received", "published", "flushed"];

/// How often a worker writes is up to how its calls come: where they came too close
/// together for the hit, some more come one by one.
async fn until_hit(pool: &ProcessPool, scratch: &Scratch) {
    while !Path::new(&scratch.path("killed")).exists() {
        assert_eq!(pool.run(note(scratch.path("more"), 1)).await.unwrap(), 1);
    }
}

fn block_on(body: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), body).await.expect("the test hangs");
    });
}

#[test]
fn single_calls_at_every_step() {
    block_on(async {
        for place in IN_A_CALL.iter().chain(&BETWEEN_CALLS) {
            for hit in [1, 2, 7] {
                let scratch = Scratch::new("single");
                let pool = pool(place, hit, &scratch).await;
                let path = scratch.path("ledger");
                let calls: Vec<_> = (0..40).map(|x| pool.spawn(note(path.clone(), x))).collect();
                let mut failed = Vec::new();
                for (x, call) in calls.into_iter().enumerate() {
                    match call.await {
                        Ok(y) => assert_eq!(y, x as u64),
                        Err(error) => {
                            assert!(killed(&error), "{place}:{hit}: {error}");
                            assert_eq!(error.progress(), Progress::MayHaveBegun);
                            failed.push(x as u64);
                        }
                    }
                }
                until_hit(&pool, &scratch).await;
                let expected = usize::from(IN_A_CALL.contains(place));
                assert_eq!(failed.len(), expected, "{place}:{hit}");
                let ledger = ledger(&path);
                for x in 0..40 {
                    let runs = ledger.get(&x).copied().unwrap_or(0);
                    assert!(runs <= 1, "{place}:{hit}: call {x} ran {runs} times");
                    assert!(runs == 1 || failed.contains(&x), "{place}:{hit}: call {x} never ran");
                }
                pool.shutdown().await.unwrap();
            }
        }
    });
}

#[test]
fn chunks_at_every_step() {
    block_on(async {
        let steps = [
            ("received", 0),
            ("begun", 1),
            ("item ran", 1),
            // The next item may have begun as far as anybody can know.
            ("item published", 1),
            ("chunk closed", 0),
            ("flushed", 0),
        ];
        for (place, most) in steps {
            // Six chunks for two workers, sixty items.
            let hits: &[u64] = if place.starts_with("item") { &[1, 2, 5, 15] } else { &[1, 2] };
            for &hit in hits {
                let scratch = Scratch::new("chunk");
                let pool = pool(place, hit, &scratch).await;
                let path = scratch.path("ledger");
                let xs = (0..60).map(|x| (path.clone(), x));
                let results = pool.try_map(note, xs).chunk_size(10).await.unwrap();
                let mut failed = Vec::new();
                for (x, result) in results.into_iter().enumerate() {
                    match result {
                        Ok(y) => assert_eq!(y, x as u64),
                        Err(error) => {
                            assert!(killed(&error), "{place}:{hit}: {error}");
                            failed.push(x as u64);
                        }
                    }
                }
                until_hit(&pool, &scratch).await;
                assert!(failed.len() <= most, "{place}:{hit}: {failed:?}");
                let ledger = ledger(&path);
                for x in 0..60 {
                    let runs = ledger.get(&x).copied().unwrap_or(0);
                    assert!(runs <= 1, "{place}:{hit}: item {x} ran {runs} times");
                    assert!(runs == 1 || failed.contains(&x), "{place}:{hit}: item {x} never ran");
                }
                pool.shutdown().await.unwrap();
            }
        }
    });
}

#[test]
fn death_before_the_first_call_loses_nothing() {
    block_on(async {
        for place in ["started", "welcomed", "ready"] {
            // The pool comes up first; then a worker dies, and its successor at the
            // named place.
            let scratch = Scratch::new("start");
            let path = scratch.path("ledger");
            std::fs::File::create(scratch.path("killed")).unwrap();
            let pool = pool(place, 1, &scratch).await;
            std::fs::remove_file(scratch.path("killed")).unwrap();
            pool.run(die_later(scratch.path("sign"))).await.unwrap();
            std::fs::File::create(scratch.path("sign")).unwrap();
            let calls: Vec<_> = (0..40).map(|x| pool.spawn(note(path.clone(), x))).collect();
            for (x, call) in calls.into_iter().enumerate() {
                // The one the first victim was in may fail.
                if let Ok(y) = call.await {
                    assert_eq!(y, x as u64);
                }
            }
            assert!(ledger(&path).values().all(|runs| *runs == 1), "{place}");
            pool.shutdown().await.unwrap();
        }
    });
}
