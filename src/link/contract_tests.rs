//! What every transport keeps, whatever carries its bytes.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use super::local::Local;
use super::memory::{Memory, MemoryPeer, memory};
use super::transport::{ReadHalf, Transport, WriteHalf};
use crate::sys::{self, SharedBlock, Socket, handle_ref};

/// The other end, in a plain thread; its end is its drop.
trait Peer: Send + 'static {
    /// Waits for the first byte; 0 is the end.
    fn read(&mut self, buf: &mut Vec<u8>, max: usize) -> usize;
    /// Waits while the other end does not read.
    fn write_all(&mut self, bytes: &[u8]);
}

impl Peer for Socket {
    fn read(&mut self, buf: &mut Vec<u8>, max: usize) -> usize {
        sys::recv_blocking(self, buf, max).unwrap()
    }

    fn write_all(&mut self, bytes: &[u8]) {
        sys::write_all_blocking(self, bytes).unwrap();
    }
}

impl Peer for MemoryPeer {
    fn read(&mut self, buf: &mut Vec<u8>, max: usize) -> usize {
        MemoryPeer::read(self, buf, max)
    }

    fn write_all(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let n = self.write(bytes).unwrap();
            bytes = &bytes[n..];
        }
    }
}

/// A Unix socket pair or a named pipe.
fn local() -> (Local, Socket) {
    let (ours, theirs) = sys::pair().unwrap();
    let theirs = sys::connect_here(theirs).unwrap();
    (Local::new(ours).unwrap(), theirs)
}

fn in_memory() -> (Memory, MemoryPeer) {
    memory()
}

fn block_on<R>(body: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), body).await.expect("the test hangs")
    })
}

async fn read(half: &mut impl ReadHalf, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
    poll_fn(|cx| half.poll_read(cx, buf, max)).await
}

async fn write(half: &mut impl WriteHalf, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match half.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|cx| half.poll_ready(cx)).await?;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Bytes of which every position can be told.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).take(len).collect()
}

fn bytes_arrive_in_order<T: Transport>((ours, mut theirs): (T, impl Peer)) {
    let sent = pattern(3_000_001);
    let expected = sent.clone();
    let (mut reader, _writer) = ours.split();
    let peer = thread::spawn(move || {
        for (i, piece) in sent.chunks(70_001).enumerate() {
            theirs.write_all(&piece[..i.min(piece.len())]);
            theirs.write_all(&piece[i.min(piece.len())..]);
        }
        theirs
    });
    let mut got = Vec::new();
    block_on(async {
        while got.len() < expected.len() {
            assert!(read(&mut reader, &mut got, 100_000).await.unwrap() > 0);
        }
    });
    assert!(got == expected);
    drop(peer.join().unwrap());
    assert_eq!(block_on(read(&mut reader, &mut got, 1)).unwrap(), 0, "and then the end");
    assert_eq!(got.len(), expected.len());
}

fn what_is_written_arrives_in_order<T: Transport>((ours, mut theirs): (T, impl Peer)) {
    let sent = pattern(3_000_001);
    let expected = sent.len();
    let (mut reader, mut writer) = ours.split();
    let peer = thread::spawn(move || {
        let mut got = Vec::new();
        theirs.write_all(b"!");
        while got.len() < expected {
            assert!(theirs.read(&mut got, 50_001) > 0);
        }
        got
    });
    block_on(async {
        assert_eq!(read(&mut reader, &mut Vec::new(), 1).await.unwrap(), 1);
        for piece in sent.chunks(1_000_000) {
            write(&mut writer, piece).await.unwrap();
        }
    });
    assert!(peer.join().unwrap() == sent);
}

fn several_slices_go_out_in_order<T: Transport>((ours, mut theirs): (T, impl Peer)) {
    let sent = pattern(400_000);
    let expected = sent.len();
    let (mut reader, mut writer) = ours.split();
    let peer = thread::spawn(move || {
        let mut got = Vec::new();
        theirs.write_all(b"!");
        while got.len() < expected {
            assert!(theirs.read(&mut got, 50_001) > 0);
        }
        got
    });
    block_on(async {
        assert_eq!(read(&mut reader, &mut Vec::new(), 1).await.unwrap(), 1);
        // Short ones, empty ones and long ones.
        let cuts = [0, 1, 1, 20, 20_000, 20_000, 90_000, 300_000, 400_000];
        let mut slices: Vec<_> = cuts.windows(2).map(|w| IoSlice::new(&sent[w[0]..w[1]])).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            match writer.try_write_vectored(rest) {
                Ok(n) => IoSlice::advance_slices(&mut rest, n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|cx| writer.poll_ready(cx)).await.unwrap();
                }
                Err(e) => panic!("{e}"),
            }
        }
    });
    assert!(peer.join().unwrap() == sent);
}

fn a_read_takes_no_more_than_asked<T: Transport>((ours, mut theirs): (T, impl Peer)) {
    let (mut reader, _writer) = ours.split();
    theirs.write_all(b"0123456789");
    drop(theirs);
    block_on(async {
        let mut got = Vec::new();
        loop {
            let before = got.len();
            let n = read(&mut reader, &mut got, 4).await.unwrap();
            assert!(n <= 4 && got.len() == before + n);
            if n == 0 {
                break;
            }
        }
        assert_eq!(got, b"0123456789");
    });
}

fn a_read_that_waits_is_woken<T: Transport>((ours, mut theirs): (T, impl Peer)) {
    let (mut reader, _writer) = ours.split();
    let (go, told) = mpsc::channel();
    let peer = thread::spawn(move || {
        told.recv().unwrap();
        theirs.write_all(b"now");
        theirs
    });
    let mut got = Vec::new();
    let n = block_on(poll_fn(|cx| match reader.poll_read(cx, &mut got, 100) {
        Poll::Pending => {
            let _ = go.send(());
            Poll::Pending
        }
        ready => ready,
    }));
    assert_eq!(n.unwrap(), 3, "after it had to wait");
    assert_eq!(got, b"now");
    drop(peer.join().unwrap());
}

fn a_peer_that_does_not_read_stops_its_writer<T: Transport>((ours, mut theirs): (T, impl Peer)) {
    let (mut reader, mut writer) = ours.split();
    let piece = pattern(50_000);
    theirs.write_all(b"!");
    block_on(async {
        assert_eq!(read(&mut reader, &mut Vec::new(), 1).await.unwrap(), 1);
        let mut taken = 0;
        // A write in flight counts as taken: only when the transport says so too is
        // nothing more taken for good.
        let full = poll_fn(|cx| {
            loop {
                match writer.try_write(&piece) {
                    Ok(n) => taken += n,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        match writer.poll_ready(cx) {
                            Poll::Ready(ready) => ready.unwrap(),
                            Poll::Pending => return Poll::Ready(()),
                        }
                    }
                    Err(e) => panic!("{e}"),
                }
                assert!(taken < 64 << 20, "it is never full");
            }
        });
        full.await;
        let peer = thread::spawn(move || {
            let mut got = Vec::new();
            while got.len() < taken {
                assert!(theirs.read(&mut got, 100_000) > 0);
            }
            theirs
        });
        poll_fn(|cx| writer.poll_ready(cx)).await.unwrap();
        let mut theirs = peer.join().unwrap();
        write(&mut writer, b"and on").await.unwrap();
        let mut got = Vec::new();
        while got.len() < 6 {
            assert!(theirs.read(&mut got, 100) > 0);
        }
        assert_eq!(got, b"and on");
    });
}

/// What a link does after a worker's death, on a thread without a runtime.
fn what_a_dead_peer_wrote_is_there<T: Transport>((ours, mut theirs): (T, impl Peer)) {
    let (mut reader, _writer) = ours.split();
    let last_words = pattern(60_000);
    theirs.write_all(b"!");
    block_on(async {
        assert_eq!(read(&mut reader, &mut Vec::new(), 1).await.unwrap(), 1);
    });
    theirs.write_all(&last_words);
    drop(theirs);
    let mut got = Vec::new();
    let mut left = reader.waiting();
    while left > 0 {
        match reader.read_now(&mut got, left.min(10_000)) {
            Ok(n) if n > 0 => left -= n,
            _ => break,
        }
    }
    assert!(got == last_words, "{} bytes of {}", got.len(), last_words.len());
}

fn writing_to_nobody_fails<T: Transport>((ours, mut theirs): (T, impl Peer)) {
    let (mut reader, mut writer) = ours.split();
    theirs.write_all(b"!");
    drop(theirs);
    block_on(async {
        assert_eq!(read(&mut reader, &mut Vec::new(), 1).await.unwrap(), 1);
        let piece = pattern(50_000);
        // What the system had room for may be gone unnoticed, but not more.
        let mut result = Ok(());
        for _ in 0..1000 {
            result = write(&mut writer, &piece).await;
            if result.is_err() {
                break;
            }
        }
        assert!(result.is_err());
    });
}

macro_rules! contract {
    ($transport:ident: $($promise:ident)*) => {
        mod $transport {
            $(#[test]
            fn $promise() {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let pair = {
                    let _context = runtime.enter();
                    super::$transport()
                };
                super::$promise(pair);
            })*
        }
    };
    ($($promise:ident)*) => {
        contract!(local: $($promise)*);
        contract!(in_memory: $($promise)*);
    };
}

contract! {
    bytes_arrive_in_order
    what_is_written_arrives_in_order
    several_slices_go_out_in_order
    a_read_takes_no_more_than_asked
    a_read_that_waits_is_woken
    a_peer_that_does_not_read_stops_its_writer
    what_a_dead_peer_wrote_is_there
    writing_to_nobody_fails
}

#[test]
fn handles_go_with_a_message() {
    block_on(async {
        let (ours, mut theirs) = local();
        let (mut reader, mut writer) = ours.split();
        theirs.write_all(b"!");
        assert_eq!(read(&mut reader, &mut Vec::new(), 1).await.unwrap(), 1);
        let (block, handle) = SharedBlock::create("test", 4096).unwrap();
        block.copy_in(100, b"shared");
        writer.send_handles(b"look", &[handle_ref(&handle)]).unwrap();
        let mut bytes = [0; 10];
        let (n, handles) = sys::recv_with_handles(&theirs, &mut bytes).unwrap();
        assert_eq!(&bytes[..n], b"look");
        let seen = SharedBlock::open(handle_ref(&handles[0]), 4096).unwrap();
        assert_eq!(seen.copy_out(100, 6).unwrap(), b"shared");
    });
}
