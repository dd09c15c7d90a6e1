//! Queues as streams and sinks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_sink::Sink;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{GetError, PutError};
use super::inner::Inner;

type Pending<R> = Option<Pin<Box<dyn Future<Output = R> + Send>>>;

struct Items<T> {
    queue: Arc<Inner<T>>,
    pending: Pending<Result<T, GetError>>,
    over: bool,
}

pub(super) fn items<T: DeserializeOwned + Send + 'static>(
    queue: Inner<T>,
) -> impl Stream<Item = Result<T, GetError>> + Send {
    Items { queue: Arc::new(queue), pending: None, over: false }
}

impl<T: DeserializeOwned + Send + 'static> Stream for Items<T> {
    type Item = Result<T, GetError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let pending = this.pending.get_or_insert_with(|| {
            let queue = this.queue.clone();
            Box::pin(async move { queue.get().await.map(|delivery| delivery.item) })
        });
        let got = ready!(pending.as_mut().poll(cx));
        this.pending = None;
        if matches!(got, Err(GetError::Closed)) {
            this.over = true;
            return Poll::Ready(None);
        }
        Poll::Ready(Some(got))
    }
}

struct Into<T> {
    queue: Arc<Inner<T>>,
    pending: Pending<Result<(), PutError<T>>>,
}

pub(super) fn sink<T: Serialize + Send + 'static>(
    queue: Inner<T>,
) -> impl Sink<T, Error = PutError<T>> + Send {
    Into { queue: Arc::new(queue), pending: None }
}

impl<T: Serialize + Send + 'static> Sink<T> for Into<T> {
    type Error = PutError<T>;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), PutError<T>>> {
        let this = self.get_mut();
        let Some(pending) = &mut this.pending else { return Poll::Ready(Ok(())) };
        let done = ready!(pending.as_mut().poll(cx));
        this.pending = None;
        Poll::Ready(done)
    }

    fn start_send(self: Pin<&mut Self>, item: T) -> Result<(), PutError<T>> {
        let this = self.get_mut();
        let queue = this.queue.clone();
        this.pending = Some(Box::pin(async move { queue.put(item, 0, true, None).await }));
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), PutError<T>>> {
        self.poll_ready(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), PutError<T>>> {
        self.poll_ready(cx)
    }
}
