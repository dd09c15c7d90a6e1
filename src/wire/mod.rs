//! Bytes on a connection: frames, values, the first message.
//!
//! Pure: no I/O, no clock, no tasks. Nothing here trusts its input; lengths are
//! checked before memory is reserved.

mod assembler;
mod budget;
mod error;
mod frame;
mod hello;
mod outbox;
mod payload;
mod small;
mod strict;

pub(crate) use assembler::{Assembler, Body, MAX_PARTS, Message};
pub use budget::DecodeLimits;
pub(crate) use budget::{Budget, decode_from};
pub(crate) use error::WireError;
pub(crate) use frame::{Flags, HEADER_LEN, Header, Kind, MAX_DATA, MAX_INLINE};
pub(crate) use hello::{Hello, HelloMismatch, PROTOCOL_VERSION, ProcessRole, Welcome};
pub(crate) use outbox::{Outbox, stream_preamble};
pub(crate) use payload::{
    BYTES_BLOB, BYTES_INLINE, EncodeError, Payload, PayloadBuilder, Received,
};
