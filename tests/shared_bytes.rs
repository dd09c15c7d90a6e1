//! Bytes that several processes read.

mod common;
mod kit;

use std::collections::HashSet;

use bytes::Bytes;
use kit::pool;
use procpool::{Process, Queue, SharedBytes, SharedBytesMut, pipe};
use serde::{Deserialize, Serialize};

procpool::test_hook!();

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

#[derive(Debug, Serialize, Deserialize)]
struct Page {
    number: u32,
    text: SharedBytes,
    more: Vec<SharedBytes>,
}

#[procpool::task]
fn sum(bytes: SharedBytes) -> u64 {
    bytes.iter().map(|b| u64::from(*b)).sum()
}

#[procpool::task]
fn make(len: usize) -> SharedBytes {
    let mut bytes = SharedBytesMut::zeroed(len).unwrap();
    bytes.copy_from_slice(&pattern(len));
    bytes.freeze().unwrap()
}

#[procpool::task]
async fn turn(page: Page) -> Page {
    let Page { number, text, mut more } = page;
    more.push(text.slice(1..4));
    Page { number: number + 1, text, more }
}

#[test]
fn they_go_to_a_worker_and_come_from_one() {
    common::run(|| async {
        let pool = pool(2).await;
        for len in [1, 100, 4096, 5_000_000] {
            let bytes = pool.apply(make, len).await.unwrap();
            assert_eq!(bytes, pattern(len));
            let expected: u64 = pattern(len).iter().map(|b| u64::from(*b)).sum();
            assert_eq!(pool.map(sum, vec![bytes.clone(); 20]).await.unwrap(), [expected; 20]);
        }
        assert_eq!(pool.apply(sum, SharedBytes::default()).await.unwrap(), 0);
        assert_eq!(pool.apply(make, 0).await.unwrap(), []);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn they_travel_inside_values() {
    common::run(|| async {
        let pool = pool(1).await;
        let text = SharedBytes::copy_from(pattern(100)).unwrap();
        let more = vec![text.slice(..0), text.slice(50..), text.slice(20..=30).slice(3..5)];
        let page = pool.run(turn(Page { number: 1, text, more })).await.unwrap();
        assert_eq!((page.number, &page.text), (2, &SharedBytes::copy_from(pattern(100)).unwrap()));
        let all = pattern(100);
        let expected = [&all[..0], &all[50..], &all[23..25], &all[1..4]];
        assert!(page.more.iter().zip(expected).all(|(got, expected)| got == expected));
        assert_eq!(page.more.len(), 4);
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn pass_on(from: Queue<SharedBytes>, to: Queue<SharedBytes>) {
    while let Ok(bytes) = from.blocking_get() {
        to.blocking_put(bytes).unwrap();
    }
}

#[test]
fn they_are_items_and_messages() {
    common::run(|| async {
        let (there, back) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let child = Process::spawn(pass_on(there.clone(), back.clone())).await.unwrap();
        for i in 0..200 {
            there.put(SharedBytes::copy_from([i; 9]).unwrap()).await.unwrap();
        }
        for i in 0..200 {
            assert_eq!(back.get().await.unwrap(), [i; 9]);
        }
        there.close();
        child.handle().join().await;
        let (mut a, mut b) = pipe::<SharedBytes, ()>().unwrap();
        let sent = a.send(SharedBytes::copy_from(b"by a pipe").unwrap()).await;
        if cfg!(windows) {
            let error = sent.unwrap_err();
            assert!(error.to_string().contains("handles over a pipe"), "{error}");
            return;
        }
        sent.unwrap();
        assert_eq!(b.recv().await.unwrap(), b"by a pipe");
    });
}

#[test]
fn parts_and_other_forms_share_the_memory() {
    let bytes = SharedBytes::copy_from(pattern(10_000)).unwrap();
    let part = bytes.slice(5000..);
    assert!(std::ptr::eq(&bytes[5000], &part[0]));
    let other: Bytes = part.clone().into();
    assert!(std::ptr::eq(&other[0], &part[0]));
    drop((bytes, part));
    assert_eq!(other, pattern(10_000)[5000..]);
    let set = HashSet::from([SharedBytes::copy_from(b"key").unwrap()]);
    assert!(set.contains(&b"key"[..]));
    let shown = format!("{:?}", SharedBytes::copy_from([b'a'; 20]).unwrap());
    assert_eq!(shown, "SharedBytes(20 bytes: aaaaaaaaaaaaaaaa…)");
}

#[test]
fn a_range_outside_is_a_panic_in_words() {
    let bytes = SharedBytes::copy_from([0; 10]).unwrap();
    let outside: [(usize, usize); 3] = [(0, 11), (7, 6), (usize::MAX, usize::MAX)];
    for (start, end) in outside {
        let panic = std::panic::catch_unwind(|| bytes.slice(start..end)).unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains("of 10 shared bytes"), "{text}");
    }
}

#[test]
fn elsewhere_they_are_refused_in_words() {
    let error = serde_json::to_string(&SharedBytes::copy_from(b"x").unwrap()).unwrap_err();
    assert!(error.to_string().contains("can only travel in what procpool itself carries"));
}

#[cfg(target_os = "linux")]
mod hostile {
    use std::fs::File;
    use std::os::fd::FromRawFd;

    use procpool::PassFd;
    use serde::{Deserializer, Serializer};

    use super::*;

    /// Claims to be shared bytes.
    #[derive(Debug)]
    struct Forged {
        all: u64,
        start: u64,
        len: u64,
        memory: Option<PassFd<File>>,
        arrived: Option<SharedBytes>,
    }

    impl Serialize for Forged {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            (self.all, self.start, self.len, &self.memory).serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Forged {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let arrived = Some(SharedBytes::deserialize(deserializer)?);
            Ok(Forged { all: 0, start: 0, len: 0, memory: None, arrived })
        }
    }

    const SEALED: i32 = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;

    fn memory(len: i64, fill: bool, seals: i32) -> PassFd<File> {
        use std::io::Write;
        // SAFETY: a name that ends, and descriptors of our own.
        unsafe {
            let fd = libc::memfd_create(c"forged".as_ptr(), libc::MFD_ALLOW_SEALING);
            assert!(fd >= 0);
            let mut file = File::from_raw_fd(fd);
            if fill {
                file.write_all(&vec![7; len as usize]).unwrap();
            } else {
                file.set_len(len as u64).unwrap();
            }
            assert_eq!(libc::fcntl(fd, libc::F_ADD_SEALS, seals), 0);
            PassFd::new(file)
        }
    }

    #[procpool::task]
    fn forge(what: u32) -> Forged {
        let forged = |(all, start, len), memory| Forged { all, start, len, memory, arrived: None };
        match what {
            0 => forged((4096, 10, 20), Some(memory(4096, true, SEALED))),
            1 => forged((4096, 0, 4096), Some(memory(4096, true, 0))),
            2 => forged((4096, 0, 4096), Some(memory(4096, true, libc::F_SEAL_SHRINK))),
            3 => forged((8192, 0, 8192), Some(memory(4096, true, SEALED))),
            4 => forged((1 << 40, 0, 1 << 40), Some(memory(1 << 40, false, SEALED))),
            5 => forged((4096, 1, 4096), Some(memory(4096, true, SEALED))),
            6 => forged((4096, u64::MAX, 2), Some(memory(4096, true, SEALED))),
            7 => forged((0, 0, 0), Some(memory(0, true, SEALED))),
            8 => forged((4096, 0, 4096), None),
            9 => {
                let file = File::open("Cargo.toml").unwrap();
                let len = file.metadata().unwrap().len();
                forged((len, 0, len), Some(PassFd::new(file)))
            }
            _ => {
                let null = File::open("/dev/zero").unwrap();
                forged((4096, 0, 4096), Some(PassFd::new(null)))
            }
        }
    }

    /// Memory that could be written, cut, or is not what it is said to be is never mapped.
    #[test]
    fn made_up_bytes_are_refused() {
        common::run(|| async {
            let pool = pool(1).await;
            let good = pool.apply(forge, 0).await.unwrap();
            assert_eq!(good.arrived.unwrap(), [7; 20]);
            let words = [
                "could be written",
                "could be written",
                "4096 bytes of memory, 8192 were said",
                "not all are there",
                "4096 bytes at 1 of 4096",
                "of 4096 shared ones",
                "0 bytes at 0 of 0",
                "without their memory",
                "cannot be",
                "cannot be",
            ];
            for (what, words) in (1..).zip(words) {
                let error = pool.apply(forge, what).await.unwrap_err().to_string();
                assert!(error.contains(words), "{what}: {error}");
            }
            pool.shutdown().await.unwrap();
        });
    }

    #[procpool::task]
    fn make_with_small_files() -> String {
        let few = libc::rlimit { rlim_cur: 4096, rlim_max: 4096 };
        // SAFETY: a plain struct, of this process alone.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &few) }, 0);
        assert_eq!(SharedBytes::copy_from([1; 4096]).unwrap(), [1; 4096]);
        SharedBytes::copy_from([1; 4097]).unwrap_err().to_string()
    }

    #[test]
    fn more_than_files_may_have_is_an_error() {
        common::run(|| async {
            let mut child = Process::spawn(make_with_small_files()).await.unwrap();
            let text = child.output().await.unwrap();
            assert!(text.contains("4097 bytes") && text.contains("4096"), "{text}");
        });
    }
}
