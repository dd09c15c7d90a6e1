//! Corners of queues: what is given up at the wrong moment goes where it belongs.

mod common;
mod kit;

use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::FutureExt;
use kit::{Gate, pool};
use procpool::{GetError, Queue};

procpool::test_hook!();

const LONG: Duration = Duration::from_secs(20);

/// Says that it was woken.
struct Woken(SyncSender<()>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        let _ = self.0.try_send(());
    }
}

#[procpool::task]
async fn drop_what_is_woken(queue: Queue<u64>, gate: String) {
    let (tell, told) = sync_channel(1);
    {
        let waker = Waker::from(Arc::new(Woken(tell)));
        let mut get = pin!(queue.get());
        assert!(get.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        kit::note(&gate, "waits");
        told.recv_timeout(LONG).unwrap();
    }
    // Nothing of this process's waits for anything of the queue any more.
    tokio::task::spawn_blocking(move || kit::stay(&gate, "dropped")).await.unwrap();
}

/// Nothing is said to its process that would have that look at what lies about.
#[test]
fn an_item_whose_get_is_dropped_when_it_has_come_goes_to_others() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue = Queue::unbounded().unwrap();
        let gate = Gate::new("queue-dropped-get");
        let call = pool.spawn(drop_what_is_woken(queue.clone(), gate.path()));
        gate.arrived(1).await;
        queue.put(7).await.unwrap();
        gate.arrived(2).await;
        assert_eq!(queue.get_timeout(LONG).await, Ok(7));
        gate.open();
        call.get().await.unwrap();
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
async fn drop_a_try(queue: Queue<u64>, gate: String) {
    assert!(queue.try_get().now_or_never().is_none(), "the answer takes its time");
    // It does nothing that would hear the answer.
    tokio::task::spawn_blocking(move || kit::stay(&gate, "dropped")).await.unwrap();
}

/// What the queue answers to a question that was given up is heard all the same.
#[test]
fn an_item_whose_try_get_is_dropped_goes_to_others() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue = Queue::unbounded().unwrap();
        queue.put(7).await.unwrap();
        let gate = Gate::new("queue-dropped-try");
        let call = pool.spawn(drop_a_try(queue.clone(), gate.path()));
        gate.arrived(1).await;
        assert_eq!(queue.get_timeout(LONG).await, Ok(7));
        gate.open();
        call.get().await.unwrap();
        pool.shutdown().await.unwrap();
    });
}

/// Some numbers that look like chance, the same ones each time.
fn chance(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Pauses now and then, as long as what has come in advance may lie about.
#[procpool::task]
fn put_numbers(queue: Queue<u64>, n: u64, mut seed: u64) {
    for x in 0..n {
        queue.blocking_put(x).unwrap();
        if chance(&mut seed).is_multiple_of(150) {
            std::thread::sleep(Duration::from_micros(chance(&mut seed) % 2500));
        }
    }
    queue.close();
}

/// Gets in ways that may give up, and says where the order was broken.
#[procpool::task]
async fn get_in_every_way(queue: Queue<u64>, mut seed: u64) -> (u64, Vec<(u64, u64)>) {
    let (mut next, mut broken) = (0, Vec::new());
    loop {
        let got = if chance(&mut seed).is_multiple_of(2) {
            let limit = Duration::from_micros(chance(&mut seed) % 300);
            tokio::time::timeout(limit, queue.get()).await.unwrap_or(Err(GetError::Empty))
        } else {
            queue.try_get().await
        };
        match got {
            Ok(x) => {
                if x != next {
                    broken.push((next, x));
                }
                next = x + 1;
            }
            Err(GetError::Empty) => tokio::task::yield_now().await,
            Err(_) => return (next, broken),
        }
    }
}

/// The items of one producer come to one consumer in their order, whatever it drops.
#[test]
fn gets_that_are_given_up_do_not_change_the_order() {
    common::run(|| async {
        let pool = kit::pool(2).await;
        // Each get that gives up takes a tick of the clock elsewhere.
        let (seeds, n) = if cfg!(target_os = "linux") { (8, 10_000) } else { (1, 300) };
        for seed in 1..=seeds {
            let queue = Queue::unbounded().unwrap();
            let consumer = pool.spawn(get_in_every_way(queue.clone(), 77 * seed));
            let producer = pool.spawn(put_numbers(queue.clone(), n, seed));
            producer.get().await.unwrap();
            assert_eq!(consumer.get().await.unwrap(), (n, vec![]), "seed {seed}");
        }
        pool.shutdown().await.unwrap();
    });
}

/// Whoever always finds something lets others run.
#[test]
fn a_queue_that_never_runs_out_lets_other_tasks_run() {
    common::run_current_thread(|| async {
        let queue = Queue::unbounded().unwrap();
        let ran = std::rc::Rc::new(std::cell::Cell::new(0));
        let other = ran.clone();
        let local = tokio::task::LocalSet::new();
        local.spawn_local(async move {
            loop {
                other.set(other.get() + 1);
                tokio::task::yield_now().await;
            }
        });
        local
            .run_until(async {
                for x in 0..2000 {
                    queue.put(x).await.unwrap();
                }
                let putting = ran.get();
                assert!(putting > 0, "nobody else ran while items were put");
                for x in 0..2000 {
                    assert_eq!(queue.get().await, Ok(x));
                }
                assert!(ran.get() > putting, "nobody else ran while items were got");
            })
            .await;
    });
}
