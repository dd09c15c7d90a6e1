//! Ends on their way to another process.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};

use super::connection::Connection;
use super::line::Line;
use super::one_way::{PipeReceiver, PipeSender};
use crate::link::End;
use crate::sys::{BOTH, Handle, Interest, READ, WRITE};
use crate::wire::{Arrived, Attached, arrived, attach};

/// The handle of an end.
struct Given(Arc<Handle>);

/// Bytes that are not looked at one by one.
struct Raw<B>(B);

impl Line {
    /// What goes to the other process: the handle, whether that is one of two, and what was
    /// received and not handed out.
    fn give<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.outlet.is_empty() {
            return Err(S::Error::custom(
                "this end of a pipe holds a message that has not left whole; `flush` it first",
            ));
        }
        let Some(unread) = self.inlet.unread() else {
            return Err(S::Error::custom(
                "this end of a pipe holds data that cannot go along: a part of a large message, handles that came, or what could not be understood; receive it first",
            ));
        };
        let handle = self
            .end
            .to_handle()
            .map_err(|e| S::Error::custom(format!("this end of a pipe cannot be passed: {e}")))?;
        let given =
            (Given(Arc::new(handle)), self.is_half, Raw(&unread[..])).serialize(serializer)?;
        self.given.store(true, Ordering::Relaxed);
        Ok(given)
    }

    fn take<'de, D: Deserializer<'de>>(uses: Interest, deserializer: D) -> Result<Self, D::Error> {
        let (Given(handle), is_half, Raw(unread)) =
            <(Given, bool, Raw<Vec<u8>>)>::deserialize(deserializer)?;
        let Ok(handle) = Arc::try_unwrap(handle) else { unreachable!("just received") };
        let mut line = Line::new(End::from_handle(handle), uses);
        line.is_half = is_half;
        line.inlet.put_back(&unread);
        Ok(line)
    }
}

impl Serialize for Given {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        attach(Attached::Handle(self.0.clone()), serializer)
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match arrived(deserializer)? {
            Arrived::Handle(handle) => Ok(Given(Arc::new(handle))),
            Arrived::Object(_) => Err(de::Error::custom("it is no end of a pipe")),
        }
    }
}

impl Serialize for Raw<&[u8]> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de> Deserialize<'de> for Raw<Vec<u8>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Copied;
        impl Visitor<'_> for Copied {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_byte_buf(Copied).map(Raw)
    }
}

macro_rules! passing {
    ([$($of:ident),*] $end:ident, $uses:expr) => {
        /// Passes the end to another process: as an argument or a result of a call, or in a
        /// message of a connection. What it has received and nobody has taken goes along.
        impl<$($of),*> Serialize for $end<$($of),*> {
            fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
                self.line.give(serializer)
            }
        }

        impl<'de, $($of),*> Deserialize<'de> for $end<$($of),*> {
            fn deserialize<Z: Deserializer<'de>>(deserializer: Z) -> Result<Self, Z::Error> {
                Line::take($uses, deserializer).map($end::new)
            }
        }
    };
}

passing!([A, B] Connection, BOTH);
passing!([T] PipeSender, WRITE);
passing!([T] PipeReceiver, READ);
