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

    /// Where whether it is ready is known elsewhere: a question, after whose answer it is known here.
    #[doc(hidden)]
    fn look(&self) -> Option<Ready<'static>> {
        None
    }
}

mod sealed {
    pub trait Sealed {}
}

/// Waits until at least one of the sources is ready; the places of all that are.
///
/// Nothing is taken from a source: a message that is there stays, to be received. An item of a
/// queue is only seen: another consumer may be faster, so follow up with
/// [`try_get`](Queue::try_get). As by a `get`, the next item is asked for: what this handle took before is done, except
/// with a [`JoinableQueue`]. Without any source it waits until the [`timeout`](Select::timeout), or for ever.
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
    let mut looks = Vec::new();
    let ready = |source: &'a mut dyn Source| {
        looks.extend(source.look());
        source.ready()
    };
    let sources = sources.into_iter().map(ready).map(Some).collect();
    Select { sources, looks, limit: None, sleep: None, is_over: false }
}

/// A wait for several sources, made by [`select`].
#[must_use = "it waits when it is awaited"]
pub struct Select<'a> {
    /// Those that are not ready yet.
    sources: Vec<Option<Ready<'a>>>,
    /// To be asked when the time is over.
    looks: Vec<Ready<'static>>,
    limit: Option<Duration>,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    /// The time is.
    is_over: bool,
}

impl Select<'_> {
    /// Waits for at most so long: then none is ready. `Duration::ZERO` only looks.
    ///
    /// When the time is over each queue is asked once more, as by [`try_get`](Queue::try_get): all that is there is
    /// seen, however short the time is.
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

impl Select<'_> {
    /// The places of all that are ready.
    fn look_at_all(&mut self, cx: &mut Context<'_>) -> Vec<usize> {
        for source in &mut self.sources {
            if source.as_mut().is_some_and(|source| poll_one(source, cx).is_ready()) {
                *source = None;
            }
        }
        let all = self.sources.iter().enumerate();
        all.filter_map(|(i, source)| source.is_none().then_some(i)).collect()
    }
}

/// A timeout needs a tokio runtime with a timer, and pipes one with I/O.
impl Future for Select<'_> {
    type Output = Vec<usize>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Vec<usize>> {
        let this = self.get_mut();
        // A task whose sources never run out lets others run, too.
        let turn = ready!(poll_proceed(cx));
        let ready = this.look_at_all(cx);
        if let Some(limit) = this.limit
            && !this.is_over
        {
            // Who need not wait needs no timer.
            this.is_over = limit.is_zero()
                || ready.is_empty() && {
                    let sleep =
                        this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                    sleep.as_mut().poll(cx).is_ready()
                };
        }
        // The time may have been too short to hear from a queue: once it is over each is asked, and all
        // of them answer before those that are ready are told.
        let ready = if this.is_over && !this.looks.is_empty() {
            this.looks.retain_mut(|look| poll_one(look, cx).is_pending());
            if !this.looks.is_empty() {
                return Poll::Pending;
            }
            this.look_at_all(cx)
        } else {
            ready
        };
        if ready.is_empty() && !this.is_over {
            return Poll::Pending;
        }
        turn.made_progress();
        Poll::Ready(ready)
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
    ($([$($T:ident),*] $source:ty, $this:ident => $ready:expr $(, $look:expr)?;)*) => {$(
        impl<$($T: 'static),*> sealed::Sealed for $source {}

        impl<$($T: 'static),*> Source for $source {
            fn ready(&mut self) -> Ready<'_> {
                let $this = self;
                Box::pin($ready)
            }

            $(fn look(&self) -> Option<Ready<'static>> {
                let $this = self;
                Some(Box::pin($look))
            })?
        }
    )*};
}

sources! {
    [A, B] Connection<A, B>, this => this.line.at_hand();
    [T] PipeReceiver<T>, this => this.line.at_hand();
    [T] Queue<T>, this => this.at_hand(), this.look();
    [T] JoinableQueue<T>, this => this.at_hand(), this.look();
    [T] SimpleQueue<T>, this => this.at_hand(), this.look();
    [T] PriorityQueue<T>, this => this.at_hand(), this.look();
    [R] Process<R>, this => async { this.handle().join().await };
    [] ProcessHandle, this => this.join();
}
