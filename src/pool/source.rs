//! Where a map takes its elements from: an iterator or a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

/// Anything elements can be taken from: every `IntoIterator`, every `Stream`.
///
/// `M` tells the two apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither an iterator nor a stream of arguments",
    note = "for a type that is both, call `.into_iter()` or pin the stream first"
)]
pub trait IntoSource<M> {
    /// What it gives.
    type Item;
    #[doc(hidden)]
    type Source: Source<Item = Self::Item>;

    #[doc(hidden)]
    fn into_source(self) -> Self::Source;
}

#[doc(hidden)]
pub trait Source {
    type Item;

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::Item>>;

    /// How many elements are left, if that is known.
    fn exact_len(&self) -> Option<usize>;
}

#[doc(hidden)]
pub enum ViaIterator {}
#[doc(hidden)]
pub enum ViaStream {}

#[doc(hidden)]
pub struct FromIterator<I>(I);

impl<I: IntoIterator> IntoSource<ViaIterator> for I {
    type Item = I::Item;
    type Source = FromIterator<I::IntoIter>;

    fn into_source(self) -> Self::Source {
        FromIterator(self.into_iter())
    }
}

impl<I: Iterator> Source for FromIterator<I> {
    type Item = I::Item;

    #[inline]
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }

    fn exact_len(&self) -> Option<usize> {
        match self.0.size_hint() {
            (low, Some(high)) if low == high => Some(low),
            _ => None,
        }
    }
}

#[doc(hidden)]
pub struct FromStream<S>(Pin<Box<S>>);

impl<S: Stream> IntoSource<ViaStream> for S {
    type Item = S::Item;
    type Source = FromStream<S>;

    fn into_source(self) -> Self::Source {
        FromStream(Box::pin(self))
    }
}

impl<S: Stream> Source for FromStream<S> {
    type Item = S::Item;

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.0.as_mut().poll_next(cx)
    }

    fn exact_len(&self) -> Option<usize> {
        match self.0.size_hint() {
            (low, Some(high)) if low == high => Some(low),
            _ => None,
        }
    }
}
