//! Another process, as the owner of the objects sees it: what it says, and what is said to it.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::closer::drop_elsewhere;
use super::note::{Note, bringing, give_by};
use super::ring::{Direction, HasRings, Reader, Writer};
use super::seat::End;
use super::server::{SeatId, Server};
use crate::sys::{self, Bell, HandleChannel};
use crate::wire::{Assembler, Brought, Giver, Guard, Header, Kind, Outbox, Payload, Received};

/// What a message has besides its value, at most.
const BESIDE: u64 = 1 << 16;
/// Things said to a process that it has not read, from which on it is one that asks and does not
/// read: an honest one has a task for each.
const MAX_UNSENT: usize = 1 << 20;
/// Things to be said that may be looked through while a process does not read.
const MAX_LABOUR: usize = 1 << 26;
/// Bytes made ready to be sent, beyond which more is not.
const READY: usize = 1 << 20;
/// For so long a process waits until this one has room for its handles.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a process has said about an object.
pub(super) struct Said {
    pub(super) by: SeatId,
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) note: Note,
    /// When.
    pub(super) at: u64,
    pub(super) value: Received,
}

/// Why a process is not listened to any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Broken(pub(super) &'static str);

const NONSENSE: Broken = Broken("it wrote something that is no message");
const SCRIBBLED: Broken = Broken("it made nonsense of the memory it shares");
const TOO_MUCH: Broken = Broken("it asked for more than a million things without reading any");
const CHEATED: Broken = Broken("it gave handles against the rules");

/// What is said to a process and not made ready to be sent.
struct Unsaid {
    kind: Kind,
    object: u64,
    note: Note,
    value: Payload,
}

/// The way to one process and from it.
pub(super) struct Line {
    pub(super) holder: Arc<dyn HasRings>,
    pub(super) bell: Bell,
    pub(super) channel: Option<Arc<HandleChannel>>,
}

/// One other process.
pub(super) struct Guest {
    reader: Reader,
    writer: Writer,
    assembler: Assembler,
    /// What is ready to be sent, and what follows it.
    outbox: Outbox,
    unsaid: VecDeque<Unsaid>,
    /// What objects say that need not be said twice; after all else.
    pokes: BTreeMap<u64, Note>,
    /// What was looked through to take something back, since nothing was left to be said.
    labour: usize,
    bell: Bell,
    channel: Option<Arc<HandleChannel>>,
    /// Longest value it may send.
    pub(super) max_value: u64,
    /// Who has introduced it.
    pub(super) parent: SeatId,
    /// The owner's own child that it descends from, or is.
    pub(super) family: SeatId,
    /// What it did against the rules, found while something was said to it.
    broken: Option<Broken>,
    /// There are handles that found no room.
    backlog: bool,
    /// When it said what it said last.
    said_at: u64,
    /// What it said last, which brings handles that this process has no room for, and until when
    /// that is waited for; or by which it broke the rules.
    stuck: Option<(Said, Instant)>,
    /// That is not waited for until all is read that is there.
    hurried: bool,
    /// It broke the rules: nothing more of it is heard.
    pub(super) distrusted: bool,
    /// What is heard of it now is its last words.
    pub(super) ended: bool,
    /// Ends it, if it breaks the rules.
    pub(super) end: Option<End>,
    /// On which it was started.
    pub(super) runtime: Option<Handle>,
    /// What tells of its end, if it is no child of the owner's.
    pub(super) life: Option<sys::Handle>,
}

impl Guest {
    /// A process whose parent is `parent`.
    pub(super) fn new(line: Line, max_value: u64, parent: SeatId, family: SeatId) -> Self {
        let Line { holder, bell, channel } = line;
        let reader = Reader::new(holder.clone(), Direction::Up);
        // From the first byte on it is to ring.
        reader.fall_asleep();
        Guest {
            reader,
            writer: Writer::new(holder, Direction::Down),
            assembler: Assembler::new(max_value.saturating_add(BESIDE), sys::advise_huge),
            outbox: Outbox::default(),
            unsaid: VecDeque::new(),
            pokes: BTreeMap::new(),
            labour: 0,
            bell,
            channel,
            max_value,
            parent,
            family,
            broken: None,
            backlog: false,
            said_at: 0,
            stuck: None,
            hurried: false,
            distrusted: false,
            ended: false,
            end: None,
            runtime: None,
            life: None,
        }
    }

    /// Whether something is to be heard from it.
    pub(super) fn has_spoken(&self) -> bool {
        let stuck = self.stuck.as_ref();
        !self.distrusted && stuck.map_or(!self.reader.is_empty(), |stuck| !self.waits(stuck))
    }

    /// Has it ring from now on; false if it has said something meanwhile.
    pub(super) fn fall_asleep(&self) -> bool {
        // Nobody rings when there is room for handles: that is looked for.
        self.distrusted || self.stuck.is_some() || self.reader.fall_asleep()
    }

    /// Whether what it said is not to be followed yet: for want of descriptors, which is waited for,
    /// but not for ever: what would give some back may be what it says next.
    fn waits(&self, (said, until): &(Said, Instant)) -> bool {
        let handles = said.value.brought_handles();
        let short = self.channel.as_ref().is_some_and(|channel| channel.is_short(handles));
        // What is not taken at its end is lost.
        short && !self.ended && !self.hurried && Instant::now() < *until
    }

    /// All that it has said by now is needed, whatever it brings.
    pub(super) fn wait_no_more(&mut self) {
        self.hurried = self.stuck.is_some() || !self.reader.is_empty();
    }

    /// Reads as much as is there when it is looked at: others are heard too.
    pub(super) fn read(&mut self, id: SeatId, said: &mut Vec<Said>) -> Result<(), Broken> {
        if self.distrusted {
            return Ok(());
        }
        let mut left = self.reader.waiting();
        loop {
            while let Some(one) = self.next_whole(id)? {
                said.push(one);
            }
            if left == 0 || self.stuck.is_some() {
                break;
            }
            let (buf, max) = self.assembler.target();
            let n = self.reader.read(buf, max.min(left)).map_err(|_| SCRIBBLED)?;
            left = if n == 0 { 0 } else { left - n };
            self.assembler.received(n);
        }
        self.hurried &= !self.reader.is_empty();
        if self.reader.must_ring() && self.writer.must_ring() {
            // Whatever it sleeps for.
            self.ring();
        }
        Ok(())
    }

    /// The next of what is here as a whole, unless it brings handles and there is no room for them.
    fn next_whole(&mut self, id: SeatId) -> Result<Option<Said>, Broken> {
        let stuck = match self.stuck.take() {
            Some(stuck) => stuck,
            None => {
                let Some(message) = self.assembler.next().map_err(|_| NONSENSE)? else {
                    return Ok(None);
                };
                let Header { kind, id: object, .. } = message.header;
                let (note, at, value) = Note::take(message).ok_or(NONSENSE)?;
                self.said_at = self.said_at.max(at);
                let mut said = Said { by: id, id: object, kind, note, at: self.said_at, value };
                if said.value.brought_handles() == 0 {
                    said.value.claim(&Sender(None));
                    return Ok(Some(said));
                }
                (said, Instant::now() + PATIENCE)
            }
        };
        if self.waits(&stuck) {
            self.stuck = Some(stuck);
            return Ok(None);
        }
        let (mut said, until) = stuck;
        said.value.claim(&Sender(self.channel.as_deref()));
        if self.channel.as_ref().is_some_and(|channel| channel.is_cheated()) {
            // With what it has brought by then, which is not to be closed here.
            self.stuck = Some((said, until));
            return Err(CHEATED);
        }
        Ok(Some(said))
    }

    /// Reads its last words: nothing that it says later is heard, nor seems so to it.
    pub(super) fn end(&mut self, id: SeatId, said: &mut Vec<Said>) -> Result<(), Broken> {
        self.ended = true;
        self.reader.end();
        self.read(id, said)
    }

    /// Says something to the process about an object.
    pub(super) fn say(&mut self, object: u64, note: Note, value: Payload) {
        self.queue(Unsaid { kind: Kind::Note, object, note, value });
    }

    /// Says something about an object, once with all that was said like that before and is not ready to be sent.
    pub(super) fn poke(&mut self, object: u64, note: Note) {
        if self.distrusted {
            return;
        }
        let said = self.pokes.entry(object).or_insert(note);
        for (all, one) in said.numbers.iter_mut().zip(note.numbers) {
            *all |= one;
        }
    }

    /// Says something that the objects know nothing of.
    pub(super) fn manage(&mut self, code: u16, id: u64) {
        let note = Note::new(code, [0; 3]);
        self.queue(Unsaid { kind: Kind::Manage, object: id, note, value: Payload::empty() });
    }

    fn queue(&mut self, unsaid: Unsaid) {
        if !self.distrusted {
            self.unsaid.push_back(unsaid);
        }
    }

    /// Takes back what an object has said and is not ready to be sent: the process that was to
    /// hear it has no use for it any more.
    pub(super) fn unsay(&mut self, object: u64, waste: &mut Vec<Payload>) {
        // Who makes that laborious does not read what it is told.
        self.labour += self.unsaid.len();
        if self.labour > MAX_LABOUR {
            self.broken = Some(TOO_MUCH);
            return;
        }
        let unsaid = std::mem::take(&mut self.unsaid);
        for one in unsaid {
            if (one.kind, one.object) == (Kind::Note, object) {
                waste.push(one.value);
            } else {
                self.unsaid.push_back(one);
            }
        }
    }

    /// Makes ready what is to be sent next.
    fn make_ready(&mut self, server: &mut Server, id: SeatId, waste: &mut Vec<Payload>) {
        while self.outbox.len() < READY
            && let Some(Unsaid { kind, object, note, value }) = self.unsaid.pop_front()
        {
            let header = note.header(kind, object);
            if value.attached().is_empty() {
                self.outbox.message(header, &note.encode(0), &value);
                continue;
            }
            let brought = Brought::give(
                value.attached(),
                |handle| give_by(self.channel.as_deref(), handle),
                |name, _| {
                    server.grant(name.id, id);
                    true
                },
            );
            self.backlog |= !brought.handles.is_empty();
            self.outbox.message(bringing(header), &brought.encode(&note.encode(0)), &value);
            waste.push(value);
        }
        while self.outbox.len() < READY
            && self.unsaid.is_empty()
            && let Some((object, note)) = self.pokes.pop_first()
        {
            self.outbox.message(
                note.header(Kind::Note, object),
                &note.encode(0),
                &Payload::empty(),
            );
        }
    }

    /// Sends what there is room for.
    pub(super) fn flush(&mut self, server: &mut Server, id: SeatId, waste: &mut Vec<Payload>) {
        if self.backlog
            && let Some(channel) = &self.channel
        {
            self.backlog = !channel.flush().unwrap_or(true);
        }
        if self.distrusted || self.broken.is_some() {
            return;
        }
        if self.outbox.is_empty() && self.unsaid.is_empty() && self.pokes.is_empty() {
            self.labour = 0;
            return;
        }
        loop {
            self.make_ready(server, id, waste);
            if self.outbox.is_empty() {
                break;
            }
            let slices = self.outbox.slices();
            let Ok(n) = self.writer.write(&slices) else {
                self.broken = Some(SCRIBBLED);
                return;
            };
            drop(slices);
            self.outbox.advance(n);
            if n == 0 && self.writer.want_room() {
                break;
            }
        }
        if self.unsaid.len() > MAX_UNSENT {
            self.broken = Some(TOO_MUCH);
        }
        if self.writer.must_ring() {
            self.ring();
        }
    }

    /// What it did against the rules, if that is not known yet.
    pub(super) fn breach(&self) -> Option<Broken> {
        self.broken.filter(|_| !self.distrusted)
    }

    /// Listens to it no more; what it was to be told, which holds values.
    pub(super) fn distrust(&mut self) -> impl Any + Send {
        self.distrusted = true;
        (std::mem::take(&mut self.outbox), std::mem::take(&mut self.unsaid), self.stuck.take())
    }

    fn ring(&self) {
        let (block, word) = self.writer.sleeps_on();
        self.bell.ring(block, word);
    }
}

/// Fetches what a process has sent along.
struct Sender<'a>(Option<&'a HandleChannel>);

impl Giver for Sender<'_> {
    fn take(&self, token: u64) -> io::Result<sys::Handle> {
        self.0.ok_or(io::ErrorKind::Unsupported)?.take(token, drop_elsewhere)
    }

    fn guard(&self, _: u64) -> Guard {
        // It becomes a hold when the value is made ready to be sent on.
        Box::new(())
    }
}
