//! What processes and objects say to each other: a code, three numbers, and a value.

use std::io;

use crate::sys::{Handle, HandleChannel, handle_ref};
use crate::wire::{Flags, Header, Kind, Message, ObjectName, Received};

/// What is said about an object, besides the value that may come with it. The object gives the
/// code and the numbers their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) code: u16,
    pub(crate) numbers: [u64; 3],
}

impl Note {
    const LEN: usize = 32;

    pub(crate) fn new(code: u16, numbers: [u64; 3]) -> Self {
        Note { code, numbers }
    }

    /// One that tells the key of an object, and one more number.
    pub(super) fn with_key(code: u16, name: ObjectName, number: u64) -> Self {
        Note::new(code, [name.key as u64, (name.key >> 64) as u64, number])
    }

    /// The object of that number, with the key that the note tells.
    pub(super) fn name(&self, id: u64) -> ObjectName {
        let [low, high, _] = self.numbers.map(u128::from);
        ObjectName { id, key: high << 64 | low }
    }

    pub(super) fn header(&self, kind: Kind, object: u64) -> Header {
        Header::new(kind, self.code, object, 0)
    }

    /// `at` is when it is said, where that matters.
    #[inline]
    pub(super) fn encode(&self, at: u64) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        for (to, from) in bytes.chunks_exact_mut(8).zip(self.numbers.into_iter().chain([at])) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        bytes
    }

    /// The note of a message, when it was said, and the value; `None` if it is malformed.
    #[inline]
    pub(super) fn take(message: Message<'_>) -> Option<(Self, u64, Received)> {
        let (numbers, rest) = message.meta.split_first_chunk::<{ Self::LEN }>()?;
        let (numbers, _) = numbers.as_chunks::<8>();
        let number = |i: usize| u64::from_le_bytes(numbers[i]);
        let note = Note::new(message.header.slot, [number(0), number(1), number(2)]);
        let value = Received::of(message.body, rest).with_brought(message.brought);
        Some((note, number(3), value))
    }
}

/// The same with what goes along with the value.
pub(super) fn bringing(header: Header) -> Header {
    Header { flags: header.flags.with(Flags::BRINGS), ..header }
}

/// Gives a handle away that goes along; its token.
pub(super) fn give_by(channel: Option<&HandleChannel>, handle: &Handle) -> io::Result<u64> {
    channel.ok_or(io::ErrorKind::Unsupported)?.give(handle_ref(handle))
}
