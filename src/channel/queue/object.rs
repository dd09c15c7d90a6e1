//! A queue where it lives: its items, who has taken which, and who waits. Pure.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io;

use serde::{Deserialize, Serialize};

use crate::hub::{Note, OWNER, Object, ObjectKind, Out, SeatId};
use crate::wire::Payload;

/// The number of this kind of objects.
pub(super) const QUEUE: u64 = 1;

inventory::submit! {
    ObjectKind { number: QUEUE, make: |config, _| {
        let config = postcard::from_bytes(config).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(Box::new(QueueObject::new(config)))
    } }
}

/// What a queue is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    pub(super) max_items: u64,
    pub(super) max_bytes: u64,
    /// Items leave by their priority.
    pub(super) ordered: bool,
    /// Items are done when that is said.
    pub(super) joinable: bool,
}

impl Shape {
    pub(super) fn is_bounded(&self) -> bool {
        self.max_items != u64::MAX || self.max_bytes != u64::MAX
    }

    /// Bytes that an item may be said to have.
    fn largest(&self) -> u64 {
        if self.max_bytes == u64::MAX { 0 } else { 1 << 48 }
    }
}

/// What processes say to a queue.
pub(super) mod say {
    /// That it has a handle, and nothing of what it may have had before: `[a number of its own]`,
    /// which comes back with the shape.
    pub(crate) const HELLO: u16 = 0;
    /// `[the request by which it got a place, or 0; priority]` and the item.
    pub(crate) const PUT: u16 = 1;
    /// `[request, bytes, 1: now or never]`
    pub(crate) const RESERVE: u16 = 2;
    /// `[request]`
    pub(crate) const UNRESERVE: u16 = 3;
    /// `[how many more wait, how many may come in advance, request if it is now or never]`
    pub(crate) const GET: u16 = 4;
    /// `[item, 1 + an item that is done]`
    pub(crate) const TOOK: u16 = 5;
    /// `[item]`
    pub(crate) const DONE: u16 = 6;
    /// `[1: they were looked at]` and the numbers of at most [`RETURNED`](super::RETURNED) items, in
    /// their order.
    pub(crate) const RETURN: u16 = 7;
    /// `[request]`
    pub(crate) const ASK: u16 = 8;
    pub(crate) const CLOSE: u16 = 9;
    /// `[request]`
    pub(crate) const JOIN: u16 = 10;
    /// An item of the owner's that it does not want after all: `[1: it was redelivered, priority,
    /// item]` and the item.
    pub(crate) const PUT_BACK: u16 = 11;
    /// That nothing is to come until it is asked for again; answered.
    pub(crate) const STOP: u16 = 12;
    /// That it does not wait until all is done: `[request]`.
    pub(crate) const UNJOIN: u16 = 14;
}

/// What a queue says to processes.
pub(super) mod hear {
    /// `[item, flags, priority]` and the item.
    pub(crate) const ITEM: u16 = 1;
    /// `[request]`
    pub(crate) const GRANTED: u16 = 2;
    /// `[request]`: full, or empty, or closed; not now.
    pub(crate) const REFUSED: u16 = 3;
    pub(crate) const CLOSED: u16 = 4;
    /// It is closed, and nothing will come any more.
    pub(crate) const DRAINED: u16 = 5;
    /// `[request, items, room for so many more]`
    pub(crate) const ANSWER: u16 = 6;
    /// `[request]`
    pub(crate) const FINISHED: u16 = 7;
    /// What it is like: the answer to a hello, `[its number]`. What came before was for handles that
    /// are no more.
    pub(crate) const SHAPE: u16 = 8;
    /// Nothing comes any more.
    pub(crate) const STOPPED: u16 = 9;

    /// It was taken before, by somebody who has died or given up.
    pub(crate) const REDELIVERED: u64 = 1;
    /// Its place is wanted: say at once that it was taken.
    pub(crate) const PLACE_WANTED: u64 = 2;
    /// It came in advance.
    pub(crate) const EXTRA: u64 = 4;
}

/// Items that are given back together.
pub(super) const RETURNED: usize = 4096;
/// Larger items do not come in advance.
const EXTRA_MAX: usize = 4096;

struct Item {
    number: u64,
    priority: i64,
    size: u64,
    redelivered: bool,
    value: Payload,
}

/// An item on its way to, or with, a process.
struct Lent {
    item: Item,
    taken: bool,
}

#[derive(Default)]
struct Taker {
    /// By the tokens by which it speaks of them, which are in the order of delivery.
    lent: BTreeMap<u64, Lent>,
    /// Getters without an item.
    waiting: u64,
    /// Items that may come in advance.
    extra: u64,
    /// By request.
    places: HashMap<u64, Place>,
    /// Requests to hear when all items are done.
    joins: HashSet<u64>,
}

/// A place for an item that is to come.
#[derive(Clone, Copy)]
struct Place {
    bytes: u64,
    /// Whose turn it is when, if it is waited for; else it is granted.
    turn: Option<u64>,
}

pub(super) struct QueueObject {
    shape: Shape,
    items: Items,
    next: u64,
    takers: HashMap<SeatId, Taker>,
    /// Seats with getters, in turn.
    getters: VecDeque<SeatId>,
    /// Who waits for a place, by turns: seats with their requests, and the bytes that these are for.
    putters: BTreeMap<u64, (SeatId, u64, u64)>,
    /// Turns ever given.
    turns: u64,
    /// Bytes of all items here, with whoever has not taken them, and permitted.
    bytes: u64,
    /// Items with the owner that it has not said to have taken. Nothing is kept of them: its end is
    /// the end of everything.
    at_owner: HashMap<u64, u64>,
    /// Items lent and not taken.
    on_the_way: u64,
    lent: u64,
    /// Items ever lent, and what makes tokens of that.
    lendings: u64,
    tokens: RandomState,
    permits: u64,
    /// Of `bytes`, what has a place and is not there yet.
    permitted: u64,
    unfinished: u64,
    closed: bool,
    drained: bool,
    /// Who has handles, and whether it was told that the queue is drained: that is never taken back, and whoever
    /// drains it again and again would have it told to those that do not read.
    known: HashMap<SeatId, bool>,
}

enum Items {
    /// Those that have come back, by number, and behind all of them those that nobody has had.
    Fifo(BTreeMap<u64, Item>, VecDeque<Item>),
    Ordered(BTreeMap<(i64, u64), Item>),
}

impl Items {
    fn len(&self) -> usize {
        match self {
            Items::Fifo(back, items) => back.len() + items.len(),
            Items::Ordered(items) => items.len(),
        }
    }

    fn push(&mut self, item: Item) {
        match self {
            Items::Fifo(_, items) => items.push_back(item),
            Items::Ordered(items) => {
                items.insert((item.priority, item.number), item);
            }
        }
    }

    /// Puts an item where it came from: before all that were put after it.
    fn put_back(&mut self, item: Item) {
        match self {
            Items::Fifo(back, _) => {
                back.insert(item.number, item);
            }
            Items::Ordered(_) => self.push(item),
        }
    }

    fn first(&self) -> Option<&Item> {
        match self {
            Items::Fifo(back, items) => back.values().next().or_else(|| items.front()),
            Items::Ordered(items) => items.values().next(),
        }
    }

    fn pop(&mut self) -> Option<Item> {
        match self {
            Items::Fifo(back, items) => match back.pop_first() {
                Some((_, item)) => Some(item),
                None => items.pop_front(),
            },
            Items::Ordered(items) => items.pop_first().map(|(_, item)| item),
        }
    }
}

const NOT_ITS_ITEM: &str = "it spoke of an item that it does not have";
const TOO_LARGE: &str = "it wanted room for more than there can be, or twice";
const NO_PERMIT: &str = "it put an item into a queue without having a place for one so large";
const TOO_MANY: &str = "it asked for more at once than anybody waits for";
/// Requests of one process that a queue keeps.
const MAX_REQUESTS: usize = 1 << 20;
/// What the encoded form of bytes adds to them, at most.
const ENCODING: u64 = 64;

impl QueueObject {
    pub(super) fn new(mut shape: Shape) -> Self {
        if shape.max_bytes != u64::MAX {
            // What is counted cannot overflow.
            shape.max_bytes = shape.max_bytes.min(1 << 62);
        }
        let items = if shape.ordered {
            Items::Ordered(BTreeMap::new())
        } else {
            Items::Fifo(BTreeMap::new(), VecDeque::new())
        };
        QueueObject {
            shape,
            items,
            next: 0,
            takers: HashMap::new(),
            getters: VecDeque::new(),
            putters: BTreeMap::new(),
            turns: 0,
            bytes: 0,
            at_owner: HashMap::new(),
            on_the_way: 0,
            lent: 0,
            lendings: 0,
            tokens: RandomState::new(),
            permits: 0,
            permitted: 0,
            unfinished: 0,
            closed: false,
            drained: false,
            known: HashMap::new(),
        }
    }

    fn len(&self) -> u64 {
        (self.items.len() + self.at_owner.len()) as u64 + self.on_the_way
    }

    /// Nobody waits, has taken anything, or has a place.
    #[cfg(test)]
    pub(super) fn assert_is_at_rest(&self) {
        let sizes: u64 = match &self.items {
            Items::Fifo(back, items) => back.values().chain(items).map(|item| item.size).sum(),
            Items::Ordered(items) => items.values().map(|item| item.size).sum(),
        };
        assert_eq!((self.on_the_way, self.lent, self.permits, self.bytes), (0, 0, 0, sizes));
        assert!(self.takers.is_empty() && self.getters.is_empty() && self.putters.is_empty());
    }

    /// How many places are kept in line.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.putters.len()
    }

    fn has_room(&self, bytes: u64) -> bool {
        let items = self.len() + self.permits;
        // One that is larger than all the room gets in alone.
        items < self.shape.max_items
            && (items == 0 || self.bytes.saturating_add(bytes) <= self.shape.max_bytes)
    }

    fn unpermit(&mut self, bytes: u64) {
        self.permits -= 1;
        self.permitted -= bytes;
        self.bytes -= bytes;
    }

    /// A place is not reserved or waited for any more; which it was.
    fn give_up(&mut self, by: SeatId, request: u64) -> Option<Place> {
        let place = self.takers.get_mut(&by)?.places.remove(&request)?;
        self.leave_place(place);
        Some(place)
    }

    fn leave_place(&mut self, place: Place) {
        match place.turn {
            Some(turn) => drop(self.putters.remove(&turn)),
            None => self.unpermit(place.bytes),
        }
    }

    /// Whether what it put has the place that it asked for.
    fn takes_place(&mut self, by: SeatId, request: u64, bytes: u64) -> bool {
        let sized = self.shape.max_bytes != u64::MAX;
        self.give_up(by, request).is_some_and(|place| {
            place.turn.is_none() && (!sized || bytes <= place.bytes.saturating_add(ENCODING))
        })
    }

    fn put(
        &mut self,
        by: SeatId,
        numbers: [u64; 3],
        value: Payload,
        out: &mut Out,
    ) -> Result<(), &'static str> {
        let [request, priority, _] = numbers;
        let size = value.len() as u64;
        if self.shape.is_bounded() && !self.takes_place(by, request, size) {
            out.drop_later(value);
            return Err(NO_PERMIT);
        }
        self.next += 1;
        self.bytes += size;
        self.unfinished += 1;
        self.drained = false;
        let (number, priority) = (self.next, priority as i64);
        self.items.push(Item { number, priority, size, redelivered: false, value });
        Ok(())
    }

    /// Gives items to whoever asked, and places to whoever waits for them.
    fn serve(&mut self, out: &mut Out) {
        while let Some(item) = self.items.first() {
            let small = item.size as usize <= EXTRA_MAX;
            let Some((seat, extra)) = self.next_getter(small) else { break };
            let Some(item) = self.items.pop() else { break };
            self.lend(seat, item, extra, out);
        }
        while let Some((_, &(seat, request, bytes))) = self.putters.first_key_value() {
            if !self.closed && !self.has_room(bytes) {
                break;
            }
            self.putters.pop_first();
            if self.closed {
                self.takers.get_mut(&seat).map(|taker| taker.places.remove(&request));
                out.say(seat, Note::new(hear::REFUSED, [request, 0, 0]), Payload::empty());
            } else {
                self.permit(seat, request, bytes, out);
            }
        }
        let over = self.closed
            && self.items.len() == 0
            && self.at_owner.is_empty()
            && self.lent == 0
            && self.permits == 0;
        if over && !self.drained {
            self.drained = true;
            for (seat, told) in &mut self.known {
                if !std::mem::replace(told, true) {
                    out.say(*seat, Note::new(hear::DRAINED, [0; 3]), Payload::empty());
                }
            }
        }
    }

    /// Who is next, and whether for an item in advance.
    fn next_getter(&mut self, small: bool) -> Option<(SeatId, bool)> {
        // Those that wait come first, each seat in turn.
        for _ in 0..self.getters.len() {
            let seat = self.getters.pop_front()?;
            match self.takers.get_mut(&seat) {
                Some(taker) if taker.waiting > 0 => {
                    taker.waiting -= 1;
                    self.getters.push_back(seat);
                    return Some((seat, false));
                }
                Some(taker) if taker.extra > 0 => self.getters.push_back(seat),
                _ => {}
            }
        }
        if !small || self.shape.ordered {
            return None;
        }
        let seat = *self.getters.front()?;
        let taker = self.takers.get_mut(&seat)?;
        taker.extra -= 1;
        if taker.extra == 0 {
            self.getters.pop_front();
        }
        Some((seat, true))
    }

    fn lend(&mut self, seat: SeatId, item: Item, extra: bool, out: &mut Out) {
        let mut flags = 0;
        if item.redelivered {
            flags |= hear::REDELIVERED;
        }
        if extra {
            flags |= hear::EXTRA;
        }
        if self.shape.is_bounded() {
            flags |= hear::PLACE_WANTED;
        }
        let keeps_nothing = seat == OWNER && !self.shape.joinable;
        self.lendings += 1;
        // It cannot be guessed: who speaks of an item has read it.
        let mark = self.tokens.hash_one(self.lendings) & 0xff_ffff;
        let token = if keeps_nothing { item.number } else { self.lendings << 24 | mark };
        let note = Note::new(hear::ITEM, [token, flags, item.priority as u64]);
        if keeps_nothing {
            self.at_owner.insert(item.number, item.size);
            return out.say(seat, note, item.value);
        }
        out.say(seat, note, item.value.clone());
        self.on_the_way += 1;
        self.lent += 1;
        self.takers.entry(seat).or_default().lent.insert(token, Lent { item, taken: false });
    }

    fn permit(&mut self, seat: SeatId, request: u64, bytes: u64, out: &mut Out) {
        let place = Place { bytes, turn: None };
        self.takers.entry(seat).or_default().places.insert(request, place);
        self.permits += 1;
        self.permitted += bytes;
        self.bytes += bytes;
        out.say(seat, Note::new(hear::GRANTED, [request, 0, 0]), Payload::empty());
    }

    fn took(&mut self, by: SeatId, token: u64) -> Result<(), &'static str> {
        if by == OWNER
            && let Some(size) = self.at_owner.remove(&token)
        {
            self.bytes -= size;
            return Ok(());
        }
        let taker = self.takers.get_mut(&by);
        let lent = taker.and_then(|taker| taker.lent.get_mut(&token)).ok_or(NOT_ITS_ITEM)?;
        if !lent.taken {
            lent.taken = true;
            let size = lent.item.size;
            self.on_the_way -= 1;
            self.bytes -= size;
        }
        Ok(())
    }

    /// The item is gone for good.
    fn done(&mut self, by: SeatId, token: u64, out: &mut Out) -> Result<(), &'static str> {
        self.took(by, token)?;
        let taker = self.takers.get_mut(&by);
        let lent = taker.and_then(|taker| taker.lent.remove(&token)).ok_or(NOT_ITS_ITEM)?;
        self.lent -= 1;
        out.drop_later(lent.item.value);
        Ok(())
    }

    fn finished(&mut self, n: u64, out: &mut Out) {
        self.unfinished = self.unfinished.saturating_sub(n);
        if self.unfinished == 0 {
            for (seat, taker) in &mut self.takers {
                for request in taker.joins.drain() {
                    out.say(*seat, Note::new(hear::FINISHED, [request, 0, 0]), Payload::empty());
                }
            }
        }
    }

    fn put_back(&mut self, lent: Lent, looked_at: bool) {
        let Lent { mut item, taken } = lent;
        self.lent -= 1;
        if taken {
            self.bytes += item.size;
        } else {
            self.on_the_way -= 1;
        }
        item.redelivered |= looked_at;
        self.items.put_back(item);
    }

    fn returned(&mut self, by: SeatId, tokens: &[u8], looked_at: bool) -> Result<(), &'static str> {
        // Of its own encoding, at most ten bytes each.
        if tokens.len() > 10 * (RETURNED + 1) {
            return Err(NOT_ITS_ITEM);
        }
        let tokens: Vec<u64> = postcard::from_bytes(tokens).map_err(|_| NOT_ITS_ITEM)?;
        for token in tokens.into_iter().rev() {
            let taker = self.takers.get_mut(&by);
            let lent = taker.and_then(|taker| taker.lent.remove(&token));
            self.put_back(lent.ok_or(NOT_ITS_ITEM)?, looked_at);
        }
        Ok(())
    }

    /// Takes back all that a process has of the queue.
    fn forget(&mut self, by: SeatId) {
        self.known.remove(&by);
        self.getters.retain(|seat| *seat != by);
        if by == OWNER {
            self.bytes -= self.at_owner.drain().map(|(_, size)| size).sum::<u64>();
        }
        if let Some(taker) = self.takers.remove(&by) {
            taker.places.into_values().for_each(|place| self.leave_place(place));
            for lent in taker.lent.into_values().rev() {
                let looked_at = lent.taken;
                self.put_back(lent, looked_at);
            }
        }
    }

    fn wait_in_line(&mut self, seat: SeatId) {
        if !self.getters.contains(&seat) {
            self.getters.push_back(seat);
        }
    }

    fn hear(
        &mut self,
        by: SeatId,
        note: Note,
        value: Payload,
        out: &mut Out,
    ) -> Result<(), &'static str> {
        let [a, b, c] = note.numbers;
        match note.code {
            say::PUT => return self.put(by, note.numbers, value, out),
            say::PUT_BACK if by == OWNER => {}
            say::RETURN => {
                let returned = self.returned(by, value.head(), a == 1);
                out.drop_later(value);
                return returned;
            }
            _ => {
                out.drop_later(value);
                return self.hear_plain(by, note.code, [a, b, c], out);
            }
        }
        let size = value.len() as u64;
        if self.at_owner.remove(&c).is_none() {
            self.bytes += size;
        }
        let item = Item { number: c, priority: b as i64, size, redelivered: a != 0, value };
        self.items.put_back(item);
        Ok(())
    }

    fn hear_plain(
        &mut self,
        by: SeatId,
        code: u16,
        [a, b, c]: [u64; 3],
        out: &mut Out,
    ) -> Result<(), &'static str> {
        match code {
            say::HELLO => {
                // Handles it had before may have gone while items were on their way to them.
                out.unsay(by);
                self.forget(by);
                self.known.insert(by, self.drained);
                if let Ok(shape) = postcard::to_allocvec(&self.shape) {
                    let note = Note::new(hear::SHAPE, [a, 0, 0]);
                    out.say(by, note, Payload::from_slice(&shape));
                }
                for (said, code) in [(self.closed, hear::CLOSED), (self.drained, hear::DRAINED)] {
                    if said {
                        out.say(by, Note::new(code, [0; 3]), Payload::empty());
                    }
                }
            }
            say::RESERVE => {
                let places = self.takers.get(&by).map(|taker| &taker.places);
                if b > self.shape.largest() || places.is_some_and(|p| p.contains_key(&a)) {
                    return Err(TOO_LARGE);
                }
                if by != OWNER && places.is_some_and(|places| places.len() >= MAX_REQUESTS) {
                    return Err(TOO_MANY);
                }
                let first = self.putters.is_empty() && self.has_room(b);
                if !self.closed && first {
                    self.permit(by, a, b, out);
                } else if self.closed || c == 1 {
                    out.say(by, Note::new(hear::REFUSED, [a, 0, 0]), Payload::empty());
                } else {
                    self.turns += 1;
                    let place = Place { bytes: b, turn: Some(self.turns) };
                    self.takers.entry(by).or_default().places.insert(a, place);
                    self.putters.insert(self.turns, (by, a, b));
                }
            }
            say::UNRESERVE => {
                // It may have been refused meanwhile: then there is nothing to give up.
                self.give_up(by, a);
            }
            say::GET if c != 0 => {
                // Whatever is here nobody else waits for. The item comes before the answer.
                let answer = match self.items.pop() {
                    Some(item) => {
                        self.lend(by, item, true, out);
                        hear::GRANTED
                    }
                    None => hear::REFUSED,
                };
                out.say(by, Note::new(answer, [c, 0, 0]), Payload::empty());
            }
            say::GET => {
                let taker = self.takers.entry(by).or_default();
                taker.waiting = taker.waiting.saturating_add(a);
                taker.extra = b;
                if taker.waiting > 0 || b > 0 {
                    self.wait_in_line(by);
                }
            }
            say::TOOK => {
                if b > 0 && self.shape.joinable {
                    return Err(NOT_ITS_ITEM);
                }
                if b > 0 && by != OWNER {
                    self.done(by, b - 1, out)?;
                }
                self.took(by, a)?;
            }
            say::DONE => {
                self.done(by, a, out)?;
                if self.shape.joinable {
                    self.finished(1, out);
                }
            }
            say::STOP => {
                let taker = self.takers.entry(by).or_default();
                (taker.extra, taker.waiting) = (0, 0);
                out.say(by, Note::new(hear::STOPPED, [0; 3]), Payload::empty());
            }
            say::ASK => {
                // Of what is there: what has a place and is on its way is not counted either.
                let len = self.len();
                let bytes = self.bytes - self.permitted;
                let fits = len == 0 || bytes < self.shape.max_bytes;
                let room = if fits { self.shape.max_items.saturating_sub(len) } else { 0 };
                out.say(by, Note::new(hear::ANSWER, [a, len, room]), Payload::empty());
            }
            say::CLOSE => {
                if !self.closed {
                    self.closed = true;
                    for seat in self.known.keys() {
                        out.say(*seat, Note::new(hear::CLOSED, [0; 3]), Payload::empty());
                    }
                }
            }
            say::JOIN => {
                let joins = &mut self.takers.entry(by).or_default().joins;
                if by != OWNER && joins.len() >= MAX_REQUESTS {
                    return Err(TOO_MANY);
                }
                joins.insert(a);
                self.finished(0, out);
            }
            say::UNJOIN => {
                if let Some(taker) = self.takers.get_mut(&by) {
                    taker.joins.remove(&a);
                }
            }
            _ => return Err("it said something that queues do not understand"),
        }
        Ok(())
    }
}

impl Object for QueueObject {
    fn note(
        &mut self,
        by: SeatId,
        note: Note,
        value: Payload,
        out: &mut Out,
    ) -> Result<(), &'static str> {
        self.hear(by, note, value, out)?;
        self.serve(out);
        Ok(())
    }

    fn left(&mut self, by: SeatId, out: &mut Out) {
        out.unsay(by);
        self.forget(by);
        self.serve(out);
    }

    fn over(&mut self, out: &mut Out) {
        let lent = self.takers.drain().flat_map(|(_, taker)| taker.lent.into_values());
        lent.for_each(|lent| out.drop_later(lent.item.value));
        while let Some(item) = self.items.pop() {
            out.drop_later(item.value);
        }
    }
}
