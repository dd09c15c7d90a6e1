//! Requests of every kind, whole and spoilt, to objects of every kind: whatever comes is answered, and nothing panics.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Waker};

use super::connection::call;
use super::object::Outcome;
use super::session::{ClientAccount, Session};
use super::store::Store;
use super::value::Account;
use crate::manager::fault::Fault;
use crate::manager::op::{
    self, BarrierOp, Cell, ConditionOp, DictOp, EventOp, Kind, ListOp, LockOp, ManagerOp, QueueOp,
    Raw, Ref, SemaphoreOp, SetOp, TaskCall, ValueOp,
};
use crate::manager::rights::Rights;
use crate::task::{Entry, Fnv, Registration};
use crate::wire::Payload;

/// Bytes of values that the client may have.
const MAX_BYTES: u64 = 1 << 20;
const MAX_OBJECTS: u64 = 200;

const FUZZ_TASK: &str = "procpool::manager::fuzz";

/// Does with what is there whatever its second argument says.
static FUZZ: Entry =
    Entry::blocking(FUZZ_TASK, "here", "fn(Option<u8>, u8) -> Option<u8>", |args, out| {
        let (there, with): (Option<u8>, u8) = (args.owned("there")?, args.owned("with")?);
        match with % 4 {
            0 => out.put(None::<u8>),
            1 => out.put(Some(with)),
            2 => out.put(there),
            _ => out.put(with),
        }
    });
inventory::submit! { Registration(&FUZZ) }

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Mostly small, of either sign, and now and then anything.
    fn index(&mut self) -> i64 {
        if self.below(8) == 0 { self.next() as i64 } else { self.below(12) as i64 - 6 }
    }

    fn maybe(&mut self) -> Option<i64> {
        (self.below(3) > 0).then(|| self.index())
    }
}

/// An operation as a client would send it.
fn whole(kind: Kind, refs: &[Ref], chance: &mut Chance) -> Vec<u8> {
    const BYTES: &[u8] = b"some bytes of a value";
    let one = |chance: &mut Chance| {
        let bytes = Raw(&BYTES[..chance.below(BYTES.len())]);
        let refs = (0..chance.below(2)).map(|_| refs[chance.below(refs.len())]).collect();
        Cell { bytes, refs }
    };
    let some = |chance: &mut Chance| (0..chance.below(4)).map(|_| one(chance)).collect::<Vec<_>>();
    let key = |chance: &mut Chance| Raw(&BYTES[..chance.below(5)]);
    let keys = |chance: &mut Chance| (0..chance.below(4)).map(|_| key(chance)).collect::<Vec<_>>();
    let (i, n) = (chance.index(), chance.below(24));
    let id = refs[chance.below(refs.len())].id;
    let lock = |chance: &mut Chance| match chance.below(4) {
        0 => LockOp::Acquire { owner: chance.next() % 2 },
        1 => LockOp::TryAcquire { owner: chance.next() % 2 },
        2 => LockOp::Release { owner: chance.next() % 2 },
        _ => LockOp::IsLocked,
    };
    let encoded = match kind {
        Kind::MANAGER => op::encode(&match n % 9 {
            0 => ManagerOp::Release { id, count: 1 },
            1 => ManagerOp::Ticket { id, ticket: chance.next() % 9 },
            2 => ManagerOp::Redeem { id, key: 7, ticket: 1 },
            3 => ManagerOp::Publish { name: "a name", id },
            4 => ManagerOp::Unpublish { name: "a name" },
            5 => ManagerOp::Find { name: "a name" },
            6 => ManagerOp::Names,
            7 => ManagerOp::Stats,
            _ => ManagerOp::Create { kind: Kind(chance.next() % 18), init: key(chance) },
        }),
        Kind::LIST | Kind::ARRAY => {
            let (start, stop) = (chance.maybe(), chance.maybe());
            op::encode(&match n {
                0 => ListOp::Len,
                1 => ListOp::Get(i),
                2 => ListOp::Set(i, one(chance)),
                3 | 4 => ListOp::Push(one(chance)),
                5 => ListOp::Extend(some(chance)),
                6 => ListOp::Insert(i, one(chance)),
                7 => ListOp::Pop(chance.maybe()),
                8 => ListOp::Delete(i),
                9 => ListOp::Remove(one(chance)),
                10 => ListOp::Clear,
                11 => ListOp::Slice { start, stop, step: i },
                12 => ListOp::SetSlice { start, stop, values: some(chance) },
                13 => ListOp::Index { value: one(chance), start, stop },
                14 => ListOp::Count(one(chance)),
                15 => ListOp::Contains(one(chance)),
                16 => ListOp::Reverse,
                17 => ListOp::Repeat(chance.next() % 3),
                18 => ListOp::Repeat(chance.next()),
                19 => ListOp::Snapshot,
                20 => ListOp::Replace { version: chance.next() % 50, values: some(chance) },
                21 => ListOp::CompareSet { index: i, old: one(chance), new: one(chance) },
                _ => ListOp::Copy,
            })
        }
        Kind::DICT | Kind::NAMESPACE => op::encode(&match n % 20 {
            0 => DictOp::Len,
            1 => DictOp::Get(key(chance)),
            2 => DictOp::GetMany(keys(chance)),
            3 => DictOp::Contains(key(chance)),
            4 => DictOp::Set(key(chance), one(chance)),
            5 => DictOp::Insert(key(chance), one(chance)),
            6 => DictOp::SetDefault(key(chance), one(chance)),
            7 => DictOp::Update(keys(chance).into_iter().map(|key| (key, one(chance))).collect()),
            8 => DictOp::Pop(key(chance)),
            9 => DictOp::Delete(key(chance)),
            10 => DictOp::PopItem,
            11 => DictOp::Keys,
            12 => DictOp::Values,
            13 => DictOp::Items,
            14 => DictOp::Clear,
            15 => {
                let (old, new) = (Some(one(chance)), Some(one(chance)));
                DictOp::CompareSet { key: key(chance), old, new }
            }
            16..=18 => {
                let name = ["spelling", "nothing", FUZZ_TASK][chance.below(3)];
                let signature = [7, Fnv::of(FUZZ.signature)][chance.below(2)];
                let head = Payload::from_bytes(vec![0, chance.next() as u8].into(), vec![], vec![]);
                let Some(args) = op::Parts::of(&head) else { unreachable!("no handles") };
                let call = TaskCall { name, signature, args };
                return op::encode(&DictOp::Compute(key(chance), call)).unwrap();
            }
            _ => DictOp::Copy,
        }),
        Kind::SET => op::encode(&match n % 15 {
            0 => SetOp::Len,
            1 | 2 => SetOp::Add(key(chance)),
            3 => SetOp::Discard(key(chance)),
            4 => SetOp::Contains(key(chance)),
            5 => SetOp::Pop,
            6 => SetOp::Items,
            7 => SetOp::Clear,
            8 => SetOp::Update(keys(chance)),
            9 => SetOp::Intersect(keys(chance)),
            10 => SetOp::Subtract(keys(chance)),
            11 => SetOp::SymmetricDifference(keys(chance)),
            12 => SetOp::IsSubset(keys(chance)),
            13 => SetOp::IsDisjoint(keys(chance)),
            _ => SetOp::Copy,
        }),
        Kind::VALUE => op::encode(&match n % 4 {
            0 => ValueOp::Get,
            1 => ValueOp::Set(one(chance)),
            2 => ValueOp::Swap(one(chance)),
            _ => ValueOp::CompareSet(one(chance), one(chance)),
        }),
        Kind::QUEUE | Kind::JOINABLE_QUEUE => op::encode(&match n % 9 {
            0 => QueueOp::Put(one(chance)),
            1 => QueueOp::TryPut(one(chance)),
            2 => QueueOp::Get,
            3 => QueueOp::TryGet,
            4 => QueueOp::Unget(one(chance)),
            5 => QueueOp::Len,
            6 => QueueOp::Max,
            7 => QueueOp::TaskDone,
            _ => QueueOp::Join,
        }),
        Kind::LOCK | Kind::RLOCK => op::encode(&lock(chance)),
        Kind::SEMAPHORE | Kind::BOUNDED_SEMAPHORE => op::encode(&match n % 6 {
            0 => SemaphoreOp::Acquire,
            1 => SemaphoreOp::TryAcquire,
            2 => SemaphoreOp::Release(1),
            3 => SemaphoreOp::Release(chance.next() as u32),
            4 => SemaphoreOp::Forget,
            _ => SemaphoreOp::Value,
        }),
        Kind::EVENT => {
            op::encode(&[EventOp::IsSet, EventOp::Set, EventOp::Clear, EventOp::Wait][n % 4])
        }
        Kind::CONDITION => op::encode(&match n % 4 {
            0 | 1 => ConditionOp::Lock(lock(chance)),
            2 => ConditionOp::Wait { owner: chance.next() % 2, limit: None },
            _ => ConditionOp::Notify { owner: chance.next() % 2, count: chance.next() },
        }),
        _ => op::encode(&match n % 6 {
            0 => BarrierOp::Wait { limit: None },
            1 => BarrierOp::Abort,
            2 => BarrierOp::Reset,
            3 => BarrierOp::Parties,
            4 => BarrierOp::Waiting,
            _ => BarrierOp::IsBroken,
        }),
    };
    encoded.unwrap()
}

fn spoil(bytes: &mut Vec<u8>, chance: &mut Chance) {
    match chance.below(4) {
        0 => bytes.truncate(chance.below(bytes.len() + 1)),
        1 => bytes.push(chance.next() as u8),
        _ => {
            for _ in 0..=chance.below(3) {
                if let at @ 1.. = bytes.len() {
                    let at = chance.below(at);
                    bytes[at] = if chance.below(2) == 0 { 0xff } else { chance.next() as u8 };
                }
            }
        }
    }
}

/// One object of each kind.
fn everything(session: &Session) -> Vec<Ref> {
    let cells = op::encode(&vec![Cell { bytes: Raw(b"one"), refs: Vec::new() }; 3]).unwrap();
    let items = op::encode(&Vec::<(Raw<'_>, Cell<'_>)>::new()).unwrap();
    let kinds = [
        (Kind::LIST, cells.clone()),
        (Kind::ARRAY, cells),
        (Kind::DICT, items.clone()),
        (Kind::NAMESPACE, items),
        (Kind::SET, op::encode(&Vec::<Raw<'_>>::new()).unwrap()),
        (Kind::VALUE, op::encode(&Cell::default()).unwrap()),
        (Kind::QUEUE, op::encode(&3u64).unwrap()),
        (Kind::JOINABLE_QUEUE, op::encode(&0u64).unwrap()),
        (Kind::LOCK, Vec::new()),
        (Kind::RLOCK, Vec::new()),
        (Kind::SEMAPHORE, op::encode(&2u32).unwrap()),
        (Kind::BOUNDED_SEMAPHORE, op::encode(&2u32).unwrap()),
        (Kind::EVENT, Vec::new()),
        (Kind::CONDITION, op::encode(&None::<u64>).unwrap()),
        (Kind::BARRIER, op::encode(&3u32).unwrap()),
    ];
    kinds.into_iter().map(|(kind, init)| session.make(kind, &init).unwrap()).collect()
}

fn client() -> ClientAccount {
    ClientAccount {
        bytes: Account::new(MAX_BYTES),
        objects: Arc::new(AtomicU64::new(0)),
        max_objects: MAX_OBJECTS,
        early: Arc::default(),
        connections: Arc::new(AtomicU64::new(0)),
        max_connections: 1,
        max_message: MAX_BYTES,
        rights: Rights::all().tasks([FUZZ_TASK, "nothing"]),
    }
}

#[test]
fn whatever_is_asked_is_answered() {
    // On its threads tasks are run.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut answered = 0;
    for _ in 0..40 {
        let store = Store::new();
        let client = client();
        let session = Session::new(&store, client.clone()).unwrap();
        let refs = everything(&session);
        let mut waiting = Vec::new();
        for _ in 0..2000 {
            let Ref { mut id, mut kind, .. } = refs[chance.below(refs.len())];
            if chance.below(8) == 0 {
                (id, kind) = (0, Kind::MANAGER);
            }
            let mut bytes = whole(kind, &refs, &mut chance);
            if chance.below(3) == 0 {
                spoil(&mut bytes, &mut chance);
            }
            if chance.below(50) == 0 {
                kind = Kind(chance.next() % 20);
            }
            match call(&session, id, kind, &bytes) {
                Outcome::Done(said) => {
                    assert!(!matches!(said.reply, Err(Fault::Panicked(_))), "{kind:?} {bytes:?}");
                    answered += u32::from(said.reply.is_ok());
                    if let Some(undo) = said.undo
                        && chance.below(4) > 0
                    {
                        undo.disarm();
                    }
                }
                Outcome::Later(later) => waiting.push(later),
            }
            // Some go on, and some are given up.
            let mut cx = Context::from_waker(Waker::noop());
            waiting.retain_mut(|later| later.as_mut().poll(&mut cx).is_pending());
            if waiting.len() > 20 {
                drop(waiting.swap_remove(chance.below(20)));
            }
            assert!(client.bytes.bytes() <= MAX_BYTES);
        }
        drop(waiting);
        session.end(false);
    }
    assert!(answered > 20_000, "most of it made sense: {answered}");
}

/// Once its session is over a client has nothing there, whatever it has done, but for what has a name or refers to itself.
#[test]
fn a_session_leaves_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    let store = Store::new();
    let client = client();
    let session = Session::new(&store, client.clone()).unwrap();
    let refs = everything(&session);
    let mut chance = Chance(77);
    for _ in 0..2000 {
        let Ref { id, kind, .. } = refs[chance.below(refs.len())];
        // Without references: no object refers to itself.
        let bytes = whole(kind, &refs[8..9], &mut chance);
        if let Outcome::Done(said) = call(&session, id, kind, &bytes)
            && let Some(undo) = said.undo
        {
            undo.disarm();
        }
    }
    session.end(false);
    drop(session);
    assert_eq!(client.bytes.bytes(), 0);
    assert_eq!(client.objects.load(std::sync::atomic::Ordering::Relaxed), 0);
}
