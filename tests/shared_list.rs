//! Lists in shared memory.

mod common;
mod kit;

use std::io;

use kit::pool;
use procpool::{ItemTooLong, ListItem, RawArray, SharedList, SharedMemory};
use serde::{Deserialize, Serialize};

procpool::test_hook!();

fn items() -> Vec<ListItem> {
    vec![
        ListItem::None,
        true.into(),
        (-3i64).into(),
        i64::MAX.into(),
        2.5.into(),
        "hello".into(),
        "äöü and more".into(),
        b"bytes\0\0".into(),
        "".into(),
        b"".into(),
    ]
}

#[test]
fn it_holds_what_was_put_into_it() {
    let list = SharedList::new(items()).unwrap();
    assert_eq!((list.len(), list.is_empty()), (10, false));
    assert_eq!(list.to_vec(), items());
    assert_eq!(list.iter().next_back(), Some(b"".into()));
    assert_eq!((list.get(9), list.get(10)), (Some(b"".into()), None));
    assert_eq!(list.get(list.len() - 5), Some("hello".into()), "the fifth from the end");
    let none = SharedList::new(Vec::<ListItem>::new()).unwrap();
    assert!(none.is_empty() && none.to_vec().is_empty() && none.get(0).is_none());
    assert_eq!(format!("{:?}", SharedList::new([1, 2]).unwrap()), "[Int(1), Int(2)]");
}

#[test]
fn trailing_zeroes_are_kept() {
    let list = SharedList::new([ListItem::from(b"a\0\0"), "b\0".into(), b"\0".into()]).unwrap();
    assert_eq!(list.to_vec(), [ListItem::from(b"a\0\0"), "b\0".into(), b"\0".into()]);
    list.set(0, "\0\0\0\0\0\0\0\0").unwrap();
    assert_eq!(list.get(0), Some("\0\0\0\0\0\0\0\0".into()));
}

#[test]
fn an_item_may_change_its_kind_within_its_slot() {
    let list = SharedList::new(items()).unwrap();
    let rooms: Vec<_> = (0..10).map(|i| list.room(i).unwrap()).collect();
    assert_eq!(rooms, [8, 8, 8, 8, 8, 8, 16, 8, 8, 8]);
    assert_eq!(list.room(10), None);
    for value in items().into_iter().filter(|item| *item != "äöü and more".into()) {
        for index in 0..list.len() {
            list.set(index, value.clone()).unwrap();
        }
        assert!(list.iter().all(|item| item == value), "{value:?}: {list:?}");
    }
    list.set(6, "x".repeat(16)).unwrap();
    let error = list.set(6, "x".repeat(17)).unwrap_err();
    let ItemTooLong { index, len, room, .. } = error;
    assert_eq!((index, len, room), (6, 17, 16));
    let text = list.set(0, &[0; 20]).unwrap_err().to_string();
    assert!(text.contains("item 0") && text.contains("8 bytes, not for 20"), "{text}");
    assert_eq!((list.get(6), list.get(0)), (Some("x".repeat(16).into()), Some(b"".into())));
}

#[test]
fn items_are_counted_and_found() {
    let list = SharedList::new([1, 2, 1, 3, 1]).unwrap();
    assert_eq!((list.count(1), list.count(4), list.count("1"), list.count(1.0)), (3, 0, 0, 0));
    assert_eq!(
        (list.index_of(3), list.index_of(1), list.index_of(false)),
        (Some(3), Some(0), None)
    );
}

#[test]
fn an_index_outside_is_a_panic_in_words() {
    let list = SharedList::new([1]).unwrap();
    let panic = std::panic::catch_unwind(|| list.set(1, 2)).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("item 1 of 1 in a shared list"), "{text}");
}

#[procpool::task]
fn double(list: SharedList) -> SharedList {
    for index in 0..list.len() {
        match list.get(index).unwrap() {
            ListItem::Int(n) => list.set(index, 2 * n).unwrap(),
            ListItem::Str(text) => list.set(index, text.to_uppercase()).unwrap(),
            _ => {}
        }
    }
    list
}

#[procpool::task]
fn append_by_name(name: String) -> usize {
    let list = SharedList::open(&name).unwrap();
    list.set(0, "there").unwrap();
    list.len()
}

#[test]
fn all_processes_see_one_list() {
    common::run(|| async {
        let pool = pool(1).await;
        let list = SharedList::new([ListItem::from(4), "text".into(), ListItem::None]).unwrap();
        let theirs = pool.run(double(list.clone())).await.unwrap();
        theirs.set(2, 9).unwrap();
        assert_eq!(list.to_vec(), [ListItem::from(8), "TEXT".into(), 9.into()]);
        let name = format!("list of {}", std::process::id());
        let named = SharedList::create(&name, ["here", "x"]).unwrap();
        assert_eq!(named.memory().name(), Some(name.as_str()));
        assert_eq!(pool.run(append_by_name(name.clone())).await.unwrap(), 2);
        assert_eq!(named.get(0), Some("there".into()));
        let unique = SharedList::create_unique([1.5]).unwrap();
        let again = SharedList::open(unique.memory().name().unwrap()).unwrap();
        assert_eq!(again.to_vec(), [1.5.into()]);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn it_is_made_in_memory_that_is_there() {
    let memory = SharedMemory::anonymous(1000).unwrap();
    memory.write(0, &[7; 1000]);
    let list = SharedList::create_in(memory.clone(), items()).unwrap();
    assert_eq!(list.to_vec(), items());
    assert_eq!(SharedList::attach(memory.clone()).unwrap().to_vec(), items());
    let shorter = SharedList::create_in(memory.clone(), ["new"]).unwrap();
    assert_eq!(shorter.to_vec(), ["new".into()]);
    let error = SharedList::create_in(memory, [&[0u8; 1000][..]]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let text = error.to_string();
    assert!(text.contains("1040 bytes in 1000 bytes"), "{text}");
}

#[procpool::task]
fn write_for_ever(list: SharedList, stop: RawArray<u8>) {
    let mut n = 0i64;
    while stop.get(0) == Some(0) {
        n += 1;
        let value = match n % 3 {
            0 => ListItem::Int(n),
            1 => "a".repeat((n % 200) as usize).into(),
            _ => vec![7u8; (n % 200) as usize].into(),
        };
        list.set(0, value).unwrap();
    }
}

#[test]
fn what_is_read_while_it_is_written_is_whole() {
    common::run(|| async {
        let pool = pool(1).await;
        let list = SharedList::new([vec![7u8; 200]]).unwrap();
        let stop = RawArray::zeroed(1).unwrap();
        let writer = pool.spawn(write_for_ever(list.clone(), stop.clone()));
        let mut kinds = [0; 3];
        while kinds.iter().any(|n| *n < 1000) {
            let kind = match list.get(0).unwrap() {
                ListItem::Int(n) if n % 3 == 0 => 0,
                ListItem::Str(text) if text.bytes().all(|byte| byte == b'a') => 1,
                ListItem::Bytes(bytes) if bytes.iter().all(|byte| *byte == 7) => 2,
                // Its writer had to wait for its turn on the processor.
                ListItem::None => continue,
                other => panic!("{other:?}"),
            };
            kinds[kind] += 1;
        }
        stop.set(0, 1);
        writer.get().await.unwrap();
        pool.shutdown().await.unwrap();
    });
}

/// Whatever its memory holds, a list is refused or read, and neither fails nor takes more than the memory is long.
/// Each item is said to be the one that is as long as all the memory, or to be half written.
#[test]
fn reading_all_takes_no_more_than_the_memory_has() {
    let long = vec![7u8; 1 << 20];
    let items = std::iter::once(ListItem::from(&long[..])).chain(vec![ListItem::None; 40_000]);
    let list = SharedList::new(items).unwrap();
    let memory = list.memory();
    let first = memory.to_vec(16..32);
    (0..list.len()).for_each(|index| memory.write(16 + 16 * index, &first));
    // Not one after the other, so that the whole of it is never there.
    let length: usize = list
        .iter()
        .map(|item| if let ListItem::Bytes(bytes) = item { bytes.len() } else { 0 })
        .sum();
    assert!((1 << 20..=memory.len()).contains(&length), "{length}");
    assert_eq!(list.count(&long[..]), memory.len() >> 20);
    // A single one is read as ever.
    assert_eq!(list.get(39_999), Some(long[..].into()));
    let started = std::time::Instant::now();
    let at = u64::from_ne_bytes(first[..8].try_into().unwrap()) as usize;
    memory.write(at, &(0xff_u64 << 56).to_ne_bytes());
    assert!(list.to_vec().iter().all(|item| *item == ListItem::None));
    assert!(started.elapsed() < std::time::Duration::from_secs(60), "each is waited for");
}

#[test]
fn nonsense_in_the_memory_hurts_nobody() {
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let memory = SharedMemory::anonymous(400).unwrap();
    let mut read = 0;
    for _ in 0..4_000 {
        SharedList::create_in(memory.clone(), items()).unwrap();
        let word = (random() % 50 * 8) as usize;
        let few = [0, 1, 8, 16, 24, 392, 400, 1 << 32, 1 << 56, u64::MAX, u64::MAX - 7];
        let value = match random() % 3 {
            0 => random(),
            1 => few[(random() % few.len() as u64) as usize],
            _ => random() % 500,
        };
        // A tag that says that it is being written costs time.
        if value >> 56 == 255 && word >= 176 {
            continue;
        }
        memory.write(word, &value.to_ne_bytes());
        let Ok(list) = SharedList::attach(memory.clone()) else { continue };
        read += 1;
        for item in list.iter() {
            match item {
                ListItem::Str(text) => assert!(text.len() <= 3 * 400),
                ListItem::Bytes(bytes) => assert!(bytes.len() <= 400),
                _ => {}
            }
        }
        let index = random() as usize % list.len().max(1);
        let _ = (index < list.len()).then(|| list.set(index, "12345678"));
    }
    assert!(read > 2_000, "{read}");
}

/// Arrives as what it was not sent as.
#[derive(Debug)]
struct NoList(Option<SharedList>, SharedMemory);

impl Serialize for NoList {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.1.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NoList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = SharedList::deserialize(deserializer)?;
        Ok(NoList(Some(list), SharedMemory::anonymous(1).map_err(serde::de::Error::custom)?))
    }
}

#[procpool::task]
fn lie(len: usize, words: Vec<u64>) -> NoList {
    let memory = SharedMemory::anonymous(len).unwrap();
    for (i, word) in words.into_iter().enumerate() {
        memory.write(8 * i, &word.to_ne_bytes());
    }
    NoList(None, memory)
}

#[test]
fn memory_that_holds_no_list_is_refused() {
    common::run(|| async {
        let pool = pool(1).await;
        let magic = u64::from_ne_bytes(*b"pp-list1");
        let lies = [
            (8, vec![magic], "no list"),
            (100, vec![], "no list"),
            (100, vec![magic, 4], "4 items in 100 bytes"),
            (100, vec![magic, u64::MAX], "items in 100 bytes"),
        ];
        for (len, words, expected) in lies {
            let error = pool.run(lie(len, words)).await.map(|lie| lie.0).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(pool.run(lie(100, vec![magic, 3])).await.unwrap().0.is_some());
        pool.shutdown().await.unwrap();
    });
}
