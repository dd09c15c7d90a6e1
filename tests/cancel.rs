//! Dropping means cancelling, at every moment of a call's life; and every place
//! a call had is free again afterwards.

mod common;
#[path = "common/ledger.rs"]
mod ledger;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ledger::{Ledger, note};
use procpool::{Error, OnDrop, ProcessPool, Progress, Stderr, TimeoutPhase, WorkerStatus};
use tokio::io::AsyncReadExt;

procpool::test_hook!();

/// How a caller loses interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Drop,
    Abort,
    Timeout,
}

const ALL: [How; 3] = [How::Drop, How::Abort, How::Timeout];

#[procpool::task]
fn quick(id: u64, ledger: &str) -> u64 {
    note(ledger, id);
    id + 1
}

/// Does not listen.
#[procpool::task]
fn stubborn(id: u64, ledger: &str) -> u64 {
    note(ledger, id);
    loop {
        std::hint::spin_loop();
    }
}

/// Listens.
#[procpool::task]
fn cooperative(id: u64, ledger: &str) -> u64 {
    note(ledger, id);
    while !procpool::context().is_cancelled() {
        std::thread::yield_now();
    }
    note(ledger, format!("{id} heard it"));
    id
}

struct Witness(u64, String);

impl Drop for Witness {
    fn drop(&mut self) {
        note(&self.1, format!("{} dropped", self.0));
    }
}

/// Waits for ever, and writes down its own end.
#[procpool::task]
async fn waits(id: u64, ledger: String) -> u64 {
    let _witness = Witness(id, ledger.clone());
    note(&ledger, id);
    std::future::pending().await
}

/// Runs until the file with its number is there.
#[procpool::task]
fn gated(id: u64, gate: &str) -> u64 {
    note(gate, format!("{id} runs"));
    while !std::fs::exists(format!("{gate}-{id}")).unwrap() {
        std::thread::yield_now();
    }
    id
}

#[procpool::task]
fn meet(port: u16) -> bool {
    use std::io::Read;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.read_exact(&mut [0]).is_ok()
}

async fn pool(workers: usize) -> ProcessPool {
    ProcessPool::builder().workers(workers).stderr(Stderr::Capture).build().await.unwrap()
}

fn polled<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Whether exactly so many calls run at one time as there are workers: each
/// waits until all have come.
async fn slots_are_exact(pool: &ProcessPool, workers: usize) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls: Vec<_> = (0..workers).map(|_| pool.spawn(meet(port))).collect();
    let mut all = Vec::new();
    for _ in 0..workers {
        all.push(listener.accept().await.unwrap().0);
    }
    for mut one in all {
        tokio::io::AsyncWriteExt::write_all(&mut one, &[1]).await.unwrap();
        let _ = one.read(&mut [0]).await;
    }
    for call in calls {
        assert!(call.await.unwrap());
    }
    common::eventually("every place is free", || {
        let stats = pool.stats();
        (stats.queued, stats.running) == (0, 0)
            && pool.workers().iter().filter(|w| w.status == WorkerStatus::Idle).count() == workers
    })
    .await;
}

/// Submits `call`, waits until `begun`, and cancels it; gives its error, where
/// there is anybody left to hear of it.
async fn cancel_when<K: procpool::TaskKind>(
    how: How,
    pool: &ProcessPool,
    call: procpool::Call<u64, K>,
    begun: impl FnMut() -> bool,
) -> Option<Error> {
    match how {
        How::Drop => {
            let mut run = pin!(Some(pool.run(call)));
            assert!(polled(run.as_mut().as_pin_mut().unwrap()).is_pending());
            common::eventually("the call is where it should be", begun).await;
            run.set(None);
            None
        }
        How::Abort => {
            let handle = pool.spawn(call);
            common::eventually("the call is where it should be", begun).await;
            handle.abort();
            let error = handle.await.unwrap_err();
            assert!(error.is_cancelled(), "{error:?}");
            Some(error)
        }
        How::Timeout => {
            let handle = pool.run(call).timeout(Duration::from_millis(1500)).spawn();
            common::eventually("the call is where it should be", begun).await;
            let error = handle.await.unwrap_err();
            assert!(error.is_timeout(), "{error:?}");
            Some(error)
        }
    }
}

#[test]
fn before_the_first_poll() {
    common::run(|| async {
        let ledger = Ledger::new("cancel-before");
        let pool = pool(1).await;
        drop(pool.run(quick(1, &ledger.path())));
        drop(pool.map(cancel_quick_pair, [(1, ledger.path())]));
        assert_eq!(pool.run(quick(2, &ledger.path())).await.unwrap(), 3);
        assert_eq!(ledger.lines().len(), 1);
        assert_eq!(pool.stats().submitted, 1);
        slots_are_exact(&pool, 1).await;
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn cancel_quick_pair(id: u64, ledger: String) -> u64 {
    note(&ledger, id);
    id
}

#[test]
fn in_the_queue() {
    common::run(|| async {
        for how in ALL {
            // A new one each time: behind a call that it knows to be quick, a pool sends
            // the next one ahead instead of queueing it.
            let pool = pool(1).await;
            let ledger = Ledger::new("cancel-queue");
            let path = ledger.path();
            let pid = pool.workers()[0].pid;
            let busy = pool.spawn(gated(1, &path));
            common::eventually("the worker is busy", || ledger.count("1 runs") == 1).await;
            let queued = || pool.stats().queued == 1;
            let error = cancel_when(how, &pool, quick(7, &path), queued).await;
            if let Some(error) = error {
                assert_eq!(error.progress(), Progress::NotBegun, "{how:?}");
                assert!(error.is_safe_to_retry());
            }
            assert_eq!(pool.stats().queued, 0, "{how:?}");
            note(&format!("{path}-1"), "go");
            assert_eq!(busy.await.unwrap(), 1);
            assert_eq!(ledger.count(7), 0, "{how:?}");
            assert_eq!(pool.workers()[0].pid, pid, "{how:?}");
            slots_are_exact(&pool, 1).await;
            pool.shutdown().await.unwrap();
        }
    });
}

/// A call that may be as quick as the pool has come to believe, or not.
#[procpool::task]
fn quick_or_gated(id: u64, gate: &str, wait: bool) -> u64 {
    // Those that teach the pool must be quick; a file may be slow.
    if id < 100 {
        note(gate, id);
    }
    while wait && !std::fs::exists(format!("{gate}-{id}")).unwrap() {
        std::thread::yield_now();
    }
    id
}

/// Has the pool believe that it is quick, which needs many in one message: where a
/// message is slow, one call at a time never seems so; and many such messages, to forget
/// a slow call.
async fn teach(pool: &ProcessPool, gate: &str) {
    let calls = (100..10_000).map(|id| (id, gate, false));
    pool.map(quick_or_gated, calls).chunk_size(330).await.unwrap();
}

#[test]
fn sent_ahead_and_not_begun() {
    common::run(|| async {
        let pool = pool(1).await;
        for how in ALL {
            let ledger = Ledger::new("cancel-ahead");
            let path = ledger.path();
            teach(&pool, &path).await;
            let busy = pool.spawn(quick_or_gated(1, &path, true));
            common::eventually("the worker is busy", || ledger.count(1) == 1).await;
            let pid = pool.workers()[0].pid;
            let ahead = || pool.workers()[0].calls == 2;
            let call = quick_or_gated(7, &path, false);
            let error = cancel_when(how, &pool, call, ahead).await;
            if let Some(error) = error {
                assert_eq!(error.progress(), Progress::NotBegun, "{how:?}");
            }
            assert_eq!(pool.workers()[0].calls, 1, "{how:?}");
            // One more takes its place, perhaps its very slot.
            let next = pool.spawn(quick_or_gated(8, &path, false));
            note(&format!("{path}-1"), "go");
            assert_eq!(busy.await.unwrap(), 1);
            assert_eq!(next.await.unwrap(), 8);
            assert_eq!((ledger.count(7), ledger.count(8)), (0, 1), "{how:?}");
            assert_eq!(pool.workers()[0].pid, pid, "{how:?}");
            slots_are_exact(&pool, 1).await;
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn running_and_deaf() {
    common::run(|| async {
        let pool = pool(2).await;
        for how in ALL {
            let ledger = Ledger::new("cancel-deaf");
            let before = pool.stats().restarts.cancelled;
            let begun = || ledger.count(7) == 1;
            let error = cancel_when(how, &pool, stubborn(7, &ledger.path()), begun).await;
            if let Some(error) = error {
                assert_eq!(error.progress(), Progress::MayHaveBegun, "{how:?}");
            }
            common::eventually("its worker is killed", || {
                pool.stats().restarts.cancelled == before + 1
            })
            .await;
            slots_are_exact(&pool, 2).await;
            assert_eq!(ledger.count(7), 1, "{how:?}");
        }
        let stats = pool.stats();
        assert_eq!(stats.restarts.total(), stats.restarts.cancelled);
        assert_eq!(stats.submitted, stats.done + stats.failed + stats.cancelled);
        pool.shutdown().await.unwrap();
    });
}

/// What waited behind the one that is killed has no part in its fate.
#[test]
fn running_and_deaf_with_others_behind() {
    common::run(|| async {
        let pool = pool(1).await;
        for round in 0..20 {
            let ledger = Ledger::new("cancel-behind");
            let path = ledger.path();
            teach(&pool, &path).await;
            let busy = pool.spawn(quick_or_gated(1, &path, true));
            let behind: Vec<_> =
                (10..20).map(|id| pool.spawn(quick_or_gated(id, &path, false))).collect();
            common::eventually("the worker is busy", || ledger.count(1) == 1).await;
            busy.abort();
            if round % 2 == 0 {
                // It comes to its end just when it is about to be killed.
                tokio::time::sleep(Duration::from_millis(5 + round / 4)).await;
                note(&format!("{path}-1"), "go");
            }
            for (id, handle) in (10..).zip(behind) {
                assert_eq!(handle.await.unwrap(), id);
                assert_eq!(ledger.count(id), 1);
            }
        }
        slots_are_exact(&pool, 1).await;
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn running_and_listening() {
    common::run(|| async {
        let pool = ProcessPool::builder()
            .workers(1)
            .cancel_grace(Duration::from_secs(30))
            .build()
            .await
            .unwrap();
        let pid = pool.workers()[0].pid;
        for how in ALL {
            let ledger = Ledger::new("cancel-listening");
            let begun = || ledger.count(7) == 1;
            cancel_when(how, &pool, cooperative(7, &ledger.path()), begun).await;
            common::eventually("it hears of it", || ledger.count("7 heard it") == 1).await;
            slots_are_exact(&pool, 1).await;
            assert_eq!(pool.workers()[0].pid, pid, "{how:?}: the worker is kept");
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn running_and_async() {
    common::run(|| async {
        let pool = pool(1).await;
        let pid = pool.workers()[0].pid;
        for how in ALL {
            let ledger = Ledger::new("cancel-async");
            let path = ledger.path();
            // Others beside it stay as they are.
            let beside = pool.spawn(waits(1, path.clone()));
            let begun = || ledger.count(7) == 1 && ledger.count(1) == 1;
            cancel_when(how, &pool, waits(7, path.clone()), begun).await;
            common::eventually("it is dropped", || ledger.count("7 dropped") == 1).await;
            assert_eq!(ledger.count("1 dropped"), 0, "{how:?}");
            beside.abort();
            assert!(beside.await.unwrap_err().is_cancelled());
            // A blocking call comes only when the async ones are really gone.
            assert_eq!(pool.run(quick(2, &path)).await.unwrap(), 3);
            assert_eq!(ledger.count("1 dropped"), 1, "{how:?}");
            assert_eq!(pool.workers()[0].pid, pid, "{how:?}: the worker is kept");
        }
        slots_are_exact(&pool, 1).await;
        pool.shutdown().await.unwrap();
    });
}

/// Its end takes for ever.
#[procpool::task]
async fn ends_hard(id: u64, ledger: String) -> u64 {
    struct Hard;
    impl Drop for Hard {
        fn drop(&mut self) {
            loop {
                std::hint::spin_loop();
            }
        }
    }
    let _hard = Hard;
    note(&ledger, id);
    std::future::pending().await
}

/// Its end panics.
#[procpool::task]
async fn ends_in_panic(id: u64, ledger: String) -> u64 {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("at the end");
        }
    }
    let _panics = Panics;
    note(&ledger, id);
    std::future::pending().await
}

#[test]
fn async_tasks_that_do_not_end_well() {
    common::run(|| async {
        let ledger = Ledger::new("cancel-hard");
        // A panic's backtrace can take longer than the default grace.
        let patient = ProcessPool::builder()
            .workers(1)
            .stderr(Stderr::Capture)
            .cancel_grace(common::HANG)
            .build()
            .await
            .unwrap();
        let handle = patient.spawn(ends_in_panic(1, ledger.path()));
        common::eventually("it runs", || ledger.count(1) == 1).await;
        handle.abort();
        assert!(handle.await.unwrap_err().is_cancelled());
        slots_are_exact(&patient, 1).await;
        assert_eq!(patient.stats().restarts.total(), 0);
        patient.shutdown().await.unwrap();
        let pool = pool(1).await;
        let handle = pool.spawn(ends_hard(2, ledger.path()));
        common::eventually("it runs", || ledger.count(2) == 1).await;
        handle.abort();
        assert!(handle.await.unwrap_err().is_cancelled());
        // Its worker is no good any more, and is replaced.
        assert_eq!(pool.run(quick(3, &ledger.path())).await.unwrap(), 4);
        common::eventually("its worker is gone", || pool.stats().restarts.cancelled == 1).await;
        slots_are_exact(&pool, 1).await;
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn just_finished() {
    common::run(|| async {
        let ledger = Ledger::new("cancel-finished");
        let pool = pool(1).await;
        let pid = pool.workers()[0].pid;
        for id in 0..50 {
            let mut run = pin!(Some(pool.run(quick(id, &ledger.path()))));
            let _ = polled(run.as_mut().as_pin_mut().unwrap());
            common::eventually("it has run", || pool.stats().done == id + 1).await;
            run.set(None);
        }
        let mut handle = pool.spawn(quick(99, &ledger.path()));
        assert!(handle.wait(common::HANG).await);
        handle.abort();
        assert_eq!(handle.await.unwrap(), 100);
        assert_eq!(pool.workers()[0].pid, pid);
        let stats = pool.stats();
        assert_eq!((stats.done, stats.cancelled, stats.failed), (51, 0, 0));
        slots_are_exact(&pool, 1).await;
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn detached_calls_go_on() {
    common::run(|| async {
        let ledger = Ledger::new("cancel-detach");
        let path = ledger.path();
        let pool = pool(1).await;
        let busy = pool.spawn(gated(1, &path));
        common::eventually("the worker is busy", || ledger.count("1 runs") == 1).await;
        {
            let mut queued = pin!(pool.run(quick(7, &path)).on_drop(OnDrop::Detach));
            assert!(polled(queued.as_mut()).is_pending());
        }
        {
            let items: Vec<_> = (20..30).map(|id| (id, path.clone())).collect();
            let map = pool.map(cancel_quick_pair, items).chunk_size(5).on_drop(OnDrop::Detach);
            let mut map = pin!(map);
            assert!(polled(map.as_mut()).is_pending());
        }
        drop(pool.spawn(quick(8, &path)));
        note(&format!("{path}-1"), "go");
        assert_eq!(busy.await.unwrap(), 1);
        pool.shutdown().await.unwrap();
        for id in [7, 8].into_iter().chain(20..30) {
            assert_eq!(ledger.count(id), 1, "call {id}");
        }
    });
}

#[test]
fn a_dropped_map_leaves_nothing_running() {
    common::run(|| async {
        let pool = pool(2).await;
        for round in 0..10u64 {
            let ledger = Ledger::new("cancel-map");
            let path = ledger.path();
            let deaf = move |i: u64| i == 3 + round;
            let items: Vec<_> = (0..200).map(|i| (i, path.as_str().to_owned(), deaf(i))).collect();
            let lent = items.iter().map(|(i, path, wait)| (*i, path.as_str(), *wait));
            {
                let mut map = pin!(pool.map(quick_or_gated, lent).chunk_size(20));
                assert!(polled(map.as_mut()).is_pending());
                common::eventually("the deaf one runs", || ledger.count(3 + round) == 1).await;
            }
            slots_are_exact(&pool, 2).await;
            ledger.nothing_ran_twice();
            assert_eq!(ledger.count(4 + round), 0, "what came after it in its chunk");
        }
        pool.shutdown().await.unwrap();
    });
}

/// Sleeps for so many microseconds, listening or not.
#[procpool::task]
fn naps(micros: u64, listens: bool) -> u64 {
    let end = std::time::Instant::now() + Duration::from_micros(micros);
    while std::time::Instant::now() < end {
        if listens && procpool::context().is_cancelled() {
            break;
        }
        std::hint::spin_loop();
    }
    micros
}

#[procpool::task]
async fn naps_async(micros: u64) -> u64 {
    tokio::time::sleep(Duration::from_micros(micros)).await;
    micros
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn two_thousand_drops_at_random() {
    common::run(|| async {
        let seed =
            std::env::var("PROCPOOL_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(42_u64);
        eprintln!("seed {seed}");
        let mut state = seed;
        let pool = pool(3).await;
        let mut calls = Vec::new();
        let mut kept = 0;
        for _ in 0..2000 {
            let (kind, micros) = (random(&mut state) % 4, random(&mut state) % 2000);
            let after = Duration::from_micros(random(&mut state) % 3000);
            let pool = pool.clone();
            calls.push(tokio::spawn(async move {
                let wanted = async {
                    match kind {
                        0 => pool.run(naps_async(micros)).await,
                        1 => pool.map(naps_async, [micros; 3]).await.map(|all| all[2]),
                        k => pool.run(naps(micros, k == 2)).await,
                    }
                };
                match tokio::time::timeout(after, wanted).await {
                    Ok(Ok(value)) => assert_eq!(value, micros),
                    Ok(Err(error)) => return Err(error),
                    Err(_) => {}
                }
                Ok(())
            }));
            if calls.len() == 20 {
                for call in calls.drain(..) {
                    // Async calls share a worker, and none of these stays deaf for
                    // long enough to have it killed.
                    call.await.unwrap().unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
                    kept += 1;
                }
            }
        }
        assert_eq!(kept, 2000);
        slots_are_exact(&pool, 3).await;
        let stats = pool.stats();
        assert_eq!(
            stats.submitted,
            stats.done + stats.failed + stats.cancelled,
            "seed {seed}: {stats:?}"
        );
        assert_eq!(stats.failed, 0, "seed {seed}");
        pool.shutdown().await.unwrap();
    });
}

/// A limit that ends a blocking call is the caller's own, told as such.
#[test]
fn phases_of_a_timeout() {
    common::run(|| async {
        let ledger = Ledger::new("cancel-phases");
        let pool = pool(1).await;
        let soon = Duration::from_millis(50);
        let error = pool.run(stubborn(1, &ledger.path())).run_timeout(soon).await.unwrap_err();
        let phase = |error: &Error| match error.kind() {
            procpool::ErrorKind::TimedOut { phase, .. } => *phase,
            other => panic!("{other:?}"),
        };
        assert_eq!(phase(&error), TimeoutPhase::Running);
        let error = pool.run(stubborn(2, &ledger.path())).timeout(soon * 10).await.unwrap_err();
        assert_eq!(phase(&error), TimeoutPhase::Running);
        let error = pool.run(stubborn(3, &ledger.path())).cpu_timeout(soon).await.unwrap_err();
        assert_eq!(phase(&error), TimeoutPhase::Cpu);
        let busy = pool.spawn(stubborn(4, &ledger.path()));
        common::eventually("the worker is busy", || ledger.count(4) == 1).await;
        let error = pool.run(quick(5, &ledger.path())).timeout(soon).await.unwrap_err();
        assert_eq!(phase(&error), TimeoutPhase::Queued);
        busy.abort();
        slots_are_exact(&pool, 1).await;
        pool.shutdown().await.unwrap();
    });
}
