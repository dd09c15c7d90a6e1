//! The program's file is replaced while its pool runs: workers that are started
//! afterwards are still the old program.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Audit, TempDir};
use procpool::ProcessPool;

procpool::test_hook!();

const ROLE: &str = "UPGRADE_TEST_ROLE";

#[procpool::task]
fn pid() -> u32 {
    std::process::id()
}

#[procpool::task]
fn die() {
    std::process::abort();
}

/// The program under test: started from a copy of this binary by the tests below.
#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let program = std::env::current_exe().unwrap();
    common::run(|| async {
        let pool = ProcessPool::builder().workers(1).build().await.unwrap();
        let mut last = pool.run(pid()).await.unwrap();
        change(&role, &program);
        for _ in 0..10 {
            pool.run(die()).await.unwrap_err();
            let next = pool.run(pid()).await.unwrap();
            assert_ne!(next, last, "a new worker");
            last = next;
        }
        // A new pool starts the same image, too.
        let second = ProcessPool::builder().workers(1).build().await.unwrap();
        second.run(pid()).await.unwrap();
        second.shutdown().await.unwrap();
        pool.shutdown().await.unwrap();
    });
    println!("respawned from the old image");
}

fn change(role: &str, program: &Path) {
    let beside = program.with_extension("beside");
    match role {
        "rename" => std::fs::rename(program, beside).unwrap(),
        // Windows lets nobody delete the file of a program that runs.
        #[cfg(unix)]
        "delete" => std::fs::remove_file(program).unwrap(),
        #[cfg(unix)]
        "replace" => {
            // As installers do: write the new file beside the old, then rename.
            std::fs::copy("/bin/true", &beside).unwrap();
            std::fs::rename(beside, program).unwrap();
        }
        // Nor overwrite it, so that installers rename it first.
        #[cfg(windows)]
        "replace" => {
            std::fs::rename(program, beside).unwrap();
            std::fs::write(program, "not a program").unwrap();
        }
        other => panic!("no role {other}"),
    }
}

fn check(role: &str) {
    if common::os::is_imitated() {
        eprintln!("skipped: Wine tells of an open file the name by which it was opened");
        return;
    }
    let audit = Audit::begin();
    let dir = TempDir::new(&format!("upgrade-{role}"));
    let program: PathBuf = dir.0.join(format!("program{}", std::env::consts::EXE_SUFFIX));
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    // Another test's fork may hold the copy open for writing for a moment.
    let output = loop {
        let started = Command::new(&program)
            .args(["--exact", "role", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .output();
        match started {
            Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
            other => break other.unwrap(),
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("respawned from the old image"), "{text}");
    audit.end();
}

#[test]
fn renamed() {
    check("rename");
}

#[cfg(unix)]
#[test]
fn deleted() {
    check("delete");
}

#[test]
fn replaced() {
    check("replace");
}
