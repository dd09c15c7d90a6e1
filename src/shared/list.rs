//! A list of small values in shared memory.
//!
//! ```text
//! word 0, 1                 MAGIC, number of items
//! 2 words for each item     where its slot is, and the slot's room in bytes
//! the slots                 a tag, and the room: a multiple of 8, at least 8
//! ```
//!
//! A tag is the length, how often the item was written, and its kind; while it is being written, `WRITING`. All of it
//! may be written by others at any time: numbers are read once and checked each time.

use std::fmt;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use super::list_item::ListItem;
use super::memory::SharedMemory;

const MAGIC: u64 = u64::from_le_bytes(*b"pp-list1");
const HEAD: usize = 16;
const ENTRY: usize = 16;
const TAG: usize = 8;
/// The kind of what is being written.
const WRITING: u8 = u8::MAX;
/// How often an item is read anew that was written meanwhile, and how often of those at once.
const ATTEMPTS: u32 = 150;
const AT_ONCE: u32 = 50;
/// How often one that reads all items pauses, for all of them together.
const PAUSES: u32 = 10 * (ATTEMPTS - AT_ONCE);
/// What is half written will be whole by then, unless its writer is gone.
const PAUSE: Duration = Duration::from_micros(100);

/// A list of small values that several processes read and write; its number of items is fixed.
///
/// An item is a [`ListItem`]: nothing, a truth value, a number, text or bytes. Each has a slot in the memory, made
/// for its first value: 8 bytes, or for text and bytes their length rounded up to a multiple of 8. Any other
/// value that fits takes its place, of the same kind or not. It goes to another process as [`SharedMemory`] does, and
/// can have a name as that can.
///
/// An item that is read while a process writes it is the old one or the new one. Two that write one item
/// at the same time must agree on their turns; else it may become a mixture of both.
///
/// # Crash behaviour
/// An item whose writer died, or was stopped for ten milliseconds, while it wrote reads as [`ListItem::None`]; all others
/// stay as they are. A process that
/// writes nonsense into the memory can have any item read as anything that fits, and nothing worse; reading an item can
/// block its thread for those ten milliseconds, and reading all of them for some tenths of a second.
///
/// # Platform
/// As [`SharedMemory`]'s.
///
/// # Examples
/// ```standalone_crate
/// use procpool::{ListItem, ProcessPool, SharedList};
///
/// #[procpool::task]
/// fn shout(list: SharedList) {
///     if let Some(ListItem::Str(text)) = list.get(1) {
///         list.set(1, text.to_uppercase()).unwrap();
///     }
///     list.set(0, 42).unwrap();
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let list = SharedList::new([ListItem::None, "hello".into(), 2.5.into()])?;
///     let pool = ProcessPool::builder().workers(1).build().await?;
///     pool.apply(shout, list.clone()).await?;
///     assert_eq!(list.to_vec(), [42.into(), "HELLO".into(), ListItem::Float(2.5)]);
///     assert!(list.set(1, "longer than 8 bytes").is_err());
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.shared_memory.ShareableList")]
#[derive(Clone)]
pub struct SharedList {
    memory: SharedMemory,
    len: usize,
}

/// An item is longer than the room its slot has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("item {index} of a shared list has room for {room} bytes, not for {len}")]
#[non_exhaustive]
pub struct ItemTooLong {
    /// Which item of the list.
    pub index: usize,
    /// Bytes the new value has.
    pub len: usize,
    /// Bytes its slot has.
    pub room: usize,
}

impl SharedList {
    /// A list of these values, in memory without a name.
    ///
    /// # Errors
    /// `InvalidInput` for a value of 4 GiB or more; and as [`SharedMemory::anonymous`].
    pub fn new<I: Into<ListItem>>(items: impl IntoIterator<Item = I>) -> io::Result<Self> {
        Self::make(items, SharedMemory::anonymous)
    }

    /// The same in memory that has a name.
    ///
    /// # Errors
    /// As [`new`](Self::new) and [`SharedMemory::create`].
    pub fn create<I: Into<ListItem>>(
        name: &str,
        items: impl IntoIterator<Item = I>,
    ) -> io::Result<Self> {
        Self::make(items, |len| SharedMemory::create(name, len))
    }

    /// The same with a name that is made up, and that nobody else has.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn create_unique<I: Into<ListItem>>(
        items: impl IntoIterator<Item = I>,
    ) -> io::Result<Self> {
        Self::make(items, SharedMemory::create_unique)
    }

    /// The same in memory that is there already, from its beginning on. What was in it is gone.
    ///
    /// # Errors
    /// `InvalidInput` if it is too short, with both lengths.
    pub fn create_in<I: Into<ListItem>>(
        memory: SharedMemory,
        items: impl IntoIterator<Item = I>,
    ) -> io::Result<Self> {
        Self::make(items, |len| match memory.len() {
            there if there >= len => Ok(memory),
            there => Err(refused(format!("a list of {len} bytes in {there} bytes of memory"))),
        })
    }

    /// The list in the memory of that name.
    ///
    /// # Errors
    /// As [`attach`](Self::attach) and [`SharedMemory::open`].
    pub fn open(name: &str) -> io::Result<Self> {
        Self::attach(SharedMemory::open(name)?)
    }

    /// The list that is in some memory.
    ///
    /// # Errors
    /// `InvalidData` if there is none, or it is not yet made.
    pub fn attach(memory: SharedMemory) -> io::Result<Self> {
        let wrong = |words: String| Err(io::Error::new(io::ErrorKind::InvalidData, words));
        if memory.len() < HEAD || memory.at::<AtomicU64>(0).load(Acquire) != MAGIC {
            return wrong(format!("there is no list in {memory:?}"));
        }
        let len = memory.at::<AtomicU64>(8).load(Relaxed);
        let most = (memory.len() - HEAD) / (ENTRY + TAG);
        match usize::try_from(len) {
            Ok(len) if len <= most => Ok(SharedList { memory, len }),
            _ => wrong(format!("a list of {len} items in {} bytes of memory", memory.len())),
        }
    }

    /// The memory it is in.
    #[must_use]
    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// How many items it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A copy of the item at `index`; `None` if there is no such item.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<ListItem> {
        (index < self.len).then(|| self.read(index, &mut self.reading()))
    }

    /// Sets the item at `index`.
    ///
    /// # Errors
    /// If the value does not fit the slot, with both lengths; the item stays as it was.
    ///
    /// # Panics
    /// If there is no such item.
    pub fn set(&self, index: usize, value: impl Into<ListItem>) -> Result<(), ItemTooLong> {
        assert!(index < self.len, "item {index} of {} in a shared list", self.len);
        let (at, room) = self.slot(index);
        value.into().with_bytes(|kind, bytes| {
            if bytes.len() > room {
                return Err(ItemTooLong { index, len: bytes.len(), room });
            }
            let tag = self.memory.at::<AtomicU64>(at);
            let times = Tag::of(tag.load(Relaxed)).times.wrapping_add(1);
            let len = bytes.len() as u32;
            tag.store(Tag { kind: WRITING, times, len }.word(), Relaxed);
            // Who reads something of it finds the tag above or one that is newer.
            self.memory.write(at + TAG, bytes);
            tag.store(Tag { kind, times, len }.word(), Release);
            Ok(())
        })
    }

    /// How many bytes the slot of an item has; `None` if there is no such item.
    #[must_use]
    pub fn room(&self, index: usize) -> Option<usize> {
        (index < self.len).then(|| self.slot(index).1)
    }

    /// Copies of the items, each as it is when its turn comes.
    ///
    /// Together they are no longer than the memory; what other processes have written there that would be, reads as
    /// [`ListItem::None`].
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = ListItem> + ExactSizeIterator + '_ {
        let mut reading = self.reading();
        (0..self.len).map(move |index| self.read(index, &mut reading))
    }

    /// Copies of all items.
    #[must_use]
    pub fn to_vec(&self) -> Vec<ListItem> {
        self.iter().collect()
    }

    /// How many items are equal to `value`.
    #[must_use]
    pub fn count(&self, value: impl Into<ListItem>) -> usize {
        let value = value.into();
        self.iter().filter(|item| *item == value).count()
    }

    /// Where the first item is that is equal to `value`.
    #[must_use]
    pub fn index_of(&self, value: impl Into<ListItem>) -> Option<usize> {
        let value = value.into();
        self.iter().position(|item| item == value)
    }

    fn make<I: Into<ListItem>>(
        items: impl IntoIterator<Item = I>,
        memory: impl FnOnce(usize) -> io::Result<SharedMemory>,
    ) -> io::Result<Self> {
        let items: Vec<ListItem> = items.into_iter().map(Into::into).collect();
        let mut at = HEAD + ENTRY * items.len();
        let mut entries = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let len = item.with_bytes(|_, bytes| bytes.len());
            let room =
                u32::try_from(len).ok().and_then(|len| len.max(1).checked_next_multiple_of(8));
            let Some(room) = room else {
                return Err(refused(format!("item {index} of a shared list has {len} bytes")));
            };
            entries.push([at as u64, u64::from(room)]);
            at = at.checked_add(TAG + room as usize).ok_or(io::ErrorKind::OutOfMemory)?;
        }
        let memory = memory(at)?;
        // Nobody takes it for a list before it is one.
        memory.at::<AtomicU64>(0).store(0, Relaxed);
        let list = SharedList { memory, len: items.len() };
        list.memory.write(8, &(items.len() as u64).to_ne_bytes());
        list.memory.write(HEAD, bytemuck::cast_slice(&entries));
        for (index, item) in items.into_iter().enumerate() {
            list.set(index, item).map_err(io::Error::other)?;
        }
        list.memory.at::<AtomicU64>(0).store(MAGIC, Release);
        Ok(list)
    }

    /// Where an item's slot is, and its room. What is said to be outside the memory has none.
    fn slot(&self, index: usize) -> (usize, usize) {
        let entry = HEAD + ENTRY * index;
        let number = |at| usize::try_from(self.memory.at::<AtomicU64>(at).load(Relaxed)).ok();
        let slot = number(entry).zip(number(entry + 8)).filter(|(at, room)| {
            let end = at.checked_add(TAG).and_then(|at| at.checked_add(*room));
            at.is_multiple_of(8) && end.is_some_and(|end| end <= self.memory.len())
        });
        // Its entry is memory, too.
        slot.unwrap_or((entry, 0))
    }

    fn reading(&self) -> Reading {
        let bytes = self.memory.len();
        Reading { bytes, copied: bytes.saturating_mul(ATTEMPTS as usize), pauses: PAUSES }
    }

    fn read(&self, index: usize, left: &mut Reading) -> ListItem {
        let (at, room) = self.slot(index);
        let tag = self.memory.at::<AtomicU64>(at);
        for attempt in 0..ATTEMPTS {
            let word = tag.load(Acquire);
            let Tag { kind, len, .. } = Tag::of(word);
            if kind != WRITING {
                let len = room.min(len as usize);
                if len > left.bytes.min(left.copied) {
                    break;
                }
                left.copied -= len;
                let mut bytes = vec![0; len];
                self.memory.read(at + TAG, &mut bytes);
                if tag.load(Relaxed) == word {
                    left.bytes -= len;
                    return ListItem::from_bytes(kind, bytes);
                }
            }
            if attempt < AT_ONCE {
                std::hint::spin_loop();
                continue;
            }
            if left.pauses == 0 {
                break;
            }
            left.pauses -= 1;
            std::thread::sleep(PAUSE);
        }
        ListItem::None
    }
}

/// What reading items may still take. Slots that do not overlap never need more, but somebody may have written entries
/// that lead to one slot all.
struct Reading {
    /// Of items.
    bytes: usize,
    /// The same with those that were read in vain.
    copied: usize,
    pauses: u32,
}

struct Tag {
    kind: u8,
    /// So that what was written meanwhile is not taken for what was there before.
    times: u32,
    len: u32,
}

impl Tag {
    fn of(word: u64) -> Self {
        Tag { kind: (word >> 56) as u8, times: (word >> 32) as u32, len: word as u32 }
    }

    fn word(&self) -> u64 {
        let times = u64::from(self.times & 0x00ff_ffff);
        u64::from(self.kind) << 56 | times << 32 | u64::from(self.len)
    }
}

fn refused(words: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, words)
}

impl fmt::Debug for SharedList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Works only in what procpool itself carries.
impl Serialize for SharedList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.memory.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SharedList::attach(SharedMemory::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
