//! What a client is to be told, and what is done about what it is not told after all.

use std::collections::VecDeque;
use std::sync::Arc;

use super::object::{Said, Undo, reply};
use super::value::{Account, Hold};
use crate::manager::op::{DONE, FAILED, NO_REPLY};
use crate::wire::{Header, Kind, Outbox, Payload};

/// Bytes of replies that wait before nothing more is heard.
const MAX_UNREAD: usize = 4 << 20;
/// Replies that hand something out and wait.
const MAX_HANDED_OUT: usize = 1 << 14;
/// Replies of more bytes count as what their client has, until they are sent.
pub(super) const LONG: usize = 64 << 10;

#[derive(Default)]
pub(super) struct Replies {
    pub(super) out: Outbox,
    /// Bytes that were ever to be sent.
    said: u64,
    waiting: VecDeque<Waiting>,
}

/// A reply that is not sent yet.
struct Waiting {
    /// It is when so many bytes have been.
    end: u64,
    undo: Option<Undo>,
    _hold: Option<Hold>,
}

impl Replies {
    /// A client that does not read what it is told is not heard.
    pub(super) fn are_too_many(&self) -> bool {
        self.out.len() > MAX_UNREAD || self.waiting.len() > MAX_HANDED_OUT
    }

    /// A frame of a handshake.
    pub(super) fn frame(&mut self, kind: Kind, bytes: &[u8]) {
        let before = self.out.len();
        self.out.frame(Header::new(kind, 0, 0, 0), bytes);
        self.said += (self.out.len() - before) as u64;
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, id: u64, said: Said, account: &Arc<Account>) {
        if id == NO_REPLY {
            // It is had by whoever did not want to hear of it.
            if let Some(undo) = said.undo {
                undo.disarm();
            }
            return;
        }
        let (status, bytes) = match said.reply {
            Ok(bytes) => (DONE, bytes),
            Err(fault) => (FAILED, reply(&fault).unwrap_or_default()),
        };
        let hold = (bytes.len() > LONG).then(|| account.hold_in_any_case(bytes.len() as u64));
        let before = self.out.len();
        let payload = Payload::from_bytes(bytes.into(), Vec::new(), Vec::new());
        self.out.message(Header::new(Kind::Reply, 0, id, 0), &[status], &payload);
        self.said += (self.out.len() - before) as u64;
        if said.undo.is_some() || hold.is_some() {
            self.waiting.push_back(Waiting { end: self.said, undo: said.undo, _hold: hold });
        }
    }

    /// Some of it may have been sent: what was has been handed out for good.
    pub(super) fn were_sent(&mut self) {
        let sent = self.said - self.out.len() as u64;
        while self.waiting.front().is_some_and(|first| first.end <= sent) {
            if let Some(Waiting { undo: Some(undo), .. }) = self.waiting.pop_front() {
                undo.disarm();
            }
        }
    }

    /// The connection is over: what was not sent comes back.
    pub(super) fn give_back(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn handed_out(undone: &Arc<AtomicU64>) -> Said {
        let undone = undone.clone();
        let undo = move || {
            undone.fetch_add(1, Ordering::Relaxed);
        };
        Said::with(Ok(vec![1; 10]), Undo::new(undo))
    }

    #[test]
    fn what_was_sent_does_not_come_back_though_more_was_to_be() {
        let (account, undone) = (Account::new(1 << 20), Arc::default());
        let mut replies = Replies::default();
        replies.answer(1, handed_out(&undone), &account);
        let first = replies.out.len();
        replies.answer(2, Said::from(Ok(vec![0; 100_000])), &account);
        replies.answer(3, handed_out(&undone), &account);
        assert_eq!(account.bytes(), 100_000);
        replies.out.advance(first - 1);
        replies.were_sent();
        assert_eq!(replies.waiting.len(), 3);
        replies.out.advance(1);
        replies.were_sent();
        assert_eq!(replies.waiting.len(), 2);
        replies.give_back();
        assert_eq!(undone.load(Ordering::Relaxed), 1);
        assert_eq!(account.bytes(), 0);
    }

    /// Else they would be kept for ever, of a client that wants no replies.
    #[test]
    fn what_nobody_wants_to_hear_of_is_had() {
        let (account, undone) = (Account::new(1 << 20), Arc::default());
        let mut replies = Replies::default();
        replies.answer(NO_REPLY, handed_out(&undone), &account);
        assert!(replies.waiting.is_empty() && replies.out.is_empty());
        assert_eq!(undone.load(Ordering::Relaxed), 0);
    }
}
