//! A caller's span, kept for what its call logs.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;

use tracing::Span;

use super::reader;
use crate::task::catch;

/// A span of the user's that is shared and not cloned: a clone, as its end, runs code of the
/// subscriber's.
#[derive(Debug, Clone)]
pub(crate) struct HeldSpan(Option<Arc<Span>>);

thread_local! {
    static MUST_NOT_WAIT: Cell<bool> = const { Cell::new(false) };
}

/// Has spans end elsewhere from now on that would end on this thread.
pub(crate) fn end_no_spans_here() {
    MUST_NOT_WAIT.set(true);
}

impl HeldSpan {
    /// `None` for a span that is none.
    pub(crate) fn new(span: Span) -> Option<Self> {
        (!span.is_none()).then(|| HeldSpan(Some(Arc::new(span))))
    }
}

impl Deref for HeldSpan {
    type Target = Span;

    fn deref(&self) -> &Span {
        match &self.0 {
            Some(span) => span,
            None => unreachable!("taken by drop alone"),
        }
    }
}

impl Drop for HeldSpan {
    fn drop(&mut self) {
        let Some(span) = self.0.take().and_then(Arc::into_inner) else {
            return;
        };
        if MUST_NOT_WAIT.try_with(Cell::get).unwrap_or(false) {
            reader::tell(None, move || drop(span));
        } else {
            drop(catch(|| drop(span)));
        }
    }
}
