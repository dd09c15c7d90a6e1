//! What an end was given to send and has not sent yet. Pure.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::error::SendErrorKind;
use super::inlet::MAX_MESSAGE;
use crate::sys::{Handle, HandleRef, MAX_PASSED, STREAMS_CARRY_HANDLES, handle_ref};
use crate::task::{Kept, encode_kept};
use crate::wire::{
    Attached, Brought, Flags, Header, Kind, MAX_INLINE, Outbox, Payload, PayloadBuilder,
};

/// Memory for encoding that is kept from one message to the next.
const KEPT: usize = MAX_INLINE;
/// What a sink gathers before it writes.
const GATHERED: usize = MAX_INLINE;

#[derive(Debug)]
pub(super) struct Outlet {
    outbox: Outbox,
    /// What goes along with the first byte of the outbox.
    handles: Vec<Arc<Handle>>,
    /// A message that takes handles along, while something is in front of it.
    held: Option<Payload>,
    builder: PayloadBuilder,
    /// Some of what was queued since it was last empty has left.
    begun: bool,
    /// Why nothing leaves any more.
    failed: Option<(io::ErrorKind, String)>,
    max_message: u64,
}

impl Outlet {
    pub(super) fn new() -> Self {
        Outlet {
            outbox: Outbox::default(),
            handles: Vec::new(),
            held: None,
            builder: PayloadBuilder::default(),
            begun: false,
            failed: None,
            max_message: MAX_MESSAGE,
        }
    }

    pub(super) fn set_max_message(&mut self, max: u64) {
        self.max_message = max;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outbox.is_empty() && self.held.is_none()
    }

    /// Queues a value; gives it back where that fails.
    pub(super) fn value<T: Serialize + 'static>(
        &mut self,
        value: T,
    ) -> (Kept<T>, Result<(), SendErrorKind>) {
        self.builder.head.clear();
        self.builder.head.shrink(KEPT);
        self.builder.blobs.clear();
        self.builder.attached.clear();
        let (kept, done) = encode_kept(value, &mut self.builder);
        let done = match done {
            Ok(()) => self.queue_built(std::any::type_name::<T>()),
            Err(e) => Err(SendErrorKind::Encode {
                type_name: std::any::type_name::<T>(),
                reason: e.to_string(),
            }),
        };
        if done.is_err() {
            self.builder.blobs.clear();
            self.builder.attached.clear();
        }
        (kept, done)
    }

    fn queue_built(&mut self, type_name: &'static str) -> Result<(), SendErrorKind> {
        let len = self.builder.len();
        self.admit(len)?;
        if !self.builder.attached.is_empty() {
            return self.queue_with_handles(type_name);
        }
        let header = Header::new(Kind::Message, 0, 0, 0);
        if self.builder.blobs.is_empty() && len <= MAX_INLINE {
            self.outbox.frame(header, self.builder.head.as_slice());
        } else {
            let payload = std::mem::take(&mut self.builder).finish();
            self.outbox.message(header, &[], &payload);
        }
        Ok(())
    }

    #[cold]
    fn queue_with_handles(&mut self, type_name: &'static str) -> Result<(), SendErrorKind> {
        let attached = &self.builder.attached;
        if !STREAMS_CARRY_HANDLES {
            let what = "passing handles over a pipe on this system; pass them with a call";
            return Err(SendErrorKind::Unsupported { what });
        }
        if attached.iter().any(|a| !matches!(a, Attached::Handle(_))) {
            let what = "passing queues, locks and the like over a pipe; pass them with a call, or as an item of a queue";
            return Err(SendErrorKind::Unsupported { what });
        }
        if attached.len() > MAX_PASSED {
            let reason = format!(
                "it takes {} handles along, and a message can take {MAX_PASSED}",
                attached.len()
            );
            return Err(SendErrorKind::Encode { type_name, reason });
        }
        let payload = std::mem::take(&mut self.builder).finish();
        if self.outbox.is_empty() {
            self.begin_with_handles(&payload);
        } else {
            self.held = Some(payload);
        }
        Ok(())
    }

    fn begin_with_handles(&mut self, payload: &Payload) {
        for attached in payload.attached() {
            if let Attached::Handle(handle) = attached {
                self.handles.push(handle.clone());
            }
        }
        let brought = Brought { handles: vec![0; self.handles.len()], objects: Vec::new() };
        let mut header = Header::new(Kind::Message, 0, 0, 0);
        header.flags = Flags::BRINGS;
        self.outbox.message(header, &brought.encode(&[]), payload);
    }

    /// Queues bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), SendErrorKind> {
        self.admit(bytes.len())?;
        let header = Header::new(Kind::Bytes, 0, 0, 0);
        if bytes.len() <= MAX_INLINE {
            self.outbox.frame(header, bytes);
        } else {
            let payload =
                Payload::from_bytes(Bytes::copy_from_slice(bytes), Vec::new(), Vec::new());
            self.outbox.message(header, &[], &payload);
        }
        Ok(())
    }

    fn admit(&mut self, len: usize) -> Result<(), SendErrorKind> {
        self.check()?;
        if self.held.is_some() {
            return Err(SendErrorKind::Full);
        }
        if len as u64 > self.max_message {
            return Err(SendErrorKind::TooLong { len: len as u64, max: self.max_message });
        }
        if self.outbox.is_empty() {
            self.begun = false;
        }
        Ok(())
    }

    /// Whether some more may be queued before what is there has left.
    pub(super) fn has_room(&self) -> bool {
        self.held.is_none() && self.outbox.len() < GATHERED
    }

    /// Forgets the one message it holds unless some of it has left; true if it did.
    pub(super) fn withdraw(&mut self) -> bool {
        if !self.begun {
            self.clear();
        }
        !self.begun
    }

    /// What is here cannot be written. If some of it has left, nothing may leave any more: the
    /// other end would take it for the rest of a message. True if that is so.
    #[cold]
    pub(super) fn fail(&mut self, error: &io::Error) -> bool {
        if self.withdraw() {
            return false;
        }
        self.refuse(error);
        true
    }

    /// Takes and keeps nothing any more.
    #[cold]
    pub(super) fn refuse(&mut self, error: &io::Error) {
        self.clear();
        self.failed = Some((error.kind(), error.to_string()));
    }

    /// An error if nothing may leave any more.
    pub(super) fn check(&self) -> io::Result<()> {
        match &self.failed {
            None => Ok(()),
            Some((kind, words)) => Err(io::Error::new(*kind, words.clone())),
        }
    }

    /// Forgets everything: it can go nowhere any more.
    fn clear(&mut self) {
        self.outbox.clear();
        self.handles.clear();
        self.held = None;
        self.builder.blobs.clear();
    }

    /// Offers what is to be written next, and what goes along with its first byte.
    pub(super) fn offer<R>(
        &mut self,
        write: impl FnOnce(&[IoSlice<'_>], &[HandleRef<'_>]) -> R,
    ) -> R {
        let handles: Vec<_> = self.handles.iter().map(|handle| handle_ref(handle)).collect();
        match self.outbox.single() {
            Some(bytes) => write(&[IoSlice::new(bytes)], &handles),
            None => write(&self.outbox.slices(), &handles),
        }
    }

    pub(super) fn advance(&mut self, n: usize) {
        self.begun |= n > 0;
        if n > 0 && !self.handles.is_empty() {
            self.handles.clear();
        }
        self.outbox.advance(n);
        if self.held.is_some() && self.outbox.is_empty() {
            let Some(payload) = self.held.take() else { unreachable!("it is some") };
            self.begun = false;
            self.begin_with_handles(&payload);
        }
    }
}
