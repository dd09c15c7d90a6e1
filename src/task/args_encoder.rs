//! Arguments that are being encoded.

use serde::Serialize;

use super::args::encode_owned;
use super::call::EncodeFailure;
use crate::wire::{EncodeError, Payload, PayloadBuilder};

/// Encodes arguments, in order, each in the way that [`Args`](super::Args) takes it out again.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct ArgsEncoder {
    builder: PayloadBuilder,
    failure: Option<Box<EncodeFailure>>,
}

impl ArgsEncoder {
    #[inline]
    pub fn owned<T: Serialize + 'static>(&mut self, param: &'static str, value: T) {
        let result = encode_owned(value, &mut self.builder);
        self.note(param, result);
    }

    #[inline]
    pub fn borrowed<T: Serialize + ?Sized>(&mut self, param: &'static str, value: &T) {
        let result = self.builder.value(value);
        self.note(param, result);
    }

    pub fn str(&mut self, param: &'static str, value: &str) {
        self.bytes(param, value.as_bytes());
    }

    pub fn bytes(&mut self, _param: &'static str, value: &[u8]) {
        self.builder.borrowed_bytes(value);
    }

    #[inline]
    fn note(&mut self, param: &'static str, result: Result<(), EncodeError>) {
        if let Err(e) = result
            && self.failure.is_none()
        {
            self.failure = Some(Box::new(EncodeFailure { param, reason: e.to_string() }));
        }
    }

    #[inline]
    pub(crate) fn finish(self) -> Result<Payload, Box<EncodeFailure>> {
        match self.failure {
            None => Ok(self.builder.finish()),
            Some(failure) => Err(failure),
        }
    }
}
