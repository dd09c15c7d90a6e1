//! Queues, locks and what is like them in a manager.

mod common;
mod kit;

use std::time::Duration;

use common::HANG as LONG;
use kit::pool;
use procpool::manager::{
    BarrierProxy, BoundedSemaphoreProxy, ConditionProxy, EventProxy, JoinableQueueProxy, LockProxy,
    QueueProxy, RLockProxy, SemaphoreProxy,
};
use procpool::{ListProxy, Manager, ManagerError, Process, ValueProxy};

procpool::test_hook!();

const SHORT: Duration = Duration::from_millis(20);

#[procpool::task]
fn echo(from: QueueProxy<u32>, to: JoinableQueueProxy<u32>) {
    loop {
        match from.blocking_get().unwrap() {
            0 => break,
            n => to.blocking_put(&(n * 10)).unwrap(),
        }
    }
}

#[test]
fn queues_pass_items_on_in_order() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let from = manager.queue(2).await.unwrap();
        let to = manager.joinable_queue(0).await.unwrap();
        let child = Process::spawn(echo(from.clone(), to.clone())).await.unwrap();
        for n in (1..=50).chain([0]) {
            from.put(&n).await.unwrap();
        }
        for n in 1..=50 {
            assert_eq!(to.get().await.unwrap(), n * 10);
            to.task_done().await.unwrap();
        }
        to.join().await.unwrap();
        child.join().await;
        assert_eq!(to.try_get().await.unwrap_err(), ManagerError::Empty);
        assert!(matches!(to.task_done().await.unwrap_err(), ManagerError::NotHeld { .. }));
        assert_eq!(to.get_timeout(SHORT).await.unwrap_err(), ManagerError::TimedOut);
        assert_eq!(to.blocking_get_timeout(SHORT).unwrap_err(), ManagerError::TimedOut);
        // What was given up takes nothing.
        to.put(&1).await.unwrap();
        assert_eq!((to.len().await.unwrap(), to.get().await.unwrap()), (1, 1));
        assert_eq!(from.capacity().await.unwrap(), 2);
        from.put(&1).await.unwrap();
        from.put(&2).await.unwrap();
        assert_eq!(from.try_put(&3).await.unwrap_err(), ManagerError::Full);
        assert_eq!(from.put_timeout(&3, SHORT).await.unwrap_err(), ManagerError::TimedOut);
        assert_eq!((from.get().await.unwrap(), from.get().await.unwrap()), (1, 2));
        assert!(from.is_empty().await.unwrap());
        manager.shutdown().await.unwrap();
    });
}

/// Whatever becomes of those who ask, each item comes out once.
#[test]
fn gets_that_are_given_up_lose_nothing() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let queue = manager.queue::<u32>(0).await.unwrap();
        let putter = {
            let queue = queue.clone();
            tokio::spawn(async move {
                for n in 0..500 {
                    queue.put(&n).await.unwrap();
                }
            })
        };
        let (mut all, mut limit) = (Vec::new(), 0);
        while all.len() < 500 {
            limit = (limit + 7) % 300;
            match queue.get_timeout(Duration::from_micros(limit)).await {
                Ok(n) => all.push(n),
                Err(error) => assert_eq!(error, ManagerError::TimedOut),
            }
            if queue.is_empty().await.unwrap() && putter.is_finished() {
                break;
            }
        }
        // What was on its way back is there now.
        while all.len() < 500 {
            all.push(queue.get_timeout(LONG).await.unwrap());
        }
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..500), "{all:?}");
        manager.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn add(lock: LockProxy, value: ValueProxy<u32>, times: u32) {
    for _ in 0..times {
        let _guard = lock.blocking_lock().unwrap();
        value.blocking_set(&(value.blocking_get().unwrap() + 1)).unwrap();
    }
}

#[procpool::task]
fn hold(lock: LockProxy, semaphore: SemaphoreProxy, held: EventProxy) {
    std::mem::forget(lock.blocking_lock().unwrap());
    std::mem::forget(semaphore.blocking_acquire().unwrap());
    held.blocking_set().unwrap();
    std::thread::sleep(LONG);
}

#[test]
fn locks_exclude_and_what_a_dead_process_held_comes_back() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let (lock, value) = (manager.lock().await.unwrap(), manager.value(&0).await.unwrap());
        let pool = pool(3).await;
        pool.starmap(add, vec![(lock.clone(), value.clone(), 50); 3]).await.unwrap();
        assert_eq!(value.get().await.unwrap(), 150);
        pool.shutdown().await.unwrap();
        let semaphore = manager.semaphore(1).await.unwrap();
        let held = manager.event().await.unwrap();
        let call = hold(lock.clone(), semaphore.clone(), held.clone());
        let holder = Process::spawn(call).await.unwrap();
        held.wait().await.unwrap();
        assert_eq!(lock.try_lock().await.map(drop).unwrap_err(), ManagerError::WouldBlock);
        assert_eq!(lock.lock_timeout(SHORT).await.map(drop).unwrap_err(), ManagerError::TimedOut);
        assert!(semaphore.try_acquire().await.is_err() && lock.is_locked().await.unwrap());
        let waiting = lock.clone();
        let waiting = tokio::spawn(async move {
            let guard = waiting.lock().await.unwrap();
            guard.recovered()
        });
        holder.kill();
        assert!(waiting.await.unwrap(), "it says so");
        drop(semaphore.acquire().await.unwrap());
        assert!(!lock.lock().await.unwrap().recovered(), "it is said once");
        lock.release().await.unwrap_err();
        std::mem::forget(lock.lock().await.unwrap());
        lock.release().await.unwrap();
        holder.join().await;
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn an_rlock_is_its_tasks() {
    common::run(|| async {
        let manager = Manager::local().await.unwrap();
        let lock: RLockProxy = manager.rlock().await.unwrap();
        let other = lock.clone();
        let owner = tokio::spawn(async move {
            let outer = other.lock().await.unwrap();
            let inner = other.lock().await.unwrap();
            let third = other.clone();
            let refused = tokio::spawn(async move {
                let busy = third.try_lock().await.map(drop).unwrap_err();
                (busy, third.release().await.unwrap_err())
            });
            let (busy, not_held) = refused.await.unwrap();
            assert_eq!(busy, ManagerError::WouldBlock);
            assert!(matches!(not_held, ManagerError::NotHeld { .. }));
            drop(inner);
            assert!(other.is_locked().await.unwrap());
            drop(outer);
        });
        owner.await.unwrap();
        drop(lock.lock_timeout(LONG).await.unwrap());
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn semaphores_count() {
    common::run(|| async {
        let manager = Manager::local().await.unwrap();
        let bounded: BoundedSemaphoreProxy = manager.bounded_semaphore(2).await.unwrap();
        let one = bounded.acquire().await.unwrap();
        let two = bounded.blocking_acquire().unwrap();
        assert_eq!(bounded.available_permits().await.unwrap(), 0);
        let late = bounded.acquire_timeout(SHORT).await.map(drop).unwrap_err();
        assert_eq!(late, ManagerError::TimedOut);
        drop(one);
        let again = bounded.acquire().await.unwrap();
        drop((two, again));
        let error = bounded.add_permits(1).await.unwrap_err();
        assert!(matches!(error, ManagerError::TooMany { .. }), "{error:?}");
        let free: SemaphoreProxy = manager.semaphore(0).await.unwrap();
        free.add_permits(3).await.unwrap();
        free.acquire().await.unwrap().forget();
        assert_eq!(free.available_permits().await.unwrap(), 2);
        manager.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn wait_for_turn(turn: ConditionProxy, log: ListProxy<u32>, waits: EventProxy, me: u32) {
    let mut guard = turn.blocking_lock().unwrap();
    waits.blocking_set().unwrap();
    while log.blocking_len().unwrap() < me as usize {
        guard = turn.blocking_wait(guard).unwrap();
    }
    log.blocking_push(&me).unwrap();
    turn.blocking_notify_all(&guard).unwrap();
}

#[test]
fn conditions_wake_who_waits() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let turn = manager.condition().await.unwrap();
        let log = manager.list([]).await.unwrap();
        let mut children = Vec::new();
        for me in (1..4).rev() {
            let waits = manager.event().await.unwrap();
            let call = wait_for_turn(turn.clone(), log.clone(), waits.clone(), me);
            children.push(Process::spawn(call).await.unwrap());
            waits.wait().await.unwrap();
        }
        let guard = turn.lock().await.unwrap();
        log.push(&0).await.unwrap();
        assert!(turn.notify_all(&guard).await.unwrap() >= 2);
        drop(guard);
        for child in children {
            child.join().await;
        }
        assert_eq!(log.to_vec().await.unwrap(), [0, 1, 2, 3]);
        let guard = turn.lock().await.unwrap();
        let (guard, in_time) = turn.wait_timeout(guard, SHORT).await.unwrap();
        assert!(!in_time);
        // One that gives up is not there to be notified.
        assert!(tokio::time::timeout(SHORT, turn.wait(guard)).await.is_err());
        let guard = turn.lock().await.unwrap();
        assert_eq!(turn.notify_one(&guard).await.unwrap(), 0);
        let lock = manager.lock().await.unwrap();
        let with: ConditionProxy = manager.condition_with(&lock).await.unwrap();
        let held = with.lock().await.unwrap();
        assert_eq!(lock.try_lock().await.map(drop).unwrap_err(), ManagerError::WouldBlock);
        let error = turn.notify_one(&held).await;
        drop((held, guard));
        drop(error);
        manager.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn sit(barrier: BarrierProxy) -> Result<usize, bool> {
    barrier.blocking_wait().map_err(|error| error == ManagerError::Broken)
}

#[test]
fn barriers_let_all_go_or_break() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let barrier = manager.barrier(3).await.unwrap();
        let pool = pool(2).await;
        for _ in 0..3 {
            let others = pool.map(sit, vec![barrier.clone(); 2]).chunk_size(1);
            let (here, others) = tokio::join!(barrier.wait(), others);
            let mut all: Vec<_> = others.unwrap().into_iter().map(|r| r.unwrap()).collect();
            all.push(here.unwrap());
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2]);
        }
        assert_eq!(barrier.wait_timeout(SHORT).await.unwrap_err(), ManagerError::Broken);
        assert!(barrier.is_broken().await.unwrap());
        assert_eq!(barrier.wait().await.unwrap_err(), ManagerError::Broken);
        barrier.reset().await.unwrap();
        // One that dies while it waits.
        let child = Process::spawn(sit(barrier.clone())).await.unwrap();
        common::eventually("it waits", || barrier.blocking_waiting().unwrap() == 1).await;
        child.kill();
        child.join().await;
        common::eventually("it breaks", || barrier.blocking_is_broken().unwrap()).await;
        barrier.reset().await.unwrap();
        let waiting = barrier.clone();
        let waiting = tokio::spawn(async move { waiting.wait().await });
        common::eventually("it waits", || barrier.blocking_waiting().unwrap() == 1).await;
        barrier.abort().await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap_err(), ManagerError::Broken);
        assert_eq!(barrier.parties().await.unwrap(), 3);
        pool.shutdown().await.unwrap();
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn events_wake_all() {
    common::run(|| async {
        let manager = Manager::local().await.unwrap();
        let event = manager.event().await.unwrap();
        assert!(!event.wait_timeout(SHORT).await.unwrap());
        assert!(!event.blocking_wait_timeout(SHORT).unwrap());
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let event = event.clone();
                tokio::spawn(async move { event.wait().await })
            })
            .collect();
        event.set().await.unwrap();
        for waiting in waiting {
            waiting.await.unwrap().unwrap();
        }
        assert!(event.wait_timeout(SHORT).await.unwrap() && event.is_set().await.unwrap());
        event.clear().await.unwrap();
        assert!(!event.is_set().await.unwrap());
        manager.shutdown().await.unwrap();
    });
}

/// A condition shares its lock: that it is dropped frees nothing.
#[test]
fn a_lock_is_held_as_long_as_its_guard() {
    common::run(|| async {
        let manager = Manager::local().await.unwrap();
        let lock = manager.lock().await.unwrap();
        let other = lock.clone();
        manager.publish("lock", &lock).await.unwrap();
        let guard = lock.lock().await.unwrap();
        drop(manager.condition_with(&lock).await.unwrap());
        manager.ping().await.unwrap();
        assert_eq!(other.try_lock().await.map(drop).unwrap_err(), ManagerError::WouldBlock);
        drop(guard);
        drop(other.lock_timeout(LONG).await.unwrap());
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn a_cleared_event_wakes_nobody() {
    common::run(|| async {
        let manager = Manager::local().await.unwrap();
        let event = manager.event().await.unwrap();
        let waiting = {
            let event = event.clone();
            tokio::spawn(async move { event.wait_timeout(Duration::from_millis(300)).await })
        };
        for _ in 0..50 {
            event.clear().await.unwrap();
        }
        assert!(!waiting.await.unwrap().unwrap());
        manager.shutdown().await.unwrap();
    });
}

/// What waits is served in the order in which it was asked for.
#[test]
fn those_who_wait_are_served_in_turn() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let queue = manager.queue(1).await.unwrap();
        queue.put(&0).await.unwrap();
        let all = (1..=20u32).map(|n| queue.put(&n));
        let takes = async {
            let mut got = Vec::new();
            for _ in 0..=20 {
                got.push(queue.get().await.unwrap());
            }
            got
        };
        let (puts, got) = tokio::join!(futures::future::join_all(all), takes);
        puts.into_iter().for_each(|put| put.unwrap());
        assert!(got.iter().copied().eq(0..=20), "{got:?}");
        manager.shutdown().await.unwrap();
    });
}

/// A thread in a blocking call reads for others, and others write while it does.
#[test]
fn a_thread_that_waits_keeps_nobody_from_putting() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let child = Process::spawn(pass_long(manager.queue(0).await.unwrap())).await;
        assert_eq!(child.unwrap().output().await.unwrap(), 8 << 20);
        manager.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn pass_long(queue: QueueProxy<Vec<u8>>) -> usize {
    let getter = std::thread::spawn({
        let queue = queue.clone();
        move || queue.blocking_get().unwrap().len()
    });
    queue.blocking_put(&vec![1; 8 << 20]).unwrap();
    getter.join().unwrap()
}

/// A thread that has read for a while leaves it to others again.
#[test]
fn tasks_are_answered_after_threads() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let list = manager.list::<u32>([]).await.unwrap();
        for round in 0..200 {
            (0..round % 4).for_each(|n| list.blocking_push(&n).unwrap());
            list.push(&0).await.unwrap();
        }
        assert_eq!(list.len().await.unwrap(), 500);
        manager.shutdown().await.unwrap();
    });
}
