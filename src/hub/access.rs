//! A process's access to one object, wherever that is.

use std::any::Any;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use super::client::{self, Client, GuestInterest, Urgency, block_on_here, client, is_blocking};
use super::host::{Host, OwnerHold, OwnerInterest, host};
use super::mail::Mailbox;
use super::name::random_name;
use super::note::Note;
use super::object::make;
use super::server::SeatId;
use crate::sys::{Handle, handle_ref};
use crate::wire::{Attached, Guard, Hold, ObjectName, Payload};

/// As long as it lives, somebody reads for what is pending.
#[allow(dead_code, reason = "kept to be dropped")]
pub(crate) enum Interest {
    Owner(OwnerInterest),
    Guest(GuestInterest),
}

/// From where a process reaches the objects.
#[derive(Clone, Copy)]
enum Port {
    /// It owns them.
    Owner(&'static Host),
    Guest(&'static Client),
}

fn port() -> io::Result<Port> {
    Ok(match client() {
        Some(client) => Port::Guest(client),
        None if super::is_guest() => {
            let words = "this process has no way to the program's queues: here the process that started it could not pass one on";
            return Err(io::Error::new(io::ErrorKind::Unsupported, words));
        }
        None => Port::Owner(host()?),
    })
}

/// Access to an object; given up when it is dropped.
pub(crate) struct Access {
    port: Port,
    name: ObjectName,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "object {:016x}", self.name.id)
    }
}

impl Access {
    /// Makes an object, and what this process has of it.
    pub(crate) fn create<M: Mailbox>(
        kind: u64,
        config: &[u8],
        handles: &[&Arc<Handle>],
        mailbox: impl FnOnce(Access) -> M,
    ) -> io::Result<Arc<M>> {
        let port = port()?;
        let name = random_name();
        match port {
            Port::Owner(host) => {
                let handles: Vec<_> = handles.iter().map(|handle| handle_ref(handle)).collect();
                let object = make(kind, config, &handles)?;
                host.run()?;
                host.create(name, object);
            }
            Port::Guest(client) => {
                if !handles.is_empty() && !client.has_channel() {
                    let words = "this process has no way for handles to the program's main process";
                    return Err(io::Error::new(io::ErrorKind::Unsupported, words));
                }
                client.create(name, kind, config, handles);
            }
        }
        Ok(Access { port, name }.register(mailbox))
    }

    /// What this process has of an object that it was given. Where it has nothing of it yet, `prepare`
    /// comes first.
    pub(crate) fn adopt<M: Mailbox, P>(
        name: ObjectName,
        prepare: impl FnOnce() -> io::Result<P>,
        mailbox: impl FnOnce(Access, P) -> M,
    ) -> io::Result<Arc<M>> {
        static ADOPTING: Mutex<()> = Mutex::new(());
        let port = port()?;
        // Two threads that get the same object at once are to have one mailbox.
        let _adopting = ADOPTING.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match port {
            Port::Owner(host) => host.mailbox(name.id),
            Port::Guest(client) => client.mailbox(name.id),
        };
        if let Some(known) = known {
            let known: Arc<dyn Any + Send + Sync> = known;
            return known.downcast().map_err(|_| io::Error::other("it is of another kind"));
        }
        let prepared = prepare()?;
        let mailbox = |access| mailbox(access, prepared);
        match port {
            Port::Owner(host) => {
                if !host.open(name) {
                    let words = "it is gone: nobody has kept it";
                    return Err(io::Error::new(io::ErrorKind::NotFound, words));
                }
                Ok(Access { port, name }.register(mailbox))
            }
            Port::Guest(client) => {
                // The mailbox first: it may hear at once that there is no such object.
                let mailbox = Access { port, name }.register(mailbox);
                client.open(name);
                Ok(mailbox)
            }
        }
    }

    fn register<M: Mailbox>(self, mailbox: impl FnOnce(Access) -> M) -> Arc<M> {
        let (port, id) = (self.port, self.name.id);
        let mailbox = Arc::new(mailbox(self));
        let weak: Weak<M> = Arc::downgrade(&mailbox);
        match port {
            Port::Owner(host) => host.add_mailbox(id, weak),
            Port::Guest(client) => client.add_mailbox(id, weak),
        }
        mailbox
    }

    /// Whether this process owns the object.
    pub(crate) fn is_owner(&self) -> bool {
        matches!(self.port, Port::Owner(_))
    }

    /// Says something that needs no answer to be true.
    pub(crate) fn note(&self, note: Note, urgency: Urgency) {
        match self.port {
            Port::Owner(host) => {
                host.note(self.name.id, note, Payload::empty(), urgency == Urgency::Now);
            }
            Port::Guest(client) => {
                client.note(self.name.id, note, &Payload::empty(), urgency);
            }
        }
    }

    /// Says something with a value. Once it is ready, no end of this process can undo it.
    ///
    /// What is said is said at once; dropping the future changes nothing.
    pub(crate) fn send(&self, note: Note, value: Payload) -> Sending<'_> {
        let until = match self.port {
            Port::Owner(host) => {
                host.note(self.name.id, note, value, true);
                0
            }
            Port::Guest(client) => client.note(self.name.id, note, &value, Urgency::Now),
        };
        Sending { access: self, until, place: None, interest: None, sent: false }
    }

    /// The longest value that can be sent.
    pub(crate) fn max_value(&self) -> u64 {
        match self.port {
            Port::Owner(_) => u64::MAX,
            Port::Guest(client) => client.max_value(),
        }
    }

    /// Takes in what was said to this process, unless somebody is at it.
    pub(crate) fn listen(&self) {
        if let Port::Guest(client) = self.port {
            client.listen();
        }
    }

    /// To be held by a pending operation: somebody must read for it.
    pub(crate) fn interest(&self) -> Option<Interest> {
        match self.port {
            Port::Guest(client) if !is_blocking() => Some(Interest::Guest(client.interest())),
            Port::Owner(host) if !is_blocking() => Some(Interest::Owner(host.interest())),
            _ => None,
        }
    }

    /// What a value takes along that holds the object.
    pub(crate) fn attached<M: HasAccess>(&self, mailbox: Arc<M>) -> Attached {
        Attached::Object(self.name, Arc::new(MailboxHold(mailbox)))
    }

    /// Something may lie about in the mailbox, though nothing was delivered.
    pub(crate) fn tick_soon(&self, mailbox: &impl Mailbox) {
        if !mailbox.lies_about() {
            return;
        }
        match self.port {
            // Nobody looks later.
            Port::Owner(_) => mailbox.tick(true),
            Port::Guest(client) => client.tick_soon(self.name.id),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.name.id
    }

    fn grant(&self, to: SeatId) {
        match self.port {
            Port::Owner(host) => host.grant(self.name.id, to),
            Port::Guest(client) => client.grant(self.name.id, to),
        }
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        match self.port {
            Port::Owner(host) => host.release(self.name.id),
            Port::Guest(client) => client.release(self.name.id),
        }
    }
}

/// Something on its way to an object.
pub(crate) struct Sending<'a> {
    access: &'a Access,
    until: u64,
    place: Option<u64>,
    interest: Option<Interest>,
    sent: bool,
}

impl Sending<'_> {
    /// Whether it is there already.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let Port::Guest(client) = self.access.port else { return Poll::Ready(()) };
        let polled = client.poll_sent(self.until, &mut self.place, cx);
        self.sent = polled.is_ready();
        if polled.is_pending() && self.interest.is_none() {
            self.interest = self.access.interest();
        }
        polled
    }

    pub(crate) async fn done(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if let Port::Guest(client) = self.access.port
            && !self.sent
        {
            if let Some(place) = self.place {
                client.leave_room(place);
            }
            // It is to arrive all the same.
            client.send_later();
        }
    }
}

/// The hold of a value that takes an object along.
struct MailboxHold<M>(Arc<M>);

impl<M> std::fmt::Debug for MailboxHold<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a hold")
    }
}

/// Whatever has access to an object.
pub(crate) trait HasAccess: Mailbox {
    fn access(&self) -> &Access;
}

impl<M: HasAccess> Hold for MailboxHold<M> {
    fn given_to(&self, seat: SeatId) {
        self.0.access().grant(seat);
    }
}

/// Lets other tasks run now and then, for what may be ready again and again.
pub(crate) async fn turn() {
    // A thread that waits by itself lets nobody run.
    if !is_blocking() {
        tokio::task::coop::consume_budget().await;
    }
}

/// Waits for a future on this thread, at most until `deadline`; `None` then.
pub(crate) fn block_on<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    match client() {
        Some(client) => client.block_on(future, deadline),
        None => block_on_here(future, deadline),
    }
}

/// The seat of this process.
pub(crate) fn own_seat() -> SeatId {
    client().map_or(super::OWNER, Client::seat)
}

/// A hold of the owner's on an object that came with a value, for sending that on.
pub(crate) fn owner_hold(object: u64) -> Attached {
    if let Ok(Port::Owner(host)) = port() {
        host.grant(object, super::OWNER);
    }
    Attached::Object(ObjectName { id: object, key: 0 }, Arc::new(OwnerHold(object)))
}

/// Takes over the hold on an object that came with a value from the process in that seat.
pub(crate) fn guard(object: u64, from: SeatId) -> Guard {
    match port() {
        Ok(Port::Guest(_)) => Box::new(client::Held(object)),
        Ok(Port::Owner(host)) => Box::new(host.claim(object, from)),
        Err(_) => Box::new(()),
    }
}
