//! What Python's locks, semaphores, events and conditions promise, where `sync.rs` does not show it by the way.

mod common;
mod kit;

use std::fmt::Debug;
use std::time::{Duration, Instant};

use kit::pool;
use procpool::{
    BoundedSemaphore, Condition, Event, Lock, Process, ProcessPool, Queue, RLock, RawValue,
    Semaphore, SyncError,
};

procpool::test_hook!();

/// Times that come to an end whatever anybody does.
const SHORT: [Duration; 2] = [Duration::ZERO, Duration::from_millis(5)];
const LONG: Duration = Duration::from_secs(30);

/// So many wait for it. (A condition shows its lock first.)
fn waiting(object: &impl Debug, n: usize) -> bool {
    let text = format!("{object:?}");
    let (_, last) = text.rsplit_once("waiting: ").unwrap();
    last.trim_end_matches([' ', '}']).parse() == Ok(n)
}

/// Waits for something for a short time, which it does not end before.
fn not_before<R>(limit: Duration, wait: impl FnOnce(Duration) -> R) -> R {
    let begun = Instant::now();
    let result = wait(limit);
    assert!(begun.elapsed() >= limit);
    result
}

#[procpool::task]
fn find_locked(lock: Lock, rlock: RLock) {
    assert!(lock.is_locked() && rlock.is_locked());
    assert_eq!(lock.try_lock().unwrap_err(), SyncError::WouldBlock);
    assert_eq!(rlock.try_lock().unwrap_err(), SyncError::WouldBlock);
    for limit in SHORT {
        let refused = not_before(limit, |limit| lock.blocking_lock_timeout(limit).map(drop));
        assert_eq!(refused, Err(SyncError::TimedOut));
        let refused = not_before(limit, |limit| rlock.blocking_lock_timeout(limit).map(drop));
        assert_eq!(refused, Err(SyncError::TimedOut));
    }
}

#[procpool::task]
async fn find_unlocked(lock: Lock, rlock: RLock) {
    assert!(!lock.is_locked() && !rlock.is_locked());
    for limit in SHORT {
        drop(lock.lock_timeout(limit).await.unwrap());
        drop(rlock.lock_timeout(limit).await.unwrap());
    }
}

#[test]
fn a_lock_is_refused_at_once_or_in_time_while_another_process_holds_it() {
    common::run(|| async {
        let (lock, rlock) = (Lock::new().unwrap(), RLock::new().unwrap());
        let pool = pool(1).await;
        let guards = (lock.try_lock().unwrap(), rlock.try_lock().unwrap());
        assert_eq!(lock.try_lock().unwrap_err(), SyncError::WouldBlock, "not even here");
        pool.run(find_locked(lock.clone(), rlock.clone())).await.unwrap();
        for limit in SHORT {
            assert_eq!(lock.lock_timeout(limit).await.unwrap_err(), SyncError::TimedOut);
        }
        drop(guards);
        pool.run(find_unlocked(lock.clone(), rlock.clone())).await.unwrap();
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn release(lock: Lock) -> bool {
    lock.release().is_ok()
}

#[test]
fn whoever_likes_releases_a_lock_and_a_free_one_is_refused() {
    common::run(|| async {
        let lock = Lock::new().unwrap();
        assert_eq!(lock.release().unwrap_err().to_string(), "it is not locked");
        procpool::LockGuard::leak(lock.lock().await.unwrap());
        assert!(lock.is_locked());
        let pool = pool(1).await;
        assert!(pool.run(release(lock.clone())).await.unwrap());
        assert!(!lock.is_locked());
        assert!(!pool.run(release(lock.clone())).await.unwrap());
        let other = lock.clone();
        procpool::LockGuard::leak(lock.lock().await.unwrap());
        std::thread::spawn(move || other.release().unwrap()).join().unwrap();
        drop(lock.try_lock().unwrap());
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn hold_both(lock: Lock, rlock: RLock, free: Event) {
    let (_one, _two) = (lock.blocking_lock().unwrap(), rlock.blocking_lock().unwrap());
    let _three = rlock.blocking_lock().unwrap();
    free.blocking_wait().unwrap();
}

#[test]
fn debug_tells_the_owner_and_who_waits() {
    common::run(|| async {
        let (lock, rlock) = (Lock::new().unwrap(), RLock::new().unwrap());
        assert_eq!(format!("{lock:?}"), "Lock { owner: None, waiting: 0 }");
        assert_eq!(format!("{rlock:?}"), "RLock { owner: None, guards: None, waiting: 0 }");
        let own = std::process::id();
        let guards =
            (lock.try_lock().unwrap(), rlock.try_lock().unwrap(), rlock.try_lock().unwrap());
        assert_eq!(format!("{lock:?}"), format!("Lock {{ owner: Some({own}), waiting: 0 }}"));
        let expected = format!("RLock {{ owner: Some({own}), guards: Some(2), waiting: 0 }}");
        assert_eq!(format!("{rlock:?}"), expected);
        drop(guards);

        let free = Event::new().unwrap();
        assert_eq!(format!("{free:?}"), "Event { is_set: false, waiting: 0 }");
        let call = hold_both(lock.clone(), rlock.clone(), free.clone());
        let holder = Process::spawn(call).await.unwrap();
        let expected = format!("Event {{ is_set: false, waiting: {} }}", 1);
        common::eventually("it holds both", || format!("{free:?}") == expected).await;
        let pid = holder.pid();
        assert_eq!(format!("{lock:?}"), format!("Lock {{ owner: Some({pid}), waiting: 0 }}"));
        assert!(format!("{rlock:?}").starts_with(&format!("RLock {{ owner: Some({pid})")));
        let waits = lock.clone();
        let waits = tokio::spawn(async move { drop(waits.lock().await.unwrap()) });
        common::eventually("one waits", || waiting(&lock, 1)).await;
        free.set();
        waits.await.unwrap();
        holder.join().await;
        assert_eq!(format!("{free:?}"), "Event { is_set: true, waiting: 0 }");

        let (permits, bounded) = (Semaphore::new(3).unwrap(), BoundedSemaphore::new(2).unwrap());
        let _one = (permits.try_acquire().unwrap(), bounded.try_acquire().unwrap());
        assert_eq!(format!("{permits:?}"), "Semaphore { available_permits: 2, waiting: 0 }");
        let expected = "BoundedSemaphore { available_permits: 1, most: 2, waiting: 0 }";
        assert_eq!(format!("{bounded:?}"), expected);
    });
}

/// On a thread: as often as it is taken it has to be let go.
#[procpool::task]
fn take_again(lock: RLock) {
    let mut guards: Vec<_> = (0..5).map(|_| lock.blocking_lock().unwrap()).collect();
    guards.push(lock.try_lock().unwrap());
    guards.push(lock.blocking_lock_timeout(Duration::ZERO).unwrap());
    let elsewhere =
        || std::thread::scope(|scope| scope.spawn(|| lock.try_lock().map(drop)).join().unwrap());
    for guard in guards {
        assert!(lock.is_locked());
        assert_eq!(elsewhere(), Err(SyncError::WouldBlock));
        drop(guard);
    }
    assert!(!lock.is_locked());
    assert_eq!(elsewhere(), Ok(()));
}

#[test]
fn an_rlock_is_let_go_as_often_as_it_was_taken() {
    common::run(|| async {
        let lock = RLock::new().unwrap();
        let pool = pool(1).await;
        pool.run(take_again(lock.clone())).await.unwrap();
        // A task is an owner, too, wherever it runs.
        let task = lock.clone();
        tokio::spawn(async move {
            let (one, two) = (task.lock().await.unwrap(), task.lock_timeout(LONG).await.unwrap());
            tokio::task::yield_now().await;
            drop(one);
            let other = task.clone();
            let elsewhere = tokio::spawn(async move { other.try_lock().map(drop) });
            assert_eq!(elsewhere.await.unwrap(), Err(SyncError::WouldBlock));
            drop(two);
        })
        .await
        .unwrap();
        assert!(!lock.is_locked());
        pool.shutdown().await.unwrap();
    });
}

/// Counts in two steps, between which nobody else may come.
#[procpool::task]
fn count(lock: Lock, counter: RawValue<u64>, n: u64) {
    for _ in 0..n {
        let _guard = lock.blocking_lock().unwrap();
        counter.set(counter.get() + 1);
    }
}

#[test]
fn eight_processes_are_in_one_after_the_other() {
    common::run_within(3 * common::HANG, || async {
        let (lock, counter) = (Lock::new().unwrap(), RawValue::new(0u64).unwrap());
        let pool = pool(8).await;
        let each = SECTIONS / 8;
        let calls = vec![(lock.clone(), counter.clone(), each); 8];
        pool.starmap(count, calls).chunk_size(1).await.unwrap();
        assert_eq!(counter.get(), SECTIONS);
        pool.shutdown().await.unwrap();
    });
}

/// Where the main process passes wakes on, fewer: each that waits costs several.
const SECTIONS: u64 = if cfg!(target_os = "linux") { 10_000_000 } else { 80_000 };

#[procpool::task]
fn take_all(permits: Semaphore, n: u32) {
    let mut held = Vec::new();
    for left in (0..n).rev() {
        held.push(permits.blocking_acquire().unwrap());
        assert_eq!(permits.available_permits(), left);
    }
    assert_eq!(permits.try_acquire().unwrap_err(), SyncError::WouldBlock);
    for limit in SHORT {
        let refused = not_before(limit, |limit| permits.blocking_acquire_timeout(limit).map(drop));
        assert_eq!(refused, Err(SyncError::TimedOut));
    }
    for there in 1..=n {
        held.pop();
        assert_eq!(permits.available_permits(), there);
    }
}

#[procpool::task]
async fn take_all_async(permits: BoundedSemaphore, n: u32) {
    let mut held = Vec::new();
    for left in (0..n).rev() {
        held.push(permits.acquire_timeout(LONG).await.unwrap());
        assert_eq!(permits.available_permits(), left);
    }
    assert_eq!(permits.try_acquire().unwrap_err(), SyncError::WouldBlock);
    for limit in SHORT {
        let refused = permits.acquire_timeout(limit).await.map(drop);
        assert_eq!(refused, Err(SyncError::TimedOut));
    }
    drop(held);
    assert!(permits.release().is_err(), "it has all that it may have");
}

#[procpool::task]
fn add(permits: Semaphore, n: u32) {
    permits.add_permits(n).unwrap();
}

#[test]
fn permits_are_counted_and_refused_at_once_or_in_time() {
    common::run(|| async {
        let pool = pool(1).await;
        let (permits, bounded) = (Semaphore::new(2).unwrap(), BoundedSemaphore::new(2).unwrap());
        pool.run(take_all(permits.clone(), 2)).await.unwrap();
        pool.run(take_all_async(bounded.clone(), 2)).await.unwrap();
        // There may be more than there were at first, but for a bounded one.
        pool.run(add(permits.clone(), 3)).await.unwrap();
        assert_eq!(permits.available_permits(), 5);
        pool.run(take_all(permits.clone(), 5)).await.unwrap();
        let refused = bounded.release().unwrap_err().to_string();
        assert!(refused.contains("more than the semaphore may have (2)"), "{refused}");
        bounded.try_acquire().unwrap().forget();
        bounded.release().unwrap();
        assert_eq!(bounded.available_permits(), 2);
        assert!(Semaphore::new(Semaphore::MAX_PERMITS + 1).is_err());
        assert!(permits.add_permits(Semaphore::MAX_PERMITS).is_err());
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_permit_from_elsewhere_ends_a_wait() {
    common::run(|| async {
        let (permits, pool) = (Semaphore::new(0).unwrap(), pool(1).await);
        let (one, two) = (permits.clone(), permits.clone());
        let task = tokio::spawn(async move { one.acquire().await.unwrap().forget() });
        let thread = tokio::task::spawn_blocking(move || two.blocking_acquire().unwrap().forget());
        common::eventually("both wait", || waiting(&permits, 2)).await;
        pool.run(add(permits.clone(), 2)).await.unwrap();
        task.await.unwrap();
        thread.await.unwrap();
        assert_eq!(permits.available_permits(), 0);
        pool.shutdown().await.unwrap();
    });
}

/// Waits for a condition and says that it has been woken: in how many ways is up to `ways`.
#[procpool::task]
fn wait_for_notice(condition: Condition, woken: Semaphore, limit: Option<Duration>) -> bool {
    let guard = condition.lock().blocking_lock().unwrap();
    let (guard, notified) = match limit {
        None => (condition.blocking_wait(guard).unwrap(), true),
        Some(limit) => not_before(if limit == LONG { Duration::ZERO } else { limit }, |_| {
            condition.blocking_wait_timeout(guard, limit)
        })
        .unwrap(),
    };
    assert!(condition.lock().is_locked());
    woken.add_permits(1).unwrap();
    drop(guard);
    notified
}

/// Two workers and a thread and three tasks here wait; what they say in the end.
async fn six_wait(
    pool: &ProcessPool,
    condition: &Condition,
    woken: &Semaphore,
    limit: Option<Duration>,
) -> Vec<tokio::task::JoinHandle<bool>> {
    let mut all = Vec::new();
    for i in 0..6 {
        let (condition, woken) = (condition.clone(), woken.clone());
        all.push(match i {
            0 | 1 => {
                let call = pool.spawn(wait_for_notice(condition, woken, limit));
                tokio::spawn(async move { call.get().await.unwrap() })
            }
            2 => tokio::task::spawn_blocking(move || {
                wait_for_notice(condition, woken, limit).run_here()
            }),
            _ => tokio::spawn(async move {
                let guard = condition.lock().lock().await.unwrap();
                let (_guard, notified) = match limit {
                    None => (condition.wait(guard).await.unwrap(), true),
                    Some(limit) => condition.wait_timeout(guard, limit).await.unwrap(),
                };
                woken.add_permits(1).unwrap();
                notified
            }),
        });
    }
    all
}

#[test]
fn one_notice_wakes_one_whether_process_thread_or_task() {
    common::run(|| async {
        let condition = Condition::new(&Lock::new().unwrap()).unwrap();
        let (woken, pool) = (Semaphore::new(0).unwrap(), pool(2).await);
        let all = six_wait(&pool, &condition, &woken, None).await;
        common::eventually("all wait", || waiting(&condition, 6)).await;
        for n in 1..=4 {
            let guard = condition.lock().lock().await.unwrap();
            assert!(condition.notify_one());
            drop(guard);
            common::eventually("one is woken", || woken.available_permits() == n).await;
            assert!(waiting(&condition, 6 - n as usize), "{condition:?}");
        }
        assert_eq!(condition.notify_n(5), 2);
        for one in all {
            assert!(one.await.unwrap());
        }
        assert_eq!(woken.available_permits(), 6);
        assert!(!condition.notify_one());
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn all_are_notified_after_others_have_waited_too_long() {
    common::run(|| async {
        let condition = Condition::new(&Lock::new().unwrap()).unwrap();
        let (woken, pool) = (Semaphore::new(0).unwrap(), pool(2).await);
        for limit in SHORT {
            for one in six_wait(&pool, &condition, &woken, Some(limit)).await {
                assert!(!one.await.unwrap(), "nobody notifies");
            }
            assert!(waiting(&condition, 0));
        }
        for limit in [None, Some(LONG)] {
            let all = six_wait(&pool, &condition, &woken, limit).await;
            common::eventually("all wait", || waiting(&condition, 6)).await;
            assert_eq!(condition.notify_all(), 6);
            for one in all {
                assert!(one.await.unwrap());
            }
            assert!(waiting(&condition, 0) && !condition.lock().is_locked());
        }
        assert_eq!(woken.available_permits(), 24);
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn wait_for_four(condition: Condition, value: RawValue<u32>) -> bool {
    let guard = condition.lock().blocking_lock().unwrap();
    let guard = condition.blocking_wait_for(guard, || value.get() >= 4).unwrap();
    // Too long for this.
    let is_five = || value.get() == 5;
    let limit = SHORT[1];
    let done = not_before(limit, |l| condition.blocking_wait_for_timeout(guard, l, is_five));
    done.unwrap().1
}

#[test]
fn one_waits_until_it_is_so() {
    common::run(|| async {
        let condition = Condition::new(&Lock::new().unwrap()).unwrap();
        let (value, pool) = (RawValue::new(0u32).unwrap(), pool(1).await);
        let call = pool.spawn(wait_for_four(condition.clone(), value.clone()));
        for n in 1..=4 {
            common::eventually("it waits", || waiting(&condition, 1)).await;
            let _guard = condition.lock().lock().await.unwrap();
            value.set(n);
            condition.notify_all();
        }
        assert!(!call.get().await.unwrap());
        // The same in a task, where it is so at once, and where it comes to be.
        let guard = condition.lock().lock().await.unwrap();
        let guard = condition.wait_for(guard, || value.get() == 4).await.unwrap();
        let waits = condition.wait_for_timeout(guard, SHORT[1], || value.get() == 5).await;
        let (guard, is_so) = waits.unwrap();
        assert!(!is_so);
        drop(guard);
        let (other, its) = (condition.clone(), value.clone());
        let waits = tokio::spawn(async move {
            let guard = other.lock().lock().await.unwrap();
            other.wait_for_timeout(guard, LONG, || its.get() == 5).await.unwrap().1
        });
        common::eventually("it waits", || waiting(&condition, 1)).await;
        value.set(5);
        condition.notify_one();
        assert!(waits.await.unwrap());
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_dropped_wait_passes_its_notice_on() {
    common::run(|| async {
        let condition = Condition::new(&Lock::new().unwrap()).unwrap();
        let guard = condition.lock().lock().await.unwrap();
        let mut one = Box::pin(condition.wait(guard));
        assert!(futures::poll!(&mut one).is_pending());
        let other = condition.clone();
        let two = tokio::spawn(async move {
            let guard = other.lock().lock().await.unwrap();
            drop(other.wait(guard).await.unwrap());
        });
        common::eventually("both wait", || waiting(&condition, 2)).await;
        assert!(condition.notify_one());
        drop(one);
        two.await.unwrap();
        assert!(!condition.lock().is_locked());
    });
}

#[procpool::task]
fn set(event: Event) {
    event.set();
}

#[procpool::task]
fn look_at(event: Event, is_set: bool) {
    assert_eq!(event.is_set(), is_set);
    for limit in SHORT {
        if is_set {
            assert!(event.blocking_wait_timeout(limit).unwrap());
        } else {
            assert!(!not_before(limit, |limit| event.blocking_wait_timeout(limit)).unwrap());
        }
    }
}

#[test]
fn an_event_is_the_same_everywhere() {
    common::run(|| async {
        let (event, pool) = (Event::new().unwrap(), pool(1).await);
        for _ in 0..2 {
            pool.run(look_at(event.clone(), false)).await.unwrap();
            for limit in SHORT {
                assert!(!event.wait_timeout(limit).await.unwrap());
            }
            let waits = event.clone();
            let waits = tokio::spawn(async move { waits.wait().await });
            common::eventually("it waits", || waiting(&event, 1)).await;
            pool.run(set(event.clone())).await.unwrap();
            waits.await.unwrap().unwrap();
            pool.run(look_at(event.clone(), true)).await.unwrap();
            // At once, as often as one likes.
            for limit in SHORT {
                assert!(event.wait_timeout(limit).await.unwrap());
            }
            event.wait().await.unwrap();
            event.clear();
        }
        pool.shutdown().await.unwrap();
    });
}

/// Objects of every kind, made by a child and sent here.
#[procpool::task]
fn make(to: Queue<(RLock, Semaphore, BoundedSemaphore, Event, Condition)>, stay: Event) {
    let lock = Lock::new().unwrap();
    let made = (
        RLock::new().unwrap(),
        Semaphore::new(1).unwrap(),
        BoundedSemaphore::new(1).unwrap(),
        Event::new().unwrap(),
        Condition::new(&lock).unwrap(),
    );
    let _held = (made.0.blocking_lock().unwrap(), made.1.blocking_acquire().unwrap());
    to.blocking_put(made.clone()).unwrap();
    stay.blocking_wait().unwrap();
}

#[test]
fn all_travel_in_items_and_go_on_when_their_maker_is_killed() {
    common::run(|| async {
        let (queue, stay) = (Queue::unbounded().unwrap(), Event::new().unwrap());
        let maker = Process::spawn(make(queue.clone(), stay)).await.unwrap();
        let (rlock, permits, bounded, event, condition) = queue.get().await.unwrap();
        assert!(rlock.is_locked());
        assert_eq!((permits.available_permits(), bounded.available_permits()), (0, 1));
        maker.kill();
        maker.join().await;
        assert!(rlock.lock().await.unwrap().recovered());
        drop(permits.acquire().await.unwrap());
        drop(bounded.acquire().await.unwrap());
        event.set();
        let guard = condition.lock().lock().await.unwrap();
        assert!(!condition.wait_timeout(guard, SHORT[1]).await.unwrap().1);
    });
}

/// A permit that is held is one of those that there may be.
#[test]
fn a_bounded_semaphore_never_has_more_than_it_was_made_with() {
    common::run(|| async {
        let one = BoundedSemaphore::new(1).unwrap();
        let permit = one.acquire().await.unwrap();
        assert!(one.release().is_err());
        drop(permit);
        assert_eq!(one.available_permits(), 1);
        assert!(one.release().is_err());
        let pool = pool(1).await;
        pool.run(take_all_async(one.clone(), 1)).await.unwrap();
        assert_eq!(one.available_permits(), 1);
        pool.shutdown().await.unwrap();
    });
}
