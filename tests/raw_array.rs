//! Values of one type in shared memory.

mod common;
mod kit;

use bytemuck::{Pod, Zeroable};
use kit::pool;
use procpool::{Process, RawArray, RawValue};
use serde::{Deserialize, Serialize};

procpool::test_hook!();

#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Point {
    x: f64,
    y: f32,
    id: u32,
    tag: [u8; 8],
}

#[procpool::task]
fn sum_up(numbers: RawArray<i32>) {
    for i in 1..numbers.len() {
        numbers.set(i, numbers.get(i).unwrap() + numbers.get(i - 1).unwrap());
    }
}

#[procpool::task]
fn move_all(points: RawArray<Point>) -> RawArray<Point> {
    let moved: Vec<Point> = points.iter().map(|p| Point { x: p.x + 1.0, ..p }).collect();
    points.copy_from(0, &moved);
    points
}

fn point(id: u32) -> Point {
    Point { x: f64::from(id) / 3.0, y: 0.5, id, tag: [id as u8; 8] }
}

#[test]
fn a_child_writes_what_the_parent_reads() {
    common::run(|| async {
        let numbers =
            RawArray::from_slice(&[680, 626, 934, 821, 150, 233, 548, 982, 714, 831]).unwrap();
        assert_eq!((numbers.len(), numbers.get(0), numbers.get(10)), (10, Some(680), None));
        Process::spawn(sum_up(numbers.clone())).await.unwrap().output().await.unwrap();
        assert_eq!(numbers.to_vec(..4), [680, 1306, 2240, 3061]);
        numbers.set(9, -1);
        assert_eq!(
            format!("{:?}", numbers.to_vec(8..)),
            format!("[{}, -1]", numbers.get(8).unwrap())
        );
        numbers.copy_from(4, &[1, 2]);
        let mut part = [0; 3];
        numbers.copy_to(3, &mut part);
        assert_eq!(part, [3061, 1, 2]);
    });
}

#[test]
fn structs_travel_both_ways() {
    common::run(|| async {
        let pool = pool(1).await;
        let points = RawArray::from_slice(&(0..100).map(point).collect::<Vec<_>>()).unwrap();
        let theirs = pool.apply(move_all, points.clone()).await.unwrap();
        points.set(7, Point::zeroed());
        let expected = |id| Point { x: point(id).x + 1.0, ..point(id) };
        assert_eq!((theirs.get(7), theirs.get(99)), (Some(Point::zeroed()), Some(expected(99))));
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn it_is_zeroed_whatever_the_memory_was_before() {
    for round in 0..20u8 {
        let array = RawArray::<u8>::zeroed(10_000).unwrap();
        assert!(array.iter().all(|byte| byte == 0), "round {round}");
        array.copy_from(0, &[round + 1; 10_000]);
    }
    assert!(RawArray::<u64>::zeroed(0).unwrap().is_empty());
    assert_eq!(RawArray::<[u8; 0]>::zeroed(3).unwrap().to_vec(..), [[]; 3]);
    assert!(RawArray::<u64>::zeroed(usize::MAX / 4).is_err());
}

#[test]
fn what_is_outside_is_a_panic_in_words() {
    let array = RawArray::from_slice(&[1u16, 2, 3]).unwrap();
    let outside: [Box<dyn Fn() + std::panic::RefUnwindSafe>; 4] = [
        Box::new(|| array.set(3, 1)),
        Box::new(|| array.copy_to(2, &mut [0; 2])),
        Box::new(|| array.copy_from(usize::MAX, &[0; 2])),
        Box::new(|| drop(array.to_vec(1..5))),
    ];
    for access in &outside {
        let panic = std::panic::catch_unwind(access).unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains("of 3 shared values"), "{text}");
    }
}

/// Arrives as what it was not sent as.
#[derive(Debug)]
struct Other(Option<RawArray<u64>>, RawArray<u8>);

impl Serialize for Other {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.1.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Other {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let array = RawArray::deserialize(deserializer)?;
        Ok(Other(Some(array), RawArray::zeroed(0).map_err(serde::de::Error::custom)?))
    }
}

#[procpool::task]
fn lie(len: usize) -> Other {
    Other(None, RawArray::zeroed(len).unwrap())
}

#[test]
fn a_length_that_does_not_fit_the_memory_is_refused() {
    common::run(|| async {
        let pool = pool(1).await;
        let error = pool.apply(lie, 80).await.map(|other| other.0).unwrap_err().to_string();
        assert!(error.contains("80 values of 8 bytes in 80 bytes of memory"), "{error}");
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn count(counter: RawValue<u64>, small: RawValue<i16>, n: u64) {
    for _ in 0..n {
        counter.fetch_add(1);
        small.fetch_sub(3);
    }
}

#[test]
fn no_increment_of_any_process_is_lost() {
    common::run(|| async {
        let pool = pool(4).await;
        let (counter, small) = (RawValue::new(7u64).unwrap(), RawValue::new(0i16).unwrap());
        let calls = vec![(counter.clone(), small.clone(), 20_000); 8];
        pool.starmap(count, calls).await.unwrap();
        assert_eq!(counter.get(), 160_007);
        assert_eq!(small.get(), 0i16.wrapping_sub((3 * 160_000i64) as i16), "it wraps around");
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn integers_are_changed_as_a_whole() {
    let value = RawValue::new(-5i32).unwrap();
    assert_eq!(value.swap(6), -5);
    assert_eq!(value.compare_exchange(7, 8), Err(6));
    assert_eq!(value.compare_exchange(6, 8), Ok(6));
    assert_eq!(value.fetch_update(|n| n.checked_mul(2)), Ok(8));
    assert_eq!(value.fetch_update(|_| None), Err(16));
    assert_eq!((value.get(), format!("{value:?}")), (16, "RawValue(16)".to_owned()));
    let other = RawValue::new(point(3)).unwrap();
    other.set(point(4));
    assert_eq!(other.get(), point(4));
}
