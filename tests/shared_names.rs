//! Shared memory that has a name.

mod common;
mod kit;

use std::collections::HashSet;
use std::io::{self, BufRead};
use std::process::Stdio;

use common::os::Death;
use kit::{Gate, pool};
use procpool::{Process, Queue, SharedList, SharedMemory};

procpool::test_hook!();

/// A name of this test's own.
fn own(what: &str) -> String {
    format!("test {what} of {}", std::process::id())
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
    result.unwrap_err().kind()
}

#[procpool::task]
fn write_by_name(name: String, at: usize, text: String) -> usize {
    let memory = SharedMemory::open(&name).unwrap();
    memory.write(at, text.as_bytes());
    memory.len()
}

#[test]
fn a_name_leads_every_process_to_one_block() {
    common::run(|| async {
        let pool = pool(1).await;
        let name = own("block");
        let memory = SharedMemory::create(&name, 513).unwrap();
        assert_eq!((memory.len(), memory.name()), (513, Some(name.as_str())));
        let there = pool.run(write_by_name(name.clone(), 507, "worker".to_owned())).await.unwrap();
        assert_eq!((there, memory.to_vec(506..)), (513, b"\0worker".to_vec()));
        // Here it is opened anew, too.
        let again = SharedMemory::open(&name).unwrap();
        again.write(0, b"again");
        assert_eq!((again.len(), memory.to_vec(..5)), (513, b"again".to_vec()));
        let child = Process::spawn(write_by_name(name.clone(), 0, "child".to_owned()));
        assert_eq!(child.await.unwrap().output().await.unwrap(), 513);
        assert_eq!(again.to_vec(..5), b"child");
        drop(memory);
        assert_eq!(SharedMemory::open(&name).unwrap().to_vec(..5), b"child");
        drop(again);
        assert_eq!(kind(SharedMemory::open(&name)), io::ErrorKind::NotFound);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_clash_and_a_missing_name_are_told_by_kind_and_name() {
    common::run(|| async {
        let name = own("clash");
        let error = SharedMemory::open(&name).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains(&name), "{error}");
        let memory = SharedMemory::create(&name, 1).unwrap();
        let error = SharedMemory::create(&name, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(error.to_string().contains(&name), "{error}");
        drop(memory);
        // It went with its block.
        assert_eq!(SharedMemory::create(&name, 2).unwrap().len(), 2);
        assert_eq!(kind(SharedMemory::remove(&name)), io::ErrorKind::NotFound);
        assert_eq!(kind(SharedMemory::create(&name, 0)), io::ErrorKind::InvalidInput);
    });
}

#[test]
fn an_unlinked_block_stays_and_its_name_is_free_once() {
    common::run(|| async {
        let name = own("unlinked");
        let memory = SharedMemory::create(&name, 8).unwrap();
        let other = SharedMemory::open(&name).unwrap();
        memory.unlink().unwrap();
        assert_eq!(kind(memory.unlink()), io::ErrorKind::NotFound);
        assert_eq!(kind(other.unlink()), io::ErrorKind::NotFound);
        assert_eq!(kind(SharedMemory::open(&name)), io::ErrorKind::NotFound);
        assert_eq!(kind(SharedMemory::remove(&name)), io::ErrorKind::NotFound);
        other.write(0, b"still");
        assert_eq!((memory.to_vec(..5), memory.name()), (b"still".to_vec(), Some(name.as_str())));
        if cfg!(windows) {
            // There the section keeps it to its end.
            drop((memory, other));
            drop(SharedMemory::create(&name, 8).unwrap());
            return;
        }
        // The name may be another's now, which the first one's holders do not touch.
        let next = SharedMemory::create(&name, 16).unwrap();
        assert_eq!(kind(memory.unlink()), io::ErrorKind::NotFound);
        drop((memory, other));
        assert_eq!(SharedMemory::open(&name).unwrap().len(), 16);
        SharedMemory::remove(&name).unwrap();
        assert_eq!(kind(next.unlink()), io::ErrorKind::NotFound);
        let anonymous = SharedMemory::anonymous(8).unwrap();
        assert_eq!((kind(anonymous.unlink()), anonymous.name()), (io::ErrorKind::NotFound, None));
    });
}

#[test]
fn what_can_be_no_name_is_refused_and_the_rules_are_told() {
    let long = "x".repeat(201);
    for name in ["", "a\0b", "\0", "a/b", "..\\x", "/", long.as_str()] {
        let results = [
            SharedMemory::create(name, 8).map(drop),
            SharedMemory::open(name).map(drop),
            SharedMemory::remove(name),
        ];
        for result in results {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            let text = error.to_string();
            assert!(text.contains("1 to 200 bytes, none of them NUL, slash"), "{text}");
        }
    }
}

#[test]
fn odd_names_are_names() {
    common::run(|| async {
        let pool = pool(1).await;
        let odd = ["a:b:c", "new\nline", " ", ".", "..", "-rf *", "ü→\u{1F980}", "%s\t\"'"];
        let long = "é".repeat(80);
        for name in odd.into_iter().chain([long.as_str()]) {
            let name = format!("{name}{}", std::process::id());
            let memory = SharedMemory::create(&name, 10).unwrap();
            pool.run(write_by_name(name.clone(), 0, "found".to_owned())).await.unwrap();
            assert_eq!(memory.to_vec(..5), b"found", "{name:?}");
            memory.unlink().unwrap();
        }
        let dots = SharedMemory::create("..", 10).unwrap();
        dots.unlink().unwrap();
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn made_up_names_differ() {
    common::run(|| async {
        let blocks: Vec<_> = (0..50).map(|_| SharedMemory::create_unique(5).unwrap()).collect();
        let names: HashSet<_> = blocks.iter().map(|block| block.name().unwrap()).collect();
        assert_eq!(names.len(), 50);
        assert_eq!(SharedMemory::open(blocks[7].name().unwrap()).unwrap().len(), 5);
        assert_eq!(kind(SharedMemory::create_unique(0)), io::ErrorKind::InvalidInput);
    });
}

#[procpool::task]
fn make(name: String) -> SharedMemory {
    let memory = SharedMemory::create(&name, 100).unwrap();
    memory.write(0, b"made");
    memory
}

#[procpool::task]
fn unlink(memory: SharedMemory) -> String {
    memory.write(4, b"+");
    memory.unlink().unwrap();
    memory.name().unwrap().to_owned()
}

/// The maker has nothing of it any more when it arrives.
#[test]
fn a_name_goes_along_with_its_block() {
    common::run(|| async {
        let pool = pool(1).await;
        let name = own("result");
        let memory = pool.run(make(name.clone())).await.unwrap();
        assert_eq!(memory.name(), Some(name.as_str()));
        assert_eq!(SharedMemory::open(&name).unwrap().to_vec(..4), b"made");
        let queue = Queue::unbounded().unwrap();
        queue.put(memory).await.unwrap();
        // Nobody has it but the queue: it cannot be opened now, and its name is not free.
        assert_eq!(kind(SharedMemory::create(&name, 1)), io::ErrorKind::AlreadyExists);
        let memory = queue.get().await.unwrap();
        assert_eq!(SharedMemory::open(&name).unwrap().len(), 100);
        assert_eq!(pool.run(unlink(memory.clone())).await.unwrap(), name);
        assert_eq!(kind(SharedMemory::open(&name)), io::ErrorKind::NotFound);
        assert_eq!(memory.to_vec(..5), b"made+");
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn use_unlinked(memory: SharedMemory, list: SharedList) {
    memory.write(0, b"used");
    list.set(0, "used").unwrap();
    assert_eq!(kind(memory.unlink()), io::ErrorKind::NotFound);
    assert_eq!(kind(list.memory().unlink()), io::ErrorKind::NotFound);
}

/// It goes by its handle, so it needs no name to arrive.
#[test]
fn an_unlinked_block_still_travels() {
    common::run(|| async {
        let pool = pool(1).await;
        let memory = SharedMemory::create_unique(10).unwrap();
        let list = SharedList::create_unique([1]).unwrap();
        memory.unlink().unwrap();
        list.memory().unlink().unwrap();
        pool.run(use_unlinked(memory.clone(), list.clone())).await.unwrap();
        assert_eq!((memory.to_vec(..4), list.get(0)), (b"used".to_vec(), Some("used".into())));
        pool.shutdown().await.unwrap();
    });
}

const ROLE: &str = "PROCPOOL_TEST_ROLE";

/// What a program does that [`stranger`] starts; nothing as a test.
#[test]
fn being_a_stranger() {
    let Ok(name) = std::env::var(ROLE) else { return };
    let memory = match SharedMemory::open(&name) {
        Ok(memory) => memory,
        Err(_) => SharedMemory::create(&name, 8).unwrap(),
    };
    memory.write(0, b"stranger");
    println!("it has it");
    let _ = io::stdin().read_line(&mut String::new());
}

/// Another program of this user, once it has the block.
fn stranger(name: &str) -> std::process::Child {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "being_a_stranger", "--nocapture"]).env(ROLE, name);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = common::os::spawn(&mut command).unwrap();
    let mut out = io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("it has it") {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "it ended early");
    }
    child.stdout = Some(out.into_inner());
    child
}

/// Programs that know nothing of each other share a block by its name. Whichever ends, the others keep it.
#[test]
fn strangers_share_a_block_and_take_nothing_along() {
    common::run(|| async {
        let name = own("strangers");
        let memory = SharedMemory::create(&name, 8).unwrap();
        let mut other = stranger(&name);
        assert_eq!(memory.to_vec(..), b"stranger");
        drop(other.stdin.take());
        assert!(other.wait().unwrap().success());
        assert_eq!(SharedMemory::open(&name).unwrap().to_vec(..), b"stranger");
        drop(memory);
        // Made by one of them, and left by its maker's death.
        let mut maker = stranger(&name);
        let memory = SharedMemory::open(&name).unwrap();
        maker.kill().unwrap();
        maker.wait().unwrap();
        assert_eq!(SharedMemory::open(&name).unwrap().to_vec(..), b"stranger");
        drop(memory);
        assert_eq!(kind(SharedMemory::open(&name)), io::ErrorKind::NotFound);
        let mut last = stranger(&name);
        last.kill().unwrap();
        last.wait().unwrap();
        assert_eq!(kind(SharedMemory::open(&name)), io::ErrorKind::NotFound);
    });
}

#[procpool::task]
fn die_with(name: String, opens: bool, gate: String, death: Death) -> u64 {
    let memory = match opens {
        true => SharedMemory::open(&name).unwrap(),
        false => SharedMemory::create(&name, 1 << 20).unwrap(),
    };
    memory.write(0, b"x");
    kit::stay(&gate, "died");
    death.strike()
}

/// Whoever dies, its maker or another: the rest keep the block, and the last one's death frees the name. The audit
/// sees that nothing is left of it.
#[test]
fn a_crash_of_any_holder_leaves_nothing() {
    common::run(|| async {
        for (round, death) in [Death::Kill, Death::Abort].into_iter().enumerate() {
            let pool = pool(1).await;
            let name = own(&format!("crash {round}"));
            let gate = Gate::new(&format!("crash-{round}"));
            let maker = pool.spawn(die_with(name.clone(), false, gate.path(), death));
            gate.arrived(1).await;
            let memory = SharedMemory::open(&name).unwrap();
            gate.open();
            assert!(death.is_cause_of(&maker.get().await.unwrap_err()));
            assert_eq!(SharedMemory::open(&name).unwrap().to_vec(..1), b"x");
            assert_eq!(kind(SharedMemory::create(&name, 1)), io::ErrorKind::AlreadyExists);
            let opener = pool.spawn(die_with(name.clone(), true, gate.path(), death));
            assert!(death.is_cause_of(&opener.get().await.unwrap_err()));
            assert_eq!(SharedMemory::open(&name).unwrap().len(), 1 << 20);
            drop(memory);
            // Only a process that dies has it now.
            let last = pool.spawn(die_with(name.clone(), false, gate.path(), death));
            assert!(death.is_cause_of(&last.get().await.unwrap_err()));
            assert_eq!(kind(SharedMemory::open(&name)), io::ErrorKind::NotFound);
            drop(SharedMemory::create(&name, 1).unwrap());
            pool.shutdown().await.unwrap();
        }
    });
}

#[procpool::task]
fn open_and_drop(name: String, rounds: u32) -> u32 {
    let mut opened = 0;
    for _ in 0..rounds {
        match SharedMemory::open(&name) {
            Ok(memory) => {
                let bytes = memory.to_vec(..);
                assert!(bytes == [0; 8] || bytes == *b"all of i", "{bytes:?}");
                opened += 1;
            }
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::NotFound, "{e}"),
        }
    }
    opened
}

/// While some open it and let go, another makes it anew whenever it is gone.
#[test]
fn openers_and_makers_race_to_one_block_at_a_time() {
    common::run(|| async {
        let pool = pool(2).await;
        let name = own("race");
        let mut calls: Vec<_> =
            (0..2).map(|_| pool.spawn(open_and_drop(name.clone(), 1000))).collect();
        let mut made = 0;
        while calls.iter_mut().any(|call| !call.ready()) {
            match SharedMemory::create(&name, 8) {
                Ok(memory) => {
                    memory.write(0, b"all of i");
                    made += 1;
                }
                Err(e) => assert_eq!(e.kind(), io::ErrorKind::AlreadyExists, "{e}"),
            }
            tokio::task::yield_now().await;
        }
        assert!(made > 0);
        for call in calls {
            call.get().await.unwrap();
        }
        pool.shutdown().await.unwrap();
    });
}

#[cfg(target_os = "linux")]
mod linux {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn entry(name: &str) -> std::path::PathBuf {
        // SAFETY: a plain call.
        let uid = unsafe { libc::geteuid() };
        format!("/dev/shm/procpool-{uid}-{name}").into()
    }

    /// What dead programs left is removed by the next one that has to do with names or ends a child.
    #[test]
    fn what_nobody_has_is_swept() {
        common::run(|| async {
            let names = [own("stale 1"), own("stale 2"), own("stale 3")];
            let plant = || names.iter().for_each(|name| std::fs::write(entry(name), b"x").unwrap());
            plant();
            assert_eq!(kind(SharedMemory::open(&names[0])), io::ErrorKind::NotFound);
            drop(SharedMemory::create(&names[1], 8).unwrap());
            assert!(names.iter().all(|name| !entry(name).exists()));
            plant();
            Process::spawn(kit::square(3)).await.unwrap().output().await.unwrap();
            common::eventually("they are swept", || names.iter().all(|name| !entry(name).exists()))
                .await;
        });
    }

    /// Makes files that look like names, and locks what says who has them.
    #[procpool::task]
    fn litter(names: Vec<String>, gate: String) {
        let lock = |name: String| {
            let file = std::fs::File::create_new(entry(&name)).unwrap();
            // SAFETY: a structure of numbers.
            let mut lock: libc::flock = unsafe { std::mem::zeroed() };
            (lock.l_type, lock.l_whence) = (libc::F_WRLCK as _, libc::SEEK_SET as _);
            let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
            // SAFETY: the descriptor is open, the structure a local.
            assert_eq!(unsafe { libc::fcntl(fd, libc::F_OFD_SETLK, &raw const lock) }, 0);
            file
        };
        let files: Vec<_> = names.into_iter().map(lock).collect();
        kit::stay(&gate, files.len());
    }

    /// Waiting for each would take most of a minute, and longer where there are more.
    #[test]
    fn entries_that_are_locked_hold_up_nobody() {
        common::run(|| async {
            let gate = Gate::new("litter");
            let names: Vec<_> = (0..900).map(|n| own(&format!("litter {n}"))).collect();
            let child = Process::spawn(litter(names.clone(), gate.path())).await.unwrap();
            gate.arrived(1).await;
            let others = async {
                for n in 1..4 {
                    let mut other = Process::spawn(kit::square(n)).await.unwrap();
                    assert_eq!(other.output().await.unwrap(), n * n);
                    other.join().await;
                }
                SharedMemory::create(&own("among litter"), 8).map(drop).unwrap();
            };
            let done = tokio::time::timeout(std::time::Duration::from_secs(30), others).await;
            gate.open();
            child.join().await;
            done.expect("supervision waits");
            common::eventually("they are swept", || names.iter().all(|name| !entry(name).exists()))
                .await;
        });
    }

    /// An entry is no block: what it says is checked, and others' files are left alone.
    #[test]
    fn made_up_entries_lead_nowhere() {
        common::run(|| async {
            let name = own("forged");
            let holder = std::fs::File::create_new(entry(&name)).unwrap();
            // SAFETY: a plain call.
            assert_eq!(
                unsafe { libc::flock(std::os::fd::AsRawFd::as_raw_fd(&holder), libc::LOCK_SH) },
                0
            );
            let me = u64::from(std::process::id());
            let words = |words: &[u64]| -> Vec<u8> {
                words.iter().flat_map(|word| word.to_ne_bytes()).collect()
            };
            let magic = u64::from_ne_bytes(*b"procpool");
            let forged = [
                Vec::new(),
                words(&[1, 2, 3, me, 1]),
                words(&[magic, 2, 8, me, 1]),
                words(&[magic, 2, 0, me, 1]),
                words(&[magic, 2, u64::MAX, me, 1, u64::MAX, u64::MAX]),
            ];
            for bytes in forged {
                std::fs::write(entry(&name), &bytes).unwrap();
                let error = SharedMemory::open(&name).unwrap_err();
                assert_ne!(error.kind(), io::ErrorKind::NotFound, "{bytes:?}: {error}");
                assert_eq!(kind(SharedMemory::create(&name, 8)), io::ErrorKind::AlreadyExists);
            }
            drop(holder);
            assert_eq!(kind(SharedMemory::open(&name)), io::ErrorKind::NotFound);
            std::os::unix::fs::symlink("/etc/passwd", entry(&name)).unwrap();
            assert!(SharedMemory::open(&name).is_err());
            assert_eq!(kind(SharedMemory::create(&name, 8)), io::ErrorKind::AlreadyExists);
            std::fs::remove_file(entry(&name)).unwrap();
        });
    }

    #[procpool::task]
    fn cut(name: String) -> bool {
        let memory = SharedMemory::open(&name).unwrap();
        memory.write(0, b"x");
        let me = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let files = me.filter_map(|fd| {
            let path = fd.path();
            let to = std::fs::read_link(&path).ok()?;
            to.to_string_lossy().contains("procpool-named").then_some(path)
        });
        files
            .map(|path| std::fs::OpenOptions::new().write(true).open(path).unwrap())
            .any(|file| file.set_len(0).is_ok())
    }

    #[test]
    fn nobody_can_cut_a_block_short_and_other_users_cannot_open_it() {
        common::run(|| async {
            let pool = pool(1).await;
            let name = own("cut");
            let memory = SharedMemory::create(&name, 5000).unwrap();
            assert_eq!(entry(&name).metadata().unwrap().mode() & 0o777, 0o600);
            assert!(!pool.run(cut(name)).await.unwrap());
            assert_eq!(memory.to_vec(..1), b"x");
            pool.shutdown().await.unwrap();
        });
    }

    #[procpool::task]
    fn make_with_small_files() -> [String; 2] {
        let few = libc::rlimit { rlim_cur: 4096, rlim_max: 4096 };
        // SAFETY: a plain struct, of this process alone.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &few) }, 0);
        let name = own("limited");
        assert_eq!(SharedMemory::create(&name, 4096).unwrap().len(), 4096);
        let long = SharedMemory::create(&name, 4097).unwrap_err().to_string();
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: as above.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &none) }, 0);
        [long, SharedMemory::create(&name, 1).unwrap_err().to_string()]
    }

    #[test]
    fn more_than_files_may_have_is_an_error() {
        common::run(|| async {
            let mut child = Process::spawn(make_with_small_files()).await.unwrap();
            let [long, none] = child.output().await.unwrap();
            assert!(long.contains("4104 bytes") && long.contains("4096"), "{long}");
            assert!(none.contains("limit of file sizes is 0"), "{none}");
        });
    }

    fn limit_files(bytes: u64) {
        let few = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: a plain struct, of this process alone.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &few) }, 0);
    }

    /// Has to do with names that it may write nothing about.
    #[procpool::task]
    fn use_with_small_files(name: String, queue: Queue<SharedMemory>) -> Vec<String> {
        let first = SharedMemory::open(&name).unwrap();
        // There is room for the head and for one that has it.
        limit_files(40);
        let second = SharedMemory::open(&name).unwrap_err().to_string();
        limit_files(0);
        let none = SharedMemory::open(&name).unwrap_err().to_string();
        // What arrives is had, and its name is a word.
        let arrived = queue.blocking_get().unwrap();
        arrived.write(0, b"arrived");
        let unlinked = arrived.unlink().unwrap_err().to_string();
        drop((first, arrived));
        vec![second, none, unlinked]
    }

    #[test]
    fn a_limit_of_file_sizes_ends_nobody() {
        common::run(|| async {
            let name = own("limited later");
            let memory = SharedMemory::create(&name, 8).unwrap();
            let queue = Queue::unbounded().unwrap();
            queue.put(memory.clone()).await.unwrap();
            let call = use_with_small_files(name.clone(), queue);
            let mut child = Process::spawn(call).await.unwrap();
            let errors = child.output().await.unwrap();
            child.join().await;
            assert!(errors[0].contains("limit of file sizes is 40"), "{errors:?}");
            assert!(errors[1].contains("limit of file sizes is 0"), "{errors:?}");
            assert!(errors[2].contains("no shared memory named"), "{errors:?}");
            assert_eq!(memory.to_vec(..7), b"arrived");
            // The slot of the one that ended is of no process.
            assert_eq!(SharedMemory::open(&name).unwrap().to_vec(..7), b"arrived");
        });
    }

    const ROOM: &str = "PROCPOOL_TEST_ROOM";

    /// Run by the test below where `/dev/shm` is full.
    #[test]
    fn being_without_room() {
        if std::env::var(ROOM).is_err() {
            return;
        }
        let error = SharedMemory::create("no room", 8).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("/dev/shm"), "{error}");
        let memory = SharedMemory::anonymous(1 << 20).unwrap();
        memory.write(0, &vec![1; 1 << 20]);
        assert_eq!(memory.to_vec(1_000_000..1_000_003), [1, 1, 1]);
        println!("none of it failed");
    }

    /// What has no name takes no room there, and whatever is made is all there.
    #[test]
    fn a_full_directory_is_an_error() {
        common::run(|| async {
            // A namespace of its own, with a directory of one page that is used up.
            let script = "mount -t tmpfs -o size=4k tmpfs /dev/shm && head -c 4096 /dev/zero > /dev/shm/full \
                && echo ready && exec \"$0\" --exact linux::being_without_room --nocapture";
            let mut command = std::process::Command::new("unshare");
            command.args(["-rm", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
            command
                .env(ROOM, "1")
                .stdin(Stdio::null())
                .stderr(Stdio::piped())
                .stdout(Stdio::piped());
            let Ok(child) = common::os::spawn(&mut command) else { return };
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            // Some systems let no user have namespaces.
            if said.contains("ready") {
                let complaint = String::from_utf8_lossy(&output.stderr);
                assert!(said.contains("none of it failed"), "{said}{complaint}");
            }
        });
    }
}
