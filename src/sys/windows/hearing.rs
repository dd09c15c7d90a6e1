//! A doorbell heard within a runtime, which an event cannot be.

use std::io;

use super::Doorbell;

/// Hears a bell within a runtime: never made here.
#[derive(Debug)]
pub(crate) enum Hearing {}

impl Hearing {
    pub(crate) fn new(_: &Doorbell) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[allow(clippy::unused_async, reason = "elsewhere it waits")]
    pub(crate) async fn rung(&self) -> io::Result<()> {
        match *self {}
    }
}
