//! Queues under stress: many processes and threads, kills, dropped futures, handles in odd places.

mod common;
mod kit;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use kit::{Gate, pool};
use procpool::{
    GetError, JoinableQueue, PipeReceiver, PipeSender, PriorityQueue, Process, Queue, one_way,
};
use serde::{Deserialize, Serialize};

procpool::test_hook!();

const LONG: Duration = Duration::from_secs(20);

#[procpool::task]
fn echo_in_threads(pairs: Vec<(Queue<u64>, Queue<u64>)>) {
    std::thread::scope(|scope| {
        for (from, to) in &pairs {
            scope.spawn(move || {
                while let Ok(x) = from.blocking_get() {
                    to.blocking_put(x + 1).unwrap();
                }
            });
        }
    });
}

/// One thread reads for all that wait; whoever stops has to leave that to another.
#[test]
fn many_threads_of_one_process_wait_at_once() {
    common::run(|| async {
        let pool = pool(1).await;
        let pairs: Vec<(Queue<u64>, Queue<u64>)> =
            (0..6).map(|_| (Queue::unbounded().unwrap(), Queue::unbounded().unwrap())).collect();
        let running = pool.spawn(echo_in_threads(pairs.clone()));
        for i in 0..3000u64 {
            // Now one alone, now two or three that are woken together.
            let woken = 1 + (i % 3) as usize;
            for k in 0..woken {
                pairs[(i as usize + k) % 6].0.put(i).await.unwrap();
            }
            for k in 0..woken {
                let got = pairs[(i as usize + k) % 6].1.get_timeout(LONG).await;
                assert_eq!(got, Ok(i + 1), "thread {k} of {woken}");
            }
        }
        for (from, _) in &pairs {
            from.close();
        }
        running.get().await.unwrap();
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
async fn all_ways_at_once(from: Queue<u64>, to: Queue<u64>) {
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (from, to) = (from.clone(), to.clone());
            std::thread::spawn(move || {
                loop {
                    match from.blocking_get_timeout(Duration::from_millis(1)) {
                        Ok(x) => to.blocking_put(x).unwrap(),
                        Err(GetError::Empty) => {}
                        Err(_) => return,
                    }
                }
            })
        })
        .collect();
    let tasks: Vec<_> = (0..3)
        .map(|i| {
            let (from, to) = (from.clone(), to.clone());
            tokio::spawn(async move {
                loop {
                    let got = match i {
                        0 => from.get().await,
                        1 => from.get_timeout(Duration::from_micros(100)).await,
                        // A future that is dropped when another is faster.
                        _ => tokio::select! {
                            got = from.get() => got,
                            () = tokio::task::yield_now() => Err(GetError::Empty),
                        },
                    };
                    match got {
                        Ok(x) => to.put(x).await.unwrap(),
                        Err(GetError::Empty) => tokio::task::yield_now().await,
                        Err(_) => return,
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for thread in threads {
        tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
    }
}

#[test]
fn threads_and_tasks_of_one_process_share_a_queue() {
    common::run(|| async {
        for bounded in [false, true] {
            let pool = pool(2).await;
            let from = if bounded { Queue::bounded(4) } else { Queue::unbounded() }.unwrap();
            let to = Queue::unbounded().unwrap();
            let running = [0, 1].map(|_| pool.spawn(all_ways_at_once(from.clone(), to.clone())));
            for i in 0..2000 {
                from.put(i).await.unwrap();
            }
            let mut seen = Vec::new();
            for _ in 0..2000 {
                seen.push(to.get_timeout(LONG).await.unwrap());
            }
            from.close();
            for running in running {
                running.get().await.unwrap();
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..2000).collect::<Vec<_>>());
            assert_eq!(to.try_get().await, Err(GetError::Empty), "one came twice");
            pool.shutdown().await.unwrap();
        }
    });
}

#[derive(Serialize, Deserialize)]
struct Knot {
    itself: Option<Queue<Knot>>,
    by_name: HashMap<String, Vec<Queue<u64>>>,
}

#[procpool::task]
fn untie(queue: Queue<Knot>) -> u64 {
    let knot = queue.blocking_get().unwrap();
    knot.by_name["a"][0].blocking_put(1).unwrap();
    knot.by_name["b"][1].blocking_put(2).unwrap();
    // The same queue, through itself.
    let itself = knot.itself.unwrap();
    itself.blocking_put(Knot { itself: Some(queue), by_name: knot.by_name }).unwrap();
    itself.blocking_len() as u64
}

#[test]
fn a_queue_travels_through_itself_and_in_maps() {
    common::run(|| async {
        let pool = pool(1).await;
        let (a, b) = (Queue::unbounded().unwrap(), Queue::bounded(2).unwrap());
        let queue = Queue::unbounded().unwrap();
        let by_name = HashMap::from([
            ("a".to_owned(), vec![a.clone()]),
            ("b".to_owned(), vec![a.clone(), b.clone()]),
        ]);
        queue.put(Knot { itself: Some(queue.clone()), by_name }).await.unwrap();
        assert_eq!(pool.apply(untie, queue.clone()).await.unwrap(), 1);
        let knot = queue.get().await.unwrap();
        assert_eq!((a.get().await, b.get().await), (Ok(1), Ok(2)));
        knot.itself.unwrap().close();
        assert!(queue.is_closed());
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn put_and_exit(queue: Queue<Vec<u8>>, sizes: Vec<usize>) {
    for (i, size) in sizes.into_iter().enumerate() {
        queue.blocking_put(vec![i as u8; size]).unwrap();
    }
    std::process::exit(3)
}

#[procpool::task]
async fn put_and_exit_async(queue: Queue<Vec<u8>>, sizes: Vec<usize>) {
    for (i, size) in sizes.into_iter().enumerate() {
        queue.put(vec![i as u8; size]).await.unwrap();
    }
    std::process::exit(3)
}

#[test]
fn what_was_put_outlives_an_exit_at_once() {
    common::run(|| async {
        let sizes = [1, 100, 70_000, 524_288, 3_000_000, 5];
        for asynchronous in [false, true] {
            let queue = Queue::unbounded().unwrap();
            let child = if asynchronous {
                Process::spawn(put_and_exit_async(queue.clone(), sizes.to_vec())).await.unwrap()
            } else {
                Process::spawn(put_and_exit(queue.clone(), sizes.to_vec())).await.unwrap()
            };
            child.join().await;
            assert_eq!(child.exit_code(), Some(3));
            for (i, size) in sizes.into_iter().enumerate() {
                let item = queue.try_get().await.unwrap();
                assert!(item.len() == size && item.iter().all(|b| *b == i as u8), "{i}");
            }
        }
    });
}

#[procpool::task]
fn pass_on(from: Queue<Vec<u8>>, to: Queue<Vec<u8>>) {
    to.blocking_put(from.blocking_get().unwrap()).unwrap();
}

#[test]
fn items_of_64_mib_pass_both_ways_at_once() {
    common::run(|| async {
        const LEN: usize = 64 << 20;
        let pool = pool(2).await;
        let (from, to) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let running = [0, 1].map(|_| pool.spawn(pass_on(from.clone(), to.clone())));
        from.put(vec![1; LEN]).await.unwrap();
        from.put(vec![2; LEN]).await.unwrap();
        let mut sum = 0;
        for _ in 0..2 {
            let item = to.get().await.unwrap();
            assert_eq!(item.len(), LEN);
            assert!(item.iter().all(|b| *b == item[0]));
            sum += item[0];
        }
        assert_eq!(sum, 3);
        for running in running {
            running.get().await.unwrap();
        }
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn take_two_and_drop(jobs: JoinableQueue<u64>) -> [u64; 2] {
    let taken = [jobs.blocking_get().unwrap(), jobs.blocking_get().unwrap()];
    jobs.task_done().unwrap();
    taken
}

#[test]
fn what_a_dropped_handle_has_not_done_comes_back() {
    common::run(|| async {
        let pool = pool(1).await;
        let jobs = JoinableQueue::unbounded().unwrap();
        for i in 0..4 {
            jobs.put(i).await.unwrap();
        }
        assert_eq!(pool.apply(take_two_and_drop, jobs.clone()).await.unwrap(), [0, 1]);
        let mine = jobs.clone();
        let again = mine.get_delivery().await.unwrap();
        assert_eq!((again.item, again.redelivered), (1, true));
        let next = mine.get_delivery().await.unwrap();
        assert_eq!((next.item, next.redelivered), (2, false));
        drop(mine);
        jobs.close();
        let join = jobs.join();
        tokio::pin!(join);
        assert!(futures::poll!(join.as_mut()).is_pending());
        for expected in 1..4 {
            assert_eq!(jobs.get().await, Ok(expected));
            jobs.task_done().unwrap();
        }
        assert_eq!(jobs.get().await, Err(GetError::Closed));
        join.await;
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn put_until_closed(queue: Queue<(u64, u64)>, me: u64) -> u64 {
    (0..).find(|i| queue.blocking_put((me, *i)).is_err()).unwrap()
}

#[procpool::task]
fn get_until_closed(queue: Queue<(u64, u64)>) -> Vec<(u64, u64)> {
    std::iter::from_fn(|| queue.blocking_get().ok()).collect()
}

/// What a put has said to be in is got by somebody, also around the close.
#[test]
fn a_close_in_the_middle_loses_nothing() {
    common::run(|| async {
        let pool = pool(4).await;
        for round in 0..8 {
            let queue =
                if round % 2 == 0 { Queue::bounded(7) } else { Queue::unbounded() }.unwrap();
            let putters: Vec<_> =
                (0..2).map(|me| pool.spawn(put_until_closed(queue.clone(), me))).collect();
            let getters: Vec<_> =
                (0..2).map(|_| pool.spawn(get_until_closed(queue.clone()))).collect();
            for _ in 0..round {
                tokio::task::yield_now().await;
                queue.len().await;
            }
            queue.close();
            let mut put = 0;
            for putter in putters {
                put += putter.get().await.unwrap();
            }
            let mut got = BTreeMap::new();
            for getter in getters {
                for item in getter.get().await.unwrap() {
                    *got.entry(item).or_insert(0) += 1;
                }
            }
            // A put that crossed the close may have come after all had gone.
            while let Ok(item) = queue.try_get().await {
                *got.entry(item).or_insert(0) += 1;
            }
            assert!(got.values().all(|n| *n == 1), "round {round}: one came twice");
            assert_eq!(got.len() as u64, put, "round {round}");
        }
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn serve(jobs: PriorityQueue<u64>, done: Queue<u64>) {
    while let Ok(job) = jobs.blocking_get() {
        done.blocking_put(job).unwrap();
    }
}

/// Each item is done at least once, whoever is killed; only what was taken is done again.
#[test]
fn killed_consumers_of_a_priority_queue_lose_nothing() {
    common::run(|| async {
        let (jobs, done) = (PriorityQueue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let n = 600;
        for i in 0..n {
            jobs.put(i, -((i % 7) as i64)).await.unwrap();
        }
        let mut seen = BTreeMap::new();
        let mut servers = Vec::new();
        for _ in 0..3 {
            servers.push(Process::spawn(serve(jobs.clone(), done.clone())).await.unwrap());
        }
        for killed in 0..6 {
            for _ in 0..20 {
                *seen.entry(done.get_timeout(LONG).await.unwrap()).or_insert(0) += 1;
            }
            let server = &mut servers[killed % 3];
            server.kill();
            *server = Process::spawn(serve(jobs.clone(), done.clone())).await.unwrap();
        }
        jobs.close();
        for server in &servers {
            server.join().await;
        }
        while let Ok(item) = done.try_get().await {
            *seen.entry(item).or_insert(0) += 1;
        }
        assert_eq!(seen.len() as u64, n);
        let again: u64 = seen.values().map(|n| n - 1).sum();
        assert!(again <= 6, "{again} were done again by six deaths");
    });
}

#[procpool::task]
fn make_and_drop(n: u32) -> Option<u64> {
    for i in 0..n {
        let queue = Queue::<u32>::bounded(5).unwrap();
        if i % 3 == 0 {
            queue.blocking_put(i).unwrap();
        }
        let copy = queue.clone();
        drop(queue);
        drop(copy);
    }
    resident()
}

/// Pages of memory, where that is easily known.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split(' ').nth(1)?.parse().ok()
}

#[test]
fn thousands_of_queues_leave_nothing() {
    common::run(|| async {
        let pool = pool(1).await;
        let mut after = Vec::new();
        for _ in 0..4 {
            let theirs = pool.apply(make_and_drop, 5000).await.unwrap();
            make_and_drop(5000).run_here();
            for _ in 0..500 {
                // Given away with a value, and never got.
                let (outer, inner) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
                inner.put(1u64).await.unwrap();
                outer.put(inner).await.unwrap();
            }
            after.push((theirs, resident()));
        }
        // 5000 queues that were kept would take some megabytes.
        let (first, last) = (after[1], after[3]);
        for (before, after) in [(first.0, last.0), (first.1, last.1)] {
            if let (Some(before), Some(after)) = (before, after) {
                assert!(after < before + 512, "{before} pages became {after}");
            }
        }
        pool.shutdown().await.unwrap();
    });
}

#[derive(Serialize, Deserialize)]
struct Link(Option<Queue<Link>>);

/// A queue in a queue in a queue: what goes with the last handle goes without a deep recursion.
#[test]
fn a_long_chain_of_queues_is_let_go_of() {
    common::run(|| async {
        let mut head = Queue::unbounded().unwrap();
        for _ in 0..20_000 {
            let next = Queue::unbounded().unwrap();
            next.put(Link(Some(head))).await.unwrap();
            head = next;
        }
        drop(head);
    });
}

#[procpool::task]
fn hold_all(queue: Queue<u64>, gate: String) {
    let mut held = Vec::new();
    for _ in 0..10 {
        let handle = queue.clone();
        held.push(handle.blocking_get().unwrap());
        std::mem::forget(handle);
    }
    kit::stay(&gate, held.len());
}

#[test]
fn what_many_handles_held_comes_back_in_order() {
    common::run(|| async {
        let gate = Gate::new("queue-held");
        let queue = Queue::unbounded().unwrap();
        for i in 0..15 {
            queue.put(i).await.unwrap();
        }
        let child = Process::spawn(hold_all(queue.clone(), gate.path())).await.unwrap();
        gate.arrived(1).await;
        child.kill();
        child.join().await;
        for i in 0..15 {
            let delivery = queue.get_delivery().await.unwrap();
            assert_eq!((delivery.item, delivery.redelivered), (i, i < 10));
        }
    });
}

#[procpool::task]
fn put_large(queue: Queue<(u64, Vec<u8>)>, me: u64) {
    for i in 0.. {
        queue.blocking_put((me, vec![i as u8; 700_000])).unwrap();
    }
}

/// What a process was about to put when it was killed is there as a whole or not at all.
#[test]
fn killed_in_the_middle_of_large_items() {
    common::run(|| async {
        let queue = Queue::with_bounds(50, 2_000_000).unwrap();
        for round in 0..3 {
            let putters = [
                Process::spawn(put_large(queue.clone(), 2 * round)).await.unwrap(),
                Process::spawn(put_large(queue.clone(), 2 * round + 1)).await.unwrap(),
            ];
            for i in 0..5 {
                let (_, bytes) = queue.get_timeout(LONG).await.unwrap();
                assert!(bytes.len() == 700_000 && bytes.iter().all(|b| *b == bytes[0]), "{i}");
            }
            for putter in putters {
                putter.kill();
                putter.join().await;
            }
        }
        while let Ok((_, bytes)) = queue.try_get().await {
            assert!(bytes.len() == 700_000 && bytes.iter().all(|b| *b == bytes[0]));
        }
        // No place is lost with those who had one.
        for _ in 0..50 {
            queue.try_put((0, Vec::new())).await.unwrap();
        }
        assert!(queue.is_full().await);
    });
}

#[procpool::task]
fn take_one(jobs: JoinableQueue<u64>) -> u64 {
    let job = jobs.blocking_get().unwrap();
    jobs.task_done().unwrap();
    job
}

/// A process that gives its handle up and gets another has nothing of what was on its way to the
/// first, and is not taken for a liar.
#[test]
fn handles_come_and_go_while_items_are_on_their_way() {
    common::run(|| async {
        let pool = pool(2).await;
        let jobs = JoinableQueue::unbounded().unwrap();
        for i in 0..600 {
            jobs.put(i).await.unwrap();
        }
        let mut taken = Vec::new();
        for _ in 0..300 {
            let two = [0, 1].map(|_| pool.spawn(take_one(jobs.clone())));
            for one in two {
                taken.push(one.get().await.unwrap());
            }
        }
        taken.sort_unstable();
        assert_eq!(taken, (0..600).collect::<Vec<_>>());
        jobs.join().await;
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn adopt_in_threads(carrier: Queue<Queue<u64>>, n: u64) {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..n {
                    let queue = carrier.blocking_get().unwrap();
                    queue.blocking_get().unwrap();
                    queue.blocking_get().unwrap();
                }
            });
        }
    });
}

#[test]
fn threads_that_are_given_the_same_queue_at_once_share_it() {
    common::run(|| async {
        let pool = pool(1).await;
        let carrier = Queue::unbounded().unwrap();
        for _ in 0..100 {
            let queue = Queue::unbounded().unwrap();
            for i in 0..8 {
                queue.put(i).await.unwrap();
            }
            for _ in 0..4 {
                carrier.put(queue.clone()).await.unwrap();
            }
        }
        pool.run(adopt_in_threads(carrier, 100)).await.unwrap();
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn put_and_tell(
    queue: Queue<u64>,
    from: u64,
    mut tell: Option<PipeSender<u64>>,
    mut told: Option<PipeReceiver<u64>>,
) {
    for round in from..from + ROUNDS {
        if let Some(told) = &mut told {
            assert_eq!(told.blocking_recv().unwrap(), round);
        }
        queue.blocking_put(2 * round + u64::from(tell.is_none())).unwrap();
        if let Some(tell) = &mut tell {
            tell.blocking_send(round).unwrap();
        }
    }
}

const PAIRS: u64 = 4;
const ROUNDS: u64 = 1_000;

/// One process puts, and tells another by a way of their own, which puts then.
#[test]
fn what_was_put_first_comes_first_whoever_put_it() {
    common::run(|| async {
        let queue = Queue::unbounded().unwrap();
        let mut pairs = Vec::new();
        for pair in 0..PAIRS {
            let (tell, told) = one_way().unwrap();
            let from = pair * ROUNDS;
            let tells = put_and_tell(queue.clone(), from, Some(tell), None);
            let follows = put_and_tell(queue.clone(), from, None, Some(told));
            pairs.push(Process::spawn(tells).await.unwrap());
            pairs.push(Process::spawn(follows).await.unwrap());
        }
        for process in &mut pairs {
            process.output().await.unwrap();
        }
        let mut seen = vec![false; (PAIRS * ROUNDS) as usize];
        for _ in 0..2 * PAIRS * ROUNDS {
            let item = queue.try_get().await.unwrap();
            let round = (item / 2) as usize;
            assert!(item % 2 == 0 || seen[round], "round {round}: the answer came first");
            seen[round] = true;
        }
    });
}

#[procpool::task]
async fn drop_a_large_put(queue: Queue<Vec<u8>>, gate: String) {
    assert_eq!(queue.len().await, 0);
    let put = queue.put(vec![7; 8 << 20]);
    assert!(put.now_or_never().is_none(), "more than fits at once");
    // Nothing of this process's waits for anything of the queue.
    tokio::task::spawn_blocking(move || kit::stay(&gate, 0)).await.unwrap();
}

#[test]
fn a_large_put_that_was_dropped_half_way_arrives() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue = Queue::unbounded().unwrap();
        let gate = Gate::new("queue-dropped-put");
        let call = pool.spawn(drop_a_large_put(queue.clone(), gate.path()));
        assert!(queue.get_timeout(LONG).await.unwrap() == vec![7; 8 << 20]);
        gate.open();
        call.get().await.unwrap();
        pool.shutdown().await.unwrap();
    });
}

/// A value whose encoded form is longer each time.
struct Growing(AtomicUsize);

impl Serialize for Growing {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let n = 500 * self.0.fetch_add(1, Ordering::Relaxed);
        vec![1u8; n].serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Growing {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(|bytes| Growing(AtomicUsize::new(bytes.len())))
    }
}

#[procpool::task]
fn put_growing(queue: Queue<Growing>) {
    queue.blocking_put(Growing(AtomicUsize::new(1))).unwrap();
}

#[test]
fn a_value_that_grows_while_it_is_put_is_what_was_measured() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue = Queue::with_bounds(5, 10_000).unwrap();
        queue.put(Growing(AtomicUsize::new(1))).await.unwrap();
        pool.run(put_growing(queue.clone())).await.unwrap();
        for _ in 0..2 {
            assert_eq!(queue.get().await.unwrap().0.into_inner(), 500);
        }
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
async fn start_a_putter(queue: Queue<u64>, acks: PipeSender<u64>) {
    let putter = Process::spawn(put_and_say_so(queue, acks)).await.unwrap();
    putter.join().await;
}

#[procpool::task]
fn put_and_say_so(queue: Queue<u64>, mut acks: PipeSender<u64>) {
    for i in 0.. {
        queue.blocking_put(i).unwrap();
        if acks.blocking_send(i).is_err() {
            return;
        }
    }
}

/// It ends with its parent, a little later; what it was told to be put by then is put.
#[test]
fn what_an_orphan_has_put_is_there() {
    common::run(|| async {
        for round in 0..40 {
            let bounded = round % 2 == 0;
            let queue = if bounded { Queue::bounded(1 << 20) } else { Queue::unbounded() }.unwrap();
            let (acks, mut acked) = one_way().unwrap();
            let parent = Process::spawn(start_a_putter(queue.clone(), acks)).await.unwrap();
            for _ in 0..10 + 20 * round {
                acked.recv().await.unwrap();
            }
            parent.kill();
            let mut last = 0;
            while let Ok(i) = acked.recv().await {
                last = i;
            }
            parent.join().await;
            for i in 0..=last {
                assert_eq!(queue.try_get().await, Ok(i), "{last} were said to be put");
            }
        }
    });
}

#[procpool::task]
fn take_and_panic(queue: Queue<u64>) {
    let item = queue.blocking_get().unwrap();
    panic!("with {item}");
}

#[test]
fn what_a_task_had_that_panics_comes_back() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue = Queue::unbounded().unwrap();
        queue.put(7).await.unwrap();
        assert!(pool.run(take_and_panic(queue.clone())).await.unwrap_err().is_panic());
        let back = queue.get_delivery().await.unwrap();
        assert_eq!((back.item, back.redelivered), (7, true));
        pool.shutdown().await.unwrap();
    });
}

#[derive(Debug, PartialEq, Serialize)]
struct Picky(u64);

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            13 => Err(serde::de::Error::custom("13 is no number")),
            n => Ok(Picky(n)),
        }
    }
}

#[procpool::task]
fn work_off(jobs: JoinableQueue<Picky>) -> (u64, Vec<String>) {
    let (mut sum, mut errors) = (0, Vec::new());
    loop {
        match jobs.blocking_get() {
            Ok(Picky(n)) => {
                sum += n;
                jobs.task_done().unwrap();
            }
            Err(GetError::Closed) => return (sum, errors),
            Err(error) => errors.push(error.to_string()),
        }
    }
}

/// Nobody can work on it, so nobody is waited for.
#[test]
fn an_item_that_cannot_be_decoded_is_done() {
    common::run(|| async {
        let pool = pool(1).await;
        let jobs = JoinableQueue::unbounded().unwrap();
        for n in [1, 13, 2, 3] {
            jobs.put(Picky(n)).await.unwrap();
        }
        let call = pool.spawn(work_off(jobs.clone()));
        jobs.join().await;
        jobs.close();
        let (sum, errors) = call.get().await.unwrap();
        assert_eq!(sum, 6);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].ends_with("message refused by its type: 13 is no number"), "{errors:?}");
        pool.shutdown().await.unwrap();
    });
}

/// What a plain queue gives the main program is kept by nobody else; a joinable one asks for it.
#[test]
fn a_task_of_the_main_program_that_panics_breaks_no_queue() {
    common::run(|| async {
        let pool = pool(1).await;
        let (plain, joinable) = (Queue::unbounded().unwrap(), JoinableQueue::unbounded().unwrap());
        for i in 0..2u64 {
            plain.put(i).await.unwrap();
            joinable.put(i).await.unwrap();
        }
        let (from, jobs) = (plain.clone(), joinable.clone());
        let task = tokio::spawn(async move {
            let taken = (from.get().await.unwrap(), jobs.get().await.unwrap());
            panic!("with {taken:?}");
        });
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(pool.apply(drain_now, plain).await.unwrap(), [1]);
        let back = joinable.get_delivery().await.unwrap();
        assert_eq!((back.item, back.redelivered), (0, true));
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn drain_now(queue: Queue<u64>) -> Vec<u64> {
    std::iter::from_fn(|| queue.blocking_try_get().ok()).collect()
}

/// A queue that is passed on as one of other items.
enum Retyped {
    Queues(Queue<(u64, Queue<u64>)>),
    Bytes(Queue<(u64, Forged)>),
}

/// How queues name each other in bytes.
type Forged = (u8, u64, u128);

impl Serialize for Retyped {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Retyped::Queues(queue) => queue.serialize(serializer),
            Retyped::Bytes(queue) => queue.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Retyped {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Queue::deserialize(deserializer).map(Retyped::Bytes)
    }
}

/// Names a queue of its own that nobody else was given, and stays until the gate is opened.
#[procpool::task]
fn name_a_queue(to: Retyped, gate: String) {
    let Retyped::Bytes(to) = to else { panic!("it came as a queue of queues") };
    let own = Queue::<u64>::unbounded().unwrap();
    own.blocking_put(1).unwrap();
    assert_eq!(own.blocking_len(), 1, "there is such a queue");
    let name = format!("{own:?}");
    let id = name.strip_prefix("Queue(").and_then(|name| name.strip_suffix(")")).unwrap();
    let id = u64::from_str_radix(id, 16).unwrap();
    to.blocking_put((7, (1, id, 12345))).unwrap();
    kit::stay(&gate, "named");
}

#[procpool::task]
fn get_a_queue(from: Queue<(u64, Queue<u64>)>, other: Queue<u64>) -> (u32, String) {
    let refused = from.blocking_get().unwrap_err();
    // Had it said anything to that queue, it would not hear the answer to this.
    assert_eq!(other.blocking_len(), 0);
    (std::process::id(), refused.to_string())
}

/// Bytes that name a queue give nobody that queue, and cost whoever reads them nothing.
#[test]
fn a_forged_queue_in_an_item_costs_its_reader_that_item() {
    common::run(|| async {
        let pool = pool(2).await;
        let (queue, other) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let gate = Gate::new("queue-forged");
        let forger = pool.spawn(name_a_queue(Retyped::Queues(queue.clone()), gate.path()));
        gate.arrived(1).await;
        let (reader, why) = pool.run(get_a_queue(queue.clone(), other)).await.unwrap();
        assert!(why.contains("was not given along"), "{why}");
        assert!(kit::pids(&pool).contains(&reader));
        assert_eq!(queue.len().await, 0);
        gate.open();
        forger.get().await.unwrap();
        pool.shutdown().await.unwrap();
    });
}
