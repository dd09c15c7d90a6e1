//! What every test that starts processes shares: a pool, and the audit at the end.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Generous: it only catches hangs, on a loaded machine too.
pub const HANG: Duration = Duration::from_secs(60);

/// Runs a test body on a runtime of its own, with a limit against hangs, and
/// audits what it left behind.
pub fn run<F: Future<Output = ()>>(body: impl FnOnce() -> F) {
    run_within(HANG, body);
}

/// The same for tests that are long by nature.
pub fn run_within<F: Future<Output = ()>>(limit: Duration, body: impl FnOnce() -> F) {
    let audit = Audit::begin();
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime
            .block_on(async { tokio::time::timeout(limit, body()).await.expect("the test hangs") });
    }
    audit.end();
}

/// The same on a current-thread runtime.
pub fn run_current_thread<F: Future<Output = ()>>(body: impl FnOnce() -> F) {
    let audit = Audit::begin();
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime
            .block_on(async { tokio::time::timeout(HANG, body()).await.expect("the test hangs") });
    }
    audit.end();
}

/// What must be the same after a test as before it.
///
/// Tests of one binary run in parallel under `cargo test`, so the audit holds a
/// lock: tests that start processes take turns. (Under nextest each has a process
/// of its own anyway.)
pub struct Audit {
    _turn: std::sync::MutexGuard<'static, ()>,
    fds: BTreeMap<String, String>,
    shm: Vec<PathBuf>,
}

static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

impl Audit {
    pub fn begin() -> Self {
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // What a program has once for all its pools and runtimes stays: let it
        // come into being before the count.
        static WARM_UP: std::sync::Once = std::sync::Once::new();
        WARM_UP.call_once(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                if let Ok(pool) = procpool::ProcessPool::builder().workers(1).build().await {
                    pool.shutdown().await.unwrap();
                }
            });
        });
        Audit { _turn: turn, fds: descriptors(), shm: names("/dev/shm") }
    }

    /// Waits a moment for what is on its way out, then counts.
    pub fn end(self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let left = self.left_over();
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "left behind: {left:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn left_over(&self) -> Vec<String> {
        let mut left: Vec<String> =
            children().into_iter().map(|(pid, state)| format!("child {pid} ({state})")).collect();
        left.extend(
            descriptors()
                .into_iter()
                .filter(|(fd, what)| self.fds.get(fd) != Some(what))
                .map(|(fd, what)| format!("descriptor {fd} -> {what}")),
        );
        left.extend(
            names("/dev/shm")
                .into_iter()
                .filter(|p| !self.shm.contains(p))
                .map(|p| format!("shared memory {}", p.display())),
        );
        left
    }
}

/// Direct children of this process, zombies included, with their state letter.
pub fn children() -> Vec<(u32, char)> {
    let me = std::process::id();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        if let Some((state, parent)) = state_and_parent(pid)
            && parent == me
        {
            found.push((pid, state));
        }
    }
    found
}

/// State letter and parent of a process; `None` if it is gone.
pub fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = stat.rsplit_once(')')?.1;
    let mut fields = rest.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    matches!(state_and_parent(pid), Some((state, _)) if state != 'Z' && state != 'X')
}

/// Polls `condition` until it holds; a hang fails with `what`.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG / 2;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn descriptors() -> BTreeMap<String, String> {
    let Ok(dir) = std::fs::read_dir("/proc/self/fd") else { return BTreeMap::new() };
    dir.flatten()
        .filter_map(|e| {
            let to = std::fs::read_link(e.path()).ok()?;
            Some((e.file_name().to_string_lossy().into_owned(), to.to_string_lossy().into_owned()))
        })
        // The directory being read.
        .filter(|(_, to)| !to.contains("/fd"))
        .collect()
}

fn names(dir: &str) -> Vec<PathBuf> {
    std::fs::read_dir(dir).map(|d| d.flatten().map(|e| e.path()).collect()).unwrap_or_default()
}

/// A directory of this test's own, removed when dropped.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("procpool-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
