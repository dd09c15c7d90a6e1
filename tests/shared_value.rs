//! Values and arrays with a lock.

mod common;
mod kit;

use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use kit::pool;
use procpool::{Event, Lock, Process, RawArray, RawValue, SharedArray, SharedValue, SyncError};

procpool::test_hook!();

/// A struct of the user's own.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Point {
    x: f64,
    y: f64,
    n: [i32; 2],
}

#[procpool::task]
fn write_all(
    int: SharedValue<i32>,
    double: SharedValue<f64>,
    short: SharedValue<i16>,
    long: SharedValue<i64>,
    byte: SharedValue<u8>,
    point: SharedValue<Point>,
) {
    int.blocking_set(-7).unwrap();
    double.blocking_set(2.5).unwrap();
    short.blocking_set(i16::MIN).unwrap();
    long.blocking_set(i64::MAX).unwrap();
    byte.blocking_update(|byte| *byte += 1).unwrap();
    point.blocking_update(|point| *point = Point { x: point.x * 2.0, ..*point }).unwrap();
}

#[test]
fn a_child_writes_values_of_every_type() {
    common::run(|| async {
        let (int, double) = (SharedValue::new(1i32).unwrap(), SharedValue::new(0.0).unwrap());
        let (short, long) = (SharedValue::new(0i16).unwrap(), SharedValue::new(0i64).unwrap());
        let byte = SharedValue::new(b'a').unwrap();
        let point = Point { x: 1.5, y: 2.0, n: [3, 4] };
        let shared = SharedValue::new(point).unwrap();
        let call = write_all(
            int.clone(),
            double.clone(),
            short.clone(),
            long.clone(),
            byte.clone(),
            shared.clone(),
        );
        Process::spawn(call).await.unwrap().output().await.unwrap();
        assert_eq!((int.get().await, double.get().await), (Ok(-7), Ok(2.5)));
        assert_eq!((short.get().await, long.get().await), (Ok(i16::MIN), Ok(i64::MAX)));
        assert_eq!(byte.get().await, Ok(b'b'));
        assert_eq!(shared.get().await, Ok(Point { x: 3.0, ..point }));
    });
}

#[procpool::task]
fn increment(counter: SharedValue<u64>, n: u64) {
    for _ in 0..n {
        counter.blocking_update(|n| *n += 1).unwrap();
    }
}

#[procpool::task]
async fn increment_async(counter: SharedValue<u64>, n: u64) {
    for _ in 0..n {
        counter.update(|n| *n += 1).await.unwrap();
    }
}

#[test]
fn no_increment_under_the_lock_is_lost() {
    common::run(|| async {
        let counter = SharedValue::new(0u64).unwrap();
        let pool = pool(4).await;
        let calls = [
            pool.spawn(increment(counter.clone(), 3000)),
            pool.spawn(increment(counter.clone(), 3000)),
            pool.spawn(increment_async(counter.clone(), 3000)),
        ];
        for call in calls {
            call.get().await.unwrap();
        }
        assert_eq!(counter.get().await, Ok(9000));
        assert_eq!((counter.fetch_add(5), counter.fetch_sub(5)), (9000, 9005));
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn sum_up(numbers: SharedArray<i64>) {
    let numbers = numbers.blocking_lock().unwrap();
    for i in 1..numbers.len() {
        let before = numbers.get(i - 1).unwrap();
        numbers.update(i, |n| *n += before);
    }
}

#[test]
fn a_child_changes_an_array() {
    common::run(|| async {
        let numbers = SharedArray::from_slice(&[1i64, 2, 3, 4]).unwrap();
        assert_eq!(numbers.len(), 4);
        Process::spawn(sum_up(numbers.clone())).await.unwrap().output().await.unwrap();
        let held = numbers.lock().await.unwrap();
        assert_eq!(held.to_vec(..), [1, 3, 6, 10]);
        assert_eq!(held.iter().max(), Some(10));
        held.copy_from(2, &[60, 100]);
        assert_eq!(held.to_vec(1..3), [3, 60]);
        assert_eq!(numbers.try_lock().unwrap_err(), SyncError::WouldBlock);
        drop(held);
        // Without the lock.
        assert_eq!(numbers.raw().get(3), Some(100));
        assert_eq!(numbers.raw().get(4), None);
    });
}

#[test]
fn an_array_by_size_is_zeroed_though_memory_is_used_again() {
    common::run(|| async {
        for _ in 0..3 {
            let numbers = SharedArray::<i32>::zeroed(100).unwrap();
            assert!(numbers.raw().iter().all(|n| n == 0));
            (0..100).for_each(|i| numbers.raw().set(i, -1));
        }
        assert!(SharedArray::<i32>::zeroed(0).unwrap().is_empty());
    });
}

#[test]
fn several_may_have_one_lock() {
    common::run(|| async {
        let lock = Lock::new().unwrap();
        let value = SharedValue::with_lock(5i32, &lock).unwrap();
        let array = SharedArray::with_lock(&[0.5f64; 3], &lock).unwrap();
        let guard = value.get_lock().lock().await.unwrap();
        assert_eq!(array.try_lock().unwrap_err(), SyncError::WouldBlock);
        assert_eq!(value.try_lock().unwrap_err(), SyncError::WouldBlock);
        assert_eq!((value.raw().get(), array.raw().get(1)), (5, Some(0.5)));
        drop(guard);
        assert_eq!(array.lock().await.unwrap().to_vec(..), [0.5; 3]);
    });
}

#[procpool::task]
fn die_holding(value: SharedValue<u64>, held: Event) {
    let value = value.blocking_lock().unwrap();
    value.set(1);
    held.set();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn who_takes_the_lock_of_a_dead_process_is_told() {
    common::run(|| async {
        let (value, held) = (SharedValue::new(0u64).unwrap(), Event::new().unwrap());
        let child = Process::spawn(die_holding(value.clone(), held.clone())).await.unwrap();
        held.wait().await.unwrap();
        child.kill();
        let guard = value.lock().await.unwrap();
        assert!(guard.recovered());
        assert_eq!(guard.get(), 1);
        drop(guard);
        assert!(!value.lock().await.unwrap().recovered());
        child.join().await;
    });
}

#[procpool::task]
fn double_all(point: RawValue<Point>, numbers: RawArray<f64>) {
    let Point { x, y, n } = point.get();
    point.set(Point { x: 2.0 * x, y: 2.0 * y, n: n.map(|n| 2 * n) });
    (0..numbers.len()).for_each(|i| numbers.set(i, 2.0 * numbers.get(i).unwrap()));
}

#[test]
fn a_copy_of_a_shared_struct_is_independent() {
    common::run(|| async {
        let point = Point { x: 1.0, y: 2.0, n: [3, 4] };
        let shared = RawValue::new(point).unwrap();
        let copy = RawValue::new(shared.get()).unwrap();
        let numbers = RawArray::from_slice(&[0.5, 1.0]).unwrap();
        let call = double_all(shared.clone(), numbers.clone());
        Process::spawn(call).await.unwrap().output().await.unwrap();
        assert_eq!(shared.get(), Point { x: 2.0, y: 4.0, n: [6, 8] });
        assert_eq!(numbers.to_vec(..), [1.0, 2.0]);
        assert_eq!(copy.get(), point);
    });
}
