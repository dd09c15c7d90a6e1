//! What stands for an object of a type of the program's own, whose methods `#[procpool::shared]` writes.

use std::any::type_name;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserializer, Serializer};

use super::{Proxy, Sealed};
use crate::manager::core::{self, Core, NOT_KEPT, Source, without_objects};
use crate::manager::error::ManagerError;
use crate::manager::handle::ManagerHandle;
use crate::manager::op::{Kind, OwnInit, OwnOp, Parts};
use crate::manager::request::{Request, op};
use crate::manager::types;
use crate::task::{ArgsEncoder, EncodeFailure, decode_output};
use crate::wire::{DecodeLimits, Payload};

/// An object of whatever type.
#[doc(hidden)]
#[derive(Clone)]
pub struct OwnProxy {
    core: Arc<Core>,
}

impl fmt::Display for OwnProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.core)
    }
}

impl OwnProxy {
    /// Calls a method.
    pub fn call<R: DeserializeOwned + 'static>(
        &self,
        method: u64,
        args: impl FnOnce(&mut ArgsEncoder),
    ) -> Request<R> {
        let asked = |_: &_| {
            let payload = encode(args)?;
            Ok((op(&OwnOp { method, args: parts(&payload)? })?, Vec::new()))
        };
        self.core.request(asked, decode).watching()
    }
}

/// Makes an object with a constructor, in the manager.
#[doc(hidden)]
pub fn make<P: Wraps>(
    manager: &ManagerHandle,
    maker: u64,
    args: impl FnOnce(&mut ArgsEncoder),
) -> Request<P> {
    manager.create_object(|_| {
        types::check()?;
        let payload = encode(args)?;
        Ok((op(&OwnInit { name: P::NAME, maker, args: parts(&payload)? })?, Vec::new()))
    })
}

/// Waits for the answer on this thread.
#[doc(hidden)]
pub fn block<R>(request: Request<R>) -> Result<R, ManagerError> {
    request.block()
}

fn encode(args: impl FnOnce(&mut ArgsEncoder)) -> Result<Payload, ManagerError> {
    let mut encoder = ArgsEncoder::default();
    without_objects(|| args(&mut encoder));
    encoded(encoder.finish())
}

/// Arguments that can be sent, or why not.
pub(super) fn encoded(
    payload: Result<Payload, Box<EncodeFailure>>,
) -> Result<Payload, ManagerError> {
    payload.map_err(|failure| {
        let reason = format!("`{}`: {}", failure.param, failure.reason);
        ManagerError::Encode { reason }
    })
}

pub(super) fn parts(payload: &Payload) -> Result<Parts<'_>, ManagerError> {
    Parts::of(payload).ok_or_else(|| ManagerError::Encode { reason: NOT_KEPT.to_owned() })
}

fn decode<R: DeserializeOwned + 'static>(source: &Source, bytes: &[u8]) -> Result<R, ManagerError> {
    source.check_wanted()?;
    let parts = source.reply(bytes)?;
    without_objects(|| result(&parts))
}

/// What a method or a task has given.
pub(super) fn result<R: DeserializeOwned + 'static>(parts: &Parts<'_>) -> Result<R, ManagerError> {
    let decoded = decode_output(parts.received(), &DecodeLimits::default());
    decoded.map_err(|fault| ManagerError::Decode {
        type_name: type_name::<R>(),
        reason: fault.reason(),
    })
}

/// A proxy that `#[procpool::shared]` has made of a type of that name.
#[doc(hidden)]
pub trait Wraps: Sized {
    const NAME: &'static str;
    fn wrap(inner: OwnProxy) -> Self;
    fn inner(&self) -> &OwnProxy;
}

impl<P: Wraps> Proxy for P {}

#[allow(private_interfaces, reason = "it is sealed by that")]
impl<P: Wraps> Sealed for P {
    const KIND: Kind = Kind::of_type(P::NAME);

    fn of(core: Arc<Core>) -> Self {
        P::wrap(OwnProxy { core })
    }

    fn core(&self) -> &Arc<Core> {
        &self.inner().core
    }
}

/// Serializes a proxy.
#[doc(hidden)]
pub fn to_other<S: Serializer>(proxy: &impl Wraps, serializer: S) -> Result<S::Ok, S::Error> {
    core::serialize(&proxy.inner().core, serializer)
}

/// Deserializes one.
#[doc(hidden)]
pub fn from_other<'de, P: Wraps, D: Deserializer<'de>>(deserializer: D) -> Result<P, D::Error> {
    core::deserialize(P::KIND, deserializer).map(P::of)
}
