//! Queues between processes.

mod common;
mod kit;

use std::task::Poll;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use kit::{Gate, pool};
use procpool::{
    GetError, JoinableQueue, PriorityQueue, Process, ProcessPool, PutErrorKind, Queue, SimpleQueue,
};
use serde::{Deserialize, Serialize};

procpool::test_hook!();

const LONG: Duration = Duration::from_secs(20);

#[procpool::task]
fn double_all(from: Queue<u64>, to: Queue<u64>) -> usize {
    let mut n = 0;
    while let Ok(x) = from.blocking_get() {
        to.blocking_put(2 * x).unwrap();
        n += 1;
    }
    n
}

#[procpool::task]
async fn double_all_async(from: Queue<u64>, to: Queue<u64>) -> usize {
    let mut n = 0;
    while let Ok(x) = from.get().await {
        to.put(2 * x).await.unwrap();
        n += 1;
    }
    n
}

#[test]
fn items_go_to_a_child_and_back_in_order() {
    common::run(|| async {
        for asynchronous in [false, true] {
            let (from, to) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
            let pool = pool(1).await;
            let (a, b) = (from.clone(), to.clone());
            let running = if asynchronous {
                pool.spawn(double_all_async(a, b))
            } else {
                pool.spawn(double_all(a, b))
            };
            for x in 0..1000 {
                from.put(x).await.unwrap();
            }
            for x in 0..1000 {
                assert_eq!(to.get().await.unwrap(), 2 * x);
            }
            // One at a time, too.
            for x in 0..100 {
                from.put(x).await.unwrap();
                assert_eq!(to.get_timeout(LONG).await.unwrap(), 2 * x);
            }
            from.close();
            assert_eq!(running.get().await.unwrap(), 1100);
            assert_eq!(to.try_get().await, Err(GetError::Empty));
            pool.shutdown().await.unwrap();
        }
    });
}

#[test]
fn within_one_process_it_is_a_queue_like_any() {
    common::run(|| async {
        let queue = Queue::bounded(6).unwrap();
        assert!(queue.is_empty().await && !queue.is_full().await);
        assert_eq!(queue.try_get().await, Err(GetError::Empty));
        for i in 0..6 {
            queue.put(i).await.unwrap();
        }
        assert_eq!(queue.len().await, 6);
        assert!(queue.is_full().await && !queue.is_empty().await);
        let refused = queue.try_put(9).await.unwrap_err();
        assert!(refused.is_full());
        assert_eq!(refused.into_inner(), 9);
        let late = queue.put_timeout(9, Duration::from_millis(5)).await.unwrap_err();
        assert!(late.is_full());
        // A place that becomes free goes to who waits for it.
        let putter = {
            let queue = queue.clone();
            tokio::spawn(async move { queue.put(6).await.unwrap() })
        };
        for i in 0..7 {
            assert_eq!(queue.get().await.unwrap(), i);
        }
        putter.await.unwrap();
        assert_eq!(queue.get_timeout(Duration::from_millis(5)).await, Err(GetError::Empty));
        queue.put(10).await.unwrap();
        queue.close();
        queue.close();
        assert!(queue.put(11).await.unwrap_err().is_closed());
        assert!(queue.try_put(11).await.unwrap_err().is_closed());
        assert_eq!(queue.get().await, Ok(10));
        assert_eq!(queue.get().await, Err(GetError::Closed));
        assert_eq!(queue.try_get().await, Err(GetError::Closed));
        assert!(queue.is_closed() && queue.is_empty().await);
    });
}

#[procpool::task]
fn consume(jobs: Queue<u64>, results: Queue<(u32, u64)>) {
    while let Ok(job) = jobs.blocking_get() {
        results.blocking_put((std::process::id(), job)).unwrap();
    }
}

#[procpool::task]
fn produce(to: Queue<(u32, u64)>, me: u32, n: u64) {
    for i in 0..n {
        to.blocking_put((me, i)).unwrap();
    }
}

#[test]
fn many_producers_and_consumers_lose_and_double_nothing() {
    common::run(|| async {
        let pool = pool(4).await;
        let jobs = Queue::unbounded().unwrap();
        let results = Queue::unbounded().unwrap();
        let consumers: Vec<_> =
            (0..4).map(|_| pool.spawn(consume(jobs.clone(), results.clone()))).collect();
        for i in 0..2000 {
            jobs.put(i).await.unwrap();
        }
        let mut seen: Vec<u64> = Vec::new();
        for _ in 0..2000 {
            seen.push(results.get().await.unwrap().1);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..2000).collect::<Vec<_>>());
        jobs.close();
        for consumer in consumers {
            consumer.get().await.unwrap();
        }
        let producers: Vec<_> =
            (0..4).map(|me| pool.spawn(produce(results.clone(), me, 3000))).collect();
        let mut next = [0; 4];
        for _ in 0..12_000 {
            let (me, i) = results.get().await.unwrap();
            assert_eq!(i, next[me as usize], "producer {me}");
            next[me as usize] += 1;
        }
        for producer in producers {
            producer.get().await.unwrap();
        }
        pool.shutdown().await.unwrap();
    });
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Parcel {
    name: String,
    bytes: Vec<u8>,
}

#[procpool::task]
fn echo(from: Queue<Vec<u8>>, to: Queue<Vec<u8>>) {
    while let Ok(bytes) = from.blocking_get() {
        to.blocking_put(bytes).unwrap();
    }
}

#[test]
fn items_of_any_size_pass() {
    common::run(|| async {
        let pool = pool(2).await;
        let (there, between, back) =
            (Queue::unbounded().unwrap(), Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let first = pool.spawn(echo(there.clone(), between.clone()));
        let second = pool.spawn(echo(between.clone(), back.clone()));
        for len in [0, 1, 16_383, 16_384, 300_000, 5_000_000, 20_000_000, 7] {
            let bytes: Vec<u8> = (0..len).map(|i: u32| (i % 251) as u8).collect();
            there.put(bytes.clone()).await.unwrap();
            assert!(back.get().await.unwrap() == bytes, "{len}");
        }
        there.close();
        first.get().await.unwrap();
        between.close();
        second.get().await.unwrap();
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn put_and_return(queue: Queue<Parcel>, n: u32) {
    for i in 0..n {
        let parcel = Parcel { name: format!("parcel {i}"), bytes: vec![i as u8; 70_000] };
        queue.blocking_put(parcel).unwrap();
    }
}

/// Python's join deadlocks on this: the child waits for somebody to read.
#[test]
fn a_producer_ends_before_anybody_reads() {
    common::run(|| async {
        let queue = Queue::unbounded().unwrap();
        let child = Process::spawn(put_and_return(queue.clone(), 40)).await.unwrap();
        child.join().await;
        assert_eq!(queue.len().await, 40);
        for i in 0..40 {
            let parcel = queue.get().await.unwrap();
            assert_eq!(
                (parcel.name.as_str(), parcel.bytes.len()),
                (&*format!("parcel {i}"), 70_000)
            );
        }
    });
}

#[procpool::task]
fn make() -> (String, Queue<u64>) {
    let queue = Queue::unbounded().unwrap();
    queue.blocking_put(1).unwrap();
    queue.blocking_put(2).unwrap();
    ("made".into(), queue)
}

#[procpool::task]
fn sum(queue: Queue<u64>) -> u64 {
    let mut sum = 0;
    while let Ok(x) = queue.blocking_try_get() {
        sum += x;
    }
    sum
}

#[test]
fn a_queue_outlives_the_process_that_made_it() {
    common::run(|| async {
        let mut child = Process::spawn(make()).await.unwrap();
        let (_, queue) = child.output().await.unwrap();
        child.join().await;
        queue.put(3).await.unwrap();
        let pool = pool(1).await;
        assert_eq!(pool.apply(sum, queue).await.unwrap(), 6);
        for _ in 0..50 {
            let (_, queue) = pool.run(make()).await.unwrap();
            assert_eq!(queue.try_get().await.unwrap(), 1);
            assert_eq!(pool.apply(sum, queue).await.unwrap(), 2);
        }
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn answer(requests: Queue<(u64, Queue<u64>)>) {
    while let Ok((x, reply)) = requests.blocking_get() {
        reply.blocking_put(x + 1).unwrap();
    }
}

#[procpool::task]
fn ask(requests: Queue<(u64, Queue<u64>)>, n: u64) -> u64 {
    let mut sum = 0;
    for x in 0..n {
        let reply = Queue::bounded(1).unwrap();
        requests.blocking_put((x, reply.clone())).unwrap();
        sum += reply.blocking_get().unwrap();
    }
    sum
}

#[test]
fn queues_travel_through_queues() {
    common::run(|| async {
        let pool = pool(3).await;
        let requests = Queue::unbounded().unwrap();
        let server = pool.spawn(answer(requests.clone()));
        let clients = [100, 50].map(|n| pool.spawn(ask(requests.clone(), n)));
        let mine = Queue::unbounded().unwrap();
        for x in 0..20 {
            requests.put((x, mine.clone())).await.unwrap();
        }
        for x in 0..20 {
            assert_eq!(mine.get().await.unwrap(), x + 1);
        }
        let sums = futures::future::join_all(clients.map(|c| c.get())).await;
        assert_eq!(sums.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [5050, 1275]);
        requests.close();
        server.get().await.unwrap();
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn work(jobs: JoinableQueue<Option<u64>>, done: Queue<u64>) {
    while let Some(job) = jobs.blocking_get().unwrap() {
        done.blocking_put(job).unwrap();
        jobs.task_done().unwrap();
    }
    jobs.task_done().unwrap();
    assert!(jobs.task_done().is_err());
}

#[test]
fn join_returns_when_all_is_done() {
    common::run(|| async {
        let pool = pool(4).await;
        let (jobs, done) = (JoinableQueue::unbounded().unwrap(), Queue::unbounded().unwrap());
        jobs.join().await;
        let workers: Vec<_> =
            (0..4).map(|_| pool.spawn(work(jobs.clone(), done.clone()))).collect();
        for i in 0..10 {
            jobs.put(Some(i)).await.unwrap();
        }
        jobs.join().await;
        assert_eq!(done.len().await, 10);
        for _ in 0..4 {
            jobs.put(None).await.unwrap();
        }
        jobs.join().await;
        for worker in workers {
            worker.get().await.unwrap();
        }
        // In one process, too.
        jobs.put(Some(1)).await.unwrap();
        assert_eq!(jobs.get().await.unwrap(), Some(1));
        assert!(tokio::time::timeout(Duration::from_millis(5), jobs.join()).await.is_err());
        jobs.task_done().unwrap();
        jobs.join().await;
        assert!(jobs.task_done().is_err());
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn drain(queue: PriorityQueue<String>) -> Vec<String> {
    std::iter::from_fn(|| queue.blocking_try_get().ok()).collect()
}

#[test]
fn the_most_urgent_comes_first() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue = PriorityQueue::unbounded().unwrap();
        for (item, priority) in [("c", 5), ("a", -3), ("d", 5), ("b", 0)] {
            queue.put(item.to_owned(), priority).await.unwrap();
        }
        assert_eq!(pool.apply(drain, queue.clone()).await.unwrap(), ["a", "b", "c", "d"]);
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn hold_one(queue: Queue<u64>, gate: String) -> u64 {
    let item = queue.blocking_get().unwrap();
    kit::stay(&gate, item);
    item
}

#[test]
fn what_a_dead_process_had_taken_comes_back_marked() {
    common::run(|| async {
        let queue = Queue::unbounded().unwrap();
        for i in 0..5 {
            queue.put(i).await.unwrap();
        }
        let gate = Gate::new("queue-redelivered");
        let child = Process::spawn(hold_one(queue.clone(), gate.path())).await.unwrap();
        gate.arrived(1).await;
        assert_eq!(queue.len().await, 4);
        child.kill();
        child.join().await;
        let first = queue.get_delivery().await.unwrap();
        assert_eq!((first.item, first.redelivered), (0, true));
        for i in 1..5 {
            let next = queue.get_delivery().await.unwrap();
            assert_eq!((next.item, next.redelivered), (i, false));
        }
        // One that ends in order is done with it.
        queue.put(7).await.unwrap();
        gate.open();
        let mut child = Process::spawn(hold_one(queue.clone(), gate.path())).await.unwrap();
        assert_eq!(child.output().await.unwrap(), 7);
        child.join().await;
        assert_eq!(queue.try_get().await, Err(GetError::Empty));
    });
}

/// Encodes only when asked to, and then not.
struct Stubborn;

impl Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not today"))
    }
}

#[test]
fn what_cannot_be_encoded_is_given_back() {
    common::run(|| async {
        for queue in [Queue::unbounded().unwrap(), Queue::bounded(1).unwrap()] {
            let error = queue.put(Stubborn).await.unwrap_err();
            assert!(error.to_string().contains("not today"), "{error}");
            let Stubborn = error.into_inner();
            assert!(queue.is_empty().await && !queue.is_full().await);
        }
    });
}

/// A text, or something that none can be decoded from.
struct Text(Option<String>);

impl Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(text) => serializer.serialize_str(text),
            None => serializer.serialize_u64(77),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Text(Some(text)))
    }
}

#[test]
fn what_is_no_such_value_costs_one_item() {
    common::run(|| async {
        let texts = Queue::unbounded().unwrap();
        texts.put(Text(None)).await.unwrap();
        texts.put(Text(Some("still here".into()))).await.unwrap();
        let error = texts.get().await.map(|_| ()).unwrap_err();
        assert!(matches!(error, GetError::Decode { .. }), "{error}");
        assert_eq!(texts.get().await.unwrap().0.unwrap(), "still here");
    });
}

#[test]
fn streams_and_sinks() {
    common::run(|| async {
        let queue = Queue::bounded(3).unwrap();
        let sending = {
            let mut sink = Box::pin(queue.clone().into_sink());
            let queue = queue.clone();
            tokio::spawn(async move {
                for i in 0..20 {
                    sink.send(i).await.unwrap();
                }
                queue.close();
            })
        };
        let got: Vec<i32> = queue.into_stream().map(Result::unwrap).collect().await;
        assert_eq!(got, (0..20).collect::<Vec<_>>());
        sending.await.unwrap();
    });
}

#[procpool::task]
fn put_some(queue: SimpleQueue<u8>) {
    queue.blocking_put(1).unwrap();
    assert!(!queue.blocking_is_empty());
}

#[test]
fn a_simple_queue_follows_put_and_get_across_processes() {
    common::run(|| async {
        let queue = SimpleQueue::new().unwrap();
        assert!(queue.is_empty().await);
        let child = Process::spawn(put_some(queue.clone())).await.unwrap();
        child.join().await;
        assert!(!queue.is_empty().await);
        assert_eq!(queue.get().await.unwrap(), 1);
        assert!(queue.is_empty().await);
        queue.close();
        queue.close();
        assert!(queue.put(1).await.unwrap_err().is_closed());
    });
}

#[procpool::task]
fn fill(queue: Queue<u64>, n: u64) -> (u64, bool) {
    for i in 0..n {
        queue.blocking_put(i).unwrap();
    }
    let full = queue.blocking_try_put(99).unwrap_err().is_full();
    (queue.blocking_len() as u64, full && queue.blocking_is_full())
}

#[test]
fn a_bounded_queue_stops_its_writers_in_other_processes() {
    common::run(|| async {
        let pool = pool(2).await;
        let queue = Queue::bounded(5).unwrap();
        assert_eq!(pool.run(fill(queue.clone(), 5)).await.unwrap(), (5, true));
        let blocked = pool.spawn(fill(queue.clone(), 12));
        for i in (0..5).chain(0..7) {
            assert_eq!(queue.get().await.unwrap(), i);
        }
        assert_eq!(blocked.get().await.unwrap(), (5, true));
        let bytes = Queue::with_bounds(1000, 100).unwrap();
        assert!(bytes.try_put(vec![1u8; 500]).await.is_ok(), "alone it gets in");
        assert!(bytes.try_put(vec![1u8; 1]).await.unwrap_err().is_full());
        assert_eq!(bytes.get().await.unwrap().len(), 500);
        bytes.try_put(vec![1u8; 60]).await.unwrap();
        assert!(bytes.try_put(vec![1u8; 60]).await.unwrap_err().is_full());
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn give_up(queue: Queue<u64>) {
    for _ in 0..100 {
        assert_eq!(queue.blocking_get_timeout(Duration::from_micros(200)), Err(GetError::Empty));
    }
}

#[test]
fn who_gives_up_takes_nothing_along() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue = Queue::unbounded().unwrap();
        pool.run(give_up(queue.clone())).await.unwrap();
        for i in 0..100 {
            queue.put(i).await.unwrap();
        }
        for i in 0..100 {
            assert_eq!(queue.get_timeout(LONG).await.unwrap(), i);
        }
        // Futures dropped at any time.
        let mut next = 0;
        for i in 0..500 {
            let get = queue.get();
            tokio::pin!(get);
            if let Poll::Ready(item) = futures::poll!(get.as_mut()) {
                assert_eq!(item.unwrap(), next);
                next += 1;
            }
            queue.put(i).await.unwrap();
        }
        for i in next..500 {
            assert_eq!(queue.get_timeout(LONG).await.unwrap(), i);
        }
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
async fn too_much(queue: Queue<Vec<u8>>, words: Queue<String>) {
    let error = queue.put(vec![1; 100_000]).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("100000 bytes") && text.contains("65536"), "{text}");
    assert_eq!(error.into_inner(), vec![1; 100_000], "it comes back");
    let error = words.blocking_try_put("x".repeat(70_000)).unwrap_err();
    assert!(matches!(error.kind(), PutErrorKind::TooLarge { len: 70_000.., max: 65_536 }));
    assert_eq!(error.into_inner().len(), 70_000);
    queue.put(vec![2; 65_536]).await.unwrap();
}

/// Whoever puts too much is told, and lives.
#[test]
fn an_item_that_is_too_large_for_a_worker_comes_back_to_it() {
    common::run(|| async {
        let pool = kit::builder(1).max_message_bytes(65_536).build().await.unwrap();
        let (queue, words) = (Queue::unbounded().unwrap(), Queue::bounded(1).unwrap());
        pool.run(too_much(queue.clone(), words.clone())).await.unwrap();
        assert_eq!(queue.get().await.unwrap(), vec![2; 65_536]);
        assert!(words.try_put("there is room".into()).await.is_ok());
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
async fn nested(queue: Queue<u64>, depth: u32) -> (u64, Queue<u64>) {
    let mine = Queue::unbounded().unwrap();
    let pool = ProcessPool::builder().workers(1).build().await.unwrap();
    let sum = if depth > 0 {
        let (sum, theirs) = pool.run(deeper(queue, depth - 1)).await.unwrap();
        // What was made further down, by a process that ends before this one.
        pool.shutdown().await.unwrap();
        mine.put(theirs.get().await.unwrap() + 1).await.unwrap();
        sum
    } else {
        mine.put(pool.run(pair(mine.clone())).await.unwrap()).await.unwrap();
        let sum = pool.apply(sum, queue).await.unwrap();
        pool.shutdown().await.unwrap();
        assert_eq!(mine.get().await, Ok(1));
        sum
    };
    (sum, mine)
}

/// In the body of a task its own name is the plain function.
fn deeper(queue: Queue<u64>, depth: u32) -> procpool::Call<(u64, Queue<u64>), procpool::Async> {
    nested(queue, depth)
}

#[procpool::task]
fn pair(queue: Queue<u64>) -> u64 {
    queue.blocking_put(1).unwrap();
    100
}

#[test]
fn processes_of_any_depth_use_the_same_queue() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue = Queue::unbounded().unwrap();
        for x in 1..=4 {
            queue.put(x).await.unwrap();
        }
        // On Windows children of children are as far as it goes.
        let depth = if cfg!(windows) { 0 } else { 2 };
        let (sum, theirs) = pool.run(nested(queue.clone(), depth)).await.unwrap();
        assert_eq!(sum, 10);
        assert_eq!(theirs.get().await, Ok(100 + u64::from(depth)));
        pool.shutdown().await.unwrap();
        assert!(queue.is_empty().await);
    });
}

#[procpool::task]
async fn lend_to_a_child(queue: Queue<u64>, gate: String) {
    let _child = Process::spawn(hold_one(queue, gate)).await.unwrap();
    std::future::pending::<()>().await;
}

/// The whole family is killed, and the item that the youngest had taken goes back.
#[test]
fn what_a_killed_grandchild_had_taken_comes_back() {
    common::run(|| async {
        let queue = Queue::unbounded().unwrap();
        for i in 0..3 {
            queue.put(i).await.unwrap();
        }
        let gate = Gate::new("queue-grandchild");
        let child = Process::spawn(lend_to_a_child(queue.clone(), gate.path())).await.unwrap();
        gate.arrived(1).await;
        child.kill();
        child.join().await;
        let first = queue.get_delivery().await.unwrap();
        assert_eq!((first.item, first.redelivered), (0, true));
        assert_eq!(queue.get().await, Ok(1));
    });
}

#[test]
fn who_stops_waiting_for_a_place_that_was_refused_harms_nobody() {
    common::run(|| async {
        let queue = Queue::bounded(1).unwrap();
        queue.put(1).await.unwrap();
        for close in [false, true] {
            {
                let put = queue.put(2);
                tokio::pin!(put);
                assert!(futures::poll!(put.as_mut()).is_pending());
                if close {
                    queue.close();
                }
            }
            assert_eq!(queue.len().await, 1);
        }
        assert_eq!(queue.get().await, Ok(1));
        assert_eq!(queue.get().await, Err(GetError::Closed));
        let pool = pool(1).await;
        for _ in 0..30 {
            let queue = Queue::bounded(1).unwrap();
            queue.put(1).await.unwrap();
            let call = pool.spawn(put_in_vain(queue.clone()));
            tokio::task::yield_now().await;
            queue.close();
            call.get().await.unwrap();
        }
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn put_in_vain(queue: Queue<u64>) {
    for micros in 0..50 {
        let limit = Duration::from_micros(micros);
        assert!(queue.blocking_put_timeout(2, limit).is_err());
    }
}

#[test]
fn an_item_that_was_only_seen_is_not_forgotten_at_the_end() {
    common::run(|| async {
        let mut queue = Queue::unbounded().unwrap();
        queue.put(1).await.unwrap();
        queue.close();
        for _ in 0..3 {
            assert_eq!(procpool::select([&mut queue]).await, [0]);
        }
        assert_eq!(queue.len().await, 1);
        assert_eq!(queue.get().await, Ok(1));
        assert_eq!(queue.get().await, Err(GetError::Closed));
    });
}

#[procpool::task]
fn put_a_queue(into: Queue<Queue<u64>>) {
    let queue = Queue::unbounded().unwrap();
    queue.blocking_put(7).unwrap();
    into.blocking_put(queue).unwrap();
}

#[test]
fn a_queue_in_an_item_that_was_only_seen_lives_on() {
    common::run(|| async {
        let mut queues = Queue::unbounded().unwrap();
        let child = Process::spawn(put_a_queue(queues.clone())).await.unwrap();
        child.join().await;
        for _ in 0..3 {
            assert_eq!(procpool::select([&mut queues]).await, [0]);
        }
        assert_eq!(queues.get().await.unwrap().get().await, Ok(7));
    });
}

#[procpool::task]
fn take_some_and_stay(queue: Queue<u64>, n: u64, gate: String) {
    for i in 0..n {
        assert_eq!(queue.blocking_get(), Ok(i));
    }
    kit::stay(&gate, "has some");
}

/// What came in advance to a consumer that was quick goes to others when it is so no more.
#[test]
fn a_consumer_that_computes_withholds_nothing() {
    common::run(|| async {
        let queue = Queue::unbounded().unwrap();
        for i in 0..3000 {
            queue.put(i).await.unwrap();
        }
        let gate = Gate::new("queue-withholds");
        let pool = pool(1).await;
        let call = pool.spawn(take_some_and_stay(queue.clone(), 1000, gate.path()));
        gate.arrived(1).await;
        let mut rest = Vec::new();
        for _ in 1000..3000 {
            rest.push(queue.get_timeout(LONG).await.unwrap());
        }
        rest.sort_unstable();
        assert_eq!(rest, (1000..3000).collect::<Vec<_>>());
        // Nor what is put from now on.
        for i in 0..500 {
            queue.put(i).await.unwrap();
            assert_eq!(queue.get_timeout(LONG).await, Ok(i));
        }
        gate.open();
        call.get().await.unwrap();
        pool.shutdown().await.unwrap();
    });
}
