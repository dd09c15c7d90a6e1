//! Every way to die, in every place to die in: only the call that did it fails,
//! with the true cause, and nothing runs twice.

mod common;
#[path = "common/ledger.rs"]
mod ledger;

use std::future::Future;

use common::os::{self, Death};
use ledger::{Ledger, note};
use procpool::{Error, ExitReason, ProcessPool, Progress, Stderr};
use serde::{Deserialize, Serialize};

procpool::test_hook!();

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Cause {
    System(Death),
    Exit0,
    Exit42,
    ExitNow255,
    StackOverflow,
    Panic,
    PanicWithoutText,
    DoublePanic,
    PanicWhereNoneMayLeave,
}

const KILL: Cause = Cause::System(Death::Kill);
const ABORT: Cause = Cause::System(Death::Abort);

enum Expected {
    Death(Death),
    Code(i32),
    Overflow,
    /// The worker lives.
    Panic(&'static str),
}

impl Cause {
    fn expected(self) -> Expected {
        match self {
            Cause::System(death) => Expected::Death(death),
            Cause::DoublePanic | Cause::PanicWhereNoneMayLeave => Expected::Death(Death::Abort),
            Cause::Exit0 => Expected::Code(0),
            Cause::Exit42 => Expected::Code(42),
            Cause::ExitNow255 => Expected::Code(255),
            Cause::StackOverflow => Expected::Overflow,
            Cause::Panic => Expected::Panic("a plain panic"),
            Cause::PanicWithoutText => Expected::Panic("not text"),
        }
    }

    /// What must be in the end of the worker's standard error.
    fn last_words(self) -> &'static str {
        match self {
            Cause::StackOverflow => "has overflowed its stack",
            Cause::DoublePanic => "the second panic",
            Cause::PanicWhereNoneMayLeave => "no way out",
            _ => "last words",
        }
    }

    /// The heart of the matter.
    fn strike(self) {
        match self {
            Cause::System(death) => death.strike(),
            Cause::Exit0 => std::process::exit(0),
            Cause::Exit42 => std::process::exit(42),
            Cause::ExitNow255 => os::exit_at_once(255),
            Cause::StackOverflow => os::use_up_the_stack(),
            Cause::Panic => panic!("a plain panic"),
            Cause::PanicWithoutText => std::panic::panic_any(7u32),
            Cause::DoublePanic => {
                struct Bomb;
                impl Drop for Bomb {
                    fn drop(&mut self) {
                        panic!("the second panic");
                    }
                }
                let _bomb = Bomb;
                panic!("the first panic");
            }
            Cause::PanicWhereNoneMayLeave => {
                extern "C" fn wall() {
                    panic!("no way out");
                }
                wall();
            }
        }
    }
}

/// All that this system has.
fn all() -> Vec<Cause> {
    let others = [
        Cause::Exit0,
        Cause::Exit42,
        Cause::ExitNow255,
        Cause::StackOverflow,
        Cause::Panic,
        Cause::PanicWithoutText,
        Cause::DoublePanic,
        Cause::PanicWhereNoneMayLeave,
    ];
    os::DEATHS.iter().map(|death| Cause::System(*death)).chain(others).collect()
}

/// Writes itself down, and dies if it is told to.
#[procpool::task]
fn step(id: u64, cause: Option<Cause>, ledger: &str) -> u64 {
    note(ledger, id);
    if let Some(cause) = cause {
        eprintln!("last words of {id}");
        cause.strike();
    }
    id + 1
}

#[procpool::task]
async fn async_step(id: u64, cause: Option<Cause>, ledger: String) -> u64 {
    note(&ledger, id);
    tokio::task::yield_now().await;
    if let Some(cause) = cause {
        eprintln!("last words of {id}");
        cause.strike();
    }
    tokio::task::yield_now().await;
    id + 1
}

async fn pool(workers: usize) -> ProcessPool {
    ProcessPool::builder().workers(workers).stderr(Stderr::Capture).build().await.unwrap()
}

#[track_caller]
fn check(cause: Cause, error: &Error) {
    assert_eq!(error.progress(), Progress::MayHaveBegun, "{cause:?}: {error}");
    assert!(error.task_name().is_some_and(|name| name.contains("step")), "{cause:?}: {error}");
    match cause.expected() {
        Expected::Panic(text) => {
            assert!(error.is_panic(), "{cause:?}: {error:?}");
            assert!(error.panic_message().unwrap().contains(text), "{cause:?}: {error}");
            return;
        }
        Expected::Death(death) => assert!(death.is_cause_of(error), "{cause:?}: {error}"),
        Expected::Overflow => assert!(os::is_overflow(error), "{cause:?}: {error}"),
        Expected::Code(code) => {
            assert_eq!(error.exit_reason(), Some(ExitReason::Exited(code)), "{cause:?}: {error}");
        }
    }
    assert!(error.is_worker_died(), "{cause:?}: {error:?}");
    let obituary = error.obituary().unwrap();
    assert!(obituary.pid > 0);
    // Wine forgets the memory of a process when it ends.
    if !os::is_imitated() {
        assert!(obituary.usage.peak_resident > 0, "{cause:?}: no resource usage");
    }
    let tail = error.stderr_tail().unwrap();
    assert!(tail.contains(cause.last_words()), "{cause:?} last wrote {tail:?}");
    assert_eq!(obituary.is_stack_overflow(), cause == Cause::StackOverflow);
}

fn survives(cause: Cause) -> bool {
    matches!(cause.expected(), Expected::Panic(_))
}

#[test]
fn a_single_call() {
    common::run(|| async {
        let ledger = Ledger::new("crash-single");
        let pool = pool(1).await;
        for (i, cause) in all().into_iter().enumerate() {
            let id = 10 * i as u64;
            let pid = pool.workers()[0].pid;
            let error = pool.run(step(id, Some(cause), &ledger.path())).await.unwrap_err();
            check(cause, &error);
            assert_eq!(pool.run(step(id + 1, None, &ledger.path())).await.unwrap(), id + 2);
            assert_eq!(pool.workers()[0].pid == pid, survives(cause), "{cause:?}");
        }
        ledger.nothing_ran_twice();
        assert_eq!(ledger.lines().len(), 2 * all().len());
        let stats = pool.stats();
        assert_eq!(stats.done, all().len() as u64);
        assert_eq!(stats.failed, all().len() as u64);
        let deaths = all().iter().filter(|c| !survives(**c)).count() as u64;
        assert_eq!((stats.restarts.crashed, stats.restarts.total()), (deaths, deaths));
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn in_the_middle_of_a_chunk() {
    common::run(|| async {
        let pool = pool(2).await;
        for cause in all() {
            let ledger = Ledger::new("crash-chunk");
            let path = ledger.path();
            let items: Vec<_> =
                (0..100).map(|i| (i, (i == 50).then_some(cause), path.clone())).collect();
            let lent = items.iter().map(|(i, cause, path)| (*i, *cause, path.as_str()));
            let results = pool.try_map(step, lent).chunk_size(100).await.unwrap();
            for (i, result) in results.iter().enumerate() {
                match result {
                    Ok(value) => assert_eq!(*value, i as u64 + 1),
                    Err(error) if i == 50 => check(cause, error),
                    Err(error) => panic!("{cause:?}: item {i} was lost as well: {error}"),
                }
            }
            assert!(results[50].is_err());
            ledger.nothing_ran_twice();
            assert_eq!(ledger.lines().len(), 100, "{cause:?}");
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn with_others_queued_behind() {
    common::run(|| async {
        let pool = pool(1).await;
        for cause in all() {
            let ledger = Ledger::new("crash-queue");
            let path = ledger.path();
            // The pool learns that they are short: then several wait at the worker.
            for id in 1000..1050 {
                pool.run(step(id, None, &path)).await.unwrap();
            }
            let handles: Vec<_> = (0..90)
                .map(|id| pool.spawn(step(id, (id % 30 == 10).then_some(cause), &path)))
                .collect();
            for (id, handle) in (0..).zip(handles) {
                match handle.await {
                    Ok(value) => assert_eq!(value, id + 1),
                    Err(error) if id % 30 == 10 => check(cause, &error),
                    Err(error) => panic!("{cause:?}: call {id} was lost as well: {error}"),
                }
            }
            ledger.nothing_ran_twice();
            assert_eq!(ledger.lines().len(), 140, "{cause:?}");
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn an_async_task_among_others() {
    common::run(|| async {
        let pool = pool(2).await;
        for cause in all() {
            let ledger = Ledger::new("crash-async");
            let path = ledger.path();
            let handles: Vec<_> = (0..40)
                .map(|id| pool.spawn(async_step(id, (id == 20).then_some(cause), path.clone())))
                .collect();
            let mut lost = 0;
            for (id, handle) in (0..).zip(handles) {
                match handle.await {
                    Ok(value) => {
                        assert_eq!(value, id + 1);
                        assert_eq!(ledger.count(id), 1);
                    }
                    Err(error) => {
                        // Those that ran beside it in one process went with it.
                        check(cause, &error);
                        lost += 1;
                        assert!(id == 20 || !survives(cause), "{cause:?}: {id} was lost as well");
                    }
                }
            }
            assert!((1..=16).contains(&lost), "{cause:?}: {lost} were lost");
            ledger.nothing_ran_twice();
        }
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn reports(id: u64) -> u64 {
    procpool::report_progress(id, 50);
    id + 1
}

/// A chunk's results collect where a report would go.
#[test]
fn reports_from_inside_a_chunk_spoil_nothing() {
    common::run(|| async {
        let pool = pool(1).await;
        let results = pool.map(reports, 0..50).chunk_size(50).await.unwrap();
        assert!(results.iter().copied().eq(1..51));
        assert_eq!(pool.run(reports(1)).await.unwrap(), 2);
        assert_eq!(pool.stats().restarts.total(), 0);
        pool.shutdown().await.unwrap();
    });
}

/// What the tasks' own threads do is no call's doing, but still its end.
#[procpool::task]
fn abort_in_a_thread(ledger: &str) {
    note(ledger, "thread");
    let thread = std::thread::spawn(|| {
        eprintln!("last words");
        std::process::abort()
    });
    let _ = thread.join();
}

#[test]
fn retries_are_exactly_as_many_as_asked_for() {
    common::run(|| async {
        let ledger = Ledger::new("crash-retry");
        let pool = pool(2).await;
        let error = pool.run(step(1, Some(KILL), &ledger.path())).retries(3).await;
        check(KILL, &error.unwrap_err());
        assert_eq!(ledger.count(1), 4);
        let error = pool.run(step(2, Some(Cause::Panic), &ledger.path())).retries(2).await;
        check(Cause::Panic, &error.unwrap_err());
        assert_eq!(ledger.count(2), 3);
        let path = ledger.path();
        let items = (10..20).map(|i| (i, (i == 15).then_some(ABORT), path.as_str()));
        let results = pool.try_map(step, items).chunk_size(10).retries(1).await.unwrap();
        for (i, result) in results.iter().enumerate() {
            assert_eq!(result.is_err(), i == 5, "item {i}");
            assert_eq!(ledger.count(10 + i), if i == 5 { 2 } else { 1 }, "item {i}");
        }
        let error = pool.run(abort_in_a_thread(&ledger.path())).await.unwrap_err();
        assert!(Death::Abort.is_cause_of(&error), "{error}");
        assert_eq!(ledger.count("thread"), 1);
        pool.shutdown().await.unwrap();
    });
}

/// A pool that closes finishes what it has accepted, a broken chunk's rest too.
#[test]
fn the_rest_of_a_chunk_is_finished_by_a_closing_pool() {
    common::run(|| async {
        for last in [false, true] {
            let ledger = Ledger::new("crash-close");
            let pool = pool(1).await;
            let path = ledger.path();
            let items: Vec<_> = (0..20)
                .map(|i| (i, (i == 3 || (last && i == 19)).then_some(KILL), path.clone()))
                .collect();
            let lent = items.iter().map(|(i, cause, path)| (*i, *cause, path.as_str()));
            let mut map = pool.try_map(step, lent).chunk_size(20);
            // The first poll sends the chunk.
            std::future::poll_fn(|cx| {
                let polled = std::pin::Pin::new(&mut map).poll(cx);
                assert!(polled.is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            pool.close();
            let results = map.await.unwrap();
            for (i, result) in results.iter().enumerate() {
                match result {
                    Ok(value) => assert_eq!(*value, i as u64 + 1),
                    Err(error) if i == 3 || (last && i == 19) => check(KILL, error),
                    Err(error) => panic!("item {i} was lost as well: {error}"),
                }
            }
            ledger.nothing_ran_twice();
            pool.join().await.unwrap();
        }
    });
}

/// The replacement is on its way when the pool is told to end.
#[test]
fn a_pool_ends_while_it_replaces_a_worker() {
    common::run(|| async {
        let ledger = Ledger::new("crash-end");
        for _ in 0..10 {
            let pool = pool(2).await;
            let error = pool.run(step(0, Some(KILL), &ledger.path())).await.unwrap_err();
            check(KILL, &error);
            pool.shutdown().await.unwrap();
        }
    });
}
