//! What a client of a manager cannot do to it, and what it does not leave behind, whatever it asks for and gives up.

mod common;

use std::future::IntoFuture;

use futures::FutureExt;
use futures::future::{join, join_all};
use procpool::manager::{AuthKey, ClientLimits, ConnectOptions, QueueProxy, Rights, ServeOptions};
use procpool::{DictProxy, ListProxy, Manager, ManagerError, ManagerHandle};
use serde::{Deserialize, Serialize};

procpool::test_hook!();

fn key() -> AuthKey {
    AuthKey::new("a key that both of them know")
}

async fn serve(options: ServeOptions) -> Manager {
    Manager::serve("127.0.0.1:0", options).await.unwrap()
}

async fn connect(manager: &Manager, name: &str) -> ManagerHandle {
    Manager::connect(manager.address(), ConnectOptions::new(name, key())).await.unwrap()
}

fn is_limit(error: &ManagerError) -> bool {
    matches!(error, ManagerError::Limit { .. })
}

/// One value that is asked for a thousand times in one request.
#[test]
fn a_short_question_has_no_endless_answer() {
    common::run(|| async {
        let limits = ClientLimits::new().message_bytes(1 << 20);
        let options =
            ServeOptions::new().limits(limits).client("reader", key(), Rights::none().read_only());
        let manager = serve(options).await;
        let dict = manager.dict([(1u8, vec![7u8; 100_000])]).await.unwrap();
        let list = manager.list((0..20).map(|_| vec![7u8; 100_000])).await.unwrap();
        manager.publish("dict", &dict).await.unwrap();
        manager.publish("list", &list).await.unwrap();
        let reader = connect(&manager, "reader").await;
        let dict: DictProxy<u8, Vec<u8>> = reader.find("dict").await.unwrap();
        let list: ListProxy<Vec<u8>> = reader.find("list").await.unwrap();
        assert!(is_limit(&dict.get_many(&[1; 1000]).await.unwrap_err()));
        assert!(is_limit(&list.to_vec().await.unwrap_err()));
        assert_eq!(dict.get_many(&[1; 9]).await.unwrap().len(), 9);
        assert_eq!(list.get(3).await.unwrap().len(), 100_000);
        manager.shutdown().await.unwrap();
    });
}

/// Each list has the one before it, and only the last one is had.
#[test]
fn a_long_chain_of_objects_ends() {
    #[derive(Serialize, Deserialize)]
    struct Link(Option<ListProxy<Link>>);
    common::run(|| async {
        let manager = Manager::local().await.unwrap();
        let mut last: ListProxy<Link> = manager.list([Link(None)]).await.unwrap();
        for _ in 0..10_000 {
            last = manager.list([Link(Some(last))]).await.unwrap();
        }
        assert_eq!(manager.stats().await.unwrap().objects, 10_001);
        drop(last);
        while manager.stats().await.unwrap().objects > 0 {
            tokio::task::yield_now().await;
        }
        manager.shutdown().await.unwrap();
    });
}

/// Whatever was to come with an answer that nobody waits for any more is given back.
#[test]
fn requests_that_are_given_up_leave_nothing() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let inner = manager.list([1u8]).await.unwrap();
        let outer = manager.list([inner.clone()]).await.unwrap();
        let dict = manager.dict([(1u8, inner)]).await.unwrap();
        let queue: QueueProxy<ListProxy<u8>> = manager.queue(0).await.unwrap();
        let in_queue = manager.list([2u8]).await.unwrap();
        queue.put(&in_queue).await.unwrap();
        drop(in_queue);
        for _ in 0..50 {
            // Each is asked, and not waited for.
            assert!(manager.list([1u8]).into_future().now_or_never().is_none());
            assert!(outer.to_vec().into_future().now_or_never().is_none());
            assert!(outer.copy().into_future().now_or_never().is_none());
            assert!(dict.items().into_future().now_or_never().is_none());
            assert!(dict.get(&1).into_future().now_or_never().is_none());
            assert!(queue.get().into_future().now_or_never().is_none());
            manager.ping().await.unwrap();
        }
        let taken = queue.get().await.unwrap();
        assert_eq!(taken.to_vec().await.unwrap(), [2]);
        drop((taken, outer, dict, queue));
        while manager.stats().await.unwrap().objects > 0 {
            tokio::task::yield_now().await;
        }
        manager.shutdown().await.unwrap();
    });
}

/// A value that cannot be made of what is there does not keep the objects beside it.
#[test]
fn what_cannot_be_decoded_keeps_no_objects() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let wrong = manager.list([1u8]).await.unwrap();
        let list = manager.list([wrong.clone(), wrong]).await.unwrap();
        manager.publish("lists", &list).await.unwrap();
        // Objects of another kind than they are.
        let other: ListProxy<DictProxy<u8, u8>> = manager.find("lists").await.unwrap();
        let error = other.to_vec().await.unwrap_err();
        assert!(matches!(error, ManagerError::Decode { .. }), "{error:?}");
        manager.unpublish("lists").await.unwrap();
        drop((list, other));
        while manager.stats().await.unwrap().objects > 0 {
            tokio::task::yield_now().await;
        }
        manager.shutdown().await.unwrap();
    });
}

/// A process may be two clients of one manager, and put what the one has into what the other has.
#[test]
fn two_clients_in_one_process_leave_nothing_of_each_others() {
    common::run(|| async {
        let manager = serve(ServeOptions::from(key())).await;
        let there = connect(&manager, "").await;
        let here_list = manager.list([1u8]).await.unwrap();
        let there_list = there.list([here_list.clone()]).await.unwrap();
        here_list.push(&2).await.unwrap();
        assert_eq!(there_list.get(0).await.unwrap().to_vec().await.unwrap(), [1, 2]);
        drop(there_list);
        assert_eq!(here_list.len().await.unwrap(), 2);
        drop(here_list);
        while manager.stats().await.unwrap().objects > 0 {
            tokio::task::yield_now().await;
        }
        drop(there);
        manager.shutdown().await.unwrap();
    });
}

#[derive(Serialize, Deserialize)]
struct Blob {
    bytes: Vec<u8>,
}

#[procpool::shared]
impl Blob {
    fn len(&self) -> usize {
        self.bytes.len()
    }
}

#[test]
fn objects_of_a_programs_own_types_count_too() {
    common::run(|| async {
        let limits = ClientLimits::new().bytes(100_000);
        let manager =
            serve(ServeOptions::new().limits(limits).client("", key(), Rights::all())).await;
        let there = connect(&manager, "").await;
        let first = there.create(Blob { bytes: vec![0; 60_000] }).await.unwrap();
        let second = there.create(Blob { bytes: vec![0; 60_000] }).await;
        assert!(is_limit(&second.unwrap_err()));
        assert_eq!(first.len().await.unwrap(), 60_000);
        drop(first);
        // Once that is gone there is room.
        while there.stats().await.unwrap().bytes > 0 {
            tokio::task::yield_now().await;
        }
        there.create(Blob { bytes: vec![0; 60_000] }).await.unwrap();
        manager.shutdown().await.unwrap();
    });
}

/// A name is its giver's, and counts as what that has.
#[test]
fn nobody_takes_away_anothers_name() {
    common::run(|| async {
        let limits = ClientLimits::new().objects(4);
        let options = ServeOptions::new()
            .limits(limits)
            .client("one", key(), Rights::none().create(true))
            .client("other", key(), Rights::none().create(true));
        let manager = serve(options).await;
        let (one, other) = join(connect(&manager, "one"), connect(&manager, "other")).await;
        let list = one.list([1u8]).await.unwrap();
        for name in ["a", "b", "c"] {
            one.publish(name, &list).await.unwrap();
        }
        assert!(is_limit(&one.publish("d", &list).await.unwrap_err()));
        let error = other.unpublish("a").await.unwrap_err();
        assert!(matches!(error, ManagerError::Denied { .. }), "{error:?}");
        assert!(!other.unpublish("z").await.unwrap());
        assert!(one.unpublish("a").await.unwrap());
        one.publish("d", &list).await.unwrap();
        // Whoever may end it may do that, too.
        assert!(manager.unpublish("b").await.unwrap());
        manager.shutdown().await.unwrap();
    });
}

/// What a client has not read is not all that it may ask for: a get that waits is told of its item though the answers before it
/// were more than the connection holds.
#[test]
fn who_waits_is_told_though_long_answers_came_before() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let list = manager.list((0..8).map(|_| "x".repeat(1 << 20))).await.unwrap();
        let queue: QueueProxy<u8> = manager.queue(0).await.unwrap();
        for round in 0..20 {
            let long = join_all((0..3).map(|_| list.to_vec().into_future()));
            let get = queue.get().into_future();
            let put = async {
                tokio::task::yield_now().await;
                queue.put(&round).await.unwrap();
            };
            let (long, (got, ())) = join(long, join(get, put)).await;
            assert_eq!(got.unwrap(), round);
            assert!(long.iter().all(|all| all.as_ref().unwrap().len() == 8));
        }
        manager.shutdown().await.unwrap();
    });
}

/// However many are released too often, at once with those who acquire.
#[test]
fn a_bounded_semaphore_keeps_its_bound() {
    common::run(|| async {
        let manager = Manager::builder().worker_threads(4).start().await.unwrap();
        let semaphore = manager.bounded_semaphore(1).await.unwrap();
        let wrong = {
            let other = manager.handle().clone();
            manager.publish("semaphore", &semaphore).await.unwrap();
            other.find::<procpool::manager::BoundedSemaphoreProxy>("semaphore").await.unwrap()
        };
        let takes = async {
            for _ in 0..300 {
                drop(semaphore.acquire().await.unwrap());
            }
        };
        let releases = async {
            for _ in 0..300 {
                let _ = wrong.add_permits(1).await;
            }
        };
        join(takes, releases).await;
        let _ = wrong.add_permits(1).await;
        let permit = semaphore.acquire().await.unwrap();
        assert_eq!(semaphore.available_permits().await.unwrap(), 0);
        drop(permit);
        manager.shutdown().await.unwrap();
    });
}

/// A client that keeps the manager busy with long work is not alone there.
#[test]
fn a_busy_client_leaves_others_their_turn() {
    common::run_current_thread(|| async {
        let manager = serve(ServeOptions::from(key())).await;
        let long = connect(&manager, "").await.list(0..20_000u32).await.unwrap();
        let mut busy = join_all((0..200).map(|_| long.count(&7).into_future()));
        let event = manager.event().await.unwrap();
        let mut served = 0;
        let counts = loop {
            tokio::select! {
                biased;
                counts = &mut busy => break counts,
                set = event.is_set() => {
                    set.unwrap();
                    served += 1;
                }
            }
        };
        assert!(counts.into_iter().all(|count| count.unwrap() == 1));
        assert!(served > 10, "{served} answers beside 200 that take a millisecond each");
        manager.shutdown().await.unwrap();
    });
}
