//! Why a message was not sent or not received.

use std::fmt;
use std::io;

/// What a message is: a value, or bytes that its receiver makes something of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// Sent by `send`, received by `recv`.
    Value,
    /// Sent by `send_bytes`, received by `recv_bytes`.
    Bytes,
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MessageKind::Value => "a value",
            MessageKind::Bytes => "bytes",
        })
    }
}

/// Why nothing was received.
///
/// After [`Closed`](RecvError::Closed), [`Truncated`](RecvError::Truncated),
/// [`Broken`](RecvError::Broken) and [`Io`](RecvError::Io) nothing will be, and the same is
/// said each time; the others are about one message or, `Wait`, about none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[doc(alias = "EOFError")]
#[doc(alias = "BufferTooShort")]
pub enum RecvError {
    /// The other end is gone, by being dropped or with its process, and everything it
    /// sent was received.
    #[error("the other end of the pipe is closed")]
    Closed,
    /// As `Closed`, but within a message, whose beginning is lost.
    #[error("the other end of the pipe was closed within a message")]
    Truncated,
    /// A message came and is no value of the type; it is gone, the next one can be received.
    #[error("a message is no `{type_name}`: {reason}")]
    Decode {
        /// What it should have been.
        type_name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A message brought handles, ends of other pipes for instance, for which this process had
    /// no descriptor left; it is gone, the next one can be received.
    #[error(
        "a message brought {lost} handles for which this process had no descriptor left; raise the limit of open files"
    )]
    HandlesLost {
        /// How many are missing.
        lost: usize,
    },
    /// The next message is of the other kind. It stays, for the method that fits.
    #[error("the next message ({len} bytes encoded) is {found}: receive it with `{method}`", method = method(.found))]
    WrongKind {
        /// What it is.
        found: MessageKind,
        /// Its length in bytes, encoded.
        len: u64,
    },
    /// The next message is longer than `recv_bytes_max` was to receive. It stays.
    #[error("the next message has {len} bytes, where at most {max} were asked for")]
    TooLong {
        /// Its length in bytes.
        len: u64,
        /// What was allowed.
        max: u64,
    },
    /// The buffer of `recv_bytes_into` is too short for the message, which is here.
    #[error("the buffer of {room} bytes is too short for a message of {}", message.len())]
    BufferTooShort {
        /// The buffer's length.
        room: usize,
        /// The whole message.
        message: Vec<u8>,
    },
    /// There is nothing to wait with: no runtime here, or no descriptor for it. Nothing is lost, and
    /// receiving can be tried again.
    #[error("cannot wait for a message: {0}")]
    Wait(#[source] io::Error),
    /// What came is not what a pipe of this crate sends, or more than the limits allow.
    #[error("the other end of the pipe sent what cannot be received: {reason}")]
    Broken {
        /// What.
        reason: String,
    },
    /// The system said something else.
    #[error("receiving from a pipe: {0}")]
    Io(#[source] io::Error),
}

fn method(kind: &MessageKind) -> &'static str {
    match kind {
        MessageKind::Value => "recv",
        MessageKind::Bytes => "recv_bytes",
    }
}

impl RecvError {
    /// Whether the other end is gone, within a message or not.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, RecvError::Closed | RecvError::Truncated)
    }

    /// Whether nothing will ever be received again.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.is_closed() || matches!(self, RecvError::Broken { .. } | RecvError::Io(_))
    }
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// The other end is gone, by being dropped or with its process.
    #[error("the other end of the pipe is closed")]
    Closed,
    /// There is no room for it just now; of `try_send` only.
    #[error("the pipe is full: its other end does not receive")]
    Full,
    /// The value has no encoded form.
    #[error("a `{type_name}` cannot be sent: {reason}")]
    Encode {
        /// The value's type.
        type_name: &'static str,
        /// Why.
        reason: String,
    },
    /// A pipe cannot take that along, here or anywhere.
    #[error("not supported: {what}")]
    Unsupported {
        /// What, and what to do.
        what: &'static str,
    },
    /// The message is longer than this end may send (`set_max_message`).
    #[error("a message of {len} bytes, where at most {max} may be sent (`set_max_message`)")]
    TooLong {
        /// Its length in bytes, encoded.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// The system said something else. If that was within a message, this end sends nothing any
    /// more, and the other one receives [`RecvError::Truncated`].
    #[error("sending into a pipe: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for SendErrorKind {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected => SendErrorKind::Closed,
            _ => SendErrorKind::Io(error),
        }
    }
}

/// A message that was not sent, and why.
///
/// The other end has not received it, nor will it.
pub struct SendError<T> {
    value: T,
    // Boxed: what is returned on success has to make room for it, too.
    kind: Box<SendErrorKind>,
}

impl<T> SendError<T> {
    pub(super) fn new(value: T, kind: SendErrorKind) -> Self {
        SendError { value, kind: Box::new(kind) }
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> &SendErrorKind {
        &self.kind
    }

    /// The message.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The message and why it was not sent.
    #[must_use]
    pub fn into_parts(self) -> (T, SendErrorKind) {
        (self.value, *self.kind)
    }

    /// Whether the other end is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(*self.kind, SendErrorKind::Closed)
    }

    /// Whether there was no room just now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(*self.kind, SendErrorKind::Full)
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl<T> std::error::Error for SendError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.kind)
    }
}
