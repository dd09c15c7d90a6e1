//! A block of memory that several processes read and write.

use std::fmt;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeTuple, Serializer};

use super::name;
use crate::hub::{Given, Got, drop_elsewhere};
use crate::sys::{self, Atomic, Handle, Name, SharedBlock, handle_ref};

/// A block of zeroed memory that every process which has it reads and writes.
///
/// As an argument, a result, an item of a queue or a message of a pipe, a descriptor goes to the other
/// process, which maps the same memory. Clones share it, too. It is given back when the
/// last process has dropped the last of them, however that ended; it can neither grow nor shrink.
///
/// One with a name ([`create`](Self::create)) can also be [opened](Self::open) by any process of the same user, started by this
/// one or not. The name lasts until it is [unlinked](Self::unlink), or until no process has the block any more; while
/// it is on its way to a process, the name lasts, too. Prefer to hand blocks over: a name can be guessed, and
/// whoever opens it can write the block. (Nobody can cut it short, so no access to it ever fails.)
///
/// Bytes are copied in and out, never borrowed: another process may write them at any time. Who
/// reads while another writes may see some bytes old and some new; one, two, four or eight bytes that
/// lie at a multiple of their number are always whole. Who reads something new reads after that
/// also what its writer wrote before it.
///
/// # Crash behaviour
/// When the last process that had a block has died, the system gives its memory back at once, and its name is free. On
/// Linux a small file, `/dev/shm/procpool-<uid>-<name>`, can stay for a while: until a program of this crate
/// ends a child, or makes a block with a name.
///
/// # Platform
/// On Windows it travels as what [`PassFd`](crate::PassFd) does: not in messages of pipes, and to
/// children, not to children of children. There names are those of the login session, and one that was
/// unlinked cannot be given anew before the last process has let go of its block.
///
/// On Linux a name is found through `/proc`, so its processes must be in one pid namespace and see `/dev/shm`, and
/// who opens it must be allowed to look at who has it (the same user, and no fewer capabilities). On macOS the name
/// of a block that nobody unlinks stays, with its memory, until the machine is started anew.
///
/// # Examples
/// ```standalone_crate
/// use procpool::{Process, SharedMemory};
///
/// #[procpool::task]
/// fn greet(memory: SharedMemory) {
///     memory.write(6, b"world");
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let memory = SharedMemory::anonymous(11)?;
///     memory.write(0, b"hello ");
///     Process::spawn(greet(memory.clone())).await?.output().await?;
///     assert_eq!(memory.to_vec(..), b"hello world");
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.shared_memory.SharedMemory")]
#[derive(Clone)]
pub struct SharedMemory(Arc<Block>);

struct Block {
    block: SharedBlock,
    len: usize,
    /// Before what it names: nobody is led to a handle that is closed.
    name: Option<Name>,
    /// By which others get at it.
    handle: Arc<Handle>,
}

impl SharedMemory {
    /// `len` zeroes.
    ///
    /// # Errors
    /// `InvalidInput` for 0; and if the system has no memory or no descriptor left for it, or it is more
    /// than this process's limit of file sizes (`RLIMIT_FSIZE`).
    pub fn anonymous(len: usize) -> io::Result<Self> {
        check_len(len)?;
        let (block, handle) = SharedBlock::create("procpool-memory", whole_words(len)?)?;
        Ok(Self::of(block, len, handle, None))
    }

    /// `len` zeroes that any process of this user can [open](Self::open) by `name`.
    ///
    /// # Errors
    /// `AlreadyExists` if another block has the name. `InvalidInput` for a length of 0, and for a name that
    /// is empty, longer than 200 bytes, or contains a NUL, a slash or a backslash; anything else is a
    /// name. And as [`anonymous`](Self::anonymous).
    ///
    /// # Examples
    /// ```
    /// use procpool::SharedMemory;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let name = &format!("doc: {}", std::process::id());
    /// let memory = SharedMemory::create(name, 100)?;
    /// memory.write(0, b"hello");
    /// assert_eq!(SharedMemory::open(name)?.to_vec(..5), b"hello"); // also in another process
    /// memory.unlink()?;
    /// assert!(SharedMemory::open(name).is_err());
    /// assert_eq!(memory.to_vec(..5), b"hello");
    /// # Ok(())
    /// # }
    /// ```
    pub fn create(name: &str, len: usize) -> io::Result<Self> {
        name::check(name)?;
        check_len(len)?;
        let (block, handle, name) = SharedBlock::create_named(name, len)?;
        Ok(Self::of(block, len, handle, Some(name)))
    }

    /// The same with a name that is made up, and that nobody else has.
    ///
    /// # Errors
    /// As [`anonymous`](Self::anonymous).
    pub fn create_unique(len: usize) -> io::Result<Self> {
        const ATTEMPTS: usize = 16;
        let mut made = Self::create(&name::generated(), len);
        for _ in 1..ATTEMPTS {
            match &made {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    made = Self::create(&name::generated(), len);
                }
                _ => break,
            }
        }
        made
    }

    /// The block that has the name, as long as it was made.
    ///
    /// On Linux this reads and writes files in memory; a process that was stopped just while it did the same can hold
    /// it up for five seconds.
    ///
    /// # Errors
    /// `NotFound` if no block has the name. `WouldBlock` if no process has it just now, because it is on its way from one
    /// to another. `PermissionDenied` if this process may not look at who has it. `InvalidInput` for what can be no name. And if there
    /// is no memory or descriptor left to have it.
    pub fn open(name: &str) -> io::Result<Self> {
        name::check(name)?;
        let (block, handle, name, len) = SharedBlock::open_named(name)?;
        Ok(Self::of(block, len, handle, Some(name)))
    }

    /// Takes the name away from whatever block has it: nobody can open that any more, who has it keeps
    /// it, and the name is free.
    ///
    /// # Errors
    /// `NotFound` if no block has the name. `InvalidInput` for what can be no name.
    pub fn remove(name: &str) -> io::Result<()> {
        name::check(name)?;
        sys::remove_name(name)
    }

    /// Takes its name away from it: nobody can open it any more, who has it keeps it, and the name is free.
    ///
    /// # Errors
    /// `NotFound` if it has no name, or that was taken away before.
    pub fn unlink(&self) -> io::Result<()> {
        match &self.0.name {
            Some(name) => name.unlink(),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "the shared memory has no name")),
        }
    }

    /// Its name, if it was made with one, also when that was taken away since.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_ref().map(Name::as_str)
    }

    fn of(block: SharedBlock, len: usize, handle: Handle, name: Option<Name>) -> Self {
        SharedMemory(Arc::new(Block { block, len, handle: Arc::new(handle), name }))
    }

    /// How many bytes it has.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "it has at least one")]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Copies bytes out of it, from `at` on.
    ///
    /// # Panics
    /// If they are not inside it.
    pub fn read(&self, at: usize, to: &mut [u8]) {
        self.check(at, to.len());
        self.0.block.load(at, to);
    }

    /// Copies bytes into it, from `at` on.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn write(&self, at: usize, from: &[u8]) {
        self.check(at, from.len());
        self.0.block.store(at, from);
    }

    /// A copy of a part of it.
    ///
    /// # Panics
    /// If the range is not inside it.
    #[must_use]
    pub fn to_vec(&self, range: impl RangeBounds<usize>) -> Vec<u8> {
        let (start, end) = bounds(range, self.0.len, "bytes of shared memory");
        let mut bytes = vec![0; end - start];
        self.0.block.load(start, &mut bytes);
        bytes
    }

    /// The integer at an offset.
    ///
    /// # Panics
    /// If it is not inside, or not at a multiple of its length.
    pub(super) fn at<A: Atomic>(&self, at: usize) -> &A {
        self.0.block.atomic(at)
    }

    fn check(&self, at: usize, len: usize) {
        assert!(
            at <= self.0.len && len <= self.0.len - at,
            "{len} bytes at {at} of {} bytes of shared memory",
            self.0.len
        );
    }
}

fn check_len(len: usize) -> io::Result<()> {
    if len > 0 {
        return Ok(());
    }
    let words = "a block of shared memory has at least one byte";
    Err(io::Error::new(io::ErrorKind::InvalidInput, words))
}

/// A length that is a multiple of a word's.
fn whole_words(len: usize) -> io::Result<usize> {
    len.checked_next_multiple_of(8).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// The ends of a range of `len` things.
pub(super) fn bounds(range: impl RangeBounds<usize>, len: usize, what: &str) -> (usize, usize) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => len,
    };
    assert!(start <= end && end <= len, "the range {start}..{end} of {len} {what}");
    (start, end)
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "SharedMemory({name:?}, {} bytes)", self.0.len),
            None => write!(f, "SharedMemory({} bytes)", self.0.len),
        }
    }
}

/// Works only in what procpool itself carries.
impl Serialize for SharedMemory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = self.0.name.as_ref().map(|name| (name.as_str(), name.token().map(Given)));
        let mut tuple = serializer.serialize_tuple(3)?;
        tuple.serialize_element(&(self.0.len as u64))?;
        tuple.serialize_element(&Given(&self.0.handle))?;
        tuple.serialize_element(&name)?;
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for SharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (len, got, named) =
            <(u64, Got, Option<(String, Option<Got>)>)>::deserialize(deserializer)?;
        let open = || {
            let len = usize::try_from(len).map_err(io::Error::other)?;
            check_len(len)?;
            let block = SharedBlock::open(handle_ref(got.handle()), whole_words(len)?)?;
            let name = match named {
                Some((name, token)) => {
                    name::check(&name)?;
                    let mut token = token.map(Got::take);
                    let name = Name::arrived(&name, &mut token, got.handle());
                    if let Some(refused) = token {
                        drop_elsewhere(refused);
                    }
                    Some(name)
                }
                None => None,
            };
            Ok::<_, io::Error>(Self::of(block, len, got.take(), name))
        };
        open().map_err(|e| D::Error::custom(format!("the shared memory cannot be had: {e}")))
    }
}
