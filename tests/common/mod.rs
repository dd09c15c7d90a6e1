//! What every test that starts processes shares: a pool, and the audit at the end.
#![allow(dead_code)]

pub mod os;

use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Generous: it only catches hangs, on a loaded machine too, and under Wine, where one process does for all what is the
/// system's.
pub const HANG: Duration = Duration::from_secs(if cfg!(windows) { 3 * 60 } else { 60 });

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
    before: os::Holdings,
}

static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// A test that fails must not wait for its processes at its end.
impl Drop for Audit {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for child in procpool::active_children() {
                child.kill();
            }
        }
    }
}

impl Audit {
    pub fn begin() -> Self {
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // What a program has once for all its pools and runtimes stays: let it
        // come into being before the count.
        static WARM_UP: std::sync::Once = std::sync::Once::new();
        WARM_UP.call_once(|| {
            // Nothing if none are asked for; else the files that the names are read from
            // stay mapped.
            let _ = std::backtrace::Backtrace::capture().to_string();
            // Windows keeps a handle to the directory of names.
            drop(procpool::SharedMemory::create_unique(1));
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                if let Ok(pool) = procpool::ProcessPool::builder().workers(1).build().await {
                    pool.shutdown().await.unwrap();
                }
            });
        });
        // Windows' sockets keep an event for each thread that has ever used one.
        drop(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        Audit { _turn: turn, before: os::Holdings::now() }
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
        let children = os::children().into_iter();
        let mut left: Vec<String> =
            children.map(|(pid, state)| format!("child {pid} ({state})")).collect();
        left.extend(self.before.since());
        left
    }
}

/// Polls `condition` until it holds; a hang fails with `what`.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG / 2;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A program that cargo built next to this test: `cargo test` does; `cargo test
/// --test name` does not, and needs `cargo build --examples` before it.
pub fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.extend(["examples", &format!("{name}{}", std::env::consts::EXE_SUFFIX)]);
    assert!(path.exists(), "{} is missing: run `cargo build --examples` first", path.display());
    path
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
        // On Windows a worker that is just ending may still have a file of it open.
        for _ in 0..10 {
            if std::fs::remove_dir_all(&self.0).is_ok() || !self.0.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
