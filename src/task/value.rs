//! One value as a message, and back.

use std::any::Any;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::Args;
use super::fault::Fault;
use super::panic::catch;
use crate::wire::{DecodeLimits, EncodeError, Handles, PayloadBuilder};

/// A value that was encoded, to be given back should it not get anywhere.
pub(crate) enum Kept<T> {
    Value(T),
    /// A byte string that was moved: the same memory.
    Vec(Bytes, PhantomData<T>),
}

impl<T: 'static> Kept<T> {
    /// The value. A byte string is not copied once its message is gone.
    pub(crate) fn into_value(self) -> T {
        match self {
            Kept::Value(value) => value,
            Kept::Vec(bytes, _) => {
                let mut slot: Option<T> = None;
                let any: &mut dyn Any = &mut slot;
                if let Some(slot) = any.downcast_mut::<Option<Vec<u8>>>() {
                    *slot = Some(Vec::from(bytes));
                }
                match slot {
                    Some(value) => value,
                    None => unreachable!("only vectors of bytes are kept like this"),
                }
            }
        }
    }
}

/// Encodes one owned value; large byte strings are moved.
pub(crate) fn encode_kept<T: Serialize + 'static>(
    value: T,
    out: &mut PayloadBuilder,
) -> (Kept<T>, Result<(), EncodeError>) {
    let mut slot = Some(value);
    let any: &mut dyn Any = &mut slot;
    if let Some(vec) = any.downcast_mut::<Option<Vec<u8>>>() {
        let bytes = Bytes::from(vec.take().unwrap_or_default());
        out.owned_bytes(bytes.clone());
        return (Kept::Vec(bytes, PhantomData), Ok(()));
    }
    if let Some(Some(bytes)) = any.downcast_ref::<Option<Bytes>>() {
        out.owned_bytes(bytes.clone());
    }
    let Some(value) = slot else { unreachable!("only vectors are taken") };
    let any: &dyn Any = &value;
    let done = if any.is::<Bytes>() { Ok(()) } else { out.value(&value) };
    (Kept::Value(value), done)
}

/// Decodes what [`encode_kept`] has written, with the reason if that fails, also by a
/// panic of the type's. Handles that it has no use for are left.
pub(crate) fn decode_value<T: DeserializeOwned + 'static>(
    head: &[u8],
    blobs: &mut [Vec<u8>],
    handles: &mut Handles,
    limits: &DecodeLimits,
) -> Result<T, String> {
    let mut args = Args::new(head, blobs, limits).with(handles.take());
    let decoded = catch(|| args.owned("message"));
    *handles = args.take_handles();
    match decoded {
        Ok(Ok(value)) if args.is_empty() => Ok(value),
        Ok(Ok(_)) => Err("bytes are left over after it".to_owned()),
        Ok(Err(Fault::ArgDecode { reason, .. })) => Err(reason),
        Ok(Err(fault)) => Err(format!("{fault:?}")),
        Err(panic) => Err(format!("its Deserialize implementation panicked: {}", panic.message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Serialize + DeserializeOwned + 'static>(value: T) -> (T, T) {
        let mut out = PayloadBuilder::default();
        let (kept, done) = encode_kept(value, &mut out);
        done.unwrap();
        let payload = std::mem::take(&mut out).finish();
        let mut blobs: Vec<Vec<u8>> = payload.blobs().iter().map(|b| b.to_vec()).collect();
        let back =
            decode_value(payload.head(), &mut blobs, &mut None, &DecodeLimits::default()).unwrap();
        drop(payload);
        (kept.into_value(), back)
    }

    #[test]
    fn values_come_back_on_both_sides() {
        let (kept, back) = round_trip((1u8, "x".to_owned()));
        assert_eq!((kept, back), ((1, "x".to_owned()), (1, "x".to_owned())));
        for n in [0, 1, 100, 16_383, 16_384, 100_000] {
            let bytes: Vec<u8> = (0..n).map(|i| i as u8).collect();
            assert_eq!(round_trip(bytes.clone()), (bytes.clone(), bytes.clone()));
            let bytes = Bytes::from(bytes);
            assert_eq!(round_trip(bytes.clone()), (bytes.clone(), bytes));
        }
    }

    #[test]
    fn a_byte_string_is_not_copied_on_its_way_back() {
        let bytes = vec![7u8; 1 << 20];
        let at = bytes.as_ptr();
        let mut out = PayloadBuilder::default();
        let (kept, done) = encode_kept(bytes, &mut out);
        done.unwrap();
        assert_eq!(out.blobs[0].as_ptr(), at);
        drop(out);
        let back = kept.into_value();
        assert_eq!((back.as_ptr(), back.len()), (at, 1 << 20));
    }

    #[test]
    fn left_over_bytes_are_noticed() {
        let error =
            decode_value::<u8>(&[1, 2], &mut [], &mut None, &DecodeLimits::default()).unwrap_err();
        assert!(error.contains("left over"), "{error}");
    }
}
