//! Encoded values: a short head of postcard bytes, and byte strings that are
//! moved whole instead of being copied into it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::assembler::Body;
use super::attached::{Along, Attached, Brought, Guard, Handles};
use super::small::{INLINE, SmallBuf};
use super::strict;
use crate::sys::Handle;

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
    beside: Option<Box<Beside>>,
}

/// What of a payload is not in its head.
#[derive(Debug, Clone, Default)]
struct Beside {
    blobs: Vec<Bytes>,
    attached: Vec<Attached>,
}

impl Beside {
    fn new(blobs: Vec<Bytes>, attached: Vec<Attached>) -> Option<Box<Self>> {
        let any = !blobs.is_empty() || !attached.is_empty();
        any.then(|| Box::new(Beside { blobs, attached }))
    }
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
        Payload { head: Head::Inline(Short { bytes: [0; INLINE], len: 0 }), beside: None }
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Self {
        let head = if bytes.len() <= INLINE {
            let mut inline = [0; INLINE];
            inline[..bytes.len()].copy_from_slice(bytes);
            Head::Inline(Short { bytes: inline, len: bytes.len() as u8 })
        } else {
            Head::Heap(Bytes::copy_from_slice(bytes))
        };
        Payload { head, beside: None }
    }

    /// Most payloads are made here: short heads are moved as they are.
    #[inline]
    fn from_small(head: SmallBuf, blobs: Vec<Bytes>, attached: Vec<Attached>) -> Self {
        let head = match head.into_parts() {
            Ok((len, bytes)) => Head::Inline(Short { bytes, len }),
            Err(heap) => Head::Heap(Bytes::from(heap)),
        };
        Payload { head, beside: Beside::new(blobs, attached) }
    }

    pub(crate) fn from_parts(head: Vec<u8>, blobs: Vec<Bytes>) -> Self {
        Self::from_bytes(Bytes::from(head), blobs, Vec::new())
    }

    #[inline]
    pub(crate) fn head(&self) -> &[u8] {
        match &self.head {
            Head::Inline(Short { bytes, len }) => &bytes[..usize::from(*len)],
            Head::Heap(bytes) => bytes,
        }
    }

    pub(crate) fn from_bytes(head: Bytes, blobs: Vec<Bytes>, attached: Vec<Attached>) -> Self {
        let beside = Beside::new(blobs, attached);
        if head.len() <= INLINE {
            return Payload { beside, ..Self::from_slice(&head) };
        }
        Payload { head: Head::Heap(head), beside }
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
        self.beside.as_deref().map_or(&[], |beside| &beside.blobs)
    }

    /// What it takes along that is not bytes.
    #[inline]
    pub(crate) fn attached(&self) -> &[Attached] {
        self.beside.as_deref().map_or(&[], |beside| &beside.attached)
    }

    /// Whether it takes handles along.
    pub(crate) fn has_handles(&self) -> bool {
        self.attached().iter().any(|attached| matches!(attached, Attached::Handle(_)))
    }

    /// Lets go of the handles: whoever it was for has them. True if there were any.
    pub(crate) fn drop_handles(&mut self) -> bool {
        let Some(beside) = &mut self.beside else { return false };
        let all = beside.attached.len();
        beside.attached.retain(|attached| !matches!(attached, Attached::Handle(_)));
        beside.attached.len() < all
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
    // One word for what most messages do not have.
    beside: Option<Box<ReceivedBeside>>,
}

#[derive(Debug, Default)]
struct ReceivedBeside {
    blobs: Vec<Vec<u8>>,
    /// What was given along with it and not fetched yet.
    brought: Option<Box<Brought>>,
    handles: Handles,
    /// The objects in it, and holds on them.
    objects: Vec<u64>,
    guards: Guards,
}

/// Dropped with the message.
#[derive(Default)]
struct Guards(Vec<Guard>);

impl std::fmt::Debug for Guards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} guards", self.0.len())
    }
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
        Received { head, beside: None }
    }

    pub(crate) fn from_parts(head: Vec<u8>, blobs: Vec<Vec<u8>>) -> Self {
        let beside = (!blobs.is_empty())
            .then(|| Box::new(ReceivedBeside { blobs, ..ReceivedBeside::default() }));
        Received { head: ReceivedHead::Heap(head), beside }
    }

    /// The value of a message whose fixed fields were taken off, leaving `rest`.
    #[inline]
    pub(crate) fn of(body: Body, rest: &[u8]) -> Self {
        match body {
            Body::Inline => Received::from_slice(rest),
            Body::Streamed { head, blobs } => Received::from_parts(head, blobs),
        }
    }

    /// To be sent on as it came; `hold` takes a hold on an object that came along with it.
    pub(crate) fn into_payload(self, hold: impl Fn(u64) -> Attached) -> Payload {
        let mut payload = match self.head {
            ReceivedHead::Inline { len, bytes } => {
                Payload { head: Head::Inline(Short { bytes, len }), beside: None }
            }
            ReceivedHead::Heap(head) => Payload::from_bytes(head.into(), Vec::new(), Vec::new()),
        };
        if let Some(beside) = self.beside {
            let handles = beside.handles.into_iter().flat_map(|handles| *handles);
            // What is missing is missed by whoever decodes it.
            let mut attached: Vec<_> =
                handles.flatten().map(|handle| Attached::Handle(Arc::new(handle))).collect();
            attached.extend(beside.objects.into_iter().map(hold));
            payload.beside =
                Beside::new(beside.blobs.into_iter().map(Bytes::from).collect(), attached);
        }
        payload
    }

    /// The same, with what was given along with it.
    #[inline]
    pub(crate) fn with_brought(mut self, brought: Option<Box<Brought>>) -> Self {
        if brought.is_some() {
            self.beside.get_or_insert_default().brought = brought;
        }
        self
    }

    /// How many handles were given along with it and are not fetched yet.
    pub(crate) fn brought_handles(&self) -> usize {
        let brought = self.beside.as_ref().and_then(|beside| beside.brought.as_ref());
        brought.map_or(0, |brought| brought.handles.len())
    }

    /// Fetches what was given along with it; a handle that cannot be had is an error of the
    /// decoding.
    #[inline]
    pub(crate) fn claim(&mut self, from: &impl Giver) {
        if let Some(beside) = &mut self.beside
            && let Some(brought) = beside.brought.take()
        {
            beside.claim(*brought, from);
        }
    }

    /// The objects that came with it.
    pub(crate) fn objects(&self) -> &[u64] {
        self.beside.as_deref().map_or(&[], |beside| &beside.objects)
    }

    /// Whether handles came with it.
    #[inline]
    pub(crate) fn has_handles(&self) -> bool {
        self.beside.as_ref().is_some_and(|beside| beside.handles.is_some())
    }

    /// The handles that came with it.
    #[inline]
    pub(crate) fn take_handles(&mut self) -> Handles {
        self.beside.as_mut().and_then(|beside| beside.handles.take())
    }

    /// What came along with it, for decoding.
    #[inline]
    pub(crate) fn take_along(&mut self) -> Along {
        let Some(beside) = &mut self.beside else { return Along::NONE };
        Along { handles: beside.handles.take(), objects: std::mem::take(&mut beside.objects) }
    }

    /// The head and the blobs, for decoding out of them.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&[u8], &mut [Vec<u8>]) {
        let head = match &self.head {
            ReceivedHead::Inline { len, bytes } => &bytes[..usize::from(*len)],
            ReceivedHead::Heap(bytes) => bytes,
        };
        (head, self.beside.as_deref_mut().map_or(&mut [], |beside| &mut beside.blobs))
    }
}

impl ReceivedBeside {
    #[cold]
    fn claim(&mut self, brought: Brought, from: &impl Giver) {
        self.guards.0.extend(brought.objects.iter().map(|id| from.guard(*id)));
        self.objects = brought.objects;
        // All of them, though one may fail: nobody else will.
        let handles: VecDeque<_> =
            brought.handles.into_iter().map(|t| from.take(t).map_err(|e| e.to_string())).collect();
        self.handles = (!handles.is_empty()).then(|| Box::new(handles));
    }
}

/// Whoever sent a message, as the one from whom what goes along with it is fetched.
pub(crate) trait Giver {
    /// The handle with this token.
    fn take(&self, token: u64) -> io::Result<Handle>;

    /// Takes over the hold that the sender had put on an object for us.
    fn guard(&self, object: u64) -> Guard;
}

/// For a value that stays in this process: nothing is copied that nobody else holds.
impl From<Payload> for Received {
    fn from(payload: Payload) -> Self {
        let head = match payload.head {
            Head::Inline(Short { bytes, len }) => ReceivedHead::Inline { len, bytes },
            Head::Heap(bytes) => ReceivedHead::Heap(bytes.into()),
        };
        let beside = payload.beside.map(|beside| {
            let mut handles = VecDeque::new();
            let mut guards = Guards::default();
            let mut objects = Vec::new();
            for attached in beside.attached {
                match attached {
                    Attached::Handle(handle) => handles.push_back(match Arc::try_unwrap(handle) {
                        Ok(handle) => Ok(handle),
                        Err(shared) => shared.try_clone().map_err(|e| e.to_string()),
                    }),
                    Attached::Object(name, hold) => {
                        objects.push(name.id);
                        guards.0.push(Box::new(hold));
                    }
                }
            }
            Box::new(ReceivedBeside {
                blobs: beside.blobs.into_iter().map(Vec::from).collect(),
                brought: None,
                objects,
                guards,
                handles: (!handles.is_empty()).then(|| Box::new(handles)),
            })
        });
        Received { head, beside }
    }
}

/// Appends the encoded form of `value` to `out`.
#[inline]
pub(crate) fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    out: &mut SmallBuf,
    attached: &mut Vec<Attached>,
) -> Result<(), EncodeError> {
    let (start, before) = (out.len(), attached.len());
    let done = strict::encode(value, Append(out), attached);
    if done.is_err() {
        out.truncate(start);
        attached.truncate(before);
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
    pub(crate) attached: Vec<Attached>,
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
        encode_into(value, &mut self.head, &mut self.attached)
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
        Payload::from_small(self.head, self.blobs, self.attached)
    }
}
