//! Memory that is lent, given back and lent again.

mod common;
mod kit;

use std::io::{self, Read, Write};
use std::time::Duration;

use common::os::Death;
use kit::{Gate, pool};
use procpool::{Loan, Loaned, Process, Queue};

procpool::test_hook!();

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 7 + seed) % 251) as u8).collect()
}

#[procpool::task]
fn read(loaned: Loaned) -> Vec<u8> {
    loaned.to_vec(..)
}

#[procpool::task]
fn keep(loaned: Loaned, gate: String, death: Option<Death>) -> u8 {
    kit::stay(&gate, loaned.len());
    if let Some(death) = death {
        death.strike();
    }
    loaned.to_vec(..1)[0]
}

#[test]
fn one_memory_carries_many_fillings() {
    common::run(|| async {
        let pool = pool(2).await;
        let mut loan = Loan::new(100_000).unwrap();
        for round in 0..20 {
            let bytes = pattern(100_000 - round * 4999, round);
            let loaned = loan.fill(&bytes).unwrap();
            assert_eq!((loaned.len(), loaned.is_empty()), (bytes.len(), false));
            let all = pool.map(read, vec![loaned; 3]).await.unwrap();
            assert!(all.iter().all(|copy| *copy == bytes), "round {round}");
            loan.returned().await.unwrap();
        }
        assert!(loan.fill(b"").unwrap().is_empty());
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn it_comes_back_when_the_last_one_is_dropped() {
    common::run(|| async {
        let pool = pool(2).await;
        let mut loan = Loan::new(10).unwrap();
        assert!(loan.try_returned().unwrap());
        loan.returned().await.unwrap();
        loan.blocking_returned().unwrap();
        let loaned = loan.fill(b"x").unwrap();
        let gate = Gate::new("loan");
        let calls = [(); 2].map(|()| pool.spawn(keep(loaned.clone(), gate.path(), None)));
        gate.arrived(2).await;
        let moment = Duration::from_millis(5);
        assert!(!loan.try_returned().unwrap());
        assert!(!loan.returned_timeout(moment).await.unwrap());
        assert!(!loan.blocking_returned_timeout(moment).unwrap());
        let error = loan.fill(b"y").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(format!("{loan:?}"), "Loan(10 bytes, lent)");
        gate.open();
        for call in calls {
            assert_eq!(call.get().await.unwrap(), b'x');
        }
        assert!(!loan.returned_timeout(moment).await.unwrap(), "one is here");
        let waiting = async {
            loan.returned().await.unwrap();
            loan
        };
        let (mut loan, ()) = tokio::join!(waiting, async {
            tokio::task::yield_now().await;
            drop(loaned);
        });
        // The same on a thread.
        let loaned = loan.fill(b"z").unwrap();
        let thread = std::thread::spawn(move || {
            loan.blocking_returned().unwrap();
            loan.try_returned().unwrap()
        });
        drop(loaned);
        assert!(tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap());
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_dead_reader_gives_it_back() {
    common::run(|| async {
        let pool = pool(1).await;
        let mut loan = Loan::new(10).unwrap();
        for death in [Death::Kill, Death::Abort] {
            let gate = Gate::new("loan-death");
            let loaned = loan.fill(b"x").unwrap();
            let call = pool.spawn(keep(loaned, gate.path(), Some(death)));
            gate.arrived(1).await;
            assert!(!loan.try_returned().unwrap());
            gate.open();
            assert!(death.is_cause_of(&call.get().await.unwrap_err()));
            loan.returned().await.unwrap();
        }
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn pass_on(from: Queue<Loaned>, to: Queue<Loaned>) {
    while let Ok(loaned) = from.blocking_get() {
        to.blocking_put(loaned).unwrap();
    }
}

#[procpool::task]
fn lend_one() -> Loaned {
    Loan::new(5).unwrap().fill(b"child").unwrap()
}

#[test]
fn it_travels_through_queues_and_from_workers() {
    common::run(|| async {
        let (there, back) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let child = Process::spawn(pass_on(there.clone(), back.clone())).await.unwrap();
        let mut loan = Loan::new(3).unwrap();
        for text in [b"one", b"two"] {
            there.put(loan.fill(text).unwrap()).await.unwrap();
            assert_eq!(back.get().await.unwrap().to_vec(..), text);
            loan.returned().await.unwrap();
        }
        there.close();
        child.handle().join().await;
        // Its lender is gone: the reader keeps it.
        let mut lender = Process::spawn(lend_one()).await.unwrap();
        let loaned = lender.output().await.unwrap();
        lender.handle().join().await;
        assert_eq!(loaned.to_vec(1..), b"hild");
    });
}

#[test]
fn it_is_filled_and_read_piece_by_piece() {
    let mut loan = Loan::new(10).unwrap();
    assert_eq!(loan.capacity(), 10);
    let mut filling = loan.filling().unwrap();
    filling.write_all(b"12345").unwrap();
    assert_eq!(filling.write(b"678901").unwrap(), 5);
    assert_eq!((filling.write(b"x").unwrap(), filling.written()), (0, 10));
    let loaned = filling.lend().unwrap();
    let mut reader = loaned.reader();
    let (mut four, mut rest) = ([0; 4], Vec::new());
    reader.read_exact(&mut four).unwrap();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!((&four, rest.as_slice()), (b"1234", &b"567890"[..]));
    let mut two = [0; 2];
    loaned.read(8, &mut two);
    assert_eq!(two, *b"90");
    let outside = std::panic::AssertUnwindSafe(|| loaned.read(9, &mut [0; 2]));
    let panic = std::panic::catch_unwind(outside).unwrap_err();
    assert!(panic.downcast_ref::<String>().unwrap().contains("of 10 bytes that were lent"));
    drop(reader);
    drop(loaned);
    loan.blocking_returned().unwrap();
    // What was written and not lent is written over.
    loan.filling().unwrap().write_all(b"xyz").unwrap();
    let text = loan.fill(&[0; 11]).unwrap_err().to_string();
    assert!(text.contains("11 bytes after 0 others in a loan of 10"), "{text}");
    assert_eq!(loan.fill(b"ab").unwrap().to_vec(..), b"ab");
    assert_eq!(Loan::new(0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[cfg(target_os = "linux")]
mod hostile {
    use std::fs::File;
    use std::os::fd::FromRawFd;

    use procpool::PassFd;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::*;

    /// Tries all that a process with the descriptor could.
    #[procpool::task]
    fn scribble(loaned: Loaned) -> Vec<String> {
        let mut done = Vec::new();
        for fd in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
            let path = fd.path();
            if !std::fs::read_link(&path).is_ok_and(|to| to.to_string_lossy().contains("-loan")) {
                continue;
            }
            done.push("found".to_owned());
            let Ok(mut file) = File::options().read(true).write(true).open(&path) else {
                continue;
            };
            if file.write_all(b"scribble").is_ok() {
                done.push("written".to_owned());
            }
            if file.set_len(0).is_ok() {
                done.push("cut".to_owned());
            }
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
            // SAFETY: a fresh mapping at an address of the kernel's choice.
            let at =
                unsafe { libc::mmap(std::ptr::null_mut(), 4096, access, libc::MAP_SHARED, fd, 0) };
            if at != libc::MAP_FAILED {
                done.push("mapped".to_owned());
            }
        }
        assert_eq!(loaned.len(), 4096);
        done
    }

    #[test]
    fn readers_cannot_write_it() {
        common::run(|| async {
            let pool = pool(1).await;
            let mut loan = Loan::new(4096).unwrap();
            let loaned = loan.fill(&[7; 4096]).unwrap();
            assert_eq!(pool.run(scribble(loaned.clone())).await.unwrap(), ["found"]);
            assert_eq!(loaned.to_vec(..), [7; 4096]);
            drop(loaned);
            loan.returned().await.unwrap();
            assert_eq!(loan.fill(&[8; 4096]).unwrap().to_vec(..), [8; 4096]);
            pool.shutdown().await.unwrap();
        });
    }

    fn own_descriptors() -> Vec<i32> {
        let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        entries.map(|entry| entry.file_name().to_str().unwrap().parse().unwrap()).collect()
    }

    #[procpool::task]
    fn descriptors() -> Vec<i32> {
        own_descriptors()
    }

    /// Does to what came with it what could have it given back for others.
    #[procpool::task]
    fn end_it_for_all(loaned: Loaned, before: Vec<i32>) -> bool {
        let mut wrote = false;
        for fd in own_descriptors().into_iter().filter(|fd| !before.contains(fd)) {
            // SAFETY: calls that leave alone what they are not for; the buffer is as long as is said.
            unsafe {
                libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
                libc::shutdown(fd, libc::SHUT_WR);
                while libc::write(fd, [0u8; 4096].as_ptr().cast(), 4096) > 0 {
                    wrote = true;
                }
            }
        }
        drop(loaned);
        wrote
    }

    #[test]
    fn no_reader_gives_back_what_another_has() {
        common::run(|| async {
            let (honest, hostile) = (pool(1).await, pool(1).await);
            let mut loan = Loan::new(10).unwrap();
            let loaned = loan.fill(b"x").unwrap();
            let gate = Gate::new("loan-of-another");
            let call = honest.spawn(keep(loaned.clone(), gate.path(), None));
            gate.arrived(1).await;
            let before = hostile.run(descriptors()).await.unwrap();
            assert!(hostile.run(end_it_for_all(loaned, before)).await.unwrap());
            let moment = Duration::from_millis(5);
            assert!(!loan.try_returned().unwrap());
            assert!(!loan.returned_timeout(moment).await.unwrap());
            assert!(!loan.blocking_returned_timeout(moment).unwrap());
            assert!(loan.fill(b"y").is_err());
            gate.open();
            assert_eq!(call.get().await.unwrap(), b'x');
            loan.returned().await.unwrap();
            honest.shutdown().await.unwrap();
            hostile.shutdown().await.unwrap();
        });
    }

    /// Claims to be lent.
    #[derive(Debug)]
    struct Forged(u64, u64, Vec<PassFd<File>>, Option<Loaned>);

    impl Serialize for Forged {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            (self.0, self.1, &self.2[0], &self.2[1]).serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Forged {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Loaned::deserialize(deserializer).map(|loaned| Forged(0, 0, Vec::new(), Some(loaned)))
        }
    }

    #[procpool::task]
    fn forge(capacity: u64, len: u64, size: i64, is_there: bool, seals: i32) -> Forged {
        // SAFETY: a name that ends, and a descriptor of our own.
        let memory = unsafe {
            let fd = libc::memfd_create(c"forged".as_ptr(), libc::MFD_ALLOW_SEALING);
            assert!(fd >= 0);
            let mut file = File::from_raw_fd(fd);
            if is_there {
                file.write_all(&vec![1; size as usize]).unwrap();
            } else {
                file.set_len(size as u64).unwrap();
            }
            assert_eq!(libc::fcntl(fd, libc::F_ADD_SEALS, seals), 0);
            file
        };
        let (_, token) = io::pipe().unwrap();
        let token = File::from(std::os::fd::OwnedFd::from(token));
        Forged(capacity, len, vec![PassFd::new(memory), PassFd::new(token)], None)
    }

    #[test]
    fn made_up_loans_are_refused() {
        common::run(|| async {
            let pool = pool(1).await;
            let fixed = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
            let sealed = fixed | libc::F_SEAL_FUTURE_WRITE;
            let good = pool.run(forge(4096, 9, 4096, true, sealed)).await.unwrap().3.unwrap();
            assert_eq!(good.to_vec(..), [1; 9]);
            for (capacity, len, size, is_there, seals, words) in [
                (4096, 4097, 4096, true, sealed, "4097 bytes in a loan of 4096"),
                (0, 0, 0, true, sealed, "0 bytes in a loan of 0"),
                (4096, 1, 4096, true, 0, "sealed against shrinking"),
                (8192, 1, 4096, true, sealed, "expected 8192 bytes"),
                (4096, 1, 4096, true, fixed, "by others than its lender"),
                (1 << 30, 1, 1 << 30, false, sealed, "not all are there"),
            ] {
                let call = forge(capacity, len, size, is_there, seals);
                let error = pool.run(call).await.unwrap_err().to_string();
                assert!(error.contains(words), "{error}");
            }
            pool.shutdown().await.unwrap();
        });
    }
}
