//! Decoding of postcard bytes from a peer that is not trusted.
//!
//! postcard checks that every byte of a value is well formed, but not what the value costs to
//! build. Measured with postcard 1.1:
//!
//! * a frame of 8 MiB inflates to 1,098 MiB, as a `Vec<Option<[u64; 16]>>` of nothing but `None`,
//!   since an element of one byte on the wire takes 136 bytes in memory;
//! * about 10 KB of a recursive type (`enum Tree { Leaf, Node(Box<Tree>) }`) overflow the stack of
//!   a debug build, which aborts the whole process and cannot be caught;
//! * a `Vec<()>` of 2^32 elements is five bytes on the wire, is accepted, and keeps a core busy for
//!   more than 20 s in a debug build.
//!
//! So [`decode_from`] puts an own `serde::Deserializer` in front of postcard's and spends a
//! [`Budget`] of levels, elements and bytes while it decodes; whatever runs out first ends the
//! decoding with an error that names it. The encoding stays postcard's: every scalar, length and
//! string is read by postcard. Only the containers are walked here, because postcard's own access
//! objects keep the claimed length of a sequence to themselves when it exceeds the bytes that are
//! left, which is just the case that matters.
//!
//! What is charged:
//!
//! * **depth**: one level for each sequence, map, tuple, array, struct, newtype struct, option
//!   and enum around a value;
//! * **elements**: the claimed length of each sequence and map, before its first element is read.
//!   The fields of tuples and structs are free, since the type fixes their number;
//! * **memory**: claimed length times `size_of` the element (key plus value in a map), when the
//!   first element is asked for, the length of each string and byte string, borrowed or not, and
//!   the size of each value that does not fit in the place it is decoded for, which is how a `Box`
//!   shows. The value that [`decode_from`] returns is itself free. Spare capacity and the
//!   allocator's own overhead are not counted, nor the pointee of a `Box` that is no larger than
//!   the `Box`, so the process may hold a small multiple of the budget.

use std::cell::Cell;
use std::fmt;

use postcard::de_flavors::Slice;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::budget::{Budget, BudgetExceeded};
use super::reader::Reader;

/// Why a message could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message costs more to decode than allowed.
    #[error(transparent)]
    Budget(#[from] BudgetExceeded),
    /// The bytes are no valid postcard encoding of the type.
    #[error("malformed message: {}", describe(.0))]
    Malformed(postcard::Error),
    /// The bytes are well formed, but the type refused the value; at most about 200 bytes of its
    /// reason are kept.
    #[error("message refused by its type: {0}")]
    Invalid(String),
}

impl From<postcard::Error> for DecodeError {
    fn from(error: postcard::Error) -> Self {
        DecodeError::Malformed(error)
    }
}

fn describe(error: &postcard::Error) -> &'static str {
    match error {
        postcard::Error::DeserializeUnexpectedEnd => "the input ends before the value does",
        postcard::Error::DeserializeBadVarint => "an integer is out of the range of its type",
        postcard::Error::DeserializeBadBool => "a bool is neither 0 nor 1",
        postcard::Error::DeserializeBadChar => "a char is not one unicode scalar value",
        postcard::Error::DeserializeBadUtf8 => "a string is not utf-8",
        postcard::Error::DeserializeBadOption => "the tag of an option is neither 0 nor 1",
        postcard::Error::WontImplement => "the type needs a self-describing encoding",
        _ => "a value is not well encoded",
    }
}

/// Decodes one value from the front of `input` and advances `input` past it.
///
/// What the value cost is taken off `budget`. The depth is the exception: it bounds each value by
/// itself, and is whole again for the next one. Strings and byte strings may borrow from the
/// input, as with postcard alone.
///
/// # Errors
///
/// If the bytes are no valid encoding of `T`, or if the value costs more than is left of `budget`.
/// `input` has not moved then; what was spent so far stays spent.
#[inline]
pub fn decode_from<'de, T: Deserialize<'de>>(
    input: &mut &'de [u8],
    budget: &mut Budget,
) -> Result<T, DecodeError> {
    let mut source = Source {
        wire: postcard::Deserializer::from_bytes(input),
        elements: budget.elements,
        memory: budget.memory,
        needed: 0,
    };
    let result = T::deserialize(Reader::new::<T>(&mut source, budget.limits.depth));
    budget.elements = source.elements;
    budget.memory = source.memory;
    match result {
        Ok(value) => {
            *input = source.wire.finalize()?;
            Ok(value)
        }
        Err(fail) => Err(fail.explain(budget, source.needed)),
    }
}

/// A [`DecodeError`] on its way up. Each `Result` of the hot path carries one, so it is one byte
/// and has nothing to drop; a boxed error made a `Vec<Option<u32>>` 2.7 times as slow. What else
/// there is to say is kept aside, in [`Source::needed`] and [`REASON`].
#[derive(Debug)]
pub(super) enum Fail {
    Depth,
    Elements,
    Memory,
    Malformed(postcard::Error),
    Invalid,
}

pub(super) type Outcome<T> = Result<T, Fail>;

thread_local! {
    /// Why a type of this thread last refused a value. `custom` has nothing else to keep it in.
    static REASON: Cell<String> = const { Cell::new(String::new()) };
}

impl Fail {
    #[cold]
    fn explain(self, budget: &Budget, needed: u64) -> DecodeError {
        DecodeError::Budget(match self {
            Fail::Depth => BudgetExceeded::Depth { limit: budget.limits.depth },
            Fail::Elements => BudgetExceeded::Elements {
                needed,
                left: budget.elements,
                limit: budget.limits.elements,
            },
            Fail::Memory => {
                BudgetExceeded::Memory { needed, left: budget.memory, limit: budget.limits.memory }
            }
            Fail::Malformed(error) => return DecodeError::Malformed(error),
            Fail::Invalid => return DecodeError::Invalid(REASON.take()),
        })
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fail::Depth => "depth budget exceeded",
            Fail::Elements => "element budget exceeded",
            Fail::Memory => "memory budget exceeded",
            Fail::Malformed(error) => describe(error),
            Fail::Invalid => "invalid value",
        })
    }
}

impl std::error::Error for Fail {}

impl From<postcard::Error> for Fail {
    #[inline]
    fn from(error: postcard::Error) -> Self {
        Fail::Malformed(error)
    }
}

impl de::Error for Fail {
    #[cold]
    fn custom<M: fmt::Display>(message: M) -> Self {
        let mut text = Excerpt(String::new());
        // Fails only when the excerpt is full, or when the message itself does: what there is of
        // it is good either way.
        let _ = fmt::write(&mut text, format_args!("{message}"));
        REASON.set(text.0);
        Fail::Invalid
    }
}

/// The front of a message, which may quote a string of the peer of any length.
struct Excerpt(String);

impl fmt::Write for Excerpt {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        const MOST: usize = 200;
        let mut end = MOST.saturating_sub(self.0.len()).min(piece.len());
        while !piece.is_char_boundary(end) {
            end -= 1;
        }
        self.0.push_str(&piece[..end]);
        if end < piece.len() {
            self.0.push('…');
            return Err(fmt::Error);
        }
        Ok(())
    }
}

/// The input and what is left of the budget: a copy, not a reference to it, so that a loop into
/// which everything is inlined keeps it in registers.
pub(super) struct Source<'de> {
    wire: postcard::Deserializer<'de, Slice<'de>>,
    elements: u64,
    memory: u64,
    /// What the last budget that was exceeded was asked for.
    needed: u64,
}

impl<'de> Source<'de> {
    #[inline]
    fn spend_elements(&mut self, needed: u64) -> Outcome<()> {
        if needed > self.elements {
            self.needed = needed;
            return Err(Fail::Elements);
        }
        self.elements -= needed;
        Ok(())
    }

    #[inline]
    pub(super) fn spend_memory(&mut self, needed: u64) -> Outcome<()> {
        if needed > self.memory {
            self.needed = needed;
            return Err(Fail::Memory);
        }
        self.memory -= needed;
        Ok(())
    }

    #[inline]
    pub(super) fn read<T: Deserialize<'de>>(&mut self) -> Outcome<T> {
        Ok(T::deserialize(&mut self.wire)?)
    }

    /// Reads the length of a sequence or map and pays for that many elements. Says too whether
    /// that many bytes are left, which is when postcard gives a size hint.
    #[inline]
    pub(super) fn read_len(&mut self) -> Outcome<(usize, bool)> {
        let len = self.read::<usize>()?;
        self.spend_elements(len as u64)?;
        Ok((len, self.wire.deserialize_tuple(len, HasHint)?))
    }
}

/// Reads nothing, only asks postcard for its size hint.
struct HasHint;

impl<'de> Visitor<'de> for HasHint {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        Ok(seq.size_hint().is_some())
    }
}
