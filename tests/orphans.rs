//! However the parent ends, a second later nothing of its pool is left: not the
//! idle workers, not the busy ones, not the stopped ones, and not what their
//! tasks have started.

mod common;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::TempDir;
use common::os::{self, Death};
use procpool::ProcessPool;
use serde::{Deserialize, Serialize};

procpool::test_hook!();

/// The promise.
const GONE_WITHIN: Duration = Duration::from_secs(1);

const ROLE: &str = "PROCPOOL_TEST_ROLE";
const FILE: &str = "PROCPOOL_TEST_FILE";

/// What the workers do when their parent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Doing {
    Idle,
    Spinning,
    Waiting,
    IdleAndStopped,
    SpinningAndStopped,
    /// Spinning, with the handles closed by which it watches its parent.
    Blind,
    /// Spinning, and deaf to every signal that can be ignored or blocked.
    #[cfg(unix)]
    Deaf,
}

const ALL: &[Doing] = &[
    Doing::Idle,
    Doing::Spinning,
    Doing::Waiting,
    Doing::IdleAndStopped,
    Doing::SpinningAndStopped,
    Doing::Blind,
    // Windows has no signals.
    #[cfg(unix)]
    Doing::Deaf,
];

/// How the parent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum End {
    KilledFromOutside,
    Exit,
    Panic,
    Abort,
    ReturnAndForget,
    Segv,
}

/// Starts a process that outlives it, if it can.
#[procpool::task]
fn start_a_sleeper() -> u32 {
    // Left to its fate on purpose.
    #[allow(clippy::zombie_processes)]
    let sleeper = os::this_program("sleeper")
        .env(ROLE, "sleeper")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    sleeper.id()
}

/// That process.
#[test]
fn sleeper() {
    while std::env::var(ROLE).is_ok_and(|role| role == "sleeper") {
        std::thread::park();
    }
}

#[procpool::task]
fn spin(doing: Doing, sign: &str) -> u64 {
    match doing {
        Doing::Blind => os::be_blind(),
        #[cfg(unix)]
        Doing::Deaf => os::be_deaf(),
        _ => {}
    }
    std::fs::write(format!("{sign}-{}", std::process::id()), "").unwrap();
    loop {
        std::hint::spin_loop();
    }
}

#[procpool::task]
async fn wait(sign: String) -> u64 {
    std::fs::write(format!("{sign}-{}", std::process::id()), "").unwrap();
    std::future::pending().await
}

/// The parent-to-be: this test in a process of its own.
#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let file = std::env::var(FILE).unwrap();
    let (doing, end) = serde_role(&role);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = ProcessPool::builder().workers(2).build().await.unwrap();
        // One each: the second is not begun before the first has its worker.
        let mut pids = vec![pool.run(start_a_sleeper()).await.unwrap()];
        let workers: Vec<u32> = pool.workers().iter().map(|w| w.pid.unwrap()).collect();
        let mut calls = Vec::new();
        for _ in 0..2 {
            match doing {
                Doing::Idle | Doing::IdleAndStopped => {}
                Doing::Waiting => calls.push(pool.spawn(wait(file.clone()))),
                _ => calls.push(pool.spawn(spin(doing, &file))),
            }
        }
        if !calls.is_empty() {
            common::eventually("the workers are busy", || {
                workers.iter().all(|pid| Path::new(&format!("{file}-{pid}")).exists())
            })
            .await;
        }
        if matches!(doing, Doing::IdleAndStopped | Doing::SpinningAndStopped) {
            for pid in &workers {
                os::stop(*pid);
                common::eventually("it stops", || os::is_stopped(*pid)).await;
            }
        }
        pids.extend(workers);
        let text = pids.iter().map(|pid| format!("{pid}\n")).collect::<String>();
        std::fs::write(format!("{file}.new"), text).unwrap();
        std::fs::rename(format!("{file}.new"), &file).unwrap();
        os::crash_quietly();
        match end {
            End::KilledFromOutside => std::future::pending().await,
            End::Exit => std::process::exit(7),
            End::Panic => panic!("as told"),
            End::Abort => std::process::abort(),
            End::Segv => Death::Segv.strike(),
            End::ReturnAndForget => {}
        }
        std::mem::forget((pool, calls));
    });
    std::mem::forget(runtime);
}

fn role_name(doing: Doing, end: End) -> String {
    format!("{} {}", doing as u8, end as u8)
}

fn serde_role(text: &str) -> (Doing, End) {
    const ENDS: [End; 6] = [
        End::KilledFromOutside,
        End::Exit,
        End::Panic,
        End::Abort,
        End::ReturnAndForget,
        End::Segv,
    ];
    let (doing, end) = text.split_once(' ').unwrap();
    let at = |s: &str| s.parse::<usize>().unwrap();
    (ALL[at(doing)], ENDS[at(end)])
}

/// Starts a parent, lets it end, and gives what it had; all must be gone in time.
async fn ends(doing: Doing, end: End) {
    let dir = TempDir::new("orphans");
    let file = dir.0.join("pids");
    let mut parent = os::this_program("role")
        .env(ROLE, role_name(doing, end))
        .env(FILE, &file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    common::eventually("the parent has its workers", || {
        file.exists() || parent.try_wait().unwrap().is_some()
    })
    .await;
    let pids = std::fs::read_to_string(&file).expect("the parent failed before it began");
    let pids: Vec<u32> = pids.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(pids.len(), 3);
    if end == End::KilledFromOutside {
        assert!(pids.iter().all(|pid| os::is_alive(*pid)), "{doing:?}: they live until then");
        parent.kill().unwrap();
    }
    common::eventually("the parent ends", || parent.try_wait().unwrap().is_some()).await;
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let left: Vec<_> = pids.iter().filter(|pid| os::is_alive(**pid)).collect();
        if left.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            let states: Vec<_> = left.iter().map(|pid| os::describe(**pid)).collect();
            for pid in left {
                os::kill(*pid);
            }
            panic!("{doing:?}, {end:?}: of {pids:?} (the first a grandchild) are left {states:?}");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn rounds() -> usize {
    std::env::var("PROCPOOL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(4)
}

#[test]
fn nothing_survives_the_parents_kill() {
    common::run(|| async {
        for _ in 0..rounds() {
            for doing in ALL {
                ends(*doing, End::KilledFromOutside).await;
            }
        }
    });
}

#[test]
fn nothing_survives_any_other_end() {
    common::run(|| async {
        for end in [End::Exit, End::Panic, End::Abort, End::ReturnAndForget, End::Segv] {
            for doing in [Doing::Idle, Doing::Spinning, Doing::SpinningAndStopped] {
                ends(doing, end).await;
            }
        }
    });
}
