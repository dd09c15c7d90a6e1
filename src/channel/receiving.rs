//! Receiving: what it does, and the methods of every end that can.

use std::future::poll_fn;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use tokio::task::coop::poll_proceed;

use super::error::{MessageKind, RecvError};
use super::inlet::Incoming;
use super::line::Line;
use crate::hub::drop_elsewhere;
use crate::link::Pace;
use crate::task::decode_value;

impl Line {
    pub(super) fn poll_value<T: DeserializeOwned + 'static>(
        &mut self,
        pace: &mut Pace<'_, '_>,
    ) -> Poll<Result<T, RecvError>> {
        let (found, len) = ready!(self.poll_front(pace))?;
        if found != MessageKind::Value {
            return Poll::Ready(Err(RecvError::WrongKind { found, len }));
        }
        let limits = self.inlet.limits;
        let Some(message) = self.inlet.pop() else { unreachable!("there is a first one") };
        let Incoming { inline, head, mut blobs, mut handles, lost } = message;
        let head = if inline.is_empty() { &head } else { inline };
        let value = if lost > 0 {
            Err(RecvError::HandlesLost { lost })
        } else {
            decode_value(head, &mut blobs, &mut handles, &limits).map_err(|reason| {
                RecvError::Decode { type_name: std::any::type_name::<T>(), reason }
            })
        };
        if handles.as_ref().is_some_and(|left| !left.is_empty()) {
            // Closing what the value had no use for can take as long as its sender likes.
            drop_elsewhere(handles);
        }
        Poll::Ready(value)
    }

    pub(super) fn poll_bytes(
        &mut self,
        pace: &mut Pace<'_, '_>,
        max: u64,
    ) -> Poll<Result<Vec<u8>, RecvError>> {
        let len = ready!(self.poll_front_bytes(pace))?;
        if len > max {
            return Poll::Ready(Err(RecvError::TooLong { len, max }));
        }
        let Some(message) = self.inlet.pop() else { unreachable!("there is a first one") };
        Poll::Ready(Ok(message.into_vec()))
    }

    pub(super) fn poll_bytes_into(
        &mut self,
        pace: &mut Pace<'_, '_>,
        buf: &mut [u8],
    ) -> Poll<Result<usize, RecvError>> {
        ready!(self.poll_front_bytes(pace))?;
        let Some(message) = self.inlet.pop() else { unreachable!("there is a first one") };
        let bytes = message.head();
        let Some(place) = buf.get_mut(..bytes.len()) else {
            let message = message.into_vec();
            return Poll::Ready(Err(RecvError::BufferTooShort { room: buf.len(), message }));
        };
        place.copy_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_front_bytes(&mut self, pace: &mut Pace<'_, '_>) -> Poll<Result<u64, RecvError>> {
        Poll::Ready(match ready!(self.poll_front(pace))? {
            (MessageKind::Bytes, len) => Ok(len),
            (found, len) => Err(RecvError::WrongKind { found, len }),
        })
    }

    /// Waits as a task.
    pub(super) async fn receive<R>(
        &mut self,
        mut attempt: impl FnMut(&mut Self, &mut Pace<'_, '_>) -> Poll<R>,
    ) -> R {
        poll_fn(|cx| {
            // A task whose messages never run out lets others run, too.
            let turn = ready!(poll_proceed(cx));
            let done = attempt(self, &mut Pace::Task(cx));
            if done.is_ready() {
                turn.made_progress();
            }
            done
        })
        .await
    }

    /// Whether a message or the end is there, waiting for it as a task.
    pub(super) async fn poll_for(&mut self, limit: Option<Duration>) -> bool {
        if limit.is_some_and(|limit| limit.is_zero()) {
            return self.now(Line::poll_front).is_some();
        }
        let front = self.receive(|line, pace| line.poll_front(pace).map(drop));
        match limit {
            None => front.await,
            Some(limit) => return tokio::time::timeout(limit, front).await.is_ok(),
        }
        true
    }

    /// Waits as a task until a message or the end is there, having looked first: a runtime tells of
    /// what it was just given to watch only later.
    pub(super) async fn at_hand(&mut self) {
        if !self.poll_for(Some(Duration::ZERO)).await {
            self.poll_for(None).await;
        }
    }

    /// Waits on this thread.
    pub(super) fn receive_blocking<R>(
        &mut self,
        limit: Option<Duration>,
        attempt: impl FnMut(&mut Self, &mut Pace<'_, '_>) -> Poll<Result<R, RecvError>>,
    ) -> Result<Option<R>, RecvError> {
        if limit.is_some_and(|limit| limit.is_zero()) {
            return self.now(attempt).transpose();
        }
        // A limit beyond the clock's reach is none.
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        self.block(true, deadline, attempt).map_err(RecvError::Io)?.transpose()
    }
}

/// Waits on this thread without a limit.
pub(super) fn always<R>(done: Result<Option<R>, RecvError>) -> Result<R, RecvError> {
    done?.ok_or_else(|| unreachable!("it was not to give up"))
}

/// The methods of an end that receives values of a type.
macro_rules! receiving {
    ([$($of:ident),*] $end:ty, $T:ident) => {
        impl<$($of),*> $end {
            /// Receives the next value, waiting for it.
            ///
            /// # Errors
            /// [`RecvError::Closed`] once the other end is gone and everything it sent was
            /// received; [`RecvError::WrongKind`] if the next message is bytes: it stays, for
            /// [`recv_bytes`](Self::recv_bytes); the others as described there.
            ///
            /// # Cancel safety
            /// Dropped, it has received nothing: a message of which a part has come stays in
            /// this end, and the next call goes on with it.
            ///
            /// # Crash behaviour
            /// A process that ends, however it does, closes its ends: what it sent can still be
            /// received, then comes [`RecvError::Closed`], or [`RecvError::Truncated`] if it
            /// ended within a message.
            ///
            /// # Examples
            /// ```
            /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// let (mut a, mut b) = procpool::pipe::<String, u32>()?;
            /// a.send("hello".to_owned()).await?;
            /// assert_eq!(b.recv().await?, "hello");
            /// drop(a);
            /// assert!(b.recv().await.unwrap_err().is_closed());
            /// # Ok(()) }
            /// ```
            pub async fn recv(&mut self) -> Result<$T, RecvError>
            where
                $T: ::serde::de::DeserializeOwned + 'static,
            {
                self.line.receive(|line, pace| line.poll_value(pace)).await
            }

            /// Receives the next value if all of it is there, else `None`. Never waits, and needs
            /// no runtime.
            ///
            /// # Errors
            /// As [`recv`](Self::recv).
            ///
            /// # Platform
            /// On Windows what was sent a moment ago may be there only a moment later.
            pub fn try_recv(&mut self) -> Result<Option<$T>, RecvError>
            where
                $T: ::serde::de::DeserializeOwned + 'static,
            {
                self.line.now(Line::poll_value).transpose()
            }

            /// Receives the next value, waiting for it so long; then `None`.
            ///
            /// # Errors
            /// As [`recv`](Self::recv), and as cancel safe.
            pub async fn recv_timeout(&mut self, limit: Duration) -> Result<Option<$T>, RecvError>
            where
                $T: ::serde::de::DeserializeOwned + 'static,
            {
                match tokio::time::timeout(limit, self.recv()).await {
                    Ok(received) => received.map(Some),
                    Err(_) => Ok(None),
                }
            }

            /// [`recv`](Self::recv) on a plain thread. Within a runtime it blocks its thread.
            ///
            /// # Errors
            /// As [`recv`](Self::recv).
            pub fn blocking_recv(&mut self) -> Result<$T, RecvError>
            where
                $T: ::serde::de::DeserializeOwned + 'static,
            {
                always(self.line.receive_blocking(None, Line::poll_value))
            }

            /// [`recv_timeout`](Self::recv_timeout) on a plain thread.
            ///
            /// # Errors
            /// As [`recv`](Self::recv).
            pub fn blocking_recv_timeout(&mut self, limit: Duration) -> Result<Option<$T>, RecvError>
            where
                $T: ::serde::de::DeserializeOwned + 'static,
            {
                self.line.receive_blocking(Some(limit), Line::poll_value)
            }

            /// Whether receiving would not wait: a whole message is there, be it an empty one, or
            /// the end. Waits so long for that; [`Duration::ZERO`] looks, `None` waits forever.
            ///
            /// Takes nothing away: the message stays for `recv`, and what has come of an
            /// unfinished one stays in this end.
            ///
            /// # Cancel safety
            /// Dropped, it has taken nothing away either.
            ///
            /// # Examples
            /// ```
            /// # use std::time::Duration;
            /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// let (mut a, mut b) = procpool::pipe::<(), ()>()?;
            /// assert!(!b.poll(Duration::from_millis(1)).await);
            /// a.send_bytes(b"").await?;
            /// assert!(b.poll(None).await);
            /// assert_eq!(b.recv_bytes().await?, b"");
            /// # Ok(()) }
            /// ```
            pub async fn poll(&mut self, limit: impl Into<Option<Duration>>) -> bool {
                self.line.poll_for(limit.into()).await
            }

            /// [`poll`](Self::poll) on a plain thread.
            pub fn blocking_poll(&mut self, limit: impl Into<Option<Duration>>) -> bool {
                let front = |line: &mut Line, pace: &mut Pace<'_, '_>| {
                    line.poll_front(pace).map(|_| Ok(()))
                };
                !matches!(self.line.receive_blocking(limit.into(), front), Ok(None))
            }

            /// Receives the next message of bytes, waiting for it; one of more than 64 KiB
            /// without a copy.
            ///
            /// # Errors
            /// As [`recv`](Self::recv); [`RecvError::WrongKind`] if the next message is a value,
            /// which stays, for `recv`.
            ///
            /// # Cancel safety
            /// As that of [`recv`](Self::recv).
            pub async fn recv_bytes(&mut self) -> Result<Vec<u8>, RecvError> {
                self.recv_bytes_max(usize::MAX).await
            }

            /// The same if the message has at most `max` bytes.
            ///
            /// A longer one stays: [`RecvError::TooLong`] says how long it is. To limit what is
            /// received at all, use [`set_max_message`](Self::set_max_message).
            ///
            /// # Errors
            /// As [`recv_bytes`](Self::recv_bytes), and `TooLong`.
            ///
            /// # Cancel safety
            /// As that of [`recv`](Self::recv).
            pub async fn recv_bytes_max(&mut self, max: usize) -> Result<Vec<u8>, RecvError> {
                self.line.receive(|line, pace| line.poll_bytes(pace, max as u64)).await
            }

            /// Receives the next message of bytes into the beginning of `buf`, and returns its
            /// length.
            ///
            /// # Errors
            /// As [`recv_bytes`](Self::recv_bytes); [`RecvError::BufferTooShort`] if it does not
            /// fit, with the message, which has been received then.
            ///
            /// # Cancel safety
            /// As that of [`recv`](Self::recv); dropped, it has written nothing to `buf`.
            ///
            /// # Examples
            /// ```
            /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// use procpool::RecvError;
            ///
            /// let (mut a, mut b) = procpool::pipe::<(), ()>()?;
            /// a.send_bytes(b"too long").await?;
            /// match b.recv_bytes_into(&mut [0; 3]).await {
            ///     Err(RecvError::BufferTooShort { message, .. }) => assert_eq!(message, b"too long"),
            ///     other => panic!("{other:?}"),
            /// }
            /// # Ok(()) }
            /// ```
            pub async fn recv_bytes_into(&mut self, buf: &mut [u8]) -> Result<usize, RecvError> {
                self.line.receive(|line, pace| line.poll_bytes_into(pace, buf)).await
            }

            /// [`recv_bytes`](Self::recv_bytes) on a plain thread.
            ///
            /// # Errors
            /// As [`recv_bytes`](Self::recv_bytes).
            pub fn blocking_recv_bytes(&mut self) -> Result<Vec<u8>, RecvError> {
                self.blocking_recv_bytes_max(usize::MAX)
            }

            /// [`recv_bytes_max`](Self::recv_bytes_max) on a plain thread.
            ///
            /// # Errors
            /// As [`recv_bytes_max`](Self::recv_bytes_max).
            pub fn blocking_recv_bytes_max(&mut self, max: usize) -> Result<Vec<u8>, RecvError> {
                let attempt = |line: &mut Line, pace: &mut Pace<'_, '_>| {
                    line.poll_bytes(pace, max as u64)
                };
                always(self.line.receive_blocking(None, attempt))
            }

            /// [`recv_bytes_into`](Self::recv_bytes_into) on a plain thread.
            ///
            /// # Errors
            /// As [`recv_bytes_into`](Self::recv_bytes_into).
            pub fn blocking_recv_bytes_into(&mut self, buf: &mut [u8]) -> Result<usize, RecvError> {
                let attempt = |line: &mut Line, pace: &mut Pace<'_, '_>| {
                    line.poll_bytes_into(pace, buf)
                };
                always(self.line.receive_blocking(None, attempt))
            }

            /// Limits what a received value may cost to decode. Default:
            /// [`DecodeLimits::default`].
            pub fn set_decode_limits(&mut self, limits: DecodeLimits) {
                self.line.inlet.limits = limits;
            }
        }
    };
}
pub(super) use receiving;
