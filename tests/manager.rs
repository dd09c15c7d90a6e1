//! Managers, and the containers in them.

mod common;
mod kit;

use std::collections::HashMap;

use futures::future::join_all;
use kit::pool;
use procpool::{
    DictProxy, ListProxy, Manager, ManagerError, ManagerHandle, NamespaceProxy, Process, SetProxy,
    ValueProxy,
};

procpool::test_hook!();

#[procpool::task]
fn change_all(
    list: ListProxy<String>,
    dict: DictProxy<u32, String>,
    set: SetProxy<i64>,
    value: ValueProxy<f64>,
    namespace: NamespaceProxy,
) -> Vec<String> {
    list.blocking_push(&"worker".to_owned()).unwrap();
    dict.blocking_set(&7, &"seven".to_owned()).unwrap();
    set.blocking_insert(&-1).unwrap();
    value.blocking_update(|value| *value *= 2.0).unwrap();
    namespace.blocking_set("done", &true).unwrap();
    list.blocking_to_vec().unwrap()
}

/// Of either kind of manager a child changes what the parent sees.
#[test]
fn a_child_changes_what_its_parent_made() {
    common::run(|| async {
        for manager in [Manager::start().await.unwrap(), Manager::local().await.unwrap()] {
            let list = manager.list(["parent".to_owned()]).await.unwrap();
            let dict = manager.dict([(1, "one".to_owned())]).await.unwrap();
            let set = manager.set([5i64]).await.unwrap();
            let value = manager.value(&1.25).await.unwrap();
            let namespace = manager.namespace().await.unwrap();
            let call = change_all(
                list.clone(),
                dict.clone(),
                set.clone(),
                value.clone(),
                namespace.clone(),
            );
            let seen = Process::spawn(call).await.unwrap().output().await.unwrap();
            assert_eq!(seen, ["parent", "worker"]);
            assert_eq!(list.to_vec().await.unwrap(), seen);
            let items = dict.items().await.unwrap();
            assert_eq!(items, [(1, "one".to_owned()), (7, "seven".to_owned())]);
            assert_eq!(set.to_vec().await.unwrap(), [5, -1]);
            assert_eq!(value.get().await.unwrap(), 2.5);
            assert_eq!(namespace.get::<bool>("done").await.unwrap(), Some(true));
            manager.shutdown().await.unwrap();
            let error = list.len().await.unwrap_err();
            assert!(matches!(error, ManagerError::Died { .. }), "{error:?}");
        }
    });
}

/// Python's list, method by method.
#[test]
fn a_list_has_what_pythons_has() {
    common::run(|| async {
        let manager = Manager::local().await.unwrap();
        let list = manager.list(0..10u32).await.unwrap();
        assert_eq!(list.slice(2..=4).await.unwrap(), [2, 3, 4]);
        assert_eq!(list.slice(-3..).await.unwrap(), [7, 8, 9]);
        assert_eq!(list.slice(..=-1).await.unwrap().len(), 10);
        assert_eq!(list.slice_step(None, None, -3).await.unwrap(), [9, 6, 3, 0]);
        assert!(list.slice_step(None, None, 0).await.is_err());
        list.extend(&[10, 11]).await.unwrap();
        list.insert(0, &100).await.unwrap();
        list.insert(-1, &101).await.unwrap();
        list.insert(99, &102).await.unwrap();
        assert_eq!(list.slice(10..).await.unwrap(), [9, 10, 101, 11, 102]);
        assert_eq!((list.pop().await.unwrap(), list.pop_at(0).await.unwrap()), (Some(102), 100));
        assert!(list.remove(&101).await.unwrap() && !list.remove(&101).await.unwrap());
        list.delete(-1).await.unwrap();
        assert_eq!(list.to_vec().await.unwrap(), (0..=10).collect::<Vec<_>>());
        list.set_slice(1..10, &[77]).await.unwrap();
        list.repeat(2).await.unwrap();
        assert_eq!(list.to_vec().await.unwrap(), [0, 77, 10, 0, 77, 10]);
        assert_eq!((list.count(&77).await.unwrap(), list.len().await.unwrap()), (2, 6));
        assert_eq!(list.index_of(&10).await.unwrap(), Some(2));
        assert!(list.contains(&0).await.unwrap() && !list.contains(&1).await.unwrap());
        let copy = list.copy().await.unwrap();
        list.sort().await.unwrap();
        assert_eq!(list.to_vec().await.unwrap(), [0, 0, 10, 10, 77, 77]);
        list.reverse().await.unwrap();
        assert_eq!(list.get(0).await.unwrap(), 77);
        assert!(list.compare_and_set(0, &77, &1).await.unwrap());
        assert!(!list.compare_and_set(0, &77, &2).await.unwrap());
        list.update(|values| values.retain(|n| *n < 50)).await.unwrap();
        assert_eq!(list.to_vec().await.unwrap(), [1, 10, 10, 0, 0]);
        list.clear().await.unwrap();
        assert_eq!((list.pop().await.unwrap(), list.is_empty().await.unwrap()), (None, true));
        assert_eq!(copy.len().await.unwrap(), 6);
        let error = list.get(-1).await.unwrap_err();
        assert_eq!(error, ManagerError::Index { index: -1, len: 0 });
        assert_eq!(list.set(3, &1).await.unwrap_err(), ManagerError::Index { index: 3, len: 0 });
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn a_dict_has_what_pythons_has() {
    common::run(|| async {
        let manager = Manager::local().await.unwrap();
        let items = ["a", "b", "c"].map(|key| (key.to_owned(), key.len() as u64));
        let dict = manager.dict(items).await.unwrap();
        assert_eq!(dict.insert(&"b".to_owned(), &20).await.unwrap(), Some(1));
        assert_eq!(dict.insert(&"d".to_owned(), &4).await.unwrap(), None);
        assert_eq!(dict.keys().await.unwrap(), ["a", "b", "c", "d"]);
        assert_eq!(dict.values().await.unwrap(), [1, 20, 1, 4]);
        assert_eq!(dict.get_or_insert(&"a".to_owned(), &9).await.unwrap(), 1);
        assert_eq!(dict.get_or_insert_with(&"e".to_owned(), || 5).await.unwrap(), 5);
        assert_eq!(dict.get_many(["e", "x"]).await.unwrap(), [Some(5), None]);
        assert_eq!(dict.remove("c").await.unwrap(), Some(1));
        assert!(dict.delete("a").await.unwrap() && !dict.delete("a").await.unwrap());
        assert!(dict.contains_key("b").await.unwrap() && !dict.contains_key("c").await.unwrap());
        let more: HashMap<_, _> = (0..100u64).map(|i| (format!("k{i}"), i)).collect();
        dict.extend(&more).await.unwrap();
        assert_eq!(dict.len().await.unwrap(), 103);
        dict.set(&"last".to_owned(), &1).await.unwrap();
        assert_eq!(dict.pop_item().await.unwrap(), Some(("last".to_owned(), 1)));
        let copy = dict.copy().await.unwrap();
        dict.clear().await.unwrap();
        assert_eq!((dict.pop_item().await.unwrap(), dict.is_empty().await.unwrap()), (None, true));
        assert_eq!(copy.items().await.unwrap().len(), 103);
        assert!(dict.compare_and_set("x", None, Some(&1)).await.unwrap());
        assert!(!dict.compare_and_set("x", None, Some(&2)).await.unwrap());
        assert!(dict.compare_and_set("x", Some(&1), None).await.unwrap());
        assert_eq!(dict.modify("n", |n| Some(n.unwrap_or(7) + 1)).await.unwrap(), Some(8));
        assert_eq!(dict.modify("n", |_| None).await.unwrap(), None);
        assert!(!dict.contains_key("n").await.unwrap());
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn a_set_has_what_pythons_has() {
    common::run(|| async {
        let manager = Manager::local().await.unwrap();
        let set = manager.set([1, 2, 3]).await.unwrap();
        set.extend(&[3, 4, 5]).await.unwrap();
        assert_eq!((set.len().await.unwrap(), set.pop().await.unwrap()), (5, Some(5)));
        set.symmetric_difference_update(&[4, 6]).await.unwrap();
        set.difference_update(&[1, 9]).await.unwrap();
        assert_eq!(set.to_vec().await.unwrap(), [2, 3, 6]);
        assert!(set.is_subset(&[2, 3, 6, 7]).await.unwrap());
        assert!(set.is_superset(&[2, 6]).await.unwrap());
        assert!(set.is_disjoint(&[1]).await.unwrap() && !set.is_disjoint(&[2]).await.unwrap());
        let copy = set.copy().await.unwrap();
        assert!(set.remove(&2).await.unwrap() && !set.remove(&2).await.unwrap());
        set.clear().await.unwrap();
        assert!(set.is_empty().await.unwrap() && copy.contains(&2).await.unwrap());
        manager.shutdown().await.unwrap();
    });
}

/// What a proxy in a value stands for is kept by the value, and is the same from everywhere.
#[test]
fn proxies_nest() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let inner = manager.list([1]).await.unwrap();
        let outer = manager.list([inner.clone(), manager.list([2]).await.unwrap()]).await.unwrap();
        inner.push(&10).await.unwrap();
        drop(inner);
        let first = outer.get(0).await.unwrap();
        assert_eq!(first.to_vec().await.unwrap(), [1, 10]);
        let by_name = manager.dict([("x".to_owned(), first.clone())]).await.unwrap();
        outer.clear().await.unwrap();
        first.push(&11).await.unwrap();
        let again = by_name.get("x").await.unwrap().unwrap();
        assert_eq!(again.to_vec().await.unwrap(), [1, 10, 11]);
        let stats = manager.stats().await.unwrap();
        assert_eq!(stats.objects, 3, "the other inner list is gone: {stats:?}");
        drop((first, again));
        by_name.clear().await.unwrap();
        assert_eq!(manager.stats().await.unwrap().objects, 2);
        manager.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn pass_back(list: ListProxy<u32>) -> ListProxy<u32> {
    list.blocking_push(&1).unwrap();
    list
}

#[procpool::task]
fn make(manager: ManagerHandle) -> ListProxy<u32> {
    manager.blocking_list([5]).unwrap()
}

/// On its way to a process and back an object lives, though nobody else has it.
#[test]
fn what_is_on_its_way_lives() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let pool = pool(2).await;
        let mut list = manager.list([0]).await.unwrap();
        for _ in 0..20 {
            list = pool.run(pass_back(list)).await.unwrap();
        }
        assert_eq!(list.len().await.unwrap(), 21);
        let made = pool.run(make(manager.handle().clone())).await.unwrap();
        pool.shutdown().await.unwrap();
        assert_eq!(made.to_vec().await.unwrap(), [5]);
        drop((made, list));
        common::eventually("all are gone", || manager.blocking_stats().unwrap().objects == 0).await;
        manager.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn count_up(dict: DictProxy<u8, u64>, times: u64) {
    for i in 0..times {
        dict.blocking_modify(&((i % 4) as u8), |n| Some(n.unwrap_or(0) + 1)).unwrap();
    }
}

#[test]
fn changes_from_several_processes_are_all_counted() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let dict = manager.dict::<u8, u64>([]).await.unwrap();
        let pool = pool(3).await;
        pool.starmap(count_up, vec![(dict.clone(), 400); 3]).await.unwrap();
        let here = (0..100u8).map(|i| {
            let dict = dict.clone();
            async move { dict.modify(&(i % 4), |n| Some(n.unwrap_or(0) + 1)).await }
        });
        join_all(here).await.into_iter().for_each(|done| assert!(done.is_ok()));
        assert_eq!(dict.values().await.unwrap(), [325; 4]);
        pool.shutdown().await.unwrap();
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn objects_are_found_by_their_names() {
    common::run(|| async {
        let manager = Manager::local().await.unwrap();
        let list = manager.list([1u8]).await.unwrap();
        manager.publish("numbers", &list).await.unwrap();
        let taken = manager.publish("numbers", &list).await.unwrap_err();
        assert_eq!(taken, ManagerError::NameTaken { name: "numbers".to_owned() });
        drop(list);
        let found: ListProxy<u8> = manager.find("numbers").await.unwrap();
        assert_eq!(found.to_vec().await.unwrap(), [1]);
        let error = manager.find::<DictProxy<u8, u8>>("numbers").await.unwrap_err();
        assert_eq!(error.to_string(), "it is a list, and no dict");
        assert_eq!(manager.names().await.unwrap(), ["numbers"]);
        assert!(manager.unpublish("numbers").await.unwrap());
        let error = manager.find::<ListProxy<u8>>("numbers").await.unwrap_err();
        assert_eq!(error, ManagerError::NoName { name: "numbers".to_owned() });
        manager.shutdown().await.unwrap();
    });
}

/// A thread in a blocking call needs nobody else to read, and reads for tasks, too.
#[test]
fn threads_and_tasks_share_a_connection() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let list = manager.list::<u64>([]).await.unwrap();
        let threads: Vec<_> = (0..4)
            .map(|t| {
                let list = list.clone();
                std::thread::spawn(move || {
                    (0..200).for_each(|i| list.blocking_push(&(t * 1000 + i)).unwrap());
                })
            })
            .collect();
        let tasks = (4..8).map(|t| {
            let list = list.clone();
            tokio::spawn(async move {
                for i in 0..200 {
                    list.push(&(t * 1000 + i)).await.unwrap();
                }
            })
        });
        join_all(tasks.collect::<Vec<_>>()).await.into_iter().for_each(|done| done.unwrap());
        tokio::task::spawn_blocking(|| threads.into_iter().for_each(|t| t.join().unwrap()))
            .await
            .unwrap();
        let mut all = list.to_vec().await.unwrap();
        all.sort_unstable();
        let expected: Vec<u64> = (0..8).flat_map(|t| (0..200).map(move |i| t * 1000 + i)).collect();
        assert_eq!(all, expected);
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn large_values_travel() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let bytes: Vec<u8> = (0..2 << 20).map(|i| (i * 7) as u8).collect();
        let value = manager.value(&bytes).await.unwrap();
        assert!(value.get().await.unwrap() == bytes);
        assert!(value.blocking_get().unwrap() == bytes);
        manager.shutdown().await.unwrap();
    });
}

/// The manager's end is told at once, whatever is under way, and leaves nothing behind.
#[test]
fn the_managers_death_is_told() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let list = manager.list([1]).await.unwrap();
        let socket = manager.address().to_string();
        manager.process().unwrap().kill();
        let error = loop {
            if let Err(error) = list.len().await {
                break error;
            }
        };
        assert!(matches!(error, ManagerError::Died { .. }), "{error:?}");
        assert!(matches!(list.blocking_len(), Err(ManagerError::Died { .. })));
        drop(manager);
        assert!(!std::path::Path::new(&socket).exists());
    });
}

#[test]
fn what_cannot_be_kept_is_refused() {
    common::run(|| async {
        let manager = Manager::local().await.unwrap();
        let queue = procpool::Queue::<u8>::unbounded().unwrap();
        let error = manager.value(&queue).await.unwrap_err();
        assert!(matches!(error, ManagerError::Encode { .. }), "{error:?}");
        let error = manager.list([f32::NAN]).await.unwrap().get(0).await.unwrap();
        assert!(error.is_nan());
        let text = manager.value(&"no number".to_owned()).await.unwrap();
        manager.publish("text", &text).await.unwrap();
        let wrong: ValueProxy<bool> = manager.find("text").await.unwrap();
        let error = wrong.get().await.unwrap_err();
        assert!(matches!(error, ManagerError::Decode { .. }), "{error:?}");
        assert_eq!(text.get().await.unwrap(), "no number");
        manager.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn greet(path: String, words: String) {
    std::fs::write(path, words).unwrap();
}

#[procpool::task]
fn fail() {
    panic!("not today");
}

/// Its initializer runs in its process before it serves anybody; its failure is the start's.
#[test]
fn an_initializer_runs_first() {
    common::run(|| async {
        let gate = kit::Gate::new("manager-initializer");
        let path = format!("{}.words", gate.path());
        let start =
            Manager::builder().worker_threads(1).initializer(greet(path.clone(), "hi".into()));
        let manager = start.start().await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "hi");
        std::fs::remove_file(path).unwrap();
        assert_eq!(manager.list([1]).await.unwrap().len().await.unwrap(), 1);
        manager.shutdown().await.unwrap();
        let error = Manager::builder().initializer(fail()).start().await.unwrap_err();
        assert!(
            matches!(&error, ManagerError::Start(words) if words.contains("not today")),
            "{error}"
        );
    });
}

/// Programs that were told nothing are let in no more than those that say nothing.
#[cfg(unix)]
#[test]
fn strangers_are_not_let_in() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let list = manager.list([1]).await.unwrap();
        let connect = || UnixStream::connect(manager.address().to_string()).unwrap();
        let mut silent: Vec<_> = (0..100).map(|_| connect()).collect();
        for nonsense in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            &[0xff; 600],
            &[0xb7, 1, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255],
        ] {
            let mut stranger = connect();
            let _ = stranger.write_all(nonsense);
            let _ = stranger.shutdown(std::net::Shutdown::Write);
            let mut said = Vec::new();
            let _ = stranger.read_to_end(&mut said);
            assert!(said.is_empty());
        }
        // Those who are in notice nothing of it.
        list.push(&2).await.unwrap();
        assert_eq!(manager.stats().await.unwrap().connections, 1);
        for silent in &mut silent {
            assert_eq!(silent.read(&mut [0; 8]).unwrap_or(0), 0, "it was let go of");
        }
        manager.shutdown().await.unwrap();
    });
}

/// Ctrl-C is for whoever uses the manager.
#[cfg(unix)]
#[test]
fn an_interrupt_does_not_end_it() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        manager.process().unwrap().interrupt().unwrap();
        manager.ping().await.unwrap();
        manager.shutdown().await.unwrap();
    });
}

/// A list that has itself in it is an ordinary list, and lives as long as its manager.
#[test]
fn a_list_may_contain_itself() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Node(ListProxy<Node>);

    common::run(|| async {
        let manager = Manager::local().await.unwrap();
        let list = manager.list::<Node>([]).await.unwrap();
        list.push(&Node(list.clone())).await.unwrap();
        let Node(same) = list.get(0).await.unwrap();
        let Node(again) = same.get(0).await.unwrap();
        again.push(&Node(list.clone())).await.unwrap();
        assert_eq!(list.len().await.unwrap(), 2);
        manager.shutdown().await.unwrap();
    });
}

/// Queues and locks are values as well as lists are.
#[test]
fn a_queue_in_a_dict_is_the_same_queue() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let queue = manager.queue(0).await.unwrap();
        let dict = manager.dict([("q".to_owned(), queue.clone())]).await.unwrap();
        queue.put(&7).await.unwrap();
        drop(queue);
        let found = dict.get("q").await.unwrap().unwrap();
        assert_eq!(found.get().await.unwrap(), 7);
        manager.shutdown().await.unwrap();
    });
}

/// The parts that a user sees of a proxy and an error.
#[test]
fn proxies_and_errors_say_what_they_are() {
    common::run(|| async {
        let manager = Manager::local().await.unwrap();
        let list = manager.list([1]).await.unwrap();
        let address = manager.address().to_string();
        assert!(format!("{list:?}").starts_with("ListProxy(list "), "{list:?}");
        assert!(list.to_string().ends_with(&format!("of the manager at {address}")));
        assert!(!format!("{:?}", manager.handle()).contains("AuthKey"));
        let error = list.get(9).await.unwrap_err();
        assert_eq!(error.to_string(), "index 9 of a list of 1");
        manager.shutdown().await.unwrap();
        assert!(list.len().await.unwrap_err().to_string().contains("has ended"));
    });
}

#[test]
fn an_array_keeps_its_length() {
    common::run(|| async {
        let manager = Manager::local().await.unwrap();
        let array = manager.array([1.5, 2.5, 3.5]).await.unwrap();
        array.set(-1, &9.0).await.unwrap();
        array.set_slice(..2, &[0.0, 0.5]).await.unwrap();
        assert_eq!(array.to_vec().await.unwrap(), [0.0, 0.5, 9.0]);
        assert_eq!(array.slice(1..).await.unwrap(), [0.5, 9.0]);
        let error = array.set_slice(..2, &[0.0]).await.unwrap_err();
        assert_eq!(error, ManagerError::SliceLen { expected: 2, found: 1 });
        assert!(matches!(array.set(3, &0.0).await, Err(ManagerError::Index { .. })));
        assert!(array.compare_and_set(0, &0.0, &1.0).await.unwrap());
        assert_eq!((array.len().await.unwrap(), array.get(0).await.unwrap()), (3, 1.0));
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn a_namespace_has_values_of_any_type() {
    common::run(|| async {
        let manager = Manager::local().await.unwrap();
        let names = manager.namespace().await.unwrap();
        names.set("job", "Builder").await.unwrap();
        names.set("_hidden", &("x", 5)).await.unwrap();
        assert_eq!(names.get::<String>("job").await.unwrap().as_deref(), Some("Builder"));
        assert_eq!(names.get::<(String, i32)>("_hidden").await.unwrap(), Some(("x".into(), 5)));
        assert!(names.contains("job").await.unwrap());
        assert!(names.delete("job").await.unwrap() && !names.delete("job").await.unwrap());
        assert_eq!(names.get::<String>("job").await.unwrap(), None);
        assert_eq!(names.names().await.unwrap(), ["_hidden"]);
        assert!(names.compare_and_set("n", None, Some(&1)).await.unwrap());
        assert!(!names.compare_and_set("n", None, Some(&2)).await.unwrap());
        manager.shutdown().await.unwrap();
    });
}

#[procpool::task]
async fn ask_many(manager: ManagerHandle, list: ListProxy<u64>) -> u64 {
    // None of them has a connection yet.
    let all = join_all((0..300).map(|n| list.push(&n))).await;
    all.into_iter().for_each(|pushed| pushed.unwrap());
    manager.stats().await.unwrap().connections
}

/// However many requests are the first of their process, it connects once.
#[test]
fn many_first_requests_make_one_connection() {
    common::run(|| async {
        let manager = Manager::start().await.unwrap();
        let pool = pool(2).await;
        let list = manager.list([]).await.unwrap();
        let ask = || pool.run(ask_many(manager.handle().clone(), list.clone()));
        let (one, two) = tokio::join!(ask(), ask());
        assert!(one.unwrap() <= 3 && two.unwrap() <= 3);
        assert_eq!(list.len().await.unwrap(), 600);
        pool.shutdown().await.unwrap();
        manager.shutdown().await.unwrap();
    });
}
