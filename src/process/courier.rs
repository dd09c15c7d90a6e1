//! What goes along with calls and results and is not bytes.

use std::io;
use std::sync::Arc;

use crate::hub::{self, SeatId};
use crate::sys::{ChildSocket, Handle, HandleChannel, handle_ref};
use crate::wire::{Attached, Brought, Giver, Guard, Payload};

/// Brings handles and objects to one other process, and fetches what that has sent.
#[derive(Debug)]
pub(crate) struct Courier {
    /// Until it is dropped.
    channel: Option<Arc<HandleChannel>>,
    /// The other process's in the hub.
    seat: Option<SeatId>,
    /// In a child: what has not come yet may be waited for. A child itself is waited for by
    /// nobody.
    patient: bool,
}

impl Courier {
    /// To a child-to-be, and what that must be given for it.
    pub(super) fn to_child(
        socket: &ChildSocket,
        seat: impl FnOnce(Arc<HandleChannel>) -> io::Result<Option<SeatId>>,
    ) -> io::Result<(Self, Option<Handle>)> {
        let (channel, theirs) = HandleChannel::to_child(socket)?;
        let channel = Arc::new(channel);
        let seat = seat(channel.clone())?;
        Ok((Courier { channel: Some(channel), seat, patient: false }, theirs))
    }

    /// To the parent.
    pub(super) fn to_parent(channel: Arc<HandleChannel>, seat: Option<SeatId>) -> Self {
        Courier { channel: Some(channel), seat, patient: true }
    }

    fn channel(&self) -> &HandleChannel {
        self.channel.as_deref().unwrap_or_else(|| unreachable!("it is not dropped"))
    }

    /// Sends what goes along with a payload; what the frame must say of it. To be done before
    /// the frame is sent.
    #[inline]
    pub(crate) fn bring(&self, payload: &Payload) -> Option<Brought> {
        (!payload.attached().is_empty()).then(|| self.send(payload.attached()))
    }

    #[cold]
    fn send(&self, all: &[Attached]) -> Brought {
        // A peer that has ended misses nothing; without a seat there is no way to the objects.
        let brought = Brought::give(
            all,
            |handle| self.channel().give(handle_ref(handle)),
            |_, hold| self.seat.inspect(|seat| hold.given_to(*seat)).is_some(),
        );
        if self.patient && !brought.objects.is_empty() {
            // The hub must be able to hear of it before anybody is told.
            hub::flush();
        }
        brought
    }

    /// Sends what had to wait for room.
    pub(crate) fn flush(&self) {
        // Where the peer is gone, that is heard elsewhere.
        let _ = self.channel().flush();
    }

    /// The same, until it is done.
    pub(super) fn flush_blocking(&self) -> io::Result<()> {
        self.channel().flush_blocking()
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        // With it goes what a child has given and never spoken of; whoever is the last to let go of
        // the channel may be supervision, for which everybody waits.
        if !self.patient {
            hub::drop_elsewhere(self.channel.take());
        }
    }
}

impl Giver for Courier {
    fn take(&self, token: u64) -> io::Result<Handle> {
        if self.patient {
            self.channel().take_blocking(token, || ())
        } else {
            self.channel().take(token, hub::drop_elsewhere)
        }
    }

    fn guard(&self, object: u64) -> Guard {
        match self.seat {
            Some(seat) => hub::guard(object, seat),
            None => Box::new(()),
        }
    }
}
