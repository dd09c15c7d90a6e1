//! Ends as streams and sinks.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use atomic_waker::AtomicWaker;
use futures_core::Stream;
use futures_sink::Sink;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::coop::poll_proceed;

use super::connection::Connection;
use super::error::{RecvError, SendErrorKind};
use super::line::Line;
use super::one_way::{PipeReceiver, PipeSender};
use crate::link::Pace;

/// Who uses an end as a stream and who as a sink: two tasks, if it was split as such. Either may
/// do what the other one waits for, so that both are woken.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    stream: AtomicWaker,
    sink: AtomicWaker,
}

impl Wake for Tasks {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.stream.wake();
        self.sink.wake();
    }
}

impl Line {
    /// Wakes both tasks; `which` is the one that waits now.
    fn waker(&mut self, which: fn(&Tasks) -> &AtomicWaker, cx: &Context<'_>) -> Waker {
        let tasks = self.tasks.get_or_insert_default();
        which(tasks).register(cx.waker());
        Waker::from(tasks.clone())
    }

    /// The next value; `None` at the end, after the reason if that is not a proper one.
    fn poll_next<T: DeserializeOwned + 'static>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<T, RecvError>>> {
        let turn = ready!(poll_proceed(cx));
        let waker = self.waker(|tasks| &tasks.stream, cx);
        let cx = &mut Context::from_waker(&waker);
        let received = ready!(self.poll_value(&mut Pace::Task(cx)));
        turn.made_progress();
        Poll::Ready(match received {
            Err(RecvError::Closed) => None,
            Err(error) if error.is_final() && !self.inlet.say_once() => None,
            received => Some(received),
        })
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendErrorKind>> {
        let waker = self.waker(|tasks| &tasks.sink, cx);
        let cx = &mut Context::from_waker(&waker);
        self.poll_flush(&mut Pace::Task(cx)).map(|done: io::Result<()>| Ok(done?))
    }
}

macro_rules! stream {
    ([$($of:ident),*] $end:ty, $T:ident) => {
        /// Ends when the other end is gone. An error that is final is the last item.
        impl<$($of),*> Stream for $end
        where
            $T: DeserializeOwned + 'static,
        {
            type Item = Result<$T, RecvError>;

            fn poll_next(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Option<Self::Item>> {
                self.get_mut().line.poll_next(cx)
            }
        }
    };
}

macro_rules! sink {
    ([$($of:ident),*] $end:ty, $T:ident) => {
        /// Values fed in leave together; closing flushes, and the end is closed by being dropped.
        impl<$($of),*> Sink<$T> for $end
        where
            $T: Serialize + 'static,
        {
            type Error = SendErrorKind;

            fn poll_ready(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Result<(), Self::Error>> {
                let line = &mut self.get_mut().line;
                if line.outlet.has_room() { Poll::Ready(Ok(())) } else { line.poll_sent(cx) }
            }

            fn start_send(self: Pin<&mut Self>, value: $T) -> Result<(), Self::Error> {
                self.get_mut().line.outlet.value(value).1
            }

            fn poll_flush(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Result<(), Self::Error>> {
                self.get_mut().line.poll_sent(cx)
            }

            fn poll_close(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Result<(), Self::Error>> {
                self.get_mut().line.poll_sent(cx)
            }
        }
    };
}

stream!([A, B] Connection<A, B>, B);
stream!([T] PipeReceiver<T>, T);
sink!([A, B] Connection<A, B>, A);
sink!([T] PipeSender<T>, T);
