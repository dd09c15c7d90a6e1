//! Encoded values: a short head of postcard bytes, and byte strings that are
//! moved whole instead of being copied into it.

use bytes::Bytes;
use serde::Serialize;

use super::small::{INLINE, SmallBuf};
use super::strict;

/// Byte strings of at least this length travel beside the head, uncopied.
pub(crate) const BLOB_MIN: usize = 16 * 1024;

/// Why a value has no encoded form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EncodeError {
    #[error("{0}")]
    Refused(String),
}

/// One encoded value or list of values. Small ones need no allocation.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    head: Head,
    // One word for what most payloads do not have.
    #[allow(clippy::box_collection)]
    blobs: Option<Box<Vec<Bytes>>>,
}

#[derive(Debug, Clone)]
enum Head {
    Inline(Short),
    Heap(Bytes),
}

/// A short head; aligned, so that it is moved in whole words.
#[derive(Debug, Clone, Copy)]
#[repr(align(8))]
struct Short {
    bytes: [u8; INLINE],
    len: u8,
}

impl Payload {
    pub(crate) fn empty() -> Self {
        Payload { head: Head::Inline(Short { bytes: [0; INLINE], len: 0 }), blobs: None }
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Self {
        let head = if bytes.len() <= INLINE {
            let mut inline = [0; INLINE];
            inline[..bytes.len()].copy_from_slice(bytes);
            Head::Inline(Short { bytes: inline, len: bytes.len() as u8 })
        } else {
            Head::Heap(Bytes::copy_from_slice(bytes))
        };
        Payload { head, blobs: None }
    }

    /// Most payloads are made here: short heads are moved as they are.
    #[inline]
    fn from_small(head: SmallBuf, blobs: Vec<Bytes>) -> Self {
        let head = match head.into_parts() {
            Ok((len, bytes)) => Head::Inline(Short { bytes, len }),
            Err(heap) => Head::Heap(Bytes::from(heap)),
        };
        let blobs = if blobs.is_empty() { None } else { Some(Box::new(blobs)) };
        Payload { head, blobs }
    }

    pub(crate) fn from_parts(head: Vec<u8>, blobs: Vec<Bytes>) -> Self {
        let mut payload = if head.len() <= INLINE {
            Self::from_slice(&head)
        } else {
            Payload { head: Head::Heap(Bytes::from(head)), blobs: None }
        };
        if !blobs.is_empty() {
            payload.blobs = Some(Box::new(blobs));
        }
        payload
    }

    #[inline]
    pub(crate) fn head(&self) -> &[u8] {
        match &self.head {
            Head::Inline(Short { bytes, len }) => &bytes[..usize::from(*len)],
            Head::Heap(bytes) => bytes,
        }
    }

    pub(crate) fn from_bytes(head: Bytes, blobs: Vec<Bytes>) -> Self {
        let blobs = if blobs.is_empty() { None } else { Some(Box::new(blobs)) };
        if head.len() <= INLINE {
            return Payload { blobs, ..Self::from_slice(&head) };
        }
        Payload { head: Head::Heap(head), blobs }
    }

    /// Appends the head to `out`: a short one with a copy of fixed size, which
    /// needs no call of `memcpy`.
    #[inline]
    pub(crate) fn append_head(&self, out: &mut Vec<u8>) {
        match &self.head {
            Head::Inline(Short { bytes, len }) => {
                let end = out.len() + usize::from(*len);
                out.extend_from_slice(bytes);
                out.truncate(end);
            }
            Head::Heap(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// The head as a handle of its own, for sending it in parts.
    pub(crate) fn head_bytes(&self) -> Bytes {
        match &self.head {
            Head::Inline(_) => Bytes::copy_from_slice(self.head()),
            Head::Heap(bytes) => bytes.clone(),
        }
    }

    #[inline]
    pub(crate) fn blobs(&self) -> &[Bytes] {
        self.blobs.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Bytes it occupies on the wire, headers aside.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.head().len() + self.blobs().iter().map(Bytes::len).sum::<usize>()
    }
}

/// An encoded value as it arrived: large byte strings are buffers of their
/// own, so that handing one to user code costs no copy.
#[derive(Debug)]
pub(crate) struct Received {
    head: ReceivedHead,
    #[allow(clippy::box_collection)]
    blobs: Option<Box<Vec<Vec<u8>>>>,
}

#[derive(Debug)]
enum ReceivedHead {
    Inline { len: u8, bytes: [u8; INLINE] },
    Heap(Vec<u8>),
}

impl Received {
    pub(crate) fn from_slice(bytes: &[u8]) -> Self {
        let head = if bytes.len() <= INLINE {
            let mut inline = [0; INLINE];
            inline[..bytes.len()].copy_from_slice(bytes);
            ReceivedHead::Inline { len: bytes.len() as u8, bytes: inline }
        } else {
            ReceivedHead::Heap(bytes.to_vec())
        };
        Received { head, blobs: None }
    }

    pub(crate) fn from_parts(head: Vec<u8>, blobs: Vec<Vec<u8>>) -> Self {
        let blobs = if blobs.is_empty() { None } else { Some(Box::new(blobs)) };
        Received { head: ReceivedHead::Heap(head), blobs }
    }

    /// The head and the blobs, for decoding out of them.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&[u8], &mut [Vec<u8>]) {
        let head = match &self.head {
            ReceivedHead::Inline { len, bytes } => &bytes[..usize::from(*len)],
            ReceivedHead::Heap(bytes) => bytes,
        };
        (head, self.blobs.as_deref_mut().map_or(&mut [], Vec::as_mut_slice))
    }
}

impl From<Payload> for Received {
    fn from(payload: Payload) -> Self {
        let blobs = payload.blobs().iter().map(|b| b.to_vec()).collect();
        Received::from_parts(payload.head().to_vec(), blobs)
    }
}

/// Appends the encoded form of `value` to `out`.
#[inline]
pub(crate) fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    out: &mut SmallBuf,
) -> Result<(), EncodeError> {
    let start = out.len();
    let done = strict::encode(value, Append(out));
    if done.is_err() {
        out.truncate(start);
    }
    done
}

struct Append<'a>(&'a mut SmallBuf);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        // A number, whose bytes postcard has written one by one a moment ago: to read
        // several of them at once the processor would wait for all those stores.
        if bytes.len() <= 4 {
            for byte in bytes {
                self.0.push(*byte);
            }
        } else {
            self.0.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Collects encoded values; byte strings long enough become blobs.
#[derive(Debug, Default)]
pub(crate) struct PayloadBuilder {
    pub(crate) head: SmallBuf,
    pub(crate) blobs: Vec<Bytes>,
}

/// How a byte string is marked in the head.
pub(crate) const BYTES_INLINE: u8 = 0;
pub(crate) const BYTES_BLOB: u8 = 1;

impl PayloadBuilder {
    /// Bytes collected so far.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.head.as_slice().len() + self.blobs.iter().map(Bytes::len).sum::<usize>()
    }

    #[inline]
    pub(crate) fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        encode_into(value, &mut self.head)
    }

    /// A byte string that is ours to give away.
    pub(crate) fn owned_bytes(&mut self, bytes: Bytes) {
        if bytes.len() >= BLOB_MIN {
            self.head.push(BYTES_BLOB);
            self.blobs.push(bytes);
        } else {
            self.inline_bytes(&bytes);
        }
    }

    /// A byte string that is only lent to us.
    pub(crate) fn borrowed_bytes(&mut self, bytes: &[u8]) {
        if bytes.len() >= BLOB_MIN {
            self.owned_bytes(Bytes::copy_from_slice(bytes));
        } else {
            self.inline_bytes(bytes);
        }
    }

    fn inline_bytes(&mut self, bytes: &[u8]) {
        self.head.push(BYTES_INLINE);
        self.head.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.head.extend_from_slice(bytes);
    }

    #[inline]
    pub(crate) fn finish(self) -> Payload {
        Payload::from_small(self.head, self.blobs)
    }
}
