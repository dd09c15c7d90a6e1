//! What Python's queues promise, where `queue.rs` does not show it by the way.

mod common;
mod kit;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use kit::{Gate, pool};
use procpool::{
    GetError, JoinableQueue, PriorityQueue, Process, PutError, PutErrorKind, Queue, SimpleQueue,
};

procpool::test_hook!();

/// Times that come to an end whatever the queue does.
const SHORT: [Duration; 2] = [Duration::ZERO, Duration::from_millis(5)];
const LONG: Duration = Duration::from_secs(20);

#[track_caller]
fn is_full(refused: Result<(), PutError<u64>>) {
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), &PutErrorKind::Full);
    assert_eq!(refused.into_inner(), 99);
}

/// Fills a queue for six, and tries to put a seventh in every way.
#[procpool::task]
fn overfill(queue: Queue<u64>, joinable: JoinableQueue<u64>, priority: PriorityQueue<u64>) {
    for i in 0..6 {
        assert!(!queue.blocking_is_full() && !joinable.blocking_is_full());
        queue.blocking_put(i).unwrap();
        joinable.blocking_try_put(i).unwrap();
        priority.blocking_put(i, 0).unwrap();
    }
    assert!(queue.blocking_is_full() && joinable.blocking_is_full());
    assert!(priority.blocking_is_full() && !queue.blocking_is_empty());
    is_full(queue.blocking_try_put(99));
    is_full(joinable.blocking_try_put(99));
    is_full(priority.blocking_try_put(99, 0));
    for limit in SHORT {
        is_full(queue.blocking_put_timeout(99, limit));
        is_full(joinable.blocking_put_timeout(99, limit));
        is_full(priority.blocking_put_timeout(99, 0, limit));
    }
}

#[procpool::task]
async fn overfill_async(queue: Queue<u64>, priority: PriorityQueue<u64>) {
    is_full(queue.try_put(99).await);
    is_full(priority.try_put(99, 0).await);
    for limit in SHORT {
        is_full(queue.put_timeout(99, limit).await);
        is_full(priority.put_timeout(99, 0, limit).await);
    }
}

#[test]
fn a_full_queue_gives_back_what_is_put_at_once_or_in_time() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue = Queue::bounded(6).unwrap();
        let joinable = JoinableQueue::bounded(6).unwrap();
        let priority = PriorityQueue::bounded(6).unwrap();
        let call = overfill(queue.clone(), joinable.clone(), priority.clone());
        pool.run(call).await.unwrap();
        pool.run(overfill_async(queue.clone(), priority.clone())).await.unwrap();
        is_full(queue.try_put(99).await);
        for limit in SHORT {
            is_full(queue.put_timeout(99, limit).await);
        }
        for i in 0..6 {
            assert_eq!(queue.get().await.unwrap(), i);
            assert!(!queue.is_full().await);
            queue.put_timeout(i, LONG).await.unwrap();
        }
        pool.shutdown().await.unwrap();
    });
}

/// Gets what there is, and then nothing, in every way.
#[procpool::task]
fn get_all(queue: Queue<u64>) {
    assert_eq!(queue.blocking_len(), 5);
    assert_eq!(queue.blocking_get(), Ok(0));
    assert_eq!(queue.blocking_try_get(), Ok(1));
    assert_eq!(queue.blocking_get_timeout(LONG), Ok(2));
    // What is there is got, however little time there is.
    assert_eq!(queue.blocking_get_timeout(Duration::ZERO), Ok(3));
    assert_eq!(queue.blocking_get_timeout(Duration::MAX), Ok(4));
    assert!(queue.blocking_is_empty());
    assert_eq!(queue.blocking_try_get(), Err(GetError::Empty));
    for limit in SHORT {
        assert_eq!(queue.blocking_get_timeout(limit), Err(GetError::Empty));
    }
}

#[procpool::task]
async fn get_all_async(queue: Queue<u64>) {
    assert_eq!(queue.len().await, 5);
    assert_eq!(queue.get().await, Ok(0));
    assert_eq!(queue.try_get().await, Ok(1));
    assert_eq!(queue.get_timeout(LONG).await, Ok(2));
    assert_eq!(queue.get_timeout(Duration::ZERO).await, Ok(3));
    assert_eq!(queue.get_timeout(Duration::MAX).await, Ok(4));
    assert!(queue.is_empty().await);
    assert_eq!(queue.try_get().await, Err(GetError::Empty));
    for limit in SHORT {
        assert_eq!(queue.get_timeout(limit).await, Err(GetError::Empty));
    }
}

#[test]
fn an_empty_queue_says_so_at_once_or_in_time() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue = Queue::unbounded().unwrap();
        for round in 0..3 {
            for i in 0..5 {
                queue.put(i).await.unwrap();
            }
            match round {
                0 => pool.apply(get_all, queue.clone()).await.unwrap(),
                1 => pool.apply(get_all_async, queue.clone()).await.unwrap(),
                _ => get_all_async(queue.clone()).run_here().await,
            }
            assert!(queue.is_empty().await);
        }
        pool.shutdown().await.unwrap();
    });
}

/// There is always room: so a place is got, however little time there is.
#[procpool::task]
fn put_in_no_time(queue: Queue<u64>) {
    for i in 0..100 {
        queue.blocking_put_timeout(i, Duration::ZERO).unwrap();
    }
}

#[procpool::task]
async fn put_in_no_time_async(queue: Queue<u64>) {
    for i in 0..100 {
        queue.put_timeout(i, Duration::ZERO).await.unwrap();
    }
}

#[test]
fn where_there_is_room_no_time_is_enough() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue = Queue::bounded(300).unwrap();
        pool.apply(put_in_no_time, queue.clone()).await.unwrap();
        pool.apply(put_in_no_time_async, queue.clone()).await.unwrap();
        put_in_no_time_async(queue.clone()).run_here().await;
        assert_eq!(queue.len().await, 300);
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn put_and_count(queue: Queue<u64>) -> usize {
    queue.blocking_put(1).unwrap();
    queue.blocking_len()
}

#[test]
fn the_length_follows_put_and_get() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue = Queue::unbounded().unwrap();
        assert_eq!(queue.len().await, 0);
        assert_eq!(pool.apply(put_and_count, queue.clone()).await.unwrap(), 1);
        assert_eq!(pool.apply(put_and_count, queue.clone()).await.unwrap(), 2);
        assert_eq!(queue.len().await, 2);
        queue.get().await.unwrap();
        assert_eq!(queue.len().await, 1);
        queue.get().await.unwrap();
        assert_eq!(queue.len().await, 0);
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn use_closed(closed: Queue<u64>, left: Queue<u64>) {
    let refused = closed.blocking_put(5).unwrap_err();
    assert!(refused.is_closed() && refused.into_inner() == 5);
    assert!(closed.blocking_try_put(5).unwrap_err().is_closed());
    assert!(closed.blocking_put_timeout(5, LONG).unwrap_err().is_closed());
    for nothing in
        [closed.blocking_get(), closed.blocking_try_get(), closed.blocking_get_timeout(LONG)]
    {
        assert_eq!(nothing, Err(GetError::Closed));
    }
    assert!(closed.is_closed() && closed.blocking_is_empty());
    assert_eq!(left.blocking_get(), Ok(1));
    assert_eq!(left.blocking_get(), Err(GetError::Closed));
    left.close();
}

#[test]
fn a_closed_queue_takes_nothing_and_gives_what_is_left_everywhere() {
    common::run(|| async {
        let pool = pool(1).await;
        let (closed, left) = (Queue::unbounded().unwrap(), Queue::bounded(5).unwrap());
        left.put(1).await.unwrap();
        closed.close();
        left.close();
        pool.run(use_closed(closed.clone(), left.clone())).await.unwrap();
        assert_eq!(left.get().await, Err(GetError::Closed));
        assert!(left.put(1).await.unwrap_err().is_closed());
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn close_it(queue: Queue<u64>) {
    queue.close();
    assert!(queue.is_closed());
}

#[test]
fn a_close_wakes_all_who_wait() {
    common::run(|| async {
        let pool = pool(2).await;
        let (empty, full) = (Queue::<u64>::unbounded().unwrap(), Queue::bounded(1).unwrap());
        full.put(0).await.unwrap();
        let gate = Gate::new("queue-close");
        let waiting = pool.spawn(wait_for_the_end(gate.path(), empty.clone(), full.clone()));
        gate.arrived(2).await;
        let here = tokio::join!(empty.get(), full.put(1), async {
            pool.apply(close_it, empty.clone()).await.unwrap();
            pool.apply(close_it, full.clone()).await.unwrap();
        });
        assert_eq!(here.0, Err(GetError::Closed));
        assert!(here.1.unwrap_err().is_closed());
        waiting.get().await.unwrap();
        assert_eq!(full.get().await, Ok(0));
        assert_eq!(full.get().await, Err(GetError::Closed));
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn wait_for_the_end(gate: String, empty: Queue<u64>, full: Queue<u64>) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            kit::note(&gate, "get");
            assert_eq!(empty.blocking_get(), Err(GetError::Closed));
        });
        scope.spawn(|| {
            kit::note(&gate, "put");
            assert!(full.blocking_put(1).unwrap_err().is_closed());
        });
    });
}

/// Puts, and tells another process so, past everything of ours.
#[procpool::task]
fn put_and_tell(queue: Queue<u64>, port: u16, n: u64) {
    let mut to = TcpStream::connect(("127.0.0.1", port)).unwrap();
    to.set_nodelay(true).unwrap();
    for i in 0..n {
        queue.blocking_put(i).unwrap();
        to.write_all(&[0]).unwrap();
        to.read_exact(&mut [0]).unwrap();
    }
}

#[procpool::task]
fn look_when_told(queue: Queue<u64>, told: Queue<u16>, n: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    told.blocking_put(listener.local_addr().unwrap().port()).unwrap();
    let (mut from, _) = listener.accept().unwrap();
    from.set_nodelay(true).unwrap();
    for i in 0..n {
        from.read_exact(&mut [0]).unwrap();
        if i % 2 == 0 {
            assert!(!queue.blocking_is_empty(), "{i} was put");
        }
        assert_eq!(queue.blocking_try_get(), Ok(i), "{i} was put");
        from.write_all(&[0]).unwrap();
    }
}

/// Python's `empty` may be true for an instant after a put.
#[test]
fn what_was_put_is_seen_at_once_by_all() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue = Queue::unbounded().unwrap();
        for i in 1..=200 {
            pool.apply(put_and_count, queue.clone()).await.unwrap();
            assert!(!queue.is_empty().await);
            assert_eq!(queue.len().await, i);
        }
        pool.shutdown().await.unwrap();
        // Whichever of the two was started first.
        for putter_first in [false, true] {
            let (queue, told) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
            let (ports, n) = (Queue::unbounded().unwrap(), 300);
            let first = if putter_first {
                Some(Process::spawn(put_when_told(queue.clone(), ports.clone(), n)).await.unwrap())
            } else {
                None
            };
            let call = look_when_told(queue.clone(), told.clone(), n);
            let mut looker = Process::spawn(call).await.unwrap();
            let port = told.get().await.unwrap();
            ports.put(port).await.unwrap();
            let mut putter = match first {
                Some(first) => first,
                None => Process::spawn(put_when_told(queue, ports, n)).await.unwrap(),
            };
            looker.output().await.unwrap();
            putter.output().await.unwrap();
        }
    });
}

#[procpool::task]
fn put_when_told(queue: Queue<u64>, ports: Queue<u16>, n: u64) {
    let port = ports.blocking_get().unwrap();
    put_and_tell(queue, port, n).run_here();
}

#[procpool::task]
fn count_done(jobs: JoinableQueue<u64>, n: u64) {
    for _ in 0..n {
        jobs.blocking_get().unwrap();
    }
    for _ in 0..n {
        jobs.task_done().unwrap();
    }
    assert!(jobs.task_done().is_err(), "once too often");
    assert!(jobs.clone().task_done().is_err(), "another handle has taken nothing");
}

#[test]
fn task_done_is_for_what_was_taken_and_join_for_all() {
    common::run(|| async {
        let pool = pool(2).await;
        let jobs = JoinableQueue::bounded(20).unwrap();
        assert!(jobs.task_done().is_err());
        for i in 0..20 {
            jobs.put(i).await.unwrap();
        }
        // A limit that passes changes nothing.
        let waiting = jobs.clone();
        let over =
            tokio::task::spawn_blocking(move || waiting.blocking_join_timeout(SHORT[1])).await;
        assert!(!over.unwrap());
        let join = jobs.join();
        tokio::pin!(join);
        assert!(futures::poll!(join.as_mut()).is_pending());
        pool.run(count_done(jobs.clone(), 19)).await.unwrap();
        assert!(futures::poll!(join.as_mut()).is_pending(), "one is left");
        pool.run(count_done(jobs.clone(), 1)).await.unwrap();
        join.await;
        jobs.join().await;
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn simple_closed(queue: SimpleQueue<u64>) {
    assert!(queue.is_closed() || queue.blocking_put(1).unwrap_err().is_closed());
    assert_eq!(queue.blocking_get(), Err(GetError::Closed));
}

#[test]
fn a_closed_simple_queue_is_closed_at_both_ends() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue = SimpleQueue::new().unwrap();
        queue.close();
        queue.close();
        assert!(queue.is_closed() && queue.is_empty().await);
        assert_eq!(queue.get().await, Err(GetError::Closed));
        pool.apply(simple_closed, queue).await.unwrap();
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn put_for_ever(queue: Queue<(u32, u64)>, me: u32) {
    for i in 0.. {
        if queue.blocking_put((me, i)).is_err() {
            return;
        }
    }
}

#[procpool::task]
fn get_for_ever(queue: Queue<(u32, u64)>, got: Queue<(u32, u64)>) {
    while let Ok(item) = queue.blocking_get() {
        got.blocking_put(item).unwrap();
    }
}

/// Python warns that a process that is killed in a put or get may spoil the queue.
#[test]
fn a_process_killed_in_put_or_get_spoils_nothing() {
    common::run(|| async {
        for bounded in [true, false] {
            let queue = if bounded { Queue::bounded(3) } else { Queue::unbounded() }.unwrap();
            let got = Queue::unbounded().unwrap();
            for round in 0..4 {
                let putter = Process::spawn(put_for_ever(queue.clone(), round)).await.unwrap();
                let getter =
                    Process::spawn(get_for_ever(queue.clone(), got.clone())).await.unwrap();
                // Some have passed: both are in the middle of it.
                for _ in 0..20 {
                    got.get_timeout(LONG).await.unwrap();
                }
                getter.kill();
                getter.join().await;
                putter.kill();
                putter.join().await;
            }
            // What is left is whole, and once more in the order of each producer. What the
            // getters had taken when they died comes first, marked.
            queue.close();
            let mut last = [None; 4];
            loop {
                match queue.get_delivery().await {
                    Ok(delivery) => {
                        let (me, i) = delivery.item;
                        let last = &mut last[me as usize];
                        assert!(*last < Some(i), "{me} put {i} after {last:?}");
                        *last = Some(i);
                    }
                    Err(GetError::Closed) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
}

#[procpool::task]
fn get_one(queue: Queue<u32>) -> Option<u32> {
    queue.blocking_get().ok()
}

/// Has one, says so, and is at it for as long as it is let.
#[procpool::task]
async fn get_one_and_stay(queue: Queue<u32>, has: Queue<u32>) {
    has.put(queue.get().await.unwrap()).await.unwrap();
    std::future::pending::<()>().await;
}

/// A blocking call that is cancelled may go on for a while, and get what is put in that time.
#[test]
fn what_a_cancelled_call_takes_comes_back() {
    common::run(|| async {
        // Long enough to get something after the end was told.
        let pool = kit::builder(2).cancel_grace(LONG).build().await.unwrap();
        let queue = Queue::unbounded().unwrap();
        let call = pool.run(get_one(queue.clone())).timeout(Duration::from_millis(30));
        assert!(call.await.unwrap_err().is_timeout());
        queue.put(7).await.unwrap();
        let delivery = tokio::time::timeout(LONG, queue.get_delivery()).await.unwrap().unwrap();
        assert_eq!(delivery.item, 7);

        let has = Queue::unbounded().unwrap();
        let call = pool.spawn(get_one_and_stay(queue.clone(), has.clone()));
        queue.put(8).await.unwrap();
        assert_eq!(has.get().await, Ok(8));
        call.abort();
        let delivery = tokio::time::timeout(LONG, queue.get_delivery()).await.unwrap().unwrap();
        assert_eq!((delivery.item, delivery.redelivered), (8, true));
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn put_five(queue: Queue<u32>) {
    (1..=5).for_each(|n| queue.blocking_put(n).unwrap());
}

#[test]
fn a_full_queue_has_all_its_items() {
    common::run(|| async {
        let pool = kit::pool(1).await;
        for _ in 0..100 {
            let queue = Queue::bounded(5).unwrap();
            let call = pool.spawn(put_five(queue.clone()));
            while !queue.is_full().await {
                tokio::task::yield_now().await;
            }
            assert_eq!(queue.len().await, 5);
            call.get().await.unwrap();
        }
        pool.shutdown().await.unwrap();
    });
}
