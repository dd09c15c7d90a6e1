//! The place of a child in the hub: prepared by its parent, taken by the child.

use std::io;
use std::sync::Arc;

use super::client::{self, Client, GuestInterest};
use super::guest::Line;
use super::host::{self, Host};
use super::name::random;
use super::ring::HasRings;
use super::server::{OWNER, SeatId};
use crate::sys::{self, Handle, HandleChannel, HandleRef, Ringer, Sleeper, handle_ref};

/// Ends a child that breaks the rules, and says how it did.
pub(super) type End = Arc<dyn Fn(&'static str) + Send + Sync>;

/// The place of a child, given up when this is dropped.
pub(crate) struct Seat {
    id: SeatId,
    giver: Giver,
}

/// Who prepares a place: the process that owns the objects, or one that introduces its child
/// there.
enum Giver {
    Owner(&'static Host),
    Guest(&'static Client, #[allow(dead_code, reason = "kept to be dropped")] GuestInterest),
}

/// What a child must be given to take its seat.
pub(crate) struct SeatHandles {
    ringer: Ring,
    bell: Option<Handle>,
    channel: Option<Handle>,
    max_value: u64,
}

enum Ring {
    Owner(&'static Host),
    Guest(&'static Client),
}

/// What a child must be told to take its seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Ticket {
    pub(crate) seat: SeatId,
    pub(crate) parent: SeatId,
    /// A way for handles to the hub comes with it.
    own_channel: bool,
    /// Longest value it may send.
    max_value: u64,
}

impl Seat {
    /// For a child-to-be, whose memory this is, and which may send values of `max_value` bytes;
    /// `None` where there is no way to the hub.
    pub(crate) fn new(
        holder: Arc<dyn HasRings>,
        memory: &Handle,
        channel: Arc<HandleChannel>,
        max_value: u64,
        end: End,
    ) -> io::Result<Option<(Self, SeatHandles)>> {
        let (bell, theirs) = sys::bell()?;
        if !super::is_guest() {
            let host = host::host()?;
            let line = Line { holder, bell, channel: Some(channel) };
            let id = host.seat(line, max_value, end);
            let ringer = Ring::Owner(host);
            let handles = SeatHandles { ringer, bell: theirs, channel: None, max_value };
            return Ok(Some((Seat { id, giver: Giver::Owner(host) }, handles)));
        }
        // Its memory is handed over by the way for handles.
        let Some(client) = client::client().filter(|client| client.has_channel()) else {
            return Ok(None);
        };
        let id = random();
        let (ours, channel) = HandleChannel::between()?.map(|[one, other]| (one, other)).unzip();
        let max_value = max_value.min(client.max_value());
        let handles = [Some(memory.try_clone()?), bell.into_handle(), ours];
        client.introduce(id, holder.rings(), handles, max_value, end);
        let handles = SeatHandles { ringer: Ring::Guest(client), bell: theirs, channel, max_value };
        // It must hear when the child is to be ended.
        let giver = Giver::Guest(client, client.interest());
        Ok(Some((Seat { id, giver }, handles)))
    }

    pub(crate) fn id(&self) -> SeatId {
        self.id
    }

    /// The child has ended: all that it said is heard, then its holds end.
    pub(crate) fn ended(&self) {
        match &self.giver {
            Giver::Owner(host) => host.seat_ended(self.id),
            Giver::Guest(client, _) => client.dismiss(self.id),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.ended();
    }
}

impl SeatHandles {
    /// In the order in which [`sit_down`] takes them.
    pub(crate) fn all(&self) -> impl Iterator<Item = HandleRef<'_>> {
        let ringer = match self.ringer {
            Ring::Owner(host) => host.ringer(),
            Ring::Guest(client) => client.ringer(),
        };
        let rest = self.bell.iter().chain(&self.channel);
        [ringer].into_iter().chain(rest.map(handle_ref))
    }

    /// For the child in this seat.
    pub(crate) fn ticket(&self, seat: SeatId) -> Ticket {
        let parent = match self.ringer {
            Ring::Owner(_) => OWNER,
            Ring::Guest(client) => client.seat(),
        };
        let own_channel = self.channel.is_some();
        Ticket { seat, parent, own_channel, max_value: self.max_value }
    }
}

/// Takes the seat that the parent has prepared for this process. `channel` is the way for handles
/// to the parent.
pub(crate) fn sit_down(
    ticket: Ticket,
    holder: Arc<dyn HasRings>,
    channel: &Arc<HandleChannel>,
    handles: &mut impl Iterator<Item = Handle>,
) -> io::Result<()> {
    let missing = || io::Error::other("what leads to the hub did not come");
    let ringer = Ringer::new(handles.next().ok_or_else(missing)?);
    let sleeper = Sleeper::new(if Sleeper::GIVEN { handles.next() } else { None })?;
    let channel = if ticket.own_channel {
        Some(Arc::new(HandleChannel::open(handles.next().ok_or_else(missing)?)?))
    } else {
        (ticket.parent == OWNER).then(|| channel.clone())
    };
    client::sit_down(ticket.seat, ticket.max_value, holder, ringer, sleeper, channel);
    // Of the owner's own children it hears without that.
    if ticket.parent != OWNER
        && let Some(client) = client::client()
    {
        client.live();
    }
    Ok(())
}
