//! Locks and what is like them, in several processes.

mod common;
mod kit;

use std::time::Duration;

use kit::pool;
use procpool::{
    Barrier, BarrierError, BoundedSemaphore, Condition, Event, Lock, Process, Queue, RLock,
    RawValue, Semaphore, SyncError,
};

procpool::test_hook!();

const LONG: Duration = Duration::from_secs(30);

/// Adds one so many times, in two steps that somebody else could come between.
#[procpool::task]
fn count(lock: Lock, counter: RawValue<u64>, n: u64) {
    for _ in 0..n {
        let _guard = lock.blocking_lock().unwrap();
        counter.set(counter.get() + 1);
    }
}

#[procpool::task]
async fn count_async(lock: Lock, counter: RawValue<u64>, n: u64) {
    for _ in 0..n {
        let _guard = lock.lock().await.unwrap();
        counter.set(counter.get() + 1);
    }
}

#[test]
fn nobody_else_is_in_while_a_lock_is_held() {
    common::run(|| async {
        let (lock, counter) = (Lock::new().unwrap(), RawValue::new(0u64).unwrap());
        let pool = pool(3).await;
        let each = 3000;
        let mut running = Vec::new();
        for _ in 0..2 {
            running.push(pool.spawn(count(lock.clone(), counter.clone(), each)));
        }
        running.push(pool.spawn(count_async(lock.clone(), counter.clone(), each)));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (lock, counter) = (lock.clone(), counter.clone());
                std::thread::spawn(move || {
                    for _ in 0..each {
                        let _guard = lock.blocking_lock().unwrap();
                        counter.set(counter.get() + 1);
                    }
                })
            })
            .collect();
        for _ in 0..each {
            let _guard = lock.lock().await.unwrap();
            counter.set(counter.get() + 1);
        }
        for call in running {
            call.get().await.unwrap();
        }
        for thread in threads {
            tokio::task::spawn_blocking(|| thread.join()).await.unwrap().unwrap();
        }
        assert_eq!(counter.get(), 6 * each);
        assert!(!lock.is_locked());
        pool.shutdown().await.unwrap();
    });
}

/// Takes a lock, says so, and keeps it until it is killed.
#[procpool::task]
fn hold_lock(lock: Lock, held: Event) {
    let _guard = lock.blocking_lock().unwrap();
    held.set();
    std::thread::sleep(LONG);
}

#[test]
fn a_lock_that_a_dead_process_held_passes_on_and_says_so() {
    common::run(|| async {
        let (lock, held) = (Lock::new().unwrap(), Event::new().unwrap());
        for task in [true, false] {
            held.clear();
            let holder = Process::spawn(hold_lock(lock.clone(), held.clone())).await.unwrap();
            assert!(held.wait_timeout(LONG).await.unwrap());
            assert_eq!(lock.try_lock().unwrap_err(), SyncError::WouldBlock);
            let waiting = lock.clone();
            let recovered = if task {
                let waiting =
                    tokio::spawn(async move { waiting.lock().await.unwrap().recovered() });
                holder.kill();
                waiting.await.unwrap()
            } else {
                let waiting = tokio::task::spawn_blocking(move || {
                    waiting.blocking_lock().unwrap().recovered()
                });
                holder.kill();
                waiting.await.unwrap()
            };
            assert!(recovered);
            assert!(!lock.try_lock().unwrap().recovered(), "it is said once");
            holder.join().await;
        }
    });
}

#[test]
fn a_dropped_wait_leaves_no_trace() {
    common::run(|| async {
        let lock = Lock::new().unwrap();
        let guard = lock.lock().await.unwrap();
        for _ in 0..100 {
            let mut waiting = Box::pin(lock.lock());
            assert!(futures::poll!(&mut waiting).is_pending());
            let mut another = Box::pin(lock.lock());
            assert!(futures::poll!(&mut another).is_pending());
            drop(waiting);
            drop(another);
        }
        let other = lock.clone();
        let next = tokio::spawn(async move { drop(other.lock().await.unwrap()) });
        drop(guard);
        next.await.unwrap();
        // One that was handed the lock, and is dropped.
        let guard = lock.lock().await.unwrap();
        let mut waiting = Box::pin(lock.lock());
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(guard);
        drop(waiting);
        assert!(!lock.is_locked());
        let _guard = lock.try_lock().unwrap();
        assert_eq!(
            lock.lock_timeout(Duration::from_millis(5)).await.unwrap_err(),
            SyncError::TimedOut
        );
        assert_eq!(
            lock.blocking_lock_timeout(Duration::from_millis(5)).unwrap_err(),
            SyncError::TimedOut
        );
        assert!(format!("{lock:?}").contains(&std::process::id().to_string()), "{lock:?}");
    });
}

/// Notes how many are in at most.
#[procpool::task]
fn enter(permits: Semaphore, inside: RawValue<u32>, most: RawValue<u32>, n: u32) {
    for _ in 0..n {
        let _permit = permits.blocking_acquire().unwrap();
        let now = inside.fetch_add(1) + 1;
        let _ = most.fetch_update(|most| Some(most.max(now)));
        std::thread::yield_now();
        inside.fetch_sub(1);
    }
}

#[test]
fn no_more_are_in_than_there_are_permits() {
    common::run(|| async {
        let permits = Semaphore::new(2).unwrap();
        let (inside, most) = (RawValue::new(0u32).unwrap(), RawValue::new(0u32).unwrap());
        let pool = pool(4).await;
        let calls = vec![(permits.clone(), inside.clone(), most.clone(), 500); 4];
        pool.starmap(enter, calls).await.unwrap();
        assert_eq!((inside.get(), permits.available_permits()), (0, 2));
        assert!((1..=2).contains(&most.get()), "{most:?}");
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn keep_permits(permits: Semaphore, n: usize, held: Event) {
    let _permits: Vec<_> = (0..n).map(|_| permits.blocking_acquire().unwrap()).collect();
    held.set();
    std::thread::sleep(LONG);
}

#[test]
fn permits_of_a_dead_process_return() {
    common::run(|| async {
        let (permits, held) = (Semaphore::new(3).unwrap(), Event::new().unwrap());
        let holder = Process::spawn(keep_permits(permits.clone(), 3, held.clone())).await.unwrap();
        held.wait().await.unwrap();
        assert_eq!(permits.try_acquire().unwrap_err(), SyncError::WouldBlock);
        holder.kill();
        let all = [
            permits.acquire().await.unwrap(),
            permits.acquire().await.unwrap(),
            permits.acquire().await.unwrap(),
        ];
        assert_eq!(permits.available_permits(), 0);
        drop(all);
        assert_eq!(permits.available_permits(), 3);
        let bounded = BoundedSemaphore::new(1).unwrap();
        assert!(bounded.release().is_err());
    });
}

#[procpool::task]
fn wait_for_event(event: Event) {
    event.blocking_wait().unwrap();
}

#[procpool::task]
async fn wait_for_event_async(event: Event) {
    event.wait().await.unwrap();
}

#[test]
fn an_event_wakes_all_wherever_they_are() {
    common::run(|| async {
        let event = Event::new().unwrap();
        let pool = pool(2).await;
        let calls = [
            pool.spawn(wait_for_event(event.clone())),
            pool.spawn(wait_for_event_async(event.clone())),
        ];
        assert!(!event.wait_timeout(Duration::from_millis(20)).await.unwrap());
        common::eventually("both wait", || format!("{event:?}").contains("waiting: 2")).await;
        event.set();
        for call in calls {
            call.get().await.unwrap();
        }
        assert!(event.is_set());
        event.clear();
        assert!(!event.is_set());
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn take_tickets(tickets: RawValue<u32>, condition: Condition) -> u32 {
    let guard = condition.lock().blocking_lock().unwrap();
    let _guard = condition.blocking_wait_for(guard, || tickets.get() > 0).unwrap();
    tickets.fetch_sub(1)
}

#[test]
fn a_condition_wakes_one_for_each_notice() {
    common::run(|| async {
        let lock = Lock::new().unwrap();
        let (condition, tickets) = (Condition::new(&lock).unwrap(), RawValue::new(0u32).unwrap());
        let pool = pool(3).await;
        let calls: Vec<_> =
            (0..3).map(|_| pool.spawn(take_tickets(tickets.clone(), condition.clone()))).collect();
        common::eventually("all wait", || format!("{condition:?}").ends_with("waiting: 3 }")).await;
        for _ in 0..3 {
            let _guard = lock.lock().await.unwrap();
            tickets.fetch_add(1);
            assert!(condition.notify_one());
        }
        for call in calls {
            call.get().await.unwrap();
        }
        assert_eq!(tickets.get(), 0);
        assert_eq!(condition.notify_all(), 0);
        let guard = lock.lock().await.unwrap();
        let (_guard, notified) =
            condition.wait_timeout(guard, Duration::from_millis(5)).await.unwrap();
        assert!(!notified);
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn wait_for_notice(condition: Condition) {
    let guard = condition.lock().blocking_lock().unwrap();
    let _guard = condition.blocking_wait(guard).unwrap();
}

#[procpool::task]
async fn wait_for_notice_async(condition: Condition) {
    let guard = condition.lock().lock().await.unwrap();
    let _guard = condition.wait(guard).await.unwrap();
}

#[test]
fn a_notice_of_one_that_dies_before_it_has_the_lock_goes_to_another() {
    common::run(|| async {
        let lock = Lock::new().unwrap();
        let condition = Condition::new(&lock).unwrap();
        for task in [false, true] {
            let first = if task {
                Process::spawn(wait_for_notice_async(condition.clone())).await.unwrap()
            } else {
                Process::spawn(wait_for_notice(condition.clone())).await.unwrap()
            };
            let waits = |n| format!("waiting: {n} }}");
            let wait = || format!("{condition:?}").ends_with(&waits(1));
            common::eventually("the first waits", wait).await;
            let second = Process::spawn(wait_for_notice(condition.clone())).await.unwrap();
            let wait = || format!("{condition:?}").ends_with(&waits(2));
            common::eventually("the second waits", wait).await;
            let guard = lock.lock().await.unwrap();
            assert!(condition.notify_one());
            let wait = || format!("{lock:?}").ends_with(&waits(1));
            common::eventually("the first waits for the lock", wait).await;
            first.kill();
            first.join().await;
            drop(guard);
            assert!(second.join_timeout(LONG).await, "the second was not notified");
            assert_eq!(second.exit_code(), Some(0));
        }
    });
}

/// Takes tickets until there will be no more, giving up its wait every now and then.
async fn take_all_tickets(tickets: RawValue<u32>, condition: Condition, seed: u64) -> u32 {
    let mut taken = 0;
    let mut round = seed;
    let mut guard = condition.lock().lock().await.unwrap();
    while tickets.get() != u32::MAX {
        if tickets.get() > 0 {
            tickets.fetch_sub(1);
            taken += 1;
            continue;
        }
        round += 1;
        let limit = Duration::from_micros(round * 37 % 200);
        if round.is_multiple_of(3) {
            (guard, _) = condition.wait_timeout(guard, limit).await.unwrap();
        } else if round.is_multiple_of(3 + seed) {
            let _ = tokio::time::timeout(limit, condition.wait(guard)).await;
            guard = condition.lock().lock().await.unwrap();
        } else {
            guard = condition.wait(guard).await.unwrap();
        }
    }
    taken
}

#[procpool::task]
fn take_all_blocking(tickets: RawValue<u32>, condition: Condition) -> u32 {
    let mut taken = 0;
    let mut guard = condition.lock().blocking_lock().unwrap();
    while tickets.get() != u32::MAX {
        if tickets.get() > 0 {
            tickets.fetch_sub(1);
            taken += 1;
        } else {
            guard = condition.blocking_wait(guard).unwrap();
        }
    }
    taken
}

#[procpool::task]
async fn take_all(tickets: RawValue<u32>, condition: Condition) -> u32 {
    take_all_tickets(tickets, condition, 5).await
}

#[test]
fn no_notice_is_lost_when_waits_are_given_up() {
    common::run(|| async {
        let lock = Lock::new().unwrap();
        let (condition, tickets) = (Condition::new(&lock).unwrap(), RawValue::new(0u32).unwrap());
        let pool = pool(2).await;
        let calls = [
            pool.spawn(take_all(tickets.clone(), condition.clone())),
            pool.spawn(take_all_blocking(tickets.clone(), condition.clone())),
        ];
        let tasks: Vec<_> = (0..4)
            .map(|n| tokio::spawn(take_all_tickets(tickets.clone(), condition.clone(), n)))
            .collect();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (tickets, condition) = (tickets.clone(), condition.clone());
                let take = || take_all_blocking(tickets, condition).run_here();
                tokio::task::spawn_blocking(take)
            })
            .collect();
        let made = 3000;
        for n in 0..made {
            let guard = lock.lock().await.unwrap();
            tickets.fetch_add(1);
            condition.notify_one();
            drop(guard);
            if n % 10 == 9 {
                common::eventually("every ticket is taken", || tickets.get() == 0).await;
            }
        }
        common::eventually("every ticket is taken", || tickets.get() == 0).await;
        let guard = lock.lock().await.unwrap();
        tickets.set(u32::MAX);
        condition.notify_all();
        drop(guard);
        let mut taken = 0;
        for call in calls {
            taken += call.get().await.unwrap();
        }
        for end in tasks.into_iter().chain(threads) {
            taken += end.await.unwrap();
        }
        assert_eq!(taken, made);
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn trips(barrier: Barrier, n: usize) -> usize {
    (0..n).filter(|_| barrier.blocking_wait().unwrap().is_leader()).count()
}

#[test]
fn a_barrier_lets_all_go_when_all_have_come() {
    common::run(|| async {
        let barrier = Barrier::new(3).unwrap();
        let pool = pool(2).await;
        let n = 200;
        let calls = [pool.spawn(trips(barrier.clone(), n)), pool.spawn(trips(barrier.clone(), n))];
        let mut led = 0;
        for _ in 0..n {
            led += usize::from(barrier.wait().await.unwrap().is_leader());
        }
        for call in calls {
            led += call.get().await.unwrap();
        }
        assert_eq!((led, barrier.waiting()), (n, 0));
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn sit(barrier: Barrier) {
    let _ = barrier.blocking_wait();
}

#[test]
fn a_barrier_in_which_a_process_dies_breaks() {
    common::run(|| async {
        let barrier = Barrier::new(3).unwrap();
        let child = Process::spawn(sit(barrier.clone())).await.unwrap();
        common::eventually("it sits", || barrier.waiting() == 1).await;
        let other = barrier.clone();
        let waiting = tokio::spawn(async move { other.wait().await });
        common::eventually("both sit", || barrier.waiting() == 2).await;
        child.kill();
        assert_eq!(waiting.await.unwrap().unwrap_err(), BarrierError::Broken);
        child.join().await;
        assert!(barrier.is_broken());
        barrier.reset();
        assert!(!barrier.is_broken());
    });
}

#[procpool::task]
fn make_lock(to: Queue<Lock>) {
    let lock = Lock::new().unwrap();
    to.blocking_put(lock.clone()).unwrap();
    let _guard = lock.blocking_lock().unwrap();
}

#[test]
fn a_lock_made_by_a_child_outlives_it() {
    common::run(|| async {
        let queue = Queue::unbounded().unwrap();
        let child = Process::spawn(make_lock(queue.clone())).await.unwrap();
        let lock = queue.get().await.unwrap();
        child.join().await;
        drop(lock.lock().await.unwrap());
    });
}

#[test]
fn an_rlock_is_its_owners() {
    common::run(|| async {
        let lock = RLock::new().unwrap();
        let one = lock.lock().await.unwrap();
        let two = lock.try_lock().unwrap();
        let other = lock.clone();
        let elsewhere = tokio::spawn(async move { other.try_lock().map(drop) });
        assert_eq!(elsewhere.await.unwrap(), Err(SyncError::WouldBlock));
        drop(one);
        assert!(lock.is_locked());
        drop(two);
        assert!(!lock.is_locked());
    });
}

#[procpool::task]
fn add_under(lock: Lock, counter: RawValue<u64>, n: u64) {
    let _guard = lock.blocking_lock().unwrap();
    counter.set(counter.get() + n);
}

/// Each element of a map brings the lock along, and many are in one message.
#[test]
fn a_map_may_bring_a_lock_with_every_element() {
    common::run(|| async {
        let (lock, counter) = (Lock::new().unwrap(), RawValue::new(0u64).unwrap());
        let pool = pool(2).await;
        let calls = (0..2000).map(|n| (lock.clone(), counter.clone(), n));
        pool.starmap(add_under, calls).await.unwrap();
        assert_eq!(counter.get(), 1999 * 1000);
        pool.shutdown().await.unwrap();
    });
}

/// One that takes a lock again and again lets others of its process have it.
#[test]
fn a_lock_goes_to_a_task_that_waits_before_one_that_comes() {
    common::run_current_thread(|| async {
        let lock = Lock::new().unwrap();
        let guard = lock.lock().await.unwrap();
        let other = lock.clone();
        let waiting = tokio::spawn(async move { drop(other.lock().await.unwrap()) });
        common::eventually("it waits", || format!("{lock:?}").contains("waiting: 1")).await;
        drop(guard);
        for _ in 0..1000 {
            let guard = lock.lock().await.unwrap();
            tokio::task::yield_now().await;
            drop(guard);
            if waiting.is_finished() {
                return;
            }
        }
        panic!("it starves");
    });
}
