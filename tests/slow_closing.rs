//! Closing a handle can take as long as whoever gave it likes: a connection that lingers, whose other
//! end reads nothing. That holds up nobody.
#![cfg(target_os = "linux")]

mod common;
mod kit;

use std::fs::File;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::time::Duration;

use kit::pool;
use procpool::{Loaned, PassFd, Process, Queue, SharedBytes, one_way};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg, sockopt,
};
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};
use tokio::time::timeout;

procpool::test_hook!();

const LONG: Duration = Duration::from_secs(20);

/// A connection that is closed only once its other end is.
fn lingering() -> (PassFd<TcpStream>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    one.set_nonblocking(true).unwrap();
    while one.write(&[0; 1 << 16]).is_ok() {}
    sockopt::set_socket_linger(&one, Some(Duration::from_secs(3600))).unwrap();
    (PassFd::new(one), other)
}

/// Whether `f` returns in time.
fn returns(f: impl FnOnce() + Send + 'static) -> bool {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        f();
        let _ = tell.send(());
    });
    told.recv_timeout(LONG).is_ok()
}

#[procpool::task]
fn put_it(into: Queue<PassFd<TcpStream>>, what: PassFd<TcpStream>) {
    into.blocking_put(what).unwrap();
}

#[test]
fn in_a_queue_that_goes() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue = Queue::unbounded().unwrap();
        let (one, other) = lingering();
        pool.run(put_it(queue.clone(), one)).await.unwrap();
        let returned = returns(move || drop(queue));
        drop(other);
        assert!(returned);
        pool.shutdown().await.unwrap();
    });
}

/// The ways to the parent.
fn ways() -> Vec<BorrowedFd<'static>> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let fds = entries.map(|entry| entry.file_name().to_string_lossy().parse().unwrap());
    // SAFETY: this thread alone runs, and closes none of them.
    let all = fds.map(|fd: i32| unsafe { BorrowedFd::borrow_raw(fd) });
    all.filter(|fd| sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)).collect()
}

/// Gives handles by one of them, under a token that nobody speaks of.
fn give_unasked(way: BorrowedFd<'_>, handles: &[BorrowedFd<'_>]) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(handles)));
    let token = (1u64 << 40).to_le_bytes();
    sendmsg(way, &[IoSlice::new(&token)], &mut control, SendFlags::DONTWAIT)
}

#[procpool::task]
fn give_and_end(what: PassFd<TcpStream>) {
    let what = what.into_inner().unwrap();
    for way in ways() {
        // By the way of calls none can be given where the system sees to that.
        let _ = give_unasked(way, &[what.as_fd()]);
    }
    // A process that ends waits for nothing.
    std::mem::forget(what);
}

#[test]
fn in_the_hands_of_a_process_that_ends() {
    common::run(|| async {
        let (one, other) = lingering();
        let child = Process::spawn(give_and_end(one)).await.unwrap();
        // That it ends at all is heard by whoever would wait.
        let ended = timeout(LONG, child.join()).await.is_ok();
        let mut another = timeout(LONG, Process::spawn(kit::square(2))).await;
        if let Ok(Err(_)) = &another {
            // One that is started just when it is closed here may be the last to have it, and closes it before it
            // begins. The next is not.
            another = timeout(LONG, Process::spawn(kit::square(2))).await;
        }
        drop(other);
        assert!(ended);
        another.expect("supervision waits").unwrap().join().await;
    });
}

/// Whether sockets can refuse descriptors.
fn can_refuse() -> bool {
    let (socket, _) = UnixStream::pair().unwrap();
    let mut is: libc::c_int = 0;
    let mut len = size_of_val(&is) as libc::socklen_t;
    let (at, fd) = ((&raw mut is).cast(), socket.as_raw_fd());
    // SAFETY: a number and its length, both alive during the call. SO_PASSRIGHTS is 83.
    unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, 83, at, &raw mut len) == 0 }
}

#[procpool::task]
fn give_by_all_ways() -> Vec<bool> {
    let null = File::open("/dev/null").unwrap();
    ways().into_iter().map(|way| give_unasked(way, &[null.as_fd()]) == Err(Errno::PERM)).collect()
}

/// Who reads the bytes would close what comes beside them.
#[test]
fn by_the_way_of_calls_nothing_can_be_given() {
    common::run(|| async {
        if can_refuse() {
            let pool = pool(1).await;
            let refused = pool.run(give_by_all_ways()).await.unwrap();
            assert!(refused.contains(&true), "the way of calls is among them");
            assert_eq!(refused.iter().filter(|refused| !**refused).count(), 1, "{refused:?}");
            pool.shutdown().await.unwrap();
        }
    });
}

#[procpool::task]
fn give_several_as_one(into: Queue<PassFd<TcpStream>>, what: PassFd<TcpStream>) {
    let null = File::open("/dev/null").unwrap();
    {
        let what = what.into_inner().unwrap();
        let mut several = [null.as_fd(); 8];
        several[7] = what.as_fd();
        for way in ways() {
            let _ = give_unasked(way, &several);
        }
    }
    // The hub comes upon the others before it finds this one.
    let (one, _other) = lingering();
    let _ = into.blocking_put(one);
    let _ = into.blocking_len();
}

#[test]
fn among_several_that_come_as_one() {
    common::run(|| async {
        let queue = Queue::unbounded().unwrap();
        let (one, other) = lingering();
        let child = Process::spawn(give_several_as_one(queue.clone(), one)).await.unwrap();
        let ended = timeout(LONG, child.join()).await.is_ok();
        let returned = returns(move || drop(queue));
        drop(other);
        assert!(ended && returned);
        assert_ne!(child.exit_code(), Some(0), "it is killed");
    });
}

/// Claims to be shared bytes.
struct Forged(Option<PassFd<TcpStream>>);

impl Serialize for Forged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (8u64, 0u64, 8u64, &self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Forged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SharedBytes::deserialize(deserializer).map(|_| Forged(None))
    }
}

#[procpool::task]
fn forge(what: PassFd<TcpStream>) -> Forged {
    Forged(Some(what))
}

#[test]
fn as_the_memory_of_shared_bytes() {
    common::run(|| async {
        let pool = pool(1).await;
        let (one, other) = lingering();
        let call = pool.spawn(forge(one));
        let returned = returns(move || assert!(futures::executor::block_on(call.get()).is_err()));
        drop(other);
        assert!(returned);
        pool.shutdown().await.unwrap();
    });
}

/// Claims to be lent, and to go back by something else than a loan's way.
struct ForgedLoan(Option<(PassFd<File>, PassFd<TcpStream>)>);

impl Serialize for ForgedLoan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (memory, token) = self.0.as_ref().unwrap();
        (8u64, 8u64, memory, token).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ForgedLoan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Loaned::deserialize(deserializer).map(|_| ForgedLoan(None))
    }
}

#[procpool::task]
fn forge_a_loan(token: PassFd<TcpStream>) -> ForgedLoan {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let memory = memfd_create("forged", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::io::write(&memory, b"8 bytes.").unwrap();
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE;
    fcntl_add_seals(&memory, seals).unwrap();
    ForgedLoan(Some((PassFd::new(memory.into()), token)))
}

#[test]
fn as_the_way_back_of_a_loan() {
    common::run(|| async {
        let pool = pool(1).await;
        let (one, other) = lingering();
        let call = pool.spawn(forge_a_loan(one));
        let returned = returns(move || {
            let error = futures::executor::block_on(call.get()).map(drop).unwrap_err().to_string();
            assert!(error.contains("way back"), "{error}");
        });
        drop(other);
        assert!(returned);
        pool.shutdown().await.unwrap();
    });
}

/// Takes nothing along where it arrives.
struct Unwanted(PassFd<TcpStream>);

impl Serialize for Unwanted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (1u8, &self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Unwanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer)?;
        Err(serde::de::Error::custom("it is not wanted"))
    }
}

#[test]
fn in_a_message_of_a_pipe() {
    common::run(|| async {
        let (mut sender, mut receiver) = one_way().unwrap();
        let (one, other) = lingering();
        sender.send(Unwanted(one)).await.unwrap();
        let returned = returns(move || drop(receiver.blocking_recv().map(drop).unwrap_err()));
        drop(other);
        assert!(returned);
    });
}

#[test]
fn among_more_than_a_pipe_carries() {
    common::run(|| async {
        let (sender, mut receiver) = one_way::<u8>().unwrap();
        let (one, other) = lingering();
        let null = File::open("/dev/null").unwrap();
        let mut many = vec![null.as_fd(); 200];
        many.push(one.as_fd());
        give_unasked(sender.as_fd(), &many).unwrap();
        drop(one);
        let returned = returns(move || drop(receiver.blocking_recv().unwrap_err()));
        drop(other);
        assert!(returned);
    });
}
