//! Both ends of a connection, joined by a simulated one: bytes arrive late and in
//! pieces of any size, on a clock that is only a number.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::*;
use crate::task::Fault;
use crate::wire::{
    Assembler, Body, DecodeLimits, Flags, Header, Hello, Kind, Message, Outbox, PROTOCOL_VERSION,
    Payload, Received, Welcome,
};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// One direction: what is on its way, and when it arrives.
#[derive(Default)]
struct Wire(VecDeque<(u64, Vec<u8>)>);

impl Wire {
    fn put(&mut self, bytes: Vec<u8>, now: u64, random: &mut Random) {
        let after = self.0.back().map_or(0, |(at, _)| *at);
        self.0.push_back((after.max(now + random.below(50)), bytes));
    }

    /// Writes as much of an outbox as the socket happens to take.
    fn take_from(&mut self, out: &mut Outbox, now: u64, random: &mut Random) {
        if out.is_empty() {
            return;
        }
        let offered = match out.single() {
            Some(bytes) if random.one_in(2) => bytes.to_vec(),
            _ => out.slices().iter().flat_map(|s| s.to_vec()).collect(),
        };
        let few = offered.len() < 3000 && random.one_in(3);
        let most = if few { 30 } else { offered.len() as u64 };
        let n = 1 + random.below(most.min(offered.len() as u64)) as usize;
        out.advance(n);
        self.put(offered[..n].to_vec(), now, random);
    }

    /// Hands over what has arrived, in reads of any size.
    fn arrive(&mut self, into: &mut Assembler, now: u64, random: &mut Random) -> bool {
        let Some((at, _)) = self.0.front() else { return false };
        if *at > now {
            return false;
        }
        let Some((at, mut bytes)) = self.0.pop_front() else { return false };
        let (buf, max) = into.target();
        let n = (1 + random.below(bytes.len() as u64) as usize).min(max);
        buf.extend_from_slice(&bytes[..n]);
        into.received(n);
        let rest = bytes.split_off(n);
        if !rest.is_empty() {
            self.0.push_front((at, rest));
        }
        true
    }
}

/// A payload that tells by itself which call it belongs to.
fn payload(id: u64, salt: u64) -> Payload {
    let mut random = Random(id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt | 1);
    let bytes = |random: &mut Random, n: u64| (0..n).map(|_| random.next() as u8).collect();
    let head = match random.below(60) {
        0 => 100_000,
        1 => 70_000,
        2 => 0,
        _ => random.below(60),
    };
    let head: Vec<u8> = bytes(&mut random, head);
    let blobs = if random.one_in(20) { random.below(4) } else { 0 };
    let blobs = (0..blobs)
        .map(|_| {
            let n = random.below(40_000);
            Bytes::from(bytes(&mut random, n) as Vec<u8>)
        })
        .collect();
    Payload::from_parts(head, blobs)
}

fn same(mut received: Received, expected: &Payload) -> bool {
    let (head, blobs) = received.parts();
    head == expected.head()
        && blobs.iter().map(|b| &b[..]).eq(expected.blobs().iter().map(|b| &b[..]))
}

/// A call as the parent knows it.
struct Known {
    slot: u16,
    items: u32,
    seen: u32,
    cancelled: bool,
}

/// A call as the worker knows it.
struct Running {
    id: u64,
    items: u32,
    done: u32,
    cancelled: bool,
}

struct Pair {
    seed: u64,
    now: u64,
    random: Random,
    parent: ParentSession,
    worker: WorkerSession,
    worker_out: Outbox,
    down: Wire,
    up: Wire,
    parent_in: Assembler,
    worker_in: Assembler,
    known: BTreeMap<u64, Known>,
    running: BTreeMap<u16, Running>,
    /// In place of the status block.
    begun: BTreeSet<u64>,
    taken_back: BTreeSet<u64>,
    /// Ids in the order in which they were sent.
    sent: VecDeque<u64>,
    next_id: u64,
    answered: u64,
    ready: bool,
    goodbye: bool,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let hello =
            Hello { protocol: PROTOCOL_VERSION, build: seed, tasks: 2 * seed, task_count: 7 };
        let mut worker_out = Outbox::default();
        let bytes = Payload::from_slice(&postcard::to_allocvec(&hello).unwrap());
        worker_out.message(Header::new(Kind::Hello, 0, 0, 0), &[], &bytes);
        Pair {
            seed,
            now: 0,
            random: Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1),
            parent: ParentSession::new(hello),
            worker: WorkerSession::new(),
            worker_out,
            down: Wire::default(),
            up: Wire::default(),
            parent_in: Assembler::new(1 << 20, |_| ()),
            worker_in: Assembler::new(1 << 20, |_| ()),
            known: BTreeMap::new(),
            running: BTreeMap::new(),
            begun: BTreeSet::new(),
            taken_back: BTreeSet::new(),
            sent: VecDeque::new(),
            next_id: 1,
            answered: 0,
            ready: false,
            goodbye: false,
        }
    }

    fn call(&mut self) {
        let Some(slot) = (0..8).find(|slot| self.known.values().all(|k| k.slot != *slot)) else {
            return;
        };
        let id = self.next_id;
        self.next_id += 1;
        let items = if self.random.one_in(3) { 1 + self.random.below(20) as u32 } else { 0 };
        let meta = CallMeta { task: id as u32, items, attempt: 1, remaining_ms: 9 };
        self.parent.call(slot, id, meta, &payload(id, 1), None);
        self.known.insert(id, Known { slot, items, seen: 0, cancelled: false });
        self.sent.push_back(id);
    }

    /// As the dispatcher does it: taken back if it has not begun, else told.
    fn cancel(&mut self) {
        let nth = self.random.below(8) as usize;
        let Some((&id, known)) = self.known.iter_mut().nth(nth) else { return };
        let slot = known.slot;
        if self.begun.contains(&id) {
            known.cancelled = true;
            self.parent.cancel(slot, id);
        } else {
            self.taken_back.insert(id);
            self.parent.taken_back(slot, id);
            self.known.remove(&id);
        }
    }

    /// The worker gets on with one of its calls.
    fn work(&mut self) {
        let nth = self.random.below(8) as usize;
        let Some((&slot, running)) = self.running.iter_mut().nth(nth) else { return };
        let id = running.id;
        let out = &mut self.worker_out;
        if self.random.one_in(4) {
            let numbers = [id.to_le_bytes(), 7u64.to_le_bytes()].concat();
            out.message(Header::new(Kind::Progress, slot, id, 0), &numbers, &Payload::empty());
            return;
        }
        if running.cancelled {
            out.message(Header::new(Kind::Cancelled, slot, id, 0), &[], &Payload::empty());
            self.running.remove(&slot);
            return;
        }
        if running.items > 0 {
            let count = 1 + self.random.below(u64::from(running.items - running.done)) as u32;
            let meta = ItemsMeta { first: running.done, count }.encode();
            let results = payload(id, 100 + u64::from(running.done));
            out.message(Header::new(Kind::Items, slot, id, 0), &meta, &results);
            running.done += count;
            if running.done == running.items {
                self.running.remove(&slot);
            }
            return;
        }
        if self.random.one_in(4) {
            let fault = postcard::to_allocvec(&Fault::UnknownTask { id: id as u32 }).unwrap();
            let fault = Payload::from_slice(&fault);
            out.message(Header::new(Kind::Fault, slot, id, 0), &[], &fault);
        } else {
            out.message(Header::new(Kind::Value, slot, id, 0), &[], &payload(id, 2));
        }
        self.running.remove(&slot);
    }

    fn arrive(&mut self) {
        let seed = self.seed;
        loop {
            let more = self.down.arrive(&mut self.worker_in, self.now, &mut self.random);
            // Now and then several reads pass before anybody looks.
            if more && self.random.one_in(3) {
                continue;
            }
            while let Some(message) = self.worker_in.next().unwrap() {
                let event =
                    self.worker.handle(message).unwrap_or_else(|v| panic!("seed {seed}: {v}"));
                match event {
                    WorkerEvent::Welcome(welcome) => {
                        assert_eq!(welcome.name, "pair");
                        let header = Header::new(Kind::Ready, 0, 0, 0);
                        self.worker_out.message(header, &[], &payload(0, 3));
                        self.worker.ready();
                    }
                    WorkerEvent::Call { slot, id, meta, args, body, brought } => {
                        assert_eq!(brought, None);
                        assert_eq!(self.sent.pop_front(), Some(id), "seed {seed}: out of order");
                        assert_eq!((meta.task, meta.attempt), (id as u32, 1));
                        let args = match body {
                            Body::Inline => Received::from_slice(args),
                            Body::Streamed { head, blobs } => Received::from_parts(head, blobs),
                        };
                        assert!(same(args, &payload(id, 1)), "seed {seed}: arguments of {id}");
                        if self.taken_back.contains(&id) {
                            continue;
                        }
                        assert!(self.begun.insert(id), "seed {seed}: {id} begins twice");
                        let call = Running { id, items: meta.items, done: 0, cancelled: false };
                        assert!(self.running.insert(slot, call).is_none(), "seed {seed}");
                    }
                    WorkerEvent::Cancel { slot, id } => {
                        // It may cross the end of its call.
                        if let Some(call) = self.running.get_mut(&slot)
                            && call.id == id
                        {
                            call.cancelled = true;
                        }
                    }
                    WorkerEvent::Shutdown => {
                        assert!(self.running.is_empty(), "seed {seed}");
                        let header = Header::new(Kind::Goodbye, 0, 0, 0);
                        self.worker_out.message(header, &[], &Payload::empty());
                    }
                }
            }
            if !more {
                break;
            }
        }
        while self.up.arrive(&mut self.parent_in, self.now, &mut self.random) {
            while let Some(message) = self.parent_in.next().unwrap() {
                let event =
                    self.parent.handle(message).unwrap_or_else(|v| panic!("seed {seed}: {v}"));
                if let Some(event) = event {
                    Self::heard(
                        event,
                        seed,
                        &mut self.known,
                        &mut self.answered,
                        &mut self.ready,
                        &mut self.goodbye,
                        &mut self.down,
                    );
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn heard(
        event: ParentEvent,
        seed: u64,
        known: &mut BTreeMap<u64, Known>,
        answered: &mut u64,
        ready: &mut bool,
        goodbye: &mut bool,
        down: &mut Wire,
    ) {
        let mut end = |id: u64| {
            *answered += 1;
            known.remove(&id).unwrap_or_else(|| panic!("seed {seed}: {id} ends twice"))
        };
        match event {
            ParentEvent::HelloAccepted => {
                let welcome = Welcome {
                    name: "pair".into(),
                    depth: 1,
                    max_message: 1 << 20,
                    decode: DecodeLimits::default(),
                    memory: None,
                    cpu_seconds: None,
                    files: None,
                    initializer: None,
                    initializer_brings: None,
                    parent_name: "parent".into(),
                    parent_pid: 1,
                    ticket: Vec::new(),
                    process: None,
                };
                let body = postcard::to_allocvec(&welcome).unwrap();
                let header = Header::new(Kind::Welcome, 0, 0, body.len()).encode();
                down.0.push_back((0, [&header[..], &body].concat()));
            }
            ParentEvent::Ready(value) => {
                assert!(same(value.unwrap(), &payload(0, 3)), "seed {seed}");
                assert!(!std::mem::replace(ready, true));
            }
            ParentEvent::Value { id, value } => {
                assert_eq!(end(id).items, 0);
                assert!(same(value, &payload(id, 2)), "seed {seed}: value of {id}");
            }
            ParentEvent::Fault { id, fault } => {
                end(id);
                assert_eq!(fault, Fault::UnknownTask { id: id as u32 });
            }
            ParentEvent::Items { id, count, last, results } => {
                let call =
                    known.get_mut(&id).unwrap_or_else(|| panic!("seed {seed}: {id} is over"));
                let salt = 100 + u64::from(call.seen);
                assert!(same(results, &payload(id, salt)), "seed {seed}: items of {id}");
                call.seen += count;
                assert_eq!(last, call.seen == call.items, "seed {seed}");
                if last {
                    known.remove(&id);
                    *answered += 1;
                }
            }
            ParentEvent::Cancelled { id } => {
                assert!(end(id).cancelled, "seed {seed}: nobody cancelled {id}");
            }
            ParentEvent::HandlesTaken { .. } => unreachable!("seed {seed}: none were given"),
            ParentEvent::Progress { id, done, total } => {
                assert!(known.contains_key(&id), "seed {seed}: a report after the end");
                assert_eq!((done, total), (id, 7));
            }
            ParentEvent::Goodbye => *goodbye = true,
        }
    }

    fn step(&mut self, working: bool) {
        self.now += self.random.below(20);
        if self.ready && working {
            match self.random.below(6) {
                0..3 => self.call(),
                3 => self.cancel(),
                _ => {}
            }
        }
        if self.random.one_in(2) {
            self.work();
        }
        self.down.take_from(self.parent.outbox(), self.now, &mut self.random);
        self.up.take_from(&mut self.worker_out, self.now, &mut self.random);
        self.arrive();
        assert_eq!(self.parent.outstanding().count(), self.known.len(), "seed {}", self.seed);
    }

    fn run(mut self) {
        for _ in 0..400 {
            self.step(true);
        }
        let mut left = 0;
        while !self.known.is_empty() || !self.ready {
            self.step(false);
            left += 1;
            assert!(
                left < 1_000_000,
                "seed {}: {} calls are never answered",
                self.seed,
                self.known.len()
            );
        }
        self.parent.shutdown();
        while !self.goodbye {
            self.step(false);
            left += 1;
            assert!(left < 1_000_000, "seed {}: no goodbye", self.seed);
        }
        assert!(self.sent.is_empty(), "seed {}: sent and never received", self.seed);
        let (made, back) = (self.next_id - 1, self.taken_back.len() as u64);
        assert_eq!(self.answered + back, made, "seed {}", self.seed);
        assert!(self.parent.outbox().is_empty() && self.worker_out.is_empty());
    }
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order() {
    let seeds = std::env::var("PROCPOOL_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    for seed in 1..=seeds {
        Pair::new(seed).run();
    }
}

/// Every message a worker may send, in every state it may not be sent in.
#[test]
fn messages_out_of_turn_are_violations() {
    let hello = || Hello { protocol: PROTOCOL_VERSION, build: 1, tasks: 2, task_count: 3 };
    let inline = |kind: Kind| Header::new(kind, 0, 0, 0);
    let say = |session: &mut ParentSession, header: Header, body: &[u8]| {
        session
            .handle(Message { header, meta: body, body: Body::Inline, brought: None })
            .map(|e| e.is_some())
    };
    let good = postcard::to_allocvec(&hello()).unwrap();
    let all = [
        Kind::Hello,
        Kind::Welcome,
        Kind::Ready,
        Kind::Call,
        Kind::Cancel,
        Kind::Value,
        Kind::Fault,
        Kind::Items,
        Kind::Cancelled,
        Kind::Data,
        Kind::Shutdown,
        Kind::Goodbye,
        Kind::Message,
        Kind::Bytes,
    ];
    for kind in all {
        let mut session = ParentSession::new(hello());
        if kind != Kind::Hello {
            assert!(say(&mut session, inline(kind), &good).is_err(), "{kind:?} first");
        }
        let mut session = ParentSession::new(hello());
        assert_eq!(say(&mut session, inline(Kind::Hello), &good), Ok(true));
        if kind != Kind::Ready {
            assert!(say(&mut session, inline(kind), &good).is_err(), "{kind:?} before ready");
        }
        let mut session = ParentSession::new(hello());
        assert_eq!(say(&mut session, inline(Kind::Hello), &good), Ok(true));
        assert_eq!(say(&mut session, inline(Kind::Ready), &[]), Ok(true));
        assert!(say(&mut session, inline(kind), &good).is_err(), "{kind:?} about no call");
    }
    let mut session = ParentSession::new(hello());
    assert!(say(&mut session, inline(Kind::Hello), &good[1..]).is_err(), "half a hello");
    let mut session = ParentSession::new(hello());
    assert_eq!(say(&mut session, inline(Kind::Hello), &good), Ok(true));
    let failed = Header { flags: Flags::FAILED, ..inline(Kind::Ready) };
    assert!(say(&mut session, failed, &[0xff; 9]).is_err(), "a failure nobody can read");
}
