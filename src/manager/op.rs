//! What a process says to a manager and hears from it; pure.
//!
//! A request is a frame of kind `Request`: `[object u64 | kind u64]`, then the operation, postcard. Its reply, of kind
//! `Reply`, has its number and begins with one byte, [`DONE`] or [`FAILED`]; then comes what the operation says, or a
//! [`Fault`]. Who gives a request the number 0 wants no reply.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::types;
use crate::task::Fnv;
use crate::wire::{Payload, Received};

/// What kind of object a request means; a reference to one of another kind is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Kind(pub(super) u64);

impl Kind {
    /// The manager itself, which is object 0.
    pub(super) const MANAGER: Kind = Kind(0);
    pub(super) const LIST: Kind = Kind(1);
    pub(super) const DICT: Kind = Kind(2);
    pub(super) const SET: Kind = Kind(3);
    pub(super) const VALUE: Kind = Kind(4);
    pub(super) const ARRAY: Kind = Kind(5);
    pub(super) const NAMESPACE: Kind = Kind(6);
    pub(super) const QUEUE: Kind = Kind(7);
    pub(super) const JOINABLE_QUEUE: Kind = Kind(8);
    pub(super) const LOCK: Kind = Kind(9);
    pub(super) const RLOCK: Kind = Kind(10);
    pub(super) const SEMAPHORE: Kind = Kind(11);
    pub(super) const BOUNDED_SEMAPHORE: Kind = Kind(12);
    pub(super) const EVENT: Kind = Kind(13);
    pub(super) const CONDITION: Kind = Kind(14);
    pub(super) const BARRIER: Kind = Kind(15);
    pub(super) const POOL: Kind = Kind(16);

    /// The kind of objects of a type of the program's own, with that name.
    pub(super) const fn of_type(name: &str) -> Kind {
        Kind(Fnv::of(name) | Self::OWN)
    }

    /// Set in the kinds of types of the program's own.
    const OWN: u64 = 1 << 63;

    pub(super) fn is_own(self) -> bool {
        self.0 & Self::OWN != 0
    }

    /// Whether processes can hold it, or something of it.
    pub(super) fn is_held(self) -> bool {
        (Kind::QUEUE.0..=Kind::BARRIER.0).contains(&self.0)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::MANAGER => "manager",
            Kind::LIST => "list",
            Kind::DICT => "dict",
            Kind::SET => "set",
            Kind::VALUE => "value",
            Kind::ARRAY => "array",
            Kind::NAMESPACE => "namespace",
            Kind::QUEUE => "queue",
            Kind::JOINABLE_QUEUE => "joinable queue",
            Kind::LOCK => "lock",
            Kind::RLOCK => "rlock",
            Kind::SEMAPHORE => "semaphore",
            Kind::BOUNDED_SEMAPHORE => "bounded semaphore",
            Kind::EVENT => "event",
            Kind::CONDITION => "condition",
            Kind::BARRIER => "barrier",
            Kind::POOL => "pool",
            kind if kind.is_own() => types::name(kind),
            _ => "object of another kind",
        }
    }
}

/// The first byte of a reply.
pub(super) const DONE: u8 = 0;
pub(super) const FAILED: u8 = 1;
/// Bytes in front of an operation.
pub(super) const META: usize = 16;

/// The number of an object that nobody has.
pub(super) const NO_REPLY: u64 = 0;

pub(super) fn meta(object: u64, kind: Kind) -> [u8; META] {
    let mut meta = [0; META];
    meta[..8].copy_from_slice(&object.to_le_bytes());
    meta[8..].copy_from_slice(&kind.0.to_le_bytes());
    meta
}

pub(super) fn split_meta(bytes: &[u8]) -> Option<(u64, Kind, &[u8])> {
    let (object, rest) = bytes.split_first_chunk::<8>()?;
    let (kind, rest) = rest.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*object), Kind(u64::from_le_bytes(*kind)), rest))
}

/// A run of bytes, moved whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Raw)
    }
}

/// How a process refers to an object that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ref {
    pub(super) id: u64,
    /// Who knows it may have the object.
    pub(super) key: u128,
    pub(super) kind: Kind,
}

/// A value, and the objects it refers to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Cell<'a> {
    #[serde(borrow)]
    pub(super) bytes: Raw<'a>,
    pub(super) refs: Vec<Ref>,
}

/// Of the manager.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ManagerOp<'a> {
    /// A new object; its [`Ref`].
    Create {
        kind: Kind,
        #[serde(borrow)]
        init: Raw<'a>,
    },
    /// One that another process has passed on under that ticket; its [`Ref`].
    Redeem {
        id: u64,
        key: u128,
        ticket: u64,
    },
    /// An object is passed on under that number.
    Ticket {
        id: u64,
        ticket: u64,
    },
    /// The process has so many references fewer.
    Release {
        id: u64,
        count: u64,
    },
    /// Gives an object a name.
    Publish {
        name: &'a str,
        id: u64,
    },
    /// Takes one away; whether there was one.
    Unpublish {
        name: &'a str,
    },
    /// The [`Ref`] of the object of that name.
    Find {
        name: &'a str,
    },
    /// All names.
    Names,
    /// A [`Stats`].
    Stats,
    /// The manager ends.
    Shutdown,
    Ping,
}

/// What a manager tells of itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stats {
    pub(super) objects: u64,
    pub(super) connections: u64,
    pub(super) requests: u64,
    pub(super) bytes: u64,
}

/// Indexes count from the end where they are negative.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ListOp<'a> {
    Len,
    Get(i64),
    Set(i64, #[serde(borrow)] Cell<'a>),
    Push(#[serde(borrow)] Cell<'a>),
    Extend(#[serde(borrow)] Vec<Cell<'a>>),
    Insert(i64, #[serde(borrow)] Cell<'a>),
    Pop(Option<i64>),
    Delete(i64),
    /// The first such value; whether there was one.
    Remove(#[serde(borrow)] Cell<'a>),
    Clear,
    Slice {
        start: Option<i64>,
        stop: Option<i64>,
        step: i64,
    },
    SetSlice {
        start: Option<i64>,
        stop: Option<i64>,
        values: Vec<Cell<'a>>,
    },
    Index {
        value: Cell<'a>,
        start: Option<i64>,
        stop: Option<i64>,
    },
    Count(#[serde(borrow)] Cell<'a>),
    Contains(#[serde(borrow)] Cell<'a>),
    Reverse,
    Repeat(u64),
    /// All of it, and its version.
    Snapshot,
    /// All of it anew, if it is still that version; whether it was.
    Replace {
        version: u64,
        values: Vec<Cell<'a>>,
    },
    /// Another value in place of that one; whether it was that.
    CompareSet {
        index: i64,
        old: Cell<'a>,
        new: Cell<'a>,
    },
    /// A new list with the same values.
    Copy,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum DictOp<'a> {
    Len,
    Get(#[serde(borrow)] Raw<'a>),
    GetMany(Vec<Raw<'a>>),
    Contains(Raw<'a>),
    Set(Raw<'a>, Cell<'a>),
    /// As `Set`; what was there.
    Insert(Raw<'a>, Cell<'a>),
    /// What is there, or else this, which is there from now on.
    SetDefault(Raw<'a>, Cell<'a>),
    Update(Vec<(Raw<'a>, Cell<'a>)>),
    Pop(Raw<'a>),
    Delete(Raw<'a>),
    PopItem,
    Keys,
    Values,
    Items,
    Clear,
    /// What is to be there, if it is as the first says; whether it was.
    CompareSet {
        key: Raw<'a>,
        old: Option<Cell<'a>>,
        new: Option<Cell<'a>>,
    },
    /// Has what is there be what the task makes of it; what that is.
    Compute(Raw<'a>, TaskCall<'a>),
    Copy,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum SetOp<'a> {
    Len,
    /// Whether it is new.
    Add(#[serde(borrow)] Raw<'a>),
    /// Whether it was there.
    Discard(Raw<'a>),
    Contains(Raw<'a>),
    Pop,
    Items,
    Clear,
    Update(Vec<Raw<'a>>),
    Intersect(Vec<Raw<'a>>),
    Subtract(Vec<Raw<'a>>),
    SymmetricDifference(Vec<Raw<'a>>),
    IsSubset(Vec<Raw<'a>>),
    IsSuperset(Vec<Raw<'a>>),
    IsDisjoint(Vec<Raw<'a>>),
    Copy,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ValueOp<'a> {
    Get,
    Set(#[serde(borrow)] Cell<'a>),
    /// What was there.
    Swap(Cell<'a>),
    CompareSet(Cell<'a>, Cell<'a>),
}

/// Those that wait, unless they are told not to.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum QueueOp<'a> {
    Put(#[serde(borrow)] Cell<'a>),
    TryPut(Cell<'a>),
    Get,
    TryGet,
    /// What was taken and is given back.
    Unget(Cell<'a>),
    Len,
    /// How many it may have; 0 is any number.
    Max,
    TaskDone,
    /// Waits until all that was put is done.
    Join,
}

/// `owner` says which task or thread of its process asks, where that matters.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum LockOp {
    /// Whether who held it before has ended with it.
    Acquire {
        owner: u64,
    },
    TryAcquire {
        owner: u64,
    },
    Release {
        owner: u64,
    },
    IsLocked,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum SemaphoreOp {
    Acquire,
    TryAcquire,
    Release(u32),
    /// One that was acquired is not given back when its process ends.
    Forget,
    Value,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum EventOp {
    IsSet,
    Set,
    Clear,
    Wait,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum ConditionOp {
    Lock(LockOp),
    /// Lets go of the lock, waits to be notified, and takes it again: whether it was notified in time, and whether who
    /// held the lock before has ended with it.
    Wait {
        owner: u64,
        limit: Option<u64>,
    },
    /// As many as that; how many there were.
    Notify {
        owner: u64,
        count: u64,
    },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum BarrierOp {
    /// How many had come before. `limit` is in microseconds.
    Wait {
        limit: Option<u64>,
    },
    Abort,
    Reset,
    Parties,
    Waiting,
    IsBroken,
}

/// A task of the manager's program, and its arguments.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TaskCall<'a> {
    pub(super) name: &'a str,
    /// The hash of its signature.
    pub(super) signature: u64,
    #[serde(borrow)]
    pub(super) args: Parts<'a>,
}

/// Of a pool.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum PoolOp<'a> {
    /// What all these come to: [`Parts`].
    Run(#[serde(borrow)] Vec<TaskCall<'a>>),
    /// How many workers it has, once they are up.
    Workers,
    Close,
    /// Ends what runs.
    Terminate,
    /// Waits until no worker is left.
    Join,
}

/// Arguments, or a result, of a task or a method of the program's own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Parts<'a> {
    #[serde(borrow)]
    head: Raw<'a>,
    /// Byte strings that are long.
    blobs: Vec<Raw<'a>>,
}

impl<'a> Parts<'a> {
    /// `None` if something goes along that is no bytes.
    pub(super) fn of(payload: &'a Payload) -> Option<Self> {
        let blobs = payload.blobs().iter().map(|blob| Raw(blob)).collect();
        payload.attached().is_empty().then(|| Parts { head: Raw(payload.head()), blobs })
    }

    /// How many bytes these are.
    pub(super) fn len(&self) -> usize {
        self.blobs.iter().map(|blob| blob.0.len()).sum::<usize>() + self.head.0.len()
    }

    pub(super) fn head(&self) -> &'a [u8] {
        self.head.0
    }

    pub(super) fn blobs(&self) -> Vec<Vec<u8>> {
        self.blobs.iter().map(|blob| blob.0.to_vec()).collect()
    }

    pub(super) fn payload(&self) -> Payload {
        let blobs = self.blobs.iter().map(|blob| Bytes::copy_from_slice(blob.0)).collect();
        Payload::from_parts(self.head.0.to_vec(), blobs)
    }

    /// Of a result that has no handles in it.
    pub(super) fn of_received(received: &'a mut Received) -> Option<Self> {
        let plain = received.take_handles().is_none() && received.objects().is_empty();
        let (head, blobs) = received.parts();
        let blobs = blobs.iter().map(|blob| Raw(blob)).collect();
        plain.then_some(Parts { head: Raw(head), blobs })
    }

    pub(super) fn received(&self) -> Received {
        Received::from_parts(self.head.0.to_vec(), self.blobs())
    }
}

/// How an object of a type of the program's own is made.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OwnInit<'a> {
    /// Of the type.
    pub(super) name: &'a str,
    /// The hash of the constructor's signature; [`BY_VALUE`] if the only argument is the value itself.
    pub(super) maker: u64,
    pub(super) args: Parts<'a>,
}

/// No constructor's.
pub(super) const BY_VALUE: u64 = 0;

/// Of an object of a type of the program's own; what it says is [`Parts`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OwnOp<'a> {
    /// The hash of the method's signature.
    pub(super) method: u64,
    #[serde(borrow)]
    pub(super) args: Parts<'a>,
}

/// An operation in its own buffer.
pub(super) fn encode(op: &impl Serialize) -> Result<Vec<u8>, Fault> {
    postcard::to_allocvec(op).map_err(|e| Fault::Malformed(e.to_string()))
}
