//! Sending: what it does, and the methods of every end that can.

use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};

use serde::Serialize;
use tokio::task::coop::poll_proceed;

use super::error::{SendError, SendErrorKind};
use super::line::Line;
use crate::link::Pace;

/// Takes back, when dropped, what was queued and has not begun to leave.
struct Unsent<'a>(&'a mut Line);

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        self.0.outlet.withdraw();
    }
}

impl Line {
    pub(super) async fn send_value<T: Serialize + 'static>(
        &mut self,
        value: T,
    ) -> Result<(), SendError<T>> {
        if let Err(error) = self.flushed().await {
            return Err(SendError::new(value, error.into()));
        }
        let (kept, queued) = self.outlet.value(value);
        if let Err(kind) = queued {
            return Err(SendError::new(kept.into_value(), kind));
        }
        let sent = Unsent(self).0.flushed().await;
        sent.map_err(|error| SendError::new(kept.into_value(), error.into()))
    }

    pub(super) fn send_value_blocking<T: Serialize + 'static>(
        &mut self,
        value: T,
    ) -> Result<(), SendError<T>> {
        if let Err(error) = self.flush_blocking() {
            return Err(SendError::new(value, error.into()));
        }
        let (kept, queued) = self.outlet.value(value);
        let sent = queued.and_then(|()| Ok(self.flush_blocking()?));
        sent.map_err(|kind| SendError::new(kept.into_value(), kind))
    }

    pub(super) fn try_send_value<T: Serialize + 'static>(
        &mut self,
        value: T,
    ) -> Result<(), SendError<T>> {
        match self.poll_flush(&mut Pace::Now) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Err(SendError::new(value, error.into())),
            Poll::Pending => return Err(SendError::new(value, SendErrorKind::Full)),
        }
        let (kept, queued) = self.outlet.value(value);
        let sent = queued.and_then(|()| match self.poll_flush(&mut Pace::Now) {
            Poll::Ready(done) => Ok(done?),
            Poll::Pending if self.outlet.withdraw() => Err(SendErrorKind::Full),
            Poll::Pending => Ok(()),
        });
        sent.map_err(|kind| SendError::new(kept.into_value(), kind))
    }

    pub(super) async fn send_the_bytes(&mut self, bytes: &[u8]) -> Result<(), SendErrorKind> {
        self.flushed().await?;
        self.outlet.bytes(bytes)?;
        Ok(Unsent(self).0.flushed().await?)
    }

    pub(super) fn send_bytes_blocking(&mut self, bytes: &[u8]) -> Result<(), SendErrorKind> {
        self.flush_blocking()?;
        self.outlet.bytes(bytes)?;
        Ok(self.flush_blocking()?)
    }

    /// Waits as a task until all that was queued has left.
    pub(super) async fn flushed(&mut self) -> io::Result<()> {
        if self.outlet.is_empty() {
            return self.outlet.check();
        }
        poll_fn(|cx| {
            let turn = ready!(poll_proceed(cx));
            let done = self.poll_flush(&mut Pace::Task(cx));
            if done.is_ready() {
                turn.made_progress();
            }
            done
        })
        .await
    }

    pub(super) fn flush_blocking(&mut self) -> io::Result<()> {
        if self.outlet.is_empty() {
            return self.outlet.check();
        }
        self.block(false, None, Line::poll_flush)?.unwrap_or(Ok(()))
    }
}

/// The methods of an end that sends values of a type.
macro_rules! sending {
    ([$($of:ident),*] $end:ty, $T:ident) => {
        impl<$($of),*> $end {
            /// Sends a value, waiting while there is no room for it: a receiver that is slow stops
            /// its sender.
            ///
            /// Returns when the whole message is on its way, which is not to say that it was
            /// received. `Vec<u8>` and `Bytes` of 16 KiB and more are not copied. What the other end
            /// sends meanwhile is taken in, up to the longest message allowed, so that two
            /// ends that send at the same time do not wait for each other.
            ///
            /// # Errors
            /// The value comes back with the reason: the other end is gone, it cannot be
            /// encoded, or it is longer than [`set_max_message`](Self::set_max_message) allows.
            ///
            /// # Cancel safety
            /// Dropped before any of the message has left, it has sent nothing. If some has, the rest
            /// leaves, whole and before anything else, with whatever is done next with this end.
            /// The message itself is gone either way: where that matters, let it finish.
            ///
            /// # Crash behaviour
            /// When the other end's process ends, waiting here does, too.
            ///
            /// # Panics
            /// Only if it has to wait, and within a tokio runtime without I/O.
            ///
            /// # Examples
            /// ```
            /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// let (mut a, b) = procpool::pipe::<Vec<u32>, ()>()?;
            /// a.send(vec![1, 2]).await?;
            /// drop(b);
            /// let error = a.send(vec![3]).await.unwrap_err();
            /// assert!(error.is_closed());
            /// assert_eq!(error.into_inner(), [3]);
            /// # Ok(()) }
            /// ```
            pub async fn send(&mut self, value: $T) -> Result<(), SendError<$T>>
            where
                $T: ::serde::Serialize + 'static,
            {
                self.line.send_value(value).await
            }

            /// Sends a value if there is room for the beginning of it. Never waits, and needs no
            /// runtime.
            ///
            /// Of a message that is longer than the room there is, the rest leaves with whatever is
            /// done next with this end, [`flush`](Self::flush) for instance.
            ///
            /// # Errors
            /// As [`send`](Self::send); also if there is no room
            /// ([`SendErrorKind::Full`](crate::SendErrorKind::Full)).
            pub fn try_send(&mut self, value: $T) -> Result<(), SendError<$T>>
            where
                $T: ::serde::Serialize + 'static,
            {
                self.line.try_send_value(value)
            }

            /// [`send`](Self::send) on a plain thread. Within a runtime it blocks its thread.
            ///
            /// # Errors
            /// As [`send`](Self::send).
            pub fn blocking_send(&mut self, value: $T) -> Result<(), SendError<$T>>
            where
                $T: ::serde::Serialize + 'static,
            {
                self.line.send_value_blocking(value)
            }

            /// Sends bytes as one message, which [`recv_bytes`](crate::PipeReceiver::recv_bytes)
            /// receives. No bytes are a message, too.
            ///
            /// # Errors
            /// As [`send`](Self::send).
            ///
            /// # Cancel safety
            /// As that of [`send`](Self::send).
            pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), SendErrorKind> {
                self.line.send_the_bytes(bytes).await
            }

            /// [`send_bytes`](Self::send_bytes) on a plain thread.
            ///
            /// # Errors
            /// As [`send`](Self::send).
            pub fn blocking_send_bytes(&mut self, bytes: &[u8]) -> Result<(), SendErrorKind> {
                self.line.send_bytes_blocking(bytes)
            }

            /// Waits until what a dropped [`send`](Self::send) or a [`try_send`](Self::try_send)
            /// has begun has left. At once if there is no such thing.
            ///
            /// # Errors
            /// The other end is gone.
            ///
            /// # Cancel safety
            /// Dropped, it has lost nothing: what is left leaves with whatever is done next.
            pub async fn flush(&mut self) -> Result<(), SendErrorKind> {
                Ok(self.line.flushed().await?)
            }

            /// [`flush`](Self::flush) on a plain thread.
            ///
            /// # Errors
            /// The other end is gone.
            pub fn blocking_flush(&mut self) -> Result<(), SendErrorKind> {
                Ok(self.line.flush_blocking()?)
            }
        }
    };
}
pub(super) use sending;
