//! Sending all that is to be sent.

use std::io;
use std::task::{Poll, ready};

use super::End;
use crate::link::Pace;
use crate::wire::Outbox;

impl End {
    /// Writes as [`write`](Self::write) does until nothing is left.
    pub(crate) fn flush(
        &mut self,
        pace: &mut Pace<'_, '_>,
        out: &mut Outbox,
    ) -> Poll<io::Result<()>> {
        while !out.is_empty() {
            let slices = out.slices();
            let n = ready!(self.write(pace, &slices, &[]))?;
            drop(slices);
            out.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}
