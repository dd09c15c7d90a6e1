//! Tasks that a manager has run: on what is in a dict, and in a pool of its own.

mod common;
mod kit;

use futures::future::join_all;
use kit::Gate;
use procpool::manager::{AuthKey, CallFailure, ConnectOptions, PoolProxy, Rights, ServeOptions};
use procpool::{DictProxy, ListProxy, Manager, ManagerError, ManagerHandle, Process, Queue};
use serde::{Deserialize, Serialize};

procpool::test_hook!();

#[procpool::task]
fn add(there: Option<u64>, n: u64) -> Option<u64> {
    Some(there.unwrap_or(0) + n)
}

/// Ends in nothing at 0.
#[procpool::task]
fn countdown(there: Option<u64>, step: u64) -> Option<u64> {
    there?.checked_sub(step).filter(|left| *left > 0)
}

#[procpool::task]
fn append(there: Option<Vec<u8>>, more: Vec<u8>) -> Option<Vec<u8>> {
    let mut bytes = there.unwrap_or_default();
    bytes.extend(more);
    Some(bytes)
}

#[procpool::task]
fn refuse(there: Option<u64>, reason: String) -> Option<u64> {
    panic!("{reason}: {there:?}");
}

#[procpool::task]
fn count_up(counts: DictProxy<String, u64>, times: u64) {
    for _ in 0..times {
        counts.blocking_compute("n", add, 1).unwrap();
    }
}

#[test]
fn a_task_changes_what_is_at_a_key() {
    common::run(|| async {
        for manager in [Manager::start().await.unwrap(), Manager::local().await.unwrap()] {
            let dict = manager.dict([("a".to_owned(), 1u64)]).await.unwrap();
            assert_eq!(dict.compute("a", add, 2).await.unwrap(), Some(3));
            assert_eq!(dict.compute("b", add, 7).await.unwrap(), Some(7));
            assert_eq!(dict.compute("b", countdown, 3).await.unwrap(), Some(4));
            assert_eq!(dict.compute("b", countdown, 4).await.unwrap(), None);
            assert_eq!(dict.compute("c", countdown, 1).await.unwrap(), None);
            assert_eq!(dict.items().await.unwrap(), [("a".to_owned(), 3)]);
            let error = dict.compute("a", refuse, "no".to_owned()).await.unwrap_err();
            let ManagerError::Panicked { message } = &error else { panic!("{error:?}") };
            assert_eq!(message, "no: Some(3)");
            assert_eq!(dict.get("a").await.unwrap(), Some(3));
            manager.shutdown().await.unwrap();
        }
    });
}

/// What is long enough to be sent beside the rest, too.
#[test]
fn bytes_of_any_length_go_in_and_come_out() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let dict: DictProxy<u8, Vec<u8>> = manager.dict([]).await.unwrap();
        let mut all = Vec::new();
        for len in [0usize, 3, 100_000, 16_384] {
            let more: Vec<u8> = (0..len).map(|i| i as u8).collect();
            all.extend(&more);
            assert_eq!(dict.compute(&1, append, more).await.unwrap().as_ref(), Some(&all));
        }
        assert_eq!(dict.get(&1).await.unwrap(), Some(all));
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn no_change_of_another_is_lost() {
    common::run(|| async {
        let manager = Manager::builder().worker_threads(4).start().await.unwrap();
        let dict = manager.dict([("n".to_owned(), 0u64)]).await.unwrap();
        let here = async {
            for _ in 0..200 {
                dict.modify("n", |n| Some(n.unwrap() + 1)).await.unwrap();
            }
        };
        let children = join_all((0..3).map(|_| async {
            let mut child = Process::spawn(count_up(dict.clone(), 500)).await.unwrap();
            child.output().await.unwrap();
        }));
        tokio::join!(here, children);
        assert_eq!(dict.get("n").await.unwrap(), Some(3 * 500 + 200));
        manager.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn keep(there: Option<ListProxy<u8>>, _n: u8) -> Option<ListProxy<u8>> {
    there
}

#[test]
fn values_with_proxies_in_them_are_refused_and_stay() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let list = manager.list([1u8]).await.unwrap();
        let dict = manager.dict([(1u8, list)]).await.unwrap();
        let error = dict.compute(&1, keep, 0).await.unwrap_err();
        assert!(matches!(error, ManagerError::Unsupported { .. }), "{error:?}");
        assert_eq!(dict.get(&1).await.unwrap().unwrap().to_vec().await.unwrap(), [1]);
        manager.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn square(x: u64) -> u64 {
    x * x
}

#[procpool::task]
fn scale(x: f64, by: f64) -> f64 {
    x * by
}

#[procpool::task]
async fn later(x: u64) -> u64 {
    tokio::task::yield_now().await;
    x + 1
}

#[procpool::task]
fn whoever() -> u32 {
    std::process::id()
}

#[procpool::task]
fn crash(gate: String) {
    kit::note(&gate, "here");
    std::process::abort();
}

#[procpool::task]
fn bytes(n: usize) -> Vec<u8> {
    vec![7; n]
}

#[procpool::task]
fn use_pool(pool: PoolProxy) -> Vec<u64> {
    pool.blocking_map(square, 1..=5u64).unwrap()
}

#[test]
fn a_pool_runs_what_any_process_sends() {
    common::run(|| async {
        for manager in [Manager::start().await.unwrap(), Manager::local().await.unwrap()] {
            let pool = manager.pool(2).await.unwrap();
            assert_eq!(pool.workers().await.unwrap(), 2);
            assert_eq!(pool.run(square(9)).await.unwrap(), 81);
            assert_eq!(pool.run(later(1)).await.unwrap(), 2);
            assert_eq!(pool.apply(scale, (1.5, 2.0)).await.unwrap(), 3.0);
            assert_eq!(pool.map(scale, [(1.0, 2.0), (2.0, 2.0)]).await.unwrap(), [2.0, 4.0]);
            assert!(pool.map(square, []).await.unwrap().is_empty());
            assert_eq!(pool.run(bytes(100_000)).await.unwrap(), vec![7; 100_000]);
            let here = [Some(std::process::id()), manager.process().map(|p| p.pid())];
            let there = pool.run(whoever()).await.unwrap();
            assert!(!here.contains(&Some(there)), "it ran in {there}, and not in a worker");
            let mut child = Process::spawn(use_pool(pool.clone())).await.unwrap();
            assert_eq!(child.output().await.unwrap(), [1, 4, 9, 16, 25]);
            pool.close().await.unwrap();
            pool.join().await.unwrap();
            let error = pool.run(square(1)).await.unwrap_err();
            let closed = matches!(error, ManagerError::Call { failure: CallFailure::Closed, .. });
            assert!(closed, "{error:?}");
            manager.shutdown().await.unwrap();
        }
    });
}

#[procpool::task]
fn fail(reason: String) {
    panic!("{reason}");
}

#[procpool::task]
fn take(queue: Queue<u8>) -> Option<u8> {
    queue.blocking_get().ok()
}

#[test]
fn why_a_call_failed_is_said() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let pool = manager.pool(1).await.unwrap();
        let how = |error: ManagerError| match error {
            ManagerError::Call { failure, is_safe_to_retry, reason } => {
                (failure, is_safe_to_retry, reason)
            }
            other => panic!("{other:?}"),
        };
        let (failure, is_safe, reason) = how(pool.run(fail("oh".into())).await.unwrap_err());
        assert_eq!((failure, is_safe), (CallFailure::Panicked, false));
        assert!(reason.contains("fail: panicked at") && reason.contains("oh"), "{reason}");
        let gate = Gate::new("crash");
        let (failure, is_safe, reason) = how(pool.run(crash(gate.path())).await.unwrap_err());
        assert_eq!((failure, is_safe), (CallFailure::WorkerDied, false), "{reason}");
        assert_eq!(gate.log().len(), 1);
        // It has a new worker.
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        let (failure, _, reason) = how(pool.join().await.unwrap_err());
        assert_eq!(failure, CallFailure::Other);
        assert!(reason.contains("close"), "{reason}");
        let error = pool.run(take(Queue::unbounded().unwrap())).await.unwrap_err();
        assert!(matches!(error, ManagerError::Encode { .. }), "{error:?}");
        let none = manager.pool(100_000).await.unwrap();
        let (_, _, reason) = how(none.workers().await.unwrap_err());
        assert!(reason.contains("100000"), "{reason}");
        // One that never came up can be ended all the same.
        none.close().await.unwrap();
        none.join().await.unwrap();
        let (failure, ..) = how(none.run(square(3)).await.unwrap_err());
        assert_eq!(failure, CallFailure::Closed);
        manager.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn wait_at(gate: String) {
    kit::note(&gate, "here");
    loop {
        std::thread::park();
    }
}

/// A call that nobody waits for any more is ended, with its worker.
#[test]
fn a_call_that_is_given_up_makes_room() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let pool = manager.pool(1).await.unwrap();
        let gate = Gate::new("given-up");
        tokio::select! {
            ended = pool.run(wait_at(gate.path())) => panic!("{ended:?}"),
            () = gate.arrived(1) => {}
        }
        assert_eq!(pool.run(square(4)).await.unwrap(), 16);
        manager.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn leave_one_running(pool: PoolProxy, gate: String) {
    std::thread::scope(|scope| {
        scope.spawn(|| pool.blocking_run(wait_at(gate.clone())));
        while !std::path::Path::new(&gate).join("log").exists() {
            std::thread::yield_now();
        }
        std::process::exit(0);
    });
}

/// The calls of a process that has ended do not go on, and its manager ends though calls run.
#[test]
fn a_call_ends_with_its_caller_and_a_pool_with_its_manager() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let pool = manager.pool(1).await.unwrap();
        let gate = Gate::new("left");
        let mut child = Process::spawn(leave_one_running(pool.clone(), gate.path())).await.unwrap();
        let _ = child.output().await;
        assert_eq!(pool.run(square(5)).await.unwrap(), 25);
        let other = Gate::new("running");
        let running = pool.clone();
        let running = tokio::spawn({
            let call = wait_at(other.path());
            async move { running.run(call).await }
        });
        other.arrived(1).await;
        manager.shutdown().await.unwrap();
        running.await.unwrap().unwrap_err();
    });
}

/// Nothing but what its rights name is run for a client of the network.
#[test]
fn a_stranger_has_run_what_it_may() {
    common::run(|| async {
        let key = || AuthKey::new("a key that both of them know");
        let task = add(None, 0).task_name();
        let options = ServeOptions::new()
            .client("all", key(), Rights::all())
            .client("some", key(), Rights::none().tasks([task, square(0).task_name()]))
            .client("reader", key(), Rights::none().read_only().tasks([task]));
        let manager = Manager::serve("127.0.0.1:0", options).await.unwrap();
        let dict = manager.dict([("a".to_owned(), 1u64)]).await.unwrap();
        let pool = manager.pool(1).await.unwrap();
        manager.publish("dict", &dict).await.unwrap();
        manager.publish("pool", &pool).await.unwrap();
        let there = async |name: &str| -> (ManagerHandle, DictProxy<String, u64>, PoolProxy) {
            let there = ConnectOptions::new(name, key());
            let there = Manager::connect(manager.address(), there).await.unwrap();
            let (dict, pool) =
                (there.find("dict").await.unwrap(), there.find("pool").await.unwrap());
            (there, dict, pool)
        };
        let denied = |error: ManagerError| {
            assert!(matches!(error, ManagerError::Denied { .. }), "{error:?}");
        };
        let (all, dict, pool) = there("all").await;
        denied(dict.compute("a", add, 1).await.unwrap_err());
        denied(pool.run(square(2)).await.unwrap_err());
        denied(all.pool(1).await.unwrap_err());
        let (_some, dict, pool) = there("some").await;
        assert_eq!(dict.compute("a", add, 1).await.unwrap(), Some(2));
        denied(dict.compute("a", countdown, 1).await.unwrap_err());
        assert_eq!(pool.run(square(2)).await.unwrap(), 4);
        // None of them is run if one may not be.
        denied(pool.run(later(2)).await.unwrap_err());
        let (_reader, dict, pool) = there("reader").await;
        denied(dict.compute("a", add, 1).await.unwrap_err());
        denied(pool.terminate().await.unwrap_err());
        assert_eq!(dict.get("a").await.unwrap(), Some(2));
        manager.shutdown().await.unwrap();
    });
}

/// In the manager, for as long as the gate is shut.
#[procpool::task]
fn at_the_gate(there: Option<u64>, gate: String) -> Option<u64> {
    kit::stay(&gate, "here");
    there
}

#[derive(Default, Serialize, Deserialize)]
struct Slow {
    n: u64,
}

#[procpool::shared]
impl Slow {
    fn stay(&self, gate: String) -> u64 {
        kit::stay(&gate, "here");
        self.n
    }

    fn get(&self) -> u64 {
        self.n
    }
}

/// What takes long keeps nobody waiting who wants something else, neither here nor in other processes, nor a program's own
/// runtime that serves the manager.
#[test]
fn what_takes_long_is_in_nobodys_way() {
    async fn check(manager: &Manager) {
        let gate = Gate::new("slow");
        let dict = manager.dict([("a".to_owned(), 1u64), ("b".to_owned(), 2)]).await.unwrap();
        let slow = manager.create(Slow { n: 3 }).await.unwrap();
        let long = async {
            tokio::join!(
                dict.compute("a", at_the_gate, gate.path()),
                slow.stay(gate.path()),
                slow.stay(gate.path()),
            )
        };
        let meanwhile = async {
            gate.arrived(3).await;
            assert_eq!(dict.get("a").await.unwrap(), Some(1));
            assert_eq!(dict.compute("b", add, 1).await.unwrap(), Some(3));
            assert_eq!(slow.get().await.unwrap(), 3);
            let mut child = Process::spawn(count_up(dict.clone(), 5)).await.unwrap();
            child.output().await.unwrap();
            gate.open();
        };
        let (long, ()) = tokio::join!(long, meanwhile);
        assert_eq!((long.0.unwrap(), long.1.unwrap(), long.2.unwrap()), (Some(1), 3, 3));
    }
    common::run(|| async {
        let manager = Manager::builder().worker_threads(1).start().await.unwrap();
        check(&manager).await;
        manager.shutdown().await.unwrap();
    });
    common::run_current_thread(|| async {
        let manager = Manager::local().await.unwrap();
        check(&manager).await;
        manager.shutdown().await.unwrap();
    });
}
