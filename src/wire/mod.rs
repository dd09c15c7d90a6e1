//! Bytes on a connection: frames, values, the first message.
//!
//! Pure: no I/O, no clock, no tasks. Nothing here trusts its input; lengths are
//! checked before memory is reserved.

mod assembler;
mod attached;
mod budget;
mod decode;
#[cfg(test)]
mod decode_tests;
mod error;
mod frame;
mod hello;
mod outbox;
mod payload;
mod reader;
mod small;
mod strict;

pub(crate) use assembler::{Assembler, Body, MAX_PARTS, Message};
pub(crate) use attached::{
    Along, Arrived, Attached, Brought, Guard, Handles, Hold, ObjectName, arrived, attach,
    with_along,
};
pub(crate) use budget::Budget;
pub use budget::DecodeLimits;
pub(crate) use decode::decode_from;
pub(crate) use error::WireError;
pub(crate) use frame::{Flags, HEADER_LEN, Header, Kind, MAX_DATA, MAX_INLINE};
pub(crate) use hello::{Hello, HelloMismatch, PROTOCOL_VERSION, ProcessRole, Welcome};
pub(crate) use outbox::{Outbox, stream_preamble};
pub(crate) use payload::{
    BYTES_BLOB, BYTES_INLINE, EncodeError, Giver, Payload, PayloadBuilder, Received, encode_into,
};
pub(crate) use small::SmallBuf;
