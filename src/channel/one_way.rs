//! Ends that only send or only receive.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use super::error::{RecvError, SendError, SendErrorKind};
use super::line::Line;
use super::receiving::{always, receiving};
use super::sending::sending;
use crate::link::Pace;
use crate::sys::handle_access;
use crate::wire::DecodeLimits;

/// Makes a pipe for one direction.
///
/// Python's `Pipe(duplex=False)`, which returns the receiving end first.
///
/// # Errors
/// As [`pipe()`](crate::pipe).
///
/// # Examples
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut sender, mut receiver) = procpool::one_way()?;
/// let sending = std::thread::spawn(move || {
///     for word in ["one", "two", "END"] {
///         sender.blocking_send(word.to_owned()).unwrap();
///     }
/// });
/// let mut words = Vec::new();
/// loop {
///     match receiver.blocking_recv()?.as_str() {
///         "END" => break,
///         word => words.push(word.to_owned()),
///     }
/// }
/// assert_eq!(words, ["one", "two"]);
/// # sending.join().unwrap();
/// # Ok(()) }
/// ```
#[doc(alias = "Pipe")]
pub fn one_way<T>() -> io::Result<(PipeSender<T>, PipeReceiver<T>)> {
    let (sender, receiver) = Line::one_way()?;
    Ok((PipeSender::new(sender), PipeReceiver::new(receiver)))
}

/// The end of a pipe that sends. See [`one_way`] and, for how it behaves,
/// [`Connection`](crate::Connection).
#[doc(alias = "multiprocessing.connection.Connection")]
pub struct PipeSender<T> {
    pub(super) line: Line,
    types: PhantomData<fn(T)>,
}

/// The end of a pipe that receives. See [`one_way`] and, for how it behaves,
/// [`Connection`](crate::Connection).
#[doc(alias = "multiprocessing.connection.Connection")]
pub struct PipeReceiver<T> {
    pub(super) line: Line,
    types: PhantomData<fn() -> T>,
}

impl<T> PipeSender<T> {
    pub(super) fn new(line: Line) -> Self {
        PipeSender { line, types: PhantomData }
    }

    /// Limits the messages this end sends, in bytes encoded. Default: 1 GiB.
    pub fn set_max_message(&mut self, bytes: u64) {
        self.line.set_max_message(bytes);
    }
}

impl<T> PipeReceiver<T> {
    pub(super) fn new(line: Line) -> Self {
        PipeReceiver { line, types: PhantomData }
    }

    /// Limits the messages this end receives, in bytes encoded. Default: 1 GiB.
    ///
    /// When the other end announces a longer one, this end is over
    /// ([`RecvError::Broken`]).
    pub fn set_max_message(&mut self, bytes: u64) {
        self.line.set_max_message(bytes);
    }
}

sending!([T] PipeSender<T>, T);
receiving!([T] PipeReceiver<T>, T);
handle_access!(PipeSender<T>, line, T);
handle_access!(PipeReceiver<T>, line, T);

impl<T> fmt::Debug for PipeSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeSender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for PipeReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeReceiver").finish_non_exhaustive()
    }
}
