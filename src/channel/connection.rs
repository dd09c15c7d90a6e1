//! An end that sends and receives.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use super::error::{RecvError, SendError, SendErrorKind};
use super::line::Line;
use super::one_way::{PipeReceiver, PipeSender};
use super::receiving::{always, receiving};
use super::sending::sending;
use crate::link::Pace;
use crate::sys::handle_access;
use crate::wire::DecodeLimits;

/// Makes a pipe with two ends that both send and receive: `A` goes from the first to the
/// second, `B` comes back.
///
/// Nothing is in between: no thread, no other process, and no runtime until an end first
/// has to wait as a task.
///
/// # Errors
/// The system's, above all when this process has as many descriptors as it may.
///
/// # Platform
/// A pair of Unix sockets, or a named pipe that nobody else can open.
///
/// # Examples
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut a, mut b) = procpool::pipe::<u32, String>()?;
/// let answering = tokio::spawn(async move {
///     while let Ok(n) = b.recv().await {
///         if b.send(format!("{n}!")).await.is_err() {
///             break;
///         }
///     }
/// });
/// a.send(7).await?;
/// assert_eq!(a.recv().await?, "7!");
/// drop(a);
/// answering.await?;
/// # Ok(()) }
/// ```
#[doc(alias = "Pipe")]
#[doc(alias = "duplex")]
pub fn pipe<A, B>() -> io::Result<(Connection<A, B>, Connection<B, A>)> {
    let (a, b) = Line::pair()?;
    Ok((Connection::new(a), Connection::new(b)))
}

/// One end of a pipe, which sends `A` and receives `B`. See [`pipe()`].
///
/// Messages arrive whole, once and in order. A message is a value ([`send`](Self::send),
/// [`recv`](Self::recv)) or bytes ([`send_bytes`](Self::send_bytes),
/// [`recv_bytes`](Self::recv_bytes)); one that is received as what it is not stays
/// ([`RecvError::WrongKind`]). Dropping an end closes it.
///
/// The same end can be used from any runtime and from plain threads (`blocking_…`), one
/// after the other. It is also a [`Stream`](futures_core::Stream) of what it receives, which
/// ends with the other end, and a [`Sink`](futures_sink::Sink).
///
/// What comes from the other end is not trusted: it is decoded within
/// [`DecodeLimits`], and memory is taken only for bytes that have come.
///
/// `AsFd` (on Windows `AsHandle`) is for waiting along with other things. It does not
/// tell of messages that are in this end already: [`poll`](Self::poll) first.
#[doc(alias = "multiprocessing.connection.Connection")]
pub struct Connection<A, B> {
    pub(super) line: Line,
    types: PhantomData<fn(A) -> B>,
}

impl<A, B> Connection<A, B> {
    pub(super) fn new(line: Line) -> Self {
        Connection { line, types: PhantomData }
    }

    /// Limits the messages this end sends and receives, in bytes encoded. Default: 1 GiB.
    ///
    /// Sending a longer one is an error; when the other end announces one, this end is
    /// over ([`RecvError::Broken`]).
    pub fn set_max_message(&mut self, bytes: u64) {
        self.line.set_max_message(bytes);
    }

    /// Takes it apart into an end that sends and one that receives, for two tasks at a time.
    ///
    /// When either is dropped, its direction ends for the other end.
    ///
    /// # Errors
    /// The system's; the end is closed then.
    ///
    /// # Crash behaviour
    /// A half that was passed to another process ends its direction when it is dropped there. A
    /// process that is killed does not get that far: then, and if the half was given to a message
    /// or a call that never left, the direction ends when the other half is gone, too.
    ///
    /// # Platform
    /// On Windows a direction does not end before both are dropped.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (a, mut b) = procpool::pipe::<u32, u32>()?;
    /// let (mut sender, mut receiver) = a.split()?;
    /// let sending = tokio::spawn(async move { sender.send(1).await });
    /// b.send(2).await?;
    /// assert_eq!(receiver.recv().await?, 2);
    /// assert_eq!(b.recv().await?, 1);
    /// # sending.await??;
    /// # Ok(()) }
    /// ```
    pub fn split(self) -> io::Result<(PipeSender<A>, PipeReceiver<B>)> {
        let (sender, receiver) = self.line.split()?;
        Ok((PipeSender::new(sender), PipeReceiver::new(receiver)))
    }
}

sending!([A, B] Connection<A, B>, A);
receiving!([A, B] Connection<A, B>, B);
handle_access!(Connection<A, B>, line, A, B);

impl<A, B> fmt::Debug for Connection<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
