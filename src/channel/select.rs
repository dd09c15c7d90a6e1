//! Waiting for several things of different kinds.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::coop::{poll_proceed, unconstrained};

use super::{Connection, JoinableQueue, PipeReceiver, PriorityQueue, Queue, SimpleQueue};
use crate::process::{Process, ProcessHandle};

type Ready<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// What [`select`] can wait for.
///
/// | | ready when |
/// |---|---|
/// | [`Connection`], [`PipeReceiver`] | a message, or the other end's end, is there |
/// | [`Queue`], [`JoinableQueue`], [`SimpleQueue`], [`PriorityQueue`] | there is an item, or the queue is closed and empty |
/// | [`Process`], [`ProcessHandle`] | it has ended |
pub trait Source: sealed::Sealed + Send {
    #[doc(hidden)]
    fn ready(&mut self) -> Ready<'_>;
}

mod sealed {
    pub trait Sealed {}
}

/// Waits until at least one of the sources is ready; the places of all that are.
///
/// Nothing is taken from a source: a message that is there stays, to be received. An item of a
/// queue is only seen: another consumer may be faster, so follow up with
/// [`try_get`](Queue::try_get). With none of them it waits until the
/// [`timeout`](Select::timeout), or for ever.
///
/// Where each source has a different type of message and its own code to deal with it, `tokio::select!` over
/// [`recv`](Connection::recv), [`get`](Queue::get), [`join`](ProcessHandle::join) and
/// `tokio::time::sleep` does the same: all of them may be dropped without a loss.
///
/// # Cancel safety
/// Dropping the future loses nothing.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use procpool::{Queue, one_way, select};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut sender, mut receiver) = one_way::<u32>()?;
/// let mut queue: Queue<String> = Queue::unbounded()?;
/// assert!(select([&mut receiver, &mut queue]).timeout(Duration::ZERO).await.is_empty());
/// sender.send(7).await?;
/// assert_eq!(select([&mut receiver, &mut queue]).await, [0]);
/// queue.put("hello".into()).await?;
/// assert_eq!(select([&mut receiver, &mut queue]).await, [0, 1]);
/// assert_eq!(receiver.recv().await?, 7);
/// # Ok(()) }
/// ```
#[doc(alias = "multiprocessing.connection.wait")]
#[doc(alias = "wait")]
pub fn select<'a, const N: usize>(sources: [&'a mut dyn Source; N]) -> Select<'a> {
    select_all(sources)
}

/// [`select`] over any number of sources.
pub fn select_all<'a>(sources: impl IntoIterator<Item = &'a mut dyn Source>) -> Select<'a> {
    Select {
        sources: sources.into_iter().map(|source| source.ready()).collect(),
        limit: None,
        sleep: None,
    }
}

/// A wait for several sources, made by [`select`].
#[must_use = "it waits when it is awaited"]
pub struct Select<'a> {
    sources: Vec<Ready<'a>>,
    limit: Option<Duration>,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Select<'_> {
    /// Waits for at most so long: then none is ready. `Duration::ZERO` only looks.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Waits on this thread, which must not belong to a tokio runtime.
    ///
    /// # Errors
    /// The system's, if it has no room for what it takes to wait.
    ///
    /// # Panics
    /// Within async code.
    pub fn blocking(self) -> io::Result<Vec<usize>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(self))
    }
}

/// However many there are, all are looked at.
fn poll_one(source: &mut Ready<'_>, cx: &mut Context<'_>) -> Poll<()> {
    Pin::new(&mut unconstrained(source.as_mut())).poll(cx)
}

/// A timeout needs a tokio runtime with a timer, and pipes one with I/O.
impl Future for Select<'_> {
    type Output = Vec<usize>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Vec<usize>> {
        let this = self.get_mut();
        // A task whose sources never run out lets others run, too.
        let turn = ready!(poll_proceed(cx));
        let all = this.sources.iter_mut().enumerate();
        let ready: Vec<usize> =
            all.filter_map(|(i, source)| poll_one(source, cx).is_ready().then_some(i)).collect();
        if !ready.is_empty() {
            turn.made_progress();
            return Poll::Ready(ready);
        }
        if let Some(limit) = this.limit {
            if limit.is_zero() {
                turn.made_progress();
                return Poll::Ready(ready);
            }
            let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
            if sleep.as_mut().poll(cx).is_ready() {
                return Poll::Ready(ready);
            }
        }
        Poll::Pending
    }
}

impl std::fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Select")
            .field("sources", &self.sources.len())
            .field("timeout", &self.limit)
            .finish_non_exhaustive()
    }
}

macro_rules! sources {
    ($([$($T:ident),*] $source:ty, $this:ident => $ready:expr;)*) => {$(
        impl<$($T: 'static),*> sealed::Sealed for $source {}

        impl<$($T: 'static),*> Source for $source {
            fn ready(&mut self) -> Ready<'_> {
                let $this = self;
                Box::pin($ready)
            }
        }
    )*};
}

sources! {
    [A, B] Connection<A, B>, this => this.line.at_hand();
    [T] PipeReceiver<T>, this => this.line.at_hand();
    [T] Queue<T>, this => this.at_hand();
    [T] JoinableQueue<T>, this => this.at_hand();
    [T] SimpleQueue<T>, this => this.at_hand();
    [T] PriorityQueue<T>, this => this.at_hand();
    [R] Process<R>, this => async { this.handle().join().await };
    [] ProcessHandle, this => this.join();
}
