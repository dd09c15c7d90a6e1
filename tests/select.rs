//! Waiting for several things at once.

mod common;
mod kit;

use std::time::Duration;

use kit::{Gate, pool};
use procpool::{
    Connection, GetError, PipeReceiver, PipeSender, Process, Queue, RecvError, Source, one_way,
    pipe, select, select_all,
};

procpool::test_hook!();

#[procpool::task]
fn count_to(mut to: PipeSender<u32>, n: u32) {
    (0..n).for_each(|i| to.blocking_send(i).unwrap());
}

/// As Python's own test of `wait`: four writers, until each has ended.
#[test]
fn all_messages_of_four_pipes_until_their_ends() {
    common::run(|| async {
        let pool = pool(4).await;
        let mut receivers: Vec<Option<PipeReceiver<u32>>> = Vec::new();
        let mut calls = Vec::new();
        for _ in 0..4 {
            let (sender, receiver) = one_way().unwrap();
            calls.push(pool.spawn(count_to(sender, 10)));
            receivers.push(Some(receiver));
        }
        let mut got = [0; 4];
        while receivers.iter().any(Option::is_some) {
            let places: Vec<usize> = (0..4).filter(|place| receivers[*place].is_some()).collect();
            let sources = receivers.iter_mut().flatten().map(|r| r as &mut dyn Source);
            for i in select_all(sources).await {
                let place = places[i];
                match receivers[place].as_mut().unwrap().recv().await {
                    Ok(value) => {
                        assert_eq!(value, got[place]);
                        got[place] += 1;
                    }
                    Err(RecvError::Closed) => receivers[place] = None,
                    Err(e) => panic!("{e}"),
                }
            }
        }
        assert_eq!(got, [10; 4]);
        for call in calls {
            call.get().await.unwrap();
        }
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn wait_at(gate: String) {
    kit::stay(&gate, "here");
}

#[test]
fn the_ready_ones_among_all_kinds() {
    common::run(|| async {
        let gate = Gate::new("select");
        let mut process = Process::spawn(wait_at(gate.path())).await.unwrap();
        let mut queue: Queue<u8> = Queue::unbounded().unwrap();
        let (mut here, mut there): (Connection<u8, u8>, _) = pipe().unwrap();
        let none = select([&mut here, &mut queue, &mut process]).timeout(Duration::ZERO).await;
        assert!(none.is_empty());
        let none =
            select([&mut here, &mut queue, &mut process]).timeout(Duration::from_millis(2)).await;
        assert!(none.is_empty());
        queue.put(1).await.unwrap();
        assert_eq!(select([&mut here, &mut queue, &mut process]).await, [1]);
        there.send(2).await.unwrap();
        assert_eq!(select([&mut here, &mut queue, &mut process]).await, [0, 1]);
        // Nothing was taken.
        assert_eq!(queue.try_get().await, Ok(1));
        assert_eq!(here.recv().await.unwrap(), 2);
        gate.open();
        assert_eq!(select([&mut here, &mut queue, &mut process]).await, [2]);
        drop(there);
        queue.close();
        let all = select([&mut here, &mut queue, &mut process]).await;
        assert!(all.contains(&2));
        process.join().await;
        assert_eq!(select([&mut here, &mut queue]).await, [0, 1]);
        assert_eq!(queue.get().await, Err(GetError::Closed));
        assert!(matches!(here.recv().await, Err(RecvError::Closed)));
    });
}

#[procpool::task]
fn first_of(mut queue: Queue<u8>, mut pipe: PipeReceiver<u8>, ready: Queue<u8>) -> Vec<u8> {
    let mut got = Vec::new();
    ready.blocking_put(0).unwrap();
    while got.len() < 4 {
        for place in select([&mut queue, &mut pipe]).blocking().unwrap() {
            if place == 0 {
                got.extend(queue.blocking_try_get());
            } else {
                got.push(pipe.blocking_recv().unwrap());
            }
        }
        ready.blocking_put(got.len() as u8).unwrap();
    }
    got
}

#[test]
fn in_a_blocking_task_of_another_process() {
    common::run(|| async {
        let pool = pool(1).await;
        let (queue, ready) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let (mut sender, receiver) = one_way().unwrap();
        let call = pool.spawn(first_of(queue.clone(), receiver, ready.clone()));
        for n in 0..4 {
            assert_eq!(ready.get().await, Ok(n));
            if n % 2 == 0 {
                queue.put(n).await.unwrap();
            } else {
                sender.send(n).await.unwrap();
            }
        }
        assert_eq!(call.get().await.unwrap(), [0, 1, 2, 3]);
        pool.shutdown().await.unwrap();
    });
}

/// What was only looked at is there for others.
#[test]
fn an_item_that_was_seen_goes_to_whoever_takes_it() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue: Queue<u8> = Queue::unbounded().unwrap();
        for i in 0..20 {
            let call = pool.spawn(only_look(queue.clone()));
            queue.put(i).await.unwrap();
            assert_eq!(call.get().await.unwrap(), 1);
            assert_eq!(queue.get().await, Ok(i));
        }
        pool.shutdown().await.unwrap();
    });
}

/// What there is without waiting for it.
#[procpool::task]
async fn take_what_is_seen_at_once(mut queue: Queue<u8>, limit: Duration) -> Vec<u8> {
    let mut got = Vec::new();
    while select([&mut queue]).timeout(limit).await == [0] {
        got.push(queue.try_get().await.unwrap());
    }
    got
}

#[procpool::task]
fn sees_at_once(mut queues: Vec<Queue<u8>>) -> Vec<usize> {
    let sources = queues.iter_mut().map(|queue| queue as &mut dyn Source);
    select_all(sources).timeout(Duration::ZERO).blocking().unwrap()
}

/// However short the time is, in a process whose queues are elsewhere too.
#[test]
fn what_is_in_a_queue_is_seen_without_waiting() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue: Queue<u8> = Queue::unbounded().unwrap();
        for limit in [Duration::ZERO, Duration::from_nanos(1)] {
            for i in 0..5 {
                queue.put(i).await.unwrap();
            }
            let call = take_what_is_seen_at_once(queue.clone(), limit);
            assert_eq!(pool.run(call).await.unwrap(), [0, 1, 2, 3, 4], "in {limit:?}");
        }
        let others: Vec<Queue<u8>> = (0..3).map(|_| Queue::unbounded().unwrap()).collect();
        assert!(pool.apply(sees_at_once, others.clone()).await.unwrap().is_empty());
        others[1].put(7).await.unwrap();
        others[2].close();
        assert_eq!(pool.apply(sees_at_once, others.clone()).await.unwrap(), [1, 2]);
        assert_eq!(others[1].get().await, Ok(7));
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn only_look(mut queue: Queue<u8>) -> usize {
    select([&mut queue]).blocking().unwrap().len()
}

#[procpool::task]
async fn take_all(mut queue: Queue<u8>, limit: Option<Duration>) -> Vec<u8> {
    let mut got = Vec::new();
    loop {
        let wait = select([&mut queue]);
        let seen = match limit {
            None => wait.await,
            Some(limit) => wait.timeout(limit).await,
        };
        match queue.try_get().await {
            Ok(item) => got.push(item),
            Err(e) => {
                assert_eq!((e, seen), (GetError::Closed, vec![0]));
                return got;
            }
        }
    }
}

/// Though a worker has not said that it is done with what it took last.
#[test]
fn a_closed_queue_is_ready_after_its_last_item() {
    common::run(|| async {
        let pool = pool(1).await;
        for limit in [None, Some(Duration::ZERO), Some(Duration::from_secs(60))] {
            let queue: Queue<u8> = Queue::unbounded().unwrap();
            for i in 0..3 {
                queue.put(i).await.unwrap();
            }
            queue.close();
            assert_eq!(pool.run(take_all(queue, limit)).await.unwrap(), [0, 1, 2], "{limit:?}");
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_task_that_never_has_to_wait_lets_others_run() {
    for limit in [None, Some(Duration::ZERO)] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut sender, mut receiver) = one_way::<u8>().unwrap();
            if limit.is_none() {
                sender.send(1).await.unwrap();
            }
            // It runs when this task gives up its turn.
            let other = tokio::spawn(async {});
            let mut waits = 0;
            while !other.is_finished() {
                let wait = select([&mut receiver]);
                match limit {
                    None => assert_eq!(wait.await, [0]),
                    Some(limit) => assert!(wait.timeout(limit).await.is_empty()),
                }
                waits += 1;
                assert!(waits < 10_000, "no other task had a turn");
            }
        });
    }
}
