//! What a worker starts with: environment, descriptors, initializer.

mod common;
mod kit;

use std::collections::{BTreeMap, HashSet};
use std::error::Error as _;
use std::sync::atomic::{AtomicU64, Ordering};

use common::os;
use kit::{Gate, builder, pids, pool, square};
use procpool::{ErrorKind, Stderr, TimeoutPhase};

procpool::test_hook!();

#[procpool::task]
fn variables() -> BTreeMap<String, String> {
    our_variables()
}

/// Without those that Windows keeps for the drives' current directories.
fn our_variables() -> BTreeMap<String, String> {
    std::env::vars().filter(|(key, _)| !key.starts_with('=')).collect()
}

#[procpool::task]
fn open_files() -> Vec<(u64, String)> {
    os::open_files()
}

#[procpool::task]
fn read_stdin() -> usize {
    use std::io::Read;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap()
}

static INITIALIZED: AtomicU64 = AtomicU64::new(0);

#[procpool::task]
fn prepare(gate: String, value: u64) {
    kit::note(&gate, std::process::id());
    INITIALIZED.fetch_add(value, Ordering::SeqCst);
}

#[procpool::task]
async fn prepare_async(value: u64) -> Result<(), String> {
    tokio::task::yield_now().await;
    INITIALIZED.fetch_add(value, Ordering::SeqCst);
    Ok(())
}

#[procpool::task]
fn initialized(_x: u64) -> u64 {
    INITIALIZED.load(Ordering::SeqCst)
}

#[procpool::task]
fn prepare_badly(how: String) -> Result<(), String> {
    match how.as_str() {
        "err" => Err("no such database".to_owned()),
        "panic" => panic!("no such database"),
        "exit" => {
            eprintln!("no such database");
            std::process::exit(7)
        }
        _ => Ok(()),
    }
}

#[test]
fn workers_inherit_the_environment_as_changed() {
    common::run(|| async {
        let plain = pool(1).await;
        let ours = our_variables();
        let theirs = plain.run(variables()).await.unwrap();
        assert_eq!(theirs, ours, "nothing is added that a task could see");
        assert!(theirs.keys().all(|k| !k.starts_with("PROCPOOL")));
        plain.shutdown().await.unwrap();

        let removed = ours.keys().find(|k| k.eq_ignore_ascii_case("PATH")).unwrap();
        let changed = builder(1)
            .env("GREETING", "hello = world")
            .env("GREETING_2", "")
            .env_remove(removed)
            .env_remove("NEVER_SET")
            .build()
            .await
            .unwrap();
        let theirs = changed.run(variables()).await.unwrap();
        assert_eq!(theirs["GREETING"], "hello = world");
        assert_eq!(theirs["GREETING_2"], "");
        assert!(!theirs.contains_key(removed));
        assert_eq!(theirs.len(), ours.len() + 1);
        changed.shutdown().await.unwrap();

        let cleared = builder(1).env("LOST", "x").env_clear().env("KEPT", "y").build().await;
        let cleared = cleared.unwrap();
        #[allow(unused_mut)]
        let mut theirs = cleared.run(variables()).await.unwrap();
        // Hardly a program starts without the first; Wine adds the others by itself.
        #[cfg(windows)]
        theirs.retain(|k, _| {
            !["SystemRoot", "SystemDrive"].contains(&&**k) && !k.starts_with("WINE")
        });
        assert_eq!(theirs, BTreeMap::from([("KEPT".to_owned(), "y".to_owned())]));
        cleared.shutdown().await.unwrap();
    });
}

#[test]
fn workers_hold_no_files_of_ours() {
    common::run(|| async {
        let gate = Gate::new("files");
        let path = std::path::Path::new(&gate.path()).join("secret");
        let _secret = std::fs::File::create(&path).unwrap();
        let _pipes: Vec<_> = (0..20).map(|_| std::io::pipe().unwrap()).collect();
        let pool = pool(3).await;
        let lists = [pool.run(open_files()).await.unwrap(), pool.run(open_files()).await.unwrap()];
        for list in lists {
            assert!(list.iter().all(|(_, to)| !to.contains("secret")), "{list:?}");
            // The connection, and what our own standard streams may be.
            let of = |kind: &str| list.iter().filter(|(_, to)| to.starts_with(kind)).count();
            assert!(of("socket") <= 3 && of("pipe") <= 4, "{list:?}");
            assert!(list.len() <= 12, "the standard three and a few: {list:?}");
            #[cfg(unix)]
            assert_eq!(list.iter().filter(|(fd, _)| *fd <= 2).count(), 3, "{list:?}");
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn standard_input_is_empty() {
    common::run(|| async {
        let pool = pool(1).await;
        assert_eq!(pool.run(read_stdin()).await.unwrap(), 0);
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn the_initializer_runs_once_in_every_worker() {
    common::run(|| async {
        let gate = Gate::new("initializer");
        let pool = builder(3).initializer(prepare, (gate.path(), 7)).build().await.unwrap();
        let ran: HashSet<u32> = gate.log().iter().map(|x| x.parse().unwrap()).collect();
        assert_eq!(ran, pids(&pool).into_iter().collect());
        assert_eq!(gate.log().len(), 3, "once each, before the pool is there");
        assert_eq!(pool.map(initialized, 0..50).chunk_size(1).await.unwrap(), [7; 50]);
        // In a replacement too.
        os::kill(pids(&pool)[0]);
        gate.arrived(4).await;
        assert_eq!(pool.map(initialized, 0..50).chunk_size(1).await.unwrap(), [7; 50]);
        pool.shutdown().await.unwrap();
        let pool = builder(1).initializer(prepare_async, 5_u64).build().await.unwrap();
        assert_eq!(pool.run(initialized(0)).await.unwrap(), 5);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_failing_initializer_fails_the_build_with_its_reason() {
    common::run(|| async {
        for how in ["err", "panic", "exit"] {
            let building = builder(3)
                .initializer(prepare_badly, how.to_owned())
                .stderr(Stderr::Capture)
                .build();
            let error = building.await.map(|_| ()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Start { .. }), "{error}");
            assert!(error.to_string().contains("no such database"), "{how}: {error}");
            common::eventually("all are gone", || os::children().is_empty()).await;
        }
        let fine = builder(1).initializer(prepare_badly, "fine".to_owned()).build().await.unwrap();
        assert_eq!(fine.run(square(3)).await.unwrap(), 9);
        fine.shutdown().await.unwrap();
    });
}

#[test]
fn a_started_worker_that_never_gets_ready_is_given_up() {
    common::run(|| async {
        let gate = Gate::new("slow-initializer");
        let slow = procpool::task_fn!(|gate: String| -> () { kit::stay(&gate, "in") });
        let building = builder(1)
            .initializer(slow, gate.path())
            .start_timeout(std::time::Duration::from_millis(100))
            .build();
        let error = building.await.map(|_| ()).unwrap_err();
        let limit = std::time::Duration::from_millis(100);
        assert!(
            matches!(error.kind(), ErrorKind::TimedOut { phase: TimeoutPhase::Starting, limit: l } if *l == limit),
            "{error:?}"
        );
        assert!(
            error.source().unwrap().to_string().contains("initializer did not end"),
            "{error:?}"
        );
    });
}
