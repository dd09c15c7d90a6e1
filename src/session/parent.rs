//! The parent's end: the only authority on the connection.

use super::meta::{CallMeta, ItemsMeta, MAX_SLOTS};
use super::violation::Violation;
use crate::task::Fault;
use crate::wire::{Brought, Flags, Giver, Header, Hello, Kind, Message, Outbox, Payload, Received};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    AwaitHello,
    AwaitReady,
    Running,
    Draining,
    Closed,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::AwaitHello => "waiting for the worker's hello",
            State::AwaitReady => "waiting for the worker to be ready",
            State::Running => "running",
            State::Draining => "shutting down",
            State::Closed => "closed",
        }
    }
}

/// A call the worker has.
#[derive(Debug, Clone, Copy)]
struct Outstanding {
    id: u64,
    items: u32,
    seen: u32,
}

/// What a message of the worker means to the parent.
#[derive(Debug)]
pub(crate) enum ParentEvent {
    /// The worker is the same program; it waits for its welcome.
    HelloAccepted,
    /// The worker takes calls. Holds the initializer's result, if it had one.
    Ready(Result<Received, Fault>),
    Value {
        id: u64,
        value: Received,
    },
    Fault {
        id: u64,
        fault: Fault,
    },
    Items {
        id: u64,
        count: u32,
        last: bool,
        results: Received,
    },
    Cancelled {
        id: u64,
    },
    /// The call has begun, and has the handles that were given along with it.
    HandlesTaken {
        id: u64,
    },
    Progress {
        id: u64,
        done: u64,
        total: u64,
    },
    Goodbye,
}

impl ParentEvent {
    /// Fetches what was given along with its value; whether those were handles.
    #[inline]
    pub(crate) fn claim(&mut self, from: &impl Giver) -> bool {
        match self {
            ParentEvent::Value { value, .. }
            | ParentEvent::Ready(Ok(value))
            | ParentEvent::Items { results: value, .. } => {
                value.claim(from);
                value.has_handles()
            }
            _ => false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct ParentSession {
    state: State,
    ours: Hello,
    slots: Vec<Option<Outstanding>>,
    outstanding: usize,
    out: Outbox,
}

impl ParentSession {
    /// A session that waits for its worker's hello.
    pub(crate) fn new(ours: Hello) -> Self {
        ParentSession {
            state: State::AwaitHello,
            ours,
            slots: Vec::new(),
            outstanding: 0,
            out: Outbox::default(),
        }
    }

    // Getters.

    /// Whether the worker has at most one call, the one just given to it.
    pub(crate) fn is_alone(&self) -> bool {
        self.outstanding <= 1
    }

    /// Whether the worker has several calls.
    pub(crate) fn is_busy(&self) -> bool {
        self.outstanding > 1
    }

    /// Calls the worker has, with how many of their items are known.
    pub(crate) fn outstanding(&self) -> impl Iterator<Item = (u16, u64, u32)> + '_ {
        self.slots.iter().enumerate().filter_map(|(i, o)| o.map(|o| (i as u16, o.id, o.seen)))
    }

    // Input.

    /// Takes one message of the worker.
    pub(crate) fn handle(
        &mut self,
        message: Message<'_>,
    ) -> Result<Option<ParentEvent>, Violation> {
        let Header { kind, slot, id, .. } = message.header;
        let unexpected = Violation::Unexpected { kind, state: self.state.name() };
        match (kind, self.state) {
            (Kind::Hello, State::AwaitHello) => {
                let theirs: Hello = decode(kind, &mut received(message))?;
                self.ours.check(&theirs)?;
                self.state = State::AwaitReady;
                Ok(Some(ParentEvent::HelloAccepted))
            }
            // Draining: it was told to leave while it was still starting.
            (Kind::Ready, State::AwaitReady | State::Draining) => {
                let failed = message.header.flags.has(Flags::FAILED);
                let mut body = received(message);
                if self.state == State::AwaitReady {
                    self.state = State::Running;
                }
                Ok(Some(ParentEvent::Ready(if failed {
                    Err(decode(kind, &mut body)?)
                } else {
                    Ok(body)
                })))
            }
            (Kind::Value, State::Running | State::Draining) => {
                let call = self.outstanding_mut(kind, slot, id)?;
                if call.items != 0 {
                    return Err(Violation::UnknownCall { kind, slot, id });
                }
                self.release(slot);
                Ok(Some(ParentEvent::Value { id, value: received(message) }))
            }
            (Kind::Fault, State::Running | State::Draining) => {
                self.outstanding_mut(kind, slot, id)?;
                let fault = decode(kind, &mut received(message))?;
                self.release(slot);
                Ok(Some(ParentEvent::Fault { id, fault }))
            }
            (Kind::Items, State::Running | State::Draining) => {
                let call = self.outstanding_mut(kind, slot, id)?;
                let (meta, rest) =
                    ItemsMeta::split(message.meta).ok_or(Violation::Malformed(kind))?;
                let ItemsMeta { first, count } = meta;
                let end = u64::from(first) + u64::from(count);
                let last = end == u64::from(call.items);
                if first != call.seen || end > u64::from(call.items) || count == 0 {
                    return Err(Violation::Items {
                        first,
                        end,
                        items: call.items,
                        seen: call.seen,
                    });
                }
                call.seen = end as u32;
                let results = Received::of(message.body, rest).with_brought(message.brought);
                if last {
                    self.release(slot);
                }
                Ok(Some(ParentEvent::Items { id, count, last, results }))
            }
            (Kind::Cancelled, State::Running | State::Draining) => {
                self.outstanding_mut(kind, slot, id)?;
                self.release(slot);
                Ok(Some(ParentEvent::Cancelled { id }))
            }
            (Kind::Took, State::Running | State::Draining) => {
                // It may speak of a call that was taken back.
                let _ = self.outstanding_mut(kind, slot, id);
                Ok(Some(ParentEvent::HandlesTaken { id }))
            }
            (Kind::Progress, State::Running | State::Draining) => {
                // A report may cross the call's end on its way: ignored then.
                let Ok(_) = self.outstanding_mut(kind, slot, id) else {
                    return Ok(None);
                };
                let numbers = message.meta.first_chunk::<16>().ok_or(Violation::Malformed(kind))?;
                let mut done = [0; 8];
                let mut total = [0; 8];
                done.copy_from_slice(&numbers[..8]);
                total.copy_from_slice(&numbers[8..]);
                Ok(Some(ParentEvent::Progress {
                    id,
                    done: u64::from_le_bytes(done),
                    total: u64::from_le_bytes(total),
                }))
            }
            (Kind::Goodbye, State::Draining) => {
                self.state = State::Closed;
                Ok(Some(ParentEvent::Goodbye))
            }
            _ => Err(unexpected),
        }
    }

    fn outstanding_mut(
        &mut self,
        kind: Kind,
        slot: u16,
        id: u64,
    ) -> Result<&mut Outstanding, Violation> {
        match self.slots.get_mut(usize::from(slot)) {
            Some(Some(call)) if call.id == id => Ok(call),
            _ => Err(Violation::UnknownCall { kind, slot, id }),
        }
    }

    fn release(&mut self, slot: u16) {
        if self.slots[usize::from(slot)].take().is_some() {
            self.outstanding -= 1;
        }
    }

    // Commands.

    /// Hands a call to the worker in a free slot.
    ///
    /// A slot may still be taken if the worker answered a call that it never began
    /// (and that was taken back meanwhile): what it then says of that is a violation.
    ///
    /// # Panics
    /// If the slot is out of range: the scheduler gives slots out.
    #[inline]
    pub(crate) fn call(
        &mut self,
        slot: u16,
        id: u64,
        meta: CallMeta,
        payload: &Payload,
        brings: Option<&Brought>,
    ) {
        assert!(slot < MAX_SLOTS, "slot {slot} of {MAX_SLOTS}");
        let index = usize::from(slot);
        if self.slots.len() <= index {
            self.slots.resize(index + 1, None);
        }
        let call = Outstanding { id, items: meta.items, seen: 0 };
        if self.slots[index].replace(call).is_none() {
            self.outstanding += 1;
        }
        let mut header = Header::new(Kind::Call, slot, id, 0);
        match brings {
            None => self.out.message(header, &meta.encode(), payload),
            Some(brought) => {
                header.flags = Flags::BRINGS;
                self.out.message(header, &brought.encode(&meta.encode()), payload);
            }
        }
    }

    /// Asks the worker to drop an async call.
    pub(crate) fn cancel(&mut self, slot: u16, id: u64) {
        if self.outstanding_mut(Kind::Cancel, slot, id).is_ok() {
            self.out.control(Header::new(Kind::Cancel, slot, id, 0));
        }
    }

    /// Forgets a call that the worker is known never to begin.
    pub(crate) fn taken_back(&mut self, slot: u16, id: u64) {
        if self.outstanding_mut(Kind::Call, slot, id).is_ok() {
            self.release(slot);
        }
    }

    /// Asks the worker to exit once it is done with what it has.
    pub(crate) fn shutdown(&mut self) {
        if matches!(self.state, State::Running | State::AwaitReady) {
            self.state = State::Draining;
            self.out.message(Header::new(Kind::Shutdown, 0, 0, 0), &[], &Payload::empty());
        }
    }

    // Output.

    pub(crate) fn outbox(&mut self) -> &mut Outbox {
        &mut self.out
    }
}

fn received(message: Message<'_>) -> Received {
    Received::of(message.body, message.meta).with_brought(message.brought)
}

/// Messages of the protocol itself are small; nothing in them may be large.
fn decode<T: serde::de::DeserializeOwned + 'static>(
    kind: Kind,
    body: &mut Received,
) -> Result<T, Violation> {
    let (head, _) = body.parts();
    postcard::from_bytes(head).map_err(|_| Violation::Malformed(kind))
}
