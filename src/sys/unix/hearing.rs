//! A doorbell heard within a runtime.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Doorbell;

/// Hears a bell within the runtime in which it was made.
#[derive(Debug)]
pub(crate) struct Hearing(AsyncFd<OwnedFd>);

impl Hearing {
    /// Of a bell that must not be heard elsewhere meanwhile.
    ///
    /// # Panics
    /// Outside a runtime that does I/O.
    #[allow(deprecated, reason = "what replaces it is not in the oldest tokio that will do")]
    pub(crate) fn new(bell: &Doorbell) -> io::Result<Self> {
        let hears = bell.hears().try_clone_to_owned()?;
        Ok(Hearing(AsyncFd::with_interest(hears, Interest::READABLE)?))
    }

    /// Waits until it is rung; rings since the last time count.
    pub(crate) async fn rung(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}
