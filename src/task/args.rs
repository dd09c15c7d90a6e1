//! Arguments on their way into a body, and results on their way out.

use std::any::{Any, type_name};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::exit_code::note as note_exit_code;
use super::fault::{Fault, PanicReport};
use super::panic::catch;
use crate::wire::{
    Along, BYTES_BLOB, BYTES_INLINE, Budget, DecodeLimits, EncodeError, Handles, Payload,
    PayloadBuilder, Received, decode_from, with_along,
};

/// The encoded arguments of one call, or of the calls of a chunk in a row.
#[doc(hidden)]
pub struct Args<'a> {
    input: &'a [u8],
    blobs: std::slice::IterMut<'a, Vec<u8>>,
    budget: Budget,
    /// The parameter being decoded, for whoever catches a panic of it.
    decoding: Option<(&'static str, &'static str)>,
    /// Nobody else does: these arguments are inside a future.
    guard: bool,
    /// What came along with them.
    along: Along,
}

/// Arguments that own what they decode from, for a future to keep.
#[doc(hidden)]
pub struct OwnedArgs {
    received: Received,
    limits: DecodeLimits,
}

impl OwnedArgs {
    pub(crate) fn new(received: Received, limits: DecodeLimits) -> Self {
        OwnedArgs { received, limits }
    }

    pub fn args(&mut self) -> Args<'_> {
        let along = self.received.take_along();
        let (input, blobs) = self.received.parts();
        Args { guard: true, along, ..Args::new(input, blobs, &self.limits) }
    }
}

impl<'a> Args<'a> {
    pub(crate) fn new(input: &'a [u8], blobs: &'a mut [Vec<u8>], limits: &DecodeLimits) -> Self {
        let budget = Budget::new(limits, input.len());
        let blobs = blobs.iter_mut();
        Args { input, blobs, budget, decoding: None, guard: false, along: Along::default() }
    }

    /// The same, with these handles.
    pub(super) fn with(self, handles: Handles) -> Self {
        Args { along: Along { handles, ..self.along }, ..self }
    }

    /// The handles that were not decoded.
    pub(super) fn take_handles(&mut self) -> Handles {
        self.along.handles.take()
    }

    /// The same, with what came along.
    pub(crate) fn of(received: &'a mut Received, limits: &DecodeLimits) -> Self {
        let along = received.take_along();
        let (input, blobs) = received.parts();
        Args { along, ..Args::new(input, blobs, limits) }
    }

    /// The next argument, as a value of its own. `Vec<u8>` and [`Bytes`] are
    /// taken over from the receive buffer where they are large.
    #[inline]
    pub fn owned<T: DeserializeOwned + 'static>(&mut self, name: &'static str) -> Result<T, Fault> {
        let mut slot: Option<T> = None;
        let any: &mut dyn Any = &mut slot;
        if let Some(slot) = any.downcast_mut::<Option<Vec<u8>>>() {
            *slot = Some(self.byte_string(name)?.into_vec());
        } else if let Some(slot) = any.downcast_mut::<Option<Bytes>>() {
            *slot = Some(Bytes::from(self.byte_string(name)?.into_vec()));
        } else {
            slot = Some(self.value(name)?);
        }
        match slot {
            Some(value) => Ok(value),
            None => unreachable!("every branch fills the slot or returns"),
        }
    }

    /// The next argument, borrowing from the received bytes.
    #[inline]
    pub fn borrowed<T: Deserialize<'a>>(&mut self, name: &'static str) -> Result<T, Fault> {
        self.value(name)
    }

    pub fn str(&mut self, name: &'static str) -> Result<&'a str, Fault> {
        let bytes = self.bytes(name)?;
        std::str::from_utf8(bytes).map_err(|e| arg_fault::<&str>(name, &e.to_string()))
    }

    pub fn bytes(&mut self, name: &'static str) -> Result<&'a [u8], Fault> {
        Ok(match self.byte_string(name)? {
            ByteString::Inline(bytes) => bytes,
            ByteString::Blob(blob) => blob,
        })
    }

    #[inline]
    fn value<T: Deserialize<'a>>(&mut self, name: &'static str) -> Result<T, Fault> {
        self.decoding = Some((name, type_name::<T>()));
        let mut decode =
            || with_along(&mut self.along, || decode_from(&mut self.input, &mut self.budget));
        let decoded = if self.guard {
            match catch(decode) {
                Ok(decoded) => decoded,
                Err(panic) => return Err(self.blame(&Output::default(), panic)),
            }
        } else {
            decode()
        };
        self.decoding = None;
        decoded.map_err(|e| arg_fault::<T>(name, &e.to_string()))
    }

    /// What a panic that was caught around the decoding and the body means.
    #[cold]
    pub(crate) fn blame(&self, output: &Output, panic: PanicReport) -> Fault {
        match self.decoding {
            None => output.blame(panic),
            Some((name, of)) => Fault::ArgDecode {
                what: format!("`{name}: {of}`"),
                reason: format!("its Deserialize implementation panicked: {}", panic.message),
            },
        }
    }

    fn byte_string(&mut self, name: &str) -> Result<ByteString<'a>, Fault> {
        let fault = |reason: &str| arg_fault::<[u8]>(name, reason);
        match self.input.split_first() {
            Some((&BYTES_BLOB, rest)) => {
                self.input = rest;
                let blob =
                    self.blobs.next().ok_or_else(|| fault("its bytes did not come along"))?;
                Ok(ByteString::Blob(blob))
            }
            Some((&BYTES_INLINE, rest)) => {
                let (len, rest) =
                    rest.split_first_chunk::<4>().ok_or_else(|| fault("its length is cut off"))?;
                let len = u32::from_le_bytes(*len) as usize;
                if rest.len() < len {
                    return Err(fault("it is cut off"));
                }
                let (bytes, rest) = rest.split_at(len);
                self.input = rest;
                Ok(ByteString::Inline(bytes))
            }
            _ => Err(fault("it does not begin as a byte string")),
        }
    }

    /// Refreshes the budget for the next call of a chunk.
    #[inline]
    pub(crate) fn next_item(&mut self, limits: &DecodeLimits) {
        self.budget = Budget::new(limits, self.input.len());
    }

    /// The byte in front of an item's result.
    #[inline]
    pub(crate) fn tag(&mut self) -> Option<u8> {
        let (tag, rest) = self.input.split_first()?;
        self.input = rest;
        Some(*tag)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.input.is_empty() && self.blobs.len() == 0
    }
}

enum ByteString<'a> {
    Inline(&'a [u8]),
    Blob(&'a mut Vec<u8>),
}

impl ByteString<'_> {
    fn into_vec(self) -> Vec<u8> {
        match self {
            ByteString::Inline(bytes) => bytes.to_vec(),
            ByteString::Blob(blob) => std::mem::take(blob),
        }
    }
}

#[cold]
fn arg_fault<T: ?Sized>(name: &str, reason: &str) -> Fault {
    Fault::ArgDecode { what: format!("`{name}: {}`", type_name::<T>()), reason: reason.to_owned() }
}

/// Encodes one owned value; large byte strings are moved.
pub(super) fn encode_owned<T: Serialize + 'static>(
    value: T,
    out: &mut PayloadBuilder,
) -> Result<(), EncodeError> {
    encode_slot(&mut Some(value), out)
}

/// What is moved is taken out of the slot.
fn encode_slot<T: Serialize + 'static>(
    slot: &mut Option<T>,
    out: &mut PayloadBuilder,
) -> Result<(), EncodeError> {
    let any: &mut dyn Any = slot;
    if let Some(bytes) = any.downcast_mut::<Option<Vec<u8>>>() {
        out.owned_bytes(Bytes::from(bytes.take().unwrap_or_default()));
        Ok(())
    } else if let Some(bytes) = any.downcast_mut::<Option<Bytes>>() {
        out.owned_bytes(bytes.take().unwrap_or_default());
        Ok(())
    } else {
        match slot {
            Some(value) => out.value(value),
            None => Ok(()),
        }
    }
}

/// Why a value cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    Encode(String),
    /// So many bytes.
    TooLarge(u64),
}

/// Encodes one value by itself; what has no encoded form, or one of more than `max` bytes, is given
/// back, with the reason.
pub(crate) fn encode_or_return<T: Serialize + 'static>(
    value: T,
    max: u64,
) -> Result<Payload, (T, Refused)> {
    if let Some(len) = moved_len(&value).filter(|len| *len > max) {
        return Err((value, Refused::TooLarge(len)));
    }
    let mut slot = Some(value);
    let mut out = PayloadBuilder::default();
    let encoded = encode_slot(&mut slot, &mut out).map_err(|e| Refused::Encode(e.to_string()));
    let len = out.len() as u64;
    match (encoded, slot) {
        (Err(why), Some(value)) => Err((value, why)),
        (Ok(()), Some(value)) if len > max => Err((value, Refused::TooLarge(len))),
        (Ok(()), _) => Ok(out.finish()),
        (Err(_), None) => unreachable!("what is moved is encoded"),
    }
}

/// The length of a value that is moved, not encoded.
pub(crate) fn moved_len<T: 'static>(value: &T) -> Option<u64> {
    let any: &dyn Any = value;
    let vec = any.downcast_ref::<Vec<u8>>().map(Vec::len);
    vec.or_else(|| any.downcast_ref::<Bytes>().map(Bytes::len)).map(|len| len as u64)
}

/// Where a body's result goes.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Output {
    pub(crate) builder: PayloadBuilder,
    /// The type being encoded, for whoever catches a panic of it.
    encoding: Option<&'static str>,
    /// Nobody else does: this output is inside a future.
    guard: bool,
}

/// An encoded result.
#[doc(hidden)]
#[derive(Debug)]
pub struct Encoded(pub(crate) Payload);

impl Output {
    /// For async tasks; the worker keeps one for all blocking calls.
    #[must_use]
    pub fn new() -> Self {
        Output { guard: true, ..Self::default() }
    }

    #[inline]
    pub fn put<T: Serialize + 'static>(&mut self, value: T) -> Result<(), Fault> {
        let (head, blobs) = (self.builder.head.len(), self.builder.blobs.len());
        let attached = self.builder.attached.len();
        self.encoding = Some(type_name::<T>());
        note_exit_code(&value);
        let result = if self.guard {
            match catch(|| encode_owned(value, &mut self.builder)) {
                Ok(result) => result,
                Err(panic) => return Err(self.blame(panic)),
            }
        } else {
            encode_owned(value, &mut self.builder)
        };
        self.encoding = None;
        result.map_err(|e| {
            self.builder.head.truncate(head);
            self.builder.blobs.truncate(blobs);
            self.builder.attached.truncate(attached);
            Fault::ResultEncode { type_name: type_name::<T>().to_owned(), reason: e.to_string() }
        })
    }

    /// What a panic that was caught around the body and the encoding means.
    #[cold]
    pub(crate) fn blame(&self, panic: PanicReport) -> Fault {
        match self.encoding {
            None => Fault::Panicked(panic),
            Some(of) => Fault::ResultEncode {
                type_name: of.to_owned(),
                reason: format!("its Serialize implementation panicked: {}", panic.message),
            },
        }
    }

    /// Makes it as new, whatever was put or half put into it.
    #[inline]
    pub(crate) fn reset(&mut self) {
        self.builder.head.clear();
        self.builder.blobs.clear();
        self.builder.attached.clear();
        self.encoding = None;
    }

    #[must_use]
    pub fn into_encoded(self) -> Encoded {
        Encoded(self.builder.finish())
    }
}

/// Decodes the next result in the process that asked for it; a panic of its
/// Deserialize is a fault.
#[inline]
pub(crate) fn caught<R: DeserializeOwned + 'static>(args: &mut Args<'_>) -> Result<R, Box<Fault>> {
    // Past the closure and not through it: what it gives back is moved several times,
    // with all the room that a fault would take.
    let mut value = None;
    let fault = catch(|| match args.owned("result") {
        Ok(decoded) => {
            value = Some(decoded);
            None
        }
        Err(fault) => Some(Box::new(fault)),
    })
    .unwrap_or_else(|panic| Some(Box::new(args.blame(&Output::default(), panic))));
    match (value, fault) {
        (Some(value), None) => Ok(value),
        (_, Some(fault)) => Err(fault),
        (None, None) => unreachable!("either was set"),
    }
}

/// Decodes a result in the process that asked for it.
pub(crate) fn decode_output<R: DeserializeOwned + 'static>(
    mut received: Received,
    limits: &DecodeLimits,
) -> Result<R, Fault> {
    let mut args = Args::of(&mut received, limits);
    let value = caught(&mut args).map_err(|fault| *fault)?;
    if !args.is_empty() {
        return Err(arg_fault::<R>("result", "bytes are left over after it"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Serialize + DeserializeOwned + 'static>(value: T) -> T {
        let mut out = Output::new();
        out.put(value).unwrap();
        decode_output(Received::from(out.into_encoded().0), &DecodeLimits::default()).unwrap()
    }

    #[test]
    fn values_and_byte_strings_of_every_size_come_back() {
        assert_eq!(round_trip((1u8, "x".to_owned())), (1, "x".to_owned()));
        for n in [0, 1, 100, 16_383, 16_384, 100_000] {
            let bytes: Vec<u8> = (0..n).map(|i| i as u8).collect();
            assert_eq!(round_trip(bytes.clone()), bytes);
            assert_eq!(round_trip(Bytes::from(bytes.clone())), bytes);
        }
    }

    #[test]
    fn a_large_byte_string_is_moved_not_copied() {
        let bytes = vec![7u8; 1 << 20];
        let at = bytes.as_ptr();
        let mut out = Output::new();
        out.put(bytes).unwrap();
        let payload = out.into_encoded().0;
        assert_eq!(payload.blobs()[0].as_ptr(), at);
        let part = vec![1u8; 1 << 20];
        let at = part.as_ptr();
        let received = Received::from_parts(payload.head().to_vec(), vec![part]);
        let back: Vec<u8> = decode_output(received, &DecodeLimits::default()).unwrap();
        assert_eq!(back.as_ptr(), at);
    }

    #[test]
    fn refusing_and_panicking_serializers_are_faults() {
        struct Refuses;
        impl Serialize for Refuses {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("no"))
            }
        }
        struct Panics;
        impl Serialize for Panics {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                panic!("boom")
            }
        }
        let mut out = Output::new();
        assert!(matches!(out.put(Refuses), Err(Fault::ResultEncode { .. })));
        let Err(Fault::ResultEncode { reason, .. }) = out.put(Panics) else { panic!() };
        assert!(reason.contains("boom"));
        assert_eq!(out.builder.head.len(), 0);
    }

    #[test]
    fn left_over_bytes_are_noticed() {
        let received = Received::from_slice(&[1, 2]);
        assert!(decode_output::<u8>(received, &DecodeLimits::default()).is_err());
    }
}
