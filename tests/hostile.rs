//! Workers that break the protocol: each costs its own life and the call it was
//! in, and nothing else.

mod common;
#[path = "common/ledger.rs"]
mod ledger;
#[path = "common/recorder.rs"]
mod recorder;
#[path = "common/wild/mod.rs"]
mod wild;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::os::{self, Death};
use ledger::{Ledger, note};
use procpool::{Error, ErrorKind, ProcessPool, Queue, Stderr};
use recorder::Recorder;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing::{Instrument, info_span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use wild::{block, send};

procpool::test_hook!();

fn scribble(index: usize, value: u64) {
    let (words, len) = block();
    assert!(index < len);
    // SAFETY: inside the mapping, aligned, and accessed atomically by everyone.
    unsafe { (*words.add(index)).store(value, Ordering::Release) };
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ (self.0 >> 29)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

// Frames, as the protocol has them.

const HELLO: u8 = 1;
const READY: u8 = 3;
const CALL: u8 = 4;
const VALUE: u8 = 6;
const FAULT: u8 = 7;
const ITEMS: u8 = 8;
const CANCELLED: u8 = 9;
const PROGRESS: u8 = 10;
const DATA: u8 = 11;
const GOODBYE: u8 = 13;
const STREAM: u8 = 1;

fn header(kind: u8, flags: u8, slot: u16, len: u32, id: u64) -> Vec<u8> {
    let mut bytes = vec![0xB7, kind, flags, 0];
    bytes.extend_from_slice(&slot.to_le_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes
}

fn frame(kind: u8, slot: u16, id: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, 0, slot, body.len() as u32, id);
    bytes.extend_from_slice(body);
    bytes
}

/// The beginning of a message in parts of the given lengths.
fn announcement(kind: u8, slot: u16, id: u64, lens: &[u64]) -> Vec<u8> {
    let mut body = (lens.len() as u32).to_le_bytes().to_vec();
    for len in lens {
        body.extend_from_slice(&len.to_le_bytes());
    }
    let mut bytes = header(kind, STREAM, slot, body.len() as u32, id);
    bytes.extend_from_slice(&body);
    bytes
}

/// The slot of the running call, found in the status block by its id.
fn own_slot() -> (u16, u64) {
    let id = procpool::context().call_id();
    let (words, _) = block();
    for slot in 0..1024u16 {
        // SAFETY: the slots' words lie inside the mapping.
        let word = unsafe { (*words.add(64 + usize::from(slot))).load(Ordering::Acquire) };
        if word >> 2 == id {
            return (slot, id);
        }
    }
    panic!("call {id} is not in the block")
}

/// What a hostile task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Evil {
    Garbage,
    HalfHeaderThenExit,
    HugeFrame,
    ValueForAnotherCall,
    ValueForAnotherSlot,
    TheSameResultTwice,
    ResultForAnEmptySlot,
    ItemsForASingleCall,
    UnknownKind,
    UnknownFlags,
    HelloAgain,
    ReadyAgain,
    AParentsMessage,
    GoodbyeUnasked,
    HugeStream,
    TooManyParts,
    NestedStream,
    StrayData,
    DataForAnotherCall,
    MalformedFault,
    ShortProgress,
    CloseEverything,
    HangUp,
}

const EVILS: [Evil; 23] = [
    Evil::Garbage,
    Evil::HalfHeaderThenExit,
    Evil::HugeFrame,
    Evil::ValueForAnotherCall,
    Evil::ValueForAnotherSlot,
    Evil::TheSameResultTwice,
    Evil::ResultForAnEmptySlot,
    Evil::ItemsForASingleCall,
    Evil::UnknownKind,
    Evil::UnknownFlags,
    Evil::HelloAgain,
    Evil::ReadyAgain,
    Evil::AParentsMessage,
    Evil::GoodbyeUnasked,
    Evil::HugeStream,
    Evil::TooManyParts,
    Evil::NestedStream,
    Evil::StrayData,
    Evil::DataForAnotherCall,
    Evil::MalformedFault,
    Evil::ShortProgress,
    Evil::CloseEverything,
    Evil::HangUp,
];

/// How it must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Protocol,
    Died,
}

impl Evil {
    fn end(self) -> End {
        match self {
            Evil::HalfHeaderThenExit | Evil::CloseEverything | Evil::HangUp => End::Died,
            _ => End::Protocol,
        }
    }

    fn act(self, slot: u16, id: u64) {
        match self {
            Evil::Garbage => send(b"this is not a frame at all, whatever it may be"),
            Evil::HalfHeaderThenExit => {
                send(&header(VALUE, 0, slot, 1, id)[..11]);
                std::process::exit(3);
            }
            Evil::HugeFrame => send(&header(VALUE, 0, slot, u32::MAX, id)),
            Evil::ValueForAnotherCall => send(&frame(VALUE, slot, id + (1 << 32), &[1])),
            Evil::ValueForAnotherSlot => send(&frame(VALUE, slot + 1, id, &[1])),
            // The second one is the worker's own.
            Evil::TheSameResultTwice => {
                send(&[frame(VALUE, slot, id, &[1]), frame(VALUE, slot, id, &[1])].concat());
            }
            Evil::ResultForAnEmptySlot => send(&frame(VALUE, 1000, id, &[1])),
            Evil::ItemsForASingleCall => {
                send(&frame(ITEMS, slot, id, &[0, 0, 0, 0, 1, 0, 0, 0, 0, 1]))
            }
            Evil::UnknownKind => send(&header(200, 0, slot, 0, id)),
            Evil::UnknownFlags => send(&header(VALUE, 0x80, slot, 0, id)),
            Evil::HelloAgain => send(&frame(HELLO, 0, 0, &[1, 2, 3, 4])),
            Evil::ReadyAgain => send(&frame(READY, 0, 0, &[])),
            Evil::AParentsMessage => send(&frame(CALL, slot, id, &[0; 16])),
            Evil::GoodbyeUnasked => send(&frame(GOODBYE, 0, 0, &[])),
            Evil::HugeStream => send(&announcement(VALUE, slot, id, &[1 << 60])),
            Evil::TooManyParts => send(&announcement(VALUE, slot, id, &[0; 5000])),
            Evil::NestedStream => {
                let one = announcement(VALUE, slot, id, &[100]);
                send(&[one.clone(), one].concat());
            }
            Evil::StrayData => send(&frame(DATA, slot, id, &[0; 10])),
            Evil::DataForAnotherCall => send(
                &[announcement(VALUE, slot, id, &[100]), frame(DATA, slot, id + 1, &[0; 10])]
                    .concat(),
            ),
            Evil::MalformedFault => send(&frame(FAULT, slot, id, &[0xff; 40])),
            Evil::ShortProgress => send(&frame(PROGRESS, slot, id, &[1, 2, 3])),
            Evil::CloseEverything => wild::close_everything(),
            Evil::HangUp => wild::hang_up(),
        }
    }
}

/// Does evil and then waits to be killed for it.
#[procpool::task]
fn hostile(evil: Evil, ledger: &str) -> u64 {
    note(ledger, format!("{evil:?}"));
    let (slot, id) = own_slot();
    evil.act(slot, id);
    forever()
}

/// Does evil while it is idle: after its call has returned, once `sign` is there.
#[procpool::task]
fn hostile_later(evil: Evil, ledger: &str, sign: &Path) {
    note(ledger, format!("{evil:?}"));
    let (slot, id) = own_slot();
    once_there(sign, move || evil.act(slot, id));
}

/// Runs `f` on another thread once there is such a file.
fn once_there(sign: &Path, f: impl FnOnce() + Send + 'static) {
    let sign = sign.to_owned();
    std::thread::spawn(move || {
        while !sign.exists() {
            std::thread::yield_now();
        }
        f();
    });
}

fn forever<T>() -> T {
    loop {
        std::thread::park();
    }
}

#[procpool::task]
fn good(id: u64, ledger: &str) -> u64 {
    note(ledger, id);
    id + 1
}

#[procpool::task]
fn square(x: u64) -> u64 {
    x * x
}

async fn pool(workers: usize) -> ProcessPool {
    ProcessPool::builder().workers(workers).stderr(Stderr::Capture).build().await.unwrap()
}

#[track_caller]
fn check(what: impl std::fmt::Debug, end: End, error: &Error) {
    match end {
        End::Protocol => {
            assert!(matches!(error.kind(), ErrorKind::Protocol { .. }), "{what:?}: {error:?}");
        }
        End::Died => assert!(error.is_worker_died(), "{what:?}: {error:?}"),
    }
}

async fn still_good(pool: &ProcessPool) {
    let handles: Vec<_> = (0..100).map(|x| pool.spawn(square(x))).collect();
    for (x, handle) in (0..).zip(handles) {
        assert_eq!(handle.await.unwrap(), x * x);
    }
}

#[test]
fn a_violation_costs_its_own_call_and_what_waits_moves() {
    common::run(|| async {
        let pool = pool(1).await;
        for evil in EVILS {
            let ledger = Ledger::new("hostile-call");
            let path = ledger.path();
            // Short ones first, so that some are sent ahead behind the hostile one.
            for id in 100..130 {
                pool.run(good(id, &path)).await.unwrap();
            }
            let bad = pool.spawn(hostile(evil, &path));
            let after: Vec<_> = (0..30).map(|id| pool.spawn(good(id, &path))).collect();
            for (id, handle) in (0..).zip(after) {
                match handle.await {
                    Ok(value) => assert_eq!(value, id + 1),
                    Err(error) => panic!("{evil:?}: call {id} was lost as well: {error}"),
                }
            }
            match bad.await {
                // The first of the two is as good as any.
                Ok(value) if evil == Evil::TheSameResultTwice => assert_eq!(value, 1),
                Ok(value) => panic!("{evil:?} gave {value}"),
                Err(error) => check(evil, evil.end(), &error),
            }
            ledger.nothing_ran_twice();
            assert_eq!(ledger.lines().len(), 61);
            still_good(&pool).await;
        }
        let stats = pool.stats();
        let died = EVILS.iter().filter(|e| e.end() == End::Died).count() as u64;
        assert_eq!(stats.restarts.violation, EVILS.len() as u64 - died);
        assert_eq!(stats.restarts.total(), EVILS.len() as u64, "{:?}", stats.restarts);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn evil_while_idle_costs_no_call_at_all() {
    common::run(|| async {
        let pool = pool(1).await;
        for evil in EVILS {
            // A report may cross the end of its call; and a socket on which a
            // thread waits stays open.
            if matches!(evil, Evil::ShortProgress | Evil::CloseEverything) {
                continue;
            }
            let ledger = Ledger::new("hostile-idle");
            let before = pool.stats().restarts.total();
            let sign = ledger.beside("sign");
            pool.run(hostile_later(evil, &ledger.path(), &sign)).await.unwrap();
            // Its result is out, so it has nothing left to do.
            std::fs::write(sign, "").unwrap();
            common::eventually("the hostile worker is replaced", || {
                pool.stats().restarts.total() > before
            })
            .await;
            still_good(&pool).await;
        }
        pool.shutdown().await.unwrap();
    });
}

/// Items of a chunk: out of order, too many, twice, none.
#[procpool::task]
fn hostile_item(first: u32, count: u32, again: bool, cancelled: bool) -> u64 {
    let (slot, id) = own_slot();
    let mut body = [first.to_le_bytes(), count.to_le_bytes()].concat();
    for _ in 0..count.min(100) {
        body.extend_from_slice(&[0, 7]);
    }
    let items = frame(ITEMS, slot, id, &body);
    if cancelled {
        send(&frame(CANCELLED, slot, id, &[]));
    }
    send(&items);
    if again {
        send(&items);
    }
    forever()
}

#[test]
fn items_out_of_order_cost_one_item() {
    common::run(|| async {
        let pool = pool(2).await;
        for (first, count, again, cancelled) in [
            (1, 1, false, false),
            (7, 1, false, false),
            (0, 99, false, false),
            (0, 0, false, false),
            (0, u32::MAX, false, false),
            (u32::MAX, u32::MAX, false, false),
            (0, 1, true, false),
        ] {
            let args = [(first, count, again, cancelled)];
            eprintln!("{args:?}");
            let results = pool.try_map(hostile_item, args).chunk_size(1).await.unwrap();
            match &results[0] {
                Ok(value) => assert!(again && *value == 7),
                Err(error) => check(args, End::Protocol, error),
            }
            still_good(&pool).await;
        }
        pool.shutdown().await.unwrap();
    });
}

/// Everything the worker sent before it broke the protocol counts, nothing after.
#[procpool::task]
fn lie_and_return(ledger: &str) -> u64 {
    note(ledger, "lie");
    let (slot, id) = own_slot();
    send(&[frame(VALUE, 999, id, &[]), frame(VALUE, slot, id, &[66])].concat());
    77
}

#[test]
fn nothing_is_believed_after_a_violation() {
    common::run(|| async {
        let pool = pool(1).await;
        for _ in 0..20 {
            let ledger = Ledger::new("hostile-lie");
            let error = pool.run(lie_and_return(&ledger.path())).await.unwrap_err();
            check("a lie", End::Protocol, &error);
            assert_eq!(ledger.count("lie"), 1);
        }
        still_good(&pool).await;
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn flood(n: u64) -> u64 {
    let (slot, id) = own_slot();
    let one = frame(PROGRESS, slot, id, &[0; 16]);
    let many = one.repeat(1000);
    for _ in 0..n / 1000 {
        send(&many);
    }
    n
}

#[test]
fn a_flood_of_progress_holds_nothing_up() {
    common::run_current_thread(|| async {
        let pool = pool(2).await;
        let flooding = pool.spawn(flood(300_000));
        still_good(&pool).await;
        assert_eq!(flooding.await.unwrap(), 300_000);
        pool.shutdown().await.unwrap();
    });
}

/// A grandchild that left the group, holds the socket and floods it for as long
/// as anybody listens, while its worker dies.
///
/// Not on Windows: nothing leaves the worker's job there, so nothing of a dead worker
/// can go on writing.
#[cfg(unix)]
#[procpool::task]
fn leave_a_flooder_behind() -> u64 {
    let (slot, id) = own_slot();
    let many = frame(PROGRESS, slot, id, &[0; 16]).repeat(1000);
    let socket = wild::socket();
    // SAFETY: the child of this many-threaded process makes nothing but system
    // calls, and never returns from here.
    unsafe {
        if libc::fork() == 0 {
            libc::setsid();
            loop {
                let n = libc::send(socket, many.as_ptr().cast(), many.len(), libc::MSG_NOSIGNAL);
                if n < 0 {
                    libc::_exit(0);
                }
            }
        }
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
    forever()
}

#[cfg(unix)]
#[test]
fn a_flooding_grandchild_does_not_hold_the_supervisor() {
    common::run(|| async {
        let pool = pool(2).await;
        for _ in 0..3 {
            let error = pool.run(leave_a_flooder_behind()).await.unwrap_err();
            // Its frames may be cut off in the middle.
            let died = error.signal() == Some(libc::SIGKILL);
            assert!(died || matches!(error.kind(), ErrorKind::Protocol { .. }), "{error:?}");
            still_good(&pool).await;
        }
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn take(bytes: Vec<u8>) -> u64 {
    bytes.len() as u64
}

#[procpool::task]
fn deaf() -> u64 {
    forever()
}

#[procpool::task]
fn stop_oneself() -> u64 {
    os::stop_myself();
    // It takes hold of this thread a moment later.
    forever()
}

/// Stops its process after the call has returned, once `sign` is there.
#[procpool::task]
fn stop_later(sign: &Path) {
    once_there(sign, os::stop_myself);
}

#[procpool::task]
fn ignore_sigterm() {
    os::ignore_requests_to_end();
}

const SOON: Duration = Duration::from_millis(100);

#[test]
fn workers_that_stand_still() {
    common::run(|| async {
        let pool = pool(1).await;
        let error = pool.run(deaf()).run_timeout(SOON).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        let error = pool.run(stop_oneself()).run_timeout(SOON).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        still_good(&pool).await;
        // Stopped while idle: 64 MiB for it fill the socket and wait here.
        let dir = common::TempDir::new("hostile-stop");
        let sign = dir.0.join("sign");
        pool.run(stop_later(&sign)).await.unwrap();
        std::fs::write(sign, "").unwrap();
        let pid = pool.workers()[0].pid.unwrap();
        common::eventually("the worker is stopped", || os::is_stopped(pid)).await;
        let error = pool.run(take(vec![1; 64 << 20])).run_timeout(SOON).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert_eq!(pool.run(take(vec![1; 64 << 20])).await.unwrap(), 64 << 20);
        still_good(&pool).await;
        // Cancelled calls of a stopped worker go at once.
        let call = pool.spawn(stop_oneself());
        common::eventually("the worker is stopped", || {
            pool.workers().iter().any(|w| w.pid.is_some_and(os::is_stopped))
        })
        .await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        still_good(&pool).await;
        // Those who do not hear SIGTERM hear SIGKILL, and so do the stopped.
        pool.run(ignore_sigterm()).await.unwrap();
        let _deaf = pool.spawn(deaf());
        pool.terminate();
        pool.join().await.unwrap();
    });
}

/// The socket's other end is closed, and the call goes on for ever: the worker
/// must be killed even if something else happens to it meanwhile.
#[test]
fn a_worker_without_connection_is_killed_whatever_is_cancelled() {
    common::run(|| async {
        let pool = pool(1).await;
        for _ in 0..10 {
            let ledger = Ledger::new("hostile-broken");
            let path = ledger.path();
            for id in 100..130 {
                pool.run(good(id, &path)).await.unwrap();
            }
            let bad = pool.spawn(hostile(Evil::CloseEverything, &path));
            let behind: Vec<_> = (0..3).map(|id| pool.spawn(good(id, &path))).collect();
            common::eventually("the hostile call runs", || ledger.count("CloseEverything") == 1)
                .await;
            behind[0].abort();
            check("no connection", End::Died, &bad.await.unwrap_err());
            for handle in behind {
                let _ = handle.await;
            }
        }
        still_good(&pool).await;
        pool.shutdown().await.unwrap();
    });
}

/// Writes over the status block: everywhere, or only one word.
#[procpool::task]
fn spoil(seed: u64, words: u64, hold: bool) -> u64 {
    let mut random = Random(seed);
    let (_, len) = block();
    for _ in 0..words {
        let index = match random.below(3) {
            0 => random.below(8),
            1 => 64 + random.below(16),
            _ => random.below(len),
        };
        let value = match random.below(4) {
            0 => 0,
            1 => u64::MAX,
            2 => random.next() >> random.below(64),
            _ => random.next(),
        };
        scribble(index, value);
    }
    if hold {
        Death::Kill.strike();
    }
    seed
}

#[test]
fn scribbling_over_the_status_block() {
    common::run(|| async {
        let seed = seed();
        let pool = ProcessPool::builder()
            .workers(2)
            .stderr(Stderr::Capture)
            .call_timeout(Duration::from_millis(500))
            .build()
            .await
            .unwrap();
        let mut random = Random(seed);
        for round in 0..60 {
            let before: Vec<_> = (0..20).map(|x| pool.spawn(square(x))).collect();
            let bad = pool.spawn(spoil(random.next(), 1 + (1 << (round % 14)), round % 2 == 0));
            let after: Vec<_> = (0..20).map(|x| pool.spawn(square(x))).collect();
            // What each becomes depends on what was hit; that each becomes
            // something is what matters.
            let _ = bad.await;
            for (x, handle) in (0..20).chain(0..20).zip(before.into_iter().chain(after)) {
                match handle.await {
                    Ok(value) => assert_eq!(value, x * x),
                    Err(error) => assert!(
                        error.is_worker_died()
                            || error.is_timeout()
                            || matches!(
                                error.kind(),
                                ErrorKind::Protocol { .. } | ErrorKind::ResultDecode { .. }
                            ),
                        "seed {seed}: {error:?}"
                    ),
                }
            }
        }
        // Every word is put right before it is used again.
        for x in 0..100 {
            assert_eq!(pool.run(square(x)).await.unwrap(), x * x, "seed {seed}");
        }
        pool.shutdown().await.unwrap();
    });
}

/// Words of the ring that a child logs into, which is at the end of its block.
const RING: usize = (4 + 256) * 1024 / 8 + HUB;
/// What it says to the hub and hears is at its end.
const HUB: usize = 2 * (4 + 512) * 1024 / 8;

/// Logs, with nonsense in between: in the words that say how much there is, in what is
/// wanted, and in the records themselves.
#[procpool::task]
fn spoil_log(seed: u64) {
    let mut random = Random(seed);
    let (_, len) = block();
    let ring = len - RING;
    for n in 0..20 {
        let _in = tracing::info_span!("spoiled", n).entered();
        tracing::info!(n, "spoiled");
        let index = match random.below(4) {
            0 => [0, 8, 16, 24, 32][random.below(5)],
            1 => 512 + random.below(64),
            _ => random.below(RING - HUB),
        };
        let value = match random.below(3) {
            0 => random.next() >> random.below(64),
            1 => n * 100,
            _ => random.next(),
        };
        scribble(ring + index, value);
    }
}

/// More has been logged than there can be.
#[procpool::task]
fn overstate_log() {
    let (_, len) = block();
    scribble(len - RING, u64::MAX);
}

/// Counts spans that have ended.
struct Ended(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Ended {
    fn on_close(&self, _: tracing::Id, _: Context<'_, S>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn callers_spans_end_whatever_the_log_says() {
    let ended = Arc::new(AtomicUsize::new(0));
    let layered = tracing_subscriber::registry().with(LevelFilter::INFO).with(Ended(ended.clone()));
    tracing::dispatcher::with_default(&layered.into(), || {
        common::run(|| async {
            let pool = ProcessPool::builder().workers(1).build().await.unwrap();
            pool.run(log_well(1)).await.unwrap();
            pool.run(overstate_log()).instrument(info_span!("request")).await.unwrap();
            for x in 0..50 {
                let run = pool.run(square(x)).instrument(info_span!("request"));
                assert_eq!(run.await.unwrap(), x * x);
            }
            // While the worker lives.
            common::eventually("all have ended", || ended.load(Ordering::SeqCst) == 51).await;
            pool.shutdown().await.unwrap();
        });
    });
}

#[procpool::task]
fn log_well(n: u64) {
    tracing::info!(n, "well logged");
}

#[test]
fn scribbling_over_the_log_costs_nobody_elses() {
    let (recorder, dispatch) = Recorder::with(LevelFilter::INFO);
    let seed = seed();
    tracing::dispatcher::with_default(&dispatch, || {
        common::run(|| async {
            let good = ProcessPool::builder().workers(1).name("good").build().await.unwrap();
            let mut random = Random(seed);
            for n in 0..40 {
                let bad = ProcessPool::builder().workers(1).name("bad").build().await.unwrap();
                bad.run(spoil_log(random.next())).await.unwrap();
                good.run(log_well(n)).await.unwrap();
                // Whatever it logged, its results are another matter.
                assert_eq!(bad.run(square(3)).await.unwrap(), 9);
                bad.shutdown().await.unwrap();
            }
            good.shutdown().await.unwrap();
            let events = recorder.events();
            let good = events.iter().filter(|e| e.text("process.name") == "good-1");
            let good: Vec<u64> = good.map(|e| e.text("n").parse().unwrap()).collect();
            assert_eq!(good, (0..40).collect::<Vec<_>>());
            assert!(events.iter().any(|e| e.message().contains("nonsense")), "it is told");
        });
    });
}

/// More has been said to the hub than there can be, or what was said is no message.
#[procpool::task]
fn spoil_hub(queue: Queue<u64>, how: u64) {
    queue.blocking_put(1).unwrap();
    let (_, len) = block();
    let rings = len - HUB;
    if how == 0 {
        scribble(rings, u64::MAX);
    } else {
        (0..80).for_each(|i| scribble(rings + 512 + i, how.wrapping_mul(i as u64 + 3)));
        scribble(rings, 640);
    }
    loop {
        std::thread::park();
    }
}

#[procpool::task]
fn put_in_order(queue: Queue<u64>, n: u64) {
    (0..n).for_each(|i| queue.blocking_put(i).unwrap());
}

#[test]
fn scribbling_over_what_it_says_to_the_hub_costs_the_process_alone() {
    common::run(|| async {
        let queue = Queue::unbounded().unwrap();
        let good = ProcessPool::builder().workers(1).name("good").build().await.unwrap();
        for how in 0..8 {
            let other = Queue::unbounded().unwrap();
            let bad = ProcessPool::builder().workers(1).name("bad").build().await.unwrap();
            let mut call = bad.spawn(spoil_hub(other.clone(), how));
            let looks = async {
                loop {
                    // It looks at all that was said.
                    other.len().await;
                    tokio::task::yield_now().await;
                }
            };
            let error = tokio::select! {
                result = &mut call => result.unwrap_err(),
                () = looks => unreachable!(),
            };
            assert!(matches!(error.kind(), ErrorKind::WorkerDied(_)), "{how}: {error}");
            good.run(put_in_order(queue.clone(), 20)).await.unwrap();
            for i in 0..20 {
                assert_eq!(queue.get().await.unwrap(), i);
            }
            bad.shutdown().await.unwrap();
        }
        good.shutdown().await.unwrap();
    });
}

fn seed() -> u64 {
    let seed = std::env::var("PROCPOOL_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261);
    eprintln!("seed {seed}");
    seed
}

/// Mutations of what a worker might really say.
#[procpool::task]
fn fuzz(seed: u64) -> u64 {
    let (slot, id) = own_slot();
    let mut random = Random(seed);
    let mut bytes = Vec::new();
    for _ in 0..1 + random.below(6) {
        let kind = 1 + random.below(14) as u8;
        let flags = if random.below(3) == 0 { 1 } else { 0 };
        let slot = if random.below(4) == 0 { random.next() as u16 } else { slot };
        let id = if random.below(4) == 0 { random.next() } else { id };
        let body: Vec<u8> = match random.below(4) {
            0 => (0..random.below(200)).map(|_| random.next() as u8).collect(),
            1 => announcement(0, 0, 0, &[random.next() >> random.below(64), 3])[20..].to_vec(),
            2 => vec![0; random.below(64)],
            _ => [random.next() as u32 >> 28, 1].map(u32::to_le_bytes).concat(),
        };
        let len = if random.below(5) == 0 { random.next() as u32 } else { body.len() as u32 };
        bytes.extend(header(kind, flags, slot, len, id));
        bytes.extend(body);
    }
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }
    bytes.truncate(1 + random.below(bytes.len()));
    send(&bytes);
    if random.below(2) == 0 {
        Death::Kill.strike();
    }
    seed
}

#[test]
fn three_hundred_random_conversations() {
    // Many a one ends only with its call's time.
    common::run_within(Duration::from_secs(240), || async {
        let seed = seed();
        let pool = ProcessPool::builder()
            .workers(2)
            .stderr(Stderr::Capture)
            .call_timeout(Duration::from_millis(500))
            .build()
            .await
            .unwrap();
        let mut random = Random(seed);
        for round in 0..300 {
            let one = random.next();
            // Any end will do: what was sent may even have been a result.
            let _ = pool.run(fuzz(one)).await;
            // So the worker may be rotten and seem free: then this call finds out.
            match pool.run(square(round)).await {
                Ok(value) => assert_eq!(value, round * round, "seed {seed}, {one}"),
                Err(error) => assert!(
                    error.is_timeout()
                        || error.is_worker_died()
                        || matches!(error.kind(), ErrorKind::Protocol { .. }),
                    "seed {seed}, {one}: {error:?}"
                ),
            }
        }
        let mut in_a_row = 0;
        while in_a_row < 100 {
            in_a_row = match pool.run(square(9)).await {
                Ok(81) => in_a_row + 1,
                _ => 0,
            };
        }
        pool.shutdown().await.unwrap();
    });
}

/// Says that it has dropped a call that nobody cancelled.
#[procpool::task]
fn cancel_oneself() -> bool {
    let (slot, id) = own_slot();
    send(&frame(CANCELLED, slot, id, &[]));
    forever()
}

#[procpool::task]
async fn cancel_oneself_async(_item: u64) -> bool {
    let (slot, id) = own_slot();
    send(&frame(CANCELLED, slot, id, &[]));
    std::future::pending().await
}

#[test]
fn a_cancellation_that_nobody_asked_for_is_a_violation() {
    common::run(|| async {
        let pool = pool(1).await;
        let plain = pool.run(cancel_oneself()).await.unwrap_err();
        let asynchronous = pool.run(cancel_oneself_async(0)).await.unwrap_err();
        let item = pool.map(cancel_oneself_async, [1]).await.unwrap_err();
        for error in [plain, asynchronous, item] {
            assert!(matches!(error.kind(), ErrorKind::Protocol { .. }), "{error:?}");
            assert_eq!(error.progress(), procpool::Progress::MayHaveBegun);
        }
        still_good(&pool).await;
        pool.shutdown().await.unwrap();
    });
}

/// Leaves a process behind that holds the connection as long as a file is there, and dies.
#[cfg(unix)]
#[procpool::task]
fn leave_a_holder_behind(gate: &Path) {
    // SAFETY: the child makes system calls only.
    unsafe {
        if libc::fork() == 0 {
            libc::setsid();
            libc::dup2(libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY), 2);
            let gate = std::ffi::CString::new(gate.to_str().unwrap()).unwrap();
            while libc::access(gate.as_ptr(), libc::F_OK) == 0 {
                libc::usleep(1000);
            }
            libc::_exit(0);
        }
    }
    Death::Kill.strike()
}

#[cfg(unix)]
#[test]
fn a_dead_workers_connection_is_let_go_whoever_else_holds_it() {
    common::run(|| async {
        let pool = pool(1).await;
        let dir = common::TempDir::new("holder");
        let gate = dir.0.join("gate");
        std::fs::write(&gate, "").unwrap();
        still_good(&pool).await;
        let before = os::Holdings::now();
        for _ in 0..10 {
            pool.run(leave_a_holder_behind(&gate)).await.unwrap_err();
        }
        still_good(&pool).await;
        // The place of the worker that was there before is another's now.
        common::eventually("descriptors are as many as before", || before.since().len() <= 5).await;
        drop(dir);
        pool.shutdown().await.unwrap();
    });
}
