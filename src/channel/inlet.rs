//! What has arrived at an end and was not handed out. Pure.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;

use super::error::{MessageKind, RecvError};
use crate::hub::drop_elsewhere;
use crate::sys::{HandleSet, MAX_PASSED};
use crate::wire::{
    Assembler, Body, Brought, DecodeLimits, Flags, Handles, Header, Kind, Message, Outbox, Payload,
    WireError,
};

/// Messages are no longer than this unless that is changed.
pub(super) const MAX_MESSAGE: u64 = 1 << 30;
/// What a message that waits, and each large part of it, is taken to cost beside its bytes.
const OVERHEAD: u64 = 64;
/// Handles that may wait with messages before no more are taken in.
const HANDLES: usize = 8 * MAX_PASSED;
/// Sets of handles that may have come ahead of the end of their messages: an honest sender
/// has one.
const SETS: usize = 4;

#[derive(Debug)]
pub(super) struct Inlet {
    assembler: Assembler,
    /// What came along with bytes of messages that were not handed out.
    sets: VecDeque<HandleSet>,
    /// Whole messages that were taken in before anybody asked for them.
    waiting: VecDeque<Arrived>,
    waiting_bytes: u64,
    waiting_handles: usize,
    over: Option<Over>,
    /// A stream has said why it is over.
    said: bool,
    pub(super) limits: DecodeLimits,
    max_message: u64,
}

/// A whole message. What was streamed has memory of its own.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    /// Of a message that was not streamed, all of it.
    pub(super) inline: &'a [u8],
    pub(super) head: Vec<u8>,
    pub(super) blobs: Vec<Vec<u8>>,
    pub(super) handles: Handles,
    /// Handles that came and found no room in this process.
    pub(super) lost: usize,
}

impl Incoming<'_> {
    /// The message's bytes before its large parts.
    pub(super) fn head(&self) -> &[u8] {
        if self.inline.is_empty() { &self.head } else { self.inline }
    }

    /// All of it as one vector, without a copy if it was streamed.
    pub(super) fn into_vec(self) -> Vec<u8> {
        if self.inline.is_empty() { self.head } else { self.inline.to_vec() }
    }
}

#[derive(Debug)]
struct Arrived {
    kind: MessageKind,
    head: Vec<u8>,
    blobs: Vec<Vec<u8>>,
    /// How many it says come along, and those that did.
    brings: usize,
    set: Option<HandleSet>,
}

impl Arrived {
    fn len(&self) -> u64 {
        (self.head.len() + self.blobs.iter().map(Vec::len).sum::<usize>()) as u64
    }

    fn cost(&self) -> u64 {
        self.len() + OVERHEAD * (1 + self.blobs.len() as u64)
    }
}

/// Why nothing more will arrive.
#[derive(Debug)]
enum Over {
    Closed,
    Truncated,
    Broken(String),
    Io(io::ErrorKind, String),
}

impl Over {
    fn error(&self) -> RecvError {
        match self {
            Over::Closed => RecvError::Closed,
            Over::Truncated => RecvError::Truncated,
            Over::Broken(reason) => RecvError::Broken { reason: reason.clone() },
            Over::Io(kind, words) => RecvError::Io(io::Error::new(*kind, words.clone())),
        }
    }
}

impl Inlet {
    pub(super) fn new() -> Self {
        Inlet {
            assembler: Assembler::new(MAX_MESSAGE, crate::sys::advise_huge),
            sets: VecDeque::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            waiting_handles: 0,
            over: None,
            said: false,
            limits: DecodeLimits::default(),
            max_message: MAX_MESSAGE,
        }
    }

    pub(super) fn set_max_message(&mut self, max: u64) {
        self.max_message = max;
        self.assembler.set_max_message(max);
    }

    /// Where the next bytes go, how many at most, and where what comes along with them.
    pub(super) fn target(&mut self) -> (&mut Vec<u8>, usize, &mut VecDeque<HandleSet>) {
        let (buf, max) = self.assembler.target();
        (buf, max, &mut self.sets)
    }

    /// So many bytes came, or with 0 the end.
    pub(super) fn received(&mut self, n: usize) {
        if n > 0 {
            self.assembler.received(n);
            let too_many = self.sets.back().is_some_and(|set| set.handles.len() > MAX_PASSED);
            if too_many || self.sets.len() > SETS {
                drop_elsewhere(std::mem::take(&mut self.sets));
                self.end(Over::Broken("handles that belong to no message".to_owned()));
            }
        } else {
            // Whole messages that nobody has asked for yet are no part of one.
            self.take_in();
            let whole = self.assembler.is_between_messages();
            self.end(if whole { Over::Closed } else { Over::Truncated });
        }
    }

    pub(super) fn fail(&mut self, error: &io::Error) {
        self.end(Over::Io(error.kind(), error.to_string()));
    }

    #[cold]
    fn end(&mut self, over: Over) {
        self.over.get_or_insert(over);
    }

    /// True the first time.
    pub(super) fn say_once(&mut self) -> bool {
        !std::mem::replace(&mut self.said, true)
    }

    /// Kind and length of the next message if all of it is there; the reason when there
    /// will be none.
    pub(super) fn front(&mut self) -> Result<Option<(MessageKind, u64)>, RecvError> {
        loop {
            if let Some(first) = self.waiting.front() {
                return Ok(Some((first.kind, first.len())));
            }
            if let Some(header) = self.assembler.whole_frame()
                && !header.flags.has(Flags::BRINGS)
                && u64::from(header.len) <= self.max_message
                && let Some(kind) = kind(header.kind)
            {
                return Ok(Some((kind, header.len.into())));
            }
            if !self.set_aside()? {
                return Ok(None);
            }
        }
    }

    /// Takes the message that [`Inlet::front`] told of.
    pub(super) fn pop(&mut self) -> Option<Incoming<'_>> {
        if let Some(first) = self.waiting.pop_front() {
            self.waiting_bytes -= first.cost();
            self.waiting_handles -= first.brings;
            let (handles, lost) = handed(first.brings, first.set);
            let Arrived { head, blobs, .. } = first;
            return Some(Incoming { inline: &[], head, blobs, handles, lost });
        }
        match self.assembler.next() {
            Ok(Some(Message { meta, .. })) => {
                let (head, blobs) = (Vec::new(), Vec::new());
                Some(Incoming { inline: meta, head, blobs, handles: None, lost: 0 })
            }
            _ => None,
        }
    }

    /// Whether more may be taken in that nobody has asked for yet.
    pub(super) fn has_room(&self) -> bool {
        self.over.is_none()
            && self.waiting_bytes < self.max_message
            && self.waiting_handles < HANDLES
    }

    /// Moves what is whole to where it can wait.
    pub(super) fn take_in(&mut self) {
        while let Ok(true) = self.set_aside() {}
    }

    /// The same with one message; false if none is whole.
    fn set_aside(&mut self) -> Result<bool, RecvError> {
        if let Some(over @ Over::Broken(_)) = &self.over {
            return Err(over.error());
        }
        let reason = match self.assembler.next() {
            Ok(Some(message)) => match sorted(message) {
                Ok(arrived) if arrived.len() > self.max_message => {
                    let (len, max) = (arrived.len(), self.max_message);
                    WireError::MessageTooLong { len, max }.to_string()
                }
                Ok(mut arrived) => {
                    if arrived.brings > 0 {
                        arrived.set = self.sets.pop_front();
                    }
                    let came = arrived.set.as_ref().map_or(0, |set| set.handles.len());
                    if came <= arrived.brings {
                        self.waiting_bytes += arrived.cost();
                        self.waiting_handles += arrived.brings;
                        self.waiting.push_back(arrived);
                        return Ok(true);
                    }
                    drop_elsewhere(arrived.set);
                    format!("{came} handles with a message of {}", arrived.brings)
                }
                Err(reason) => reason,
            },
            Ok(None) => return self.over.as_ref().map_or(Ok(false), |over| Err(over.error())),
            Err(violation) => violation.to_string(),
        };
        // Whatever else was said of its end: it is this that is wrong with it.
        let over = self.over.insert(Over::Broken(reason));
        Err(over.error())
    }

    /// What was received and not handed out, as it came, for another process; `None` where
    /// that cannot be told.
    pub(super) fn unread(&self) -> Option<Vec<u8>> {
        let handles = self.waiting_handles + self.sets.len();
        let broken = !matches!(self.over, None | Some(Over::Closed));
        if handles > 0 || broken {
            return None;
        }
        let rest = self.assembler.unfinished()?;
        let mut bytes = Vec::new();
        for message in &self.waiting {
            let kind = match message.kind {
                MessageKind::Value => Kind::Message,
                MessageKind::Bytes => Kind::Bytes,
            };
            let blobs = message.blobs.iter().map(|blob| Bytes::copy_from_slice(blob)).collect();
            let mut outbox = Outbox::default();
            let payload = Payload::from_parts(message.head.clone(), blobs);
            outbox.message(Header::new(kind, 0, 0, 0), &[], &payload);
            while !outbox.is_empty() {
                let slices = outbox.slices();
                let n = slices.iter().map(|slice| slice.len()).sum();
                slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
                outbox.advance(n);
            }
        }
        bytes.extend_from_slice(rest);
        Some(bytes)
    }

    /// What [`Inlet::unread`] gave elsewhere.
    pub(super) fn put_back(&mut self, unread: &[u8]) {
        self.assembler.extend(unread);
        self.take_in();
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        let mut sets = std::mem::take(&mut self.sets);
        sets.extend(self.waiting.drain(..).filter_map(|message| message.set));
        if !sets.is_empty() {
            drop_elsewhere(sets);
        }
    }
}

/// A message for the queue, or what is wrong with it.
fn sorted(message: Message<'_>) -> Result<Arrived, String> {
    let Message { header, meta, body, brought } = message;
    let Some(kind) = kind(header.kind) else {
        return Err(format!("a frame of kind {:?} that no pipe sends", header.kind));
    };
    let (head, blobs) = match body {
        Body::Inline => (meta.to_vec(), Vec::new()),
        Body::Streamed { head, blobs } if meta.is_empty() => (head, blobs),
        Body::Streamed { .. } => return Err("a streamed message with more in front".to_owned()),
    };
    if kind == MessageKind::Bytes && !(blobs.is_empty() && brought.is_none()) {
        return Err("bytes that are more than one string of them".to_owned());
    }
    let brings = match brought.as_deref() {
        None => 0,
        Some(Brought { handles, objects }) if objects.is_empty() && handles.len() <= MAX_PASSED => {
            handles.len()
        }
        Some(_) => return Err("a message that brings what no pipe carries".to_owned()),
    };
    Ok(Arrived { kind, head, blobs, brings, set: None })
}

/// The handles of a message, for its decoding, and how many of them were lost.
fn handed(brings: usize, set: Option<HandleSet>) -> (Handles, usize) {
    if brings == 0 {
        return (None, 0);
    }
    let HandleSet { handles, lost } = set.unwrap_or(HandleSet { handles: Vec::new(), lost: false });
    let lost = if lost { brings.saturating_sub(handles.len()) } else { 0 };
    // One that is missing is missed where it is decoded.
    (Some(Box::new(handles.into_iter().map(Ok).collect())), lost)
}

fn kind(kind: Kind) -> Option<MessageKind> {
    match kind {
        Kind::Message => Some(MessageKind::Value),
        Kind::Bytes => Some(MessageKind::Bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(payload: &Payload) -> Vec<u8> {
        let mut outbox = Outbox::default();
        outbox.message(Header::new(Kind::Message, 0, 0, 0), &[], payload);
        let mut bytes = Vec::new();
        while !outbox.is_empty() {
            let whole =
                outbox.slices().iter().flat_map(|slice| slice.to_vec()).collect::<Vec<u8>>();
            bytes.extend_from_slice(&whole);
            outbox.advance(whole.len());
        }
        bytes
    }

    #[test]
    fn what_waits_counts_with_all_its_parts() {
        let mut inlet = Inlet::new();
        inlet.set_max_message(1 << 20);
        let many_nothings = sent(&Payload::from_parts(Vec::new(), vec![Bytes::new(); 4000]));
        let mut taken = 0;
        while inlet.has_room() {
            inlet.put_back(&many_nothings);
            taken += 1;
            assert!(taken < 100, "each of them is a hundred kilobytes here");
        }
        while inlet.front().unwrap().is_some() {
            inlet.pop().unwrap();
            taken -= 1;
        }
        assert_eq!((taken, inlet.waiting_bytes), (0, 0));
    }

    /// The front of an inlet to which a message came that says that `brings` handles come along, and
    /// sets of so many.
    fn front_of(brings: usize, sets: &[usize]) -> Result<usize, RecvError> {
        let mut inlet = Inlet::new();
        let mut outbox = Outbox::default();
        let brought = Brought { handles: vec![0; brings], objects: Vec::new() };
        let header = Header { flags: Flags::BRINGS, ..Header::new(Kind::Message, 0, 0, 0) };
        outbox.message(header, &brought.encode(&[]), &Payload::from_slice(b"value"));
        let bytes = outbox.slices().iter().flat_map(|slice| slice.to_vec()).collect::<Vec<u8>>();
        let (buf, _, came) = inlet.target();
        buf.extend_from_slice(&bytes);
        came.extend(sets.iter().map(|n| {
            let handles = (0..*n).map(|_| crate::sys::stream_pair().unwrap().0).collect();
            HandleSet { handles, lost: false }
        }));
        inlet.received(bytes.len());
        inlet.front()?;
        Ok(inlet.waiting_handles)
    }

    #[test]
    fn no_more_handles_come_than_a_message_says() {
        assert_eq!(front_of(2, &[2]).unwrap(), 2);
        assert_eq!(front_of(2, &[1]).unwrap(), 2);
        assert_eq!(front_of(MAX_PASSED, &[MAX_PASSED]).unwrap(), MAX_PASSED);
        for (brings, sets) in
            [(1, &[2][..]), (1, &[MAX_PASSED]), (0, &[MAX_PASSED + 1]), (1, &[1; SETS + 1])]
        {
            let error = front_of(brings, sets).unwrap_err();
            assert!(matches!(error, RecvError::Broken { .. }), "{brings}, {sets:?}: {error:?}");
        }
    }
}
