//! What a process has of a queue: items that have come, and who waits for some.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::object::{QUEUE, RETURNED, Shape, hear, say};
use crate::hub::{Access, After, HasAccess, Interest, Line, Mailbox, Note, Urgency, owner_hold};
use crate::sys::lock;
use crate::wire::{ObjectName, Payload, Received};

/// Items that may come in advance to one that takes them quickly.
const MAX_EXTRA: u64 = 256;
/// What was asked for within this time was taken quickly.
const QUICK: Duration = Duration::from_millis(1);

/// An item as it came.
pub(super) struct Got {
    pub(super) number: u64,
    pub(super) redelivered: bool,
    pub(super) value: Received,
    priority: i64,
    place_wanted: bool,
}

/// What a queue answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    /// Items there, and room for so many more.
    Count(u64, u64),
    /// There is no such queue.
    Lost,
}

#[derive(Default)]
struct State {
    items: VecDeque<Got>,
    /// Getters in this process.
    line: Line,
    /// How many of them the queue knows of.
    asked: u64,
    /// How many items may come in advance.
    extra: u64,
    /// The queue was told that nothing is to come, and has not said yet that nothing is on its way.
    stopping: bool,
    /// Questions for an item that is there now, which are not answered yet.
    tries: HashSet<u64>,
    /// How many want an item only if there is one.
    trying: usize,
    /// When items were last asked for.
    asked_at: Option<Instant>,
    /// Items were taken since the last tick.
    active: bool,
    requests: HashMap<u64, (Option<Answer>, Option<Waker>)>,
    last_request: u64,
    shape: Option<Shape>,
    greeted: bool,
    /// The queue has heard of this shelf. What comes before is for one that is no more.
    known: bool,
    closed: bool,
    drained: bool,
    lost: bool,
}

/// Every handle of one queue in a process shares it.
pub(super) struct Shelf {
    access: Access,
    /// No other shelf of this process has it.
    number: u64,
    state: Mutex<State>,
}

/// Why there is no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nothing {
    Empty,
    Over,
}

impl Shelf {
    pub(super) fn create(shape: Shape) -> io::Result<Arc<Self>> {
        let config = postcard::to_allocvec(&shape).map_err(io::Error::other)?;
        let shelf = Access::create(QUEUE, &config, &[], Self::new)?;
        lock(&shelf.state).shape = Some(shape);
        shelf.greet();
        Ok(shelf)
    }

    pub(super) fn adopt(name: ObjectName) -> io::Result<Arc<Self>> {
        let shelf = Access::adopt(name, || Ok(()), |access, ()| Self::new(access))?;
        shelf.greet();
        Ok(shelf)
    }

    fn new(access: Access) -> Self {
        static SHELVES: AtomicU64 = AtomicU64::new(1);
        let number = SHELVES.fetch_add(1, Ordering::Relaxed);
        // The owner hears at once: nothing is ever on its way to it.
        let state = State { known: access.is_owner(), ..State::default() };
        Shelf { access, number, state: Mutex::new(state) }
    }

    /// Says that this shelf is there, once and first of all.
    fn greet(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.greeted, true) {
            self.note_under(state, say::HELLO, [self.number, 0, 0]);
        }
    }

    fn note(&self, code: u16, numbers: [u64; 3], urgency: Urgency) {
        self.access.note(Note::new(code, numbers), urgency);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn id(&self) -> u64 {
        self.access.id()
    }

    pub(super) fn is_closed(&self) -> bool {
        let state = self.lock();
        state.closed || state.lost
    }

    /// Takes in what has come.
    pub(super) fn listen(&self) {
        self.access.listen();
    }

    // Putting.

    /// Puts an item for which there is a place, or which needs none.
    pub(super) async fn put(&self, permit: Option<Permit<'_>>, priority: i64, value: Payload) {
        let request = permit.map_or(0, Permit::used);
        let note = Note::new(say::PUT, [request, priority as u64, 0]);
        self.access.send(note, value).done().await;
    }

    /// A place for an item; `None` if there is none now, or will be none.
    pub(super) async fn reserve(&self, bytes: u64, wait: bool) -> Option<Permit<'_>> {
        let request = Request::new(self);
        let permit = Permit { shelf: self, request: request.number, used: false };
        self.note(say::RESERVE, [permit.request, bytes, u64::from(!wait)], Urgency::Now);
        match request.answer().await {
            Answer::Yes => Some(permit),
            _ => {
                permit.used();
                None
            }
        }
    }

    // Getting.

    /// Waits for an item.
    pub(super) async fn get(&self) -> Result<Got, Nothing> {
        let mut getter = Getter { shelf: self, place: None, interest: None };
        poll_fn(|cx| getter.poll(cx, |shelf, place| shelf.take(place))).await
    }

    /// Waits until there is an item, or will be none.
    pub(super) async fn ready(&self) {
        let mut getter = Getter { shelf: self, place: None, interest: None };
        // One that is seen lies about, and goes back if nobody here takes it soon.
        let seen = |shelf: &Shelf, place| shelf.is_at_hand(place).then_some(());
        let _ = poll_fn(|cx| getter.poll(cx, seen)).await;
    }

    /// An item, if there is one now.
    pub(super) async fn try_get(&self) -> Result<Got, Nothing> {
        if let Some(got) = self.take(None) {
            return Ok(got);
        }
        let _trying = Trying::new(self);
        loop {
            let answer = self.ask().answer().await;
            if let Some(got) = self.take(None) {
                return Ok(got);
            }
            match answer {
                // One came, and another here was faster. There may be more.
                Answer::Yes => {}
                Answer::Lost => return Err(Nothing::Over),
                _ if self.lock().drained => return Err(Nothing::Over),
                _ => return Err(Nothing::Empty),
            }
        }
    }

    /// Once it is ready, what there is now has come to be seen here.
    pub(super) async fn look(self: Arc<Self>) {
        if self.is_at_hand(None) {
            return;
        }
        let _trying = Trying::new(&self);
        self.ask().answer().await;
    }

    /// Asks for an item if there is one now.
    fn ask(&self) -> Request<'_> {
        let request = Request::new(self);
        self.lock().tries.insert(request.number);
        self.note(say::GET, [1, 0, request.number], Urgency::Now);
        request
    }

    /// Takes the next item, if there is one that is not for somebody before.
    pub(super) fn take(&self, place: Option<u64>) -> Option<Got> {
        let mut state = self.lock();
        if !state.is_at_hand(place) {
            return None;
        }
        let got = state.items.pop_front()?;
        state.active = true;
        if let Some(place) = place {
            state.line.leave(place);
        }
        Some(got)
    }

    fn is_at_hand(&self, place: Option<u64>) -> bool {
        self.lock().is_at_hand(place)
    }

    /// Says that an item has been taken, and another is done with.
    pub(super) fn took(&self, got: &Got, done: Option<u64>) {
        let urgency = if got.place_wanted { Urgency::Now } else { Urgency::Later };
        self.note(say::TOOK, [got.number, done.map_or(0, |n| n + 1), 0], urgency);
    }

    pub(super) fn done(&self, number: u64, urgency: Urgency) {
        if !self.keeps_nothing() {
            self.note(say::DONE, [number, 0, 0], urgency);
        }
    }

    /// Gives items back, in their order.
    pub(super) fn give_back(&self, numbers: &[u64], looked_at: bool) {
        let note = Note::new(say::RETURN, [u64::from(looked_at), 0, 0]);
        // The last first: they are found soonest.
        for numbers in numbers.rchunks(RETURNED) {
            let list = postcard::to_allocvec(numbers).unwrap_or_default();
            // Whether it is on its way yet is no matter.
            drop(self.access.send(note, Payload::from_parts(list, Vec::new())));
        }
    }

    /// The queue does not ask what becomes of an item.
    pub(super) fn keeps_nothing(&self) -> bool {
        self.access.is_owner() && self.lock().is_plain()
    }

    // Asking.

    /// Items in the queue, and room for so many more; `None` if there is none any more.
    pub(super) async fn count(&self) -> Option<(u64, u64)> {
        let request = Request::new(self);
        self.note(say::ASK, [request.number, 0, 0], Urgency::Now);
        match request.answer().await {
            Answer::Count(items, room) => Some((items, room)),
            _ => None,
        }
    }

    /// Waits until all items are done; false if there is no queue any more.
    pub(super) async fn join(&self) -> bool {
        let request = Request::new(self);
        let mut joining = Joining { shelf: self, request: request.number, answered: false };
        self.note(say::JOIN, [request.number, 0, 0], Urgency::Now);
        let answer = request.answer().await;
        joining.answered = true;
        answer == Answer::Yes
    }

    pub(super) fn close(&self) {
        self.note(say::CLOSE, [0; 3], Urgency::Now);
        self.lock().closed = true;
    }

    /// What the queue is like.
    pub(super) async fn shape(&self) -> Option<Shape> {
        if let Some(shape) = self.lock().shape {
            return Some(shape);
        }
        // It comes before any answer.
        self.count().await;
        self.lock().shape
    }
}

impl HasAccess for Shelf {
    fn access(&self) -> &Access {
        &self.access
    }
}

impl Mailbox for Shelf {
    fn deliver(&self, note: Note, mut value: Received, after: &mut After) {
        let [a, b, c] = note.numbers;
        let mut state = self.lock();
        if note.code == hear::SHAPE {
            if a == self.number {
                state.known = true;
                state.shape = postcard::from_bytes(value.parts().0).ok();
            }
            return;
        }
        if !state.known {
            return;
        }
        match note.code {
            hear::ITEM => {
                if b & hear::EXTRA == 0 {
                    state.asked = state.asked.saturating_sub(1);
                }
                state.items.push_back(Got {
                    number: a,
                    redelivered: b & hear::REDELIVERED != 0,
                    value,
                    priority: c as i64,
                    place_wanted: b & hear::PLACE_WANTED != 0,
                });
                let n = state.items.len();
                state.line.wake(n, after);
                if self.access.is_owner() && state.lies_about() {
                    // Nobody looks later. It was asked for by a getter that has given up: what it says to
                    // the queue can overtake what was said before.
                    after.tick();
                }
            }
            hear::GRANTED | hear::FINISHED => state.answer(a, Answer::Yes, after),
            hear::REFUSED => state.answer(a, Answer::No, after),
            hear::ANSWER => state.answer(a, Answer::Count(b, c), after),
            hear::CLOSED => state.closed = true,
            hear::DRAINED => {
                state.drained = true;
                let n = state.line.len();
                state.line.wake(n, after);
            }
            hear::STOPPED => {
                (state.extra, state.asked, state.stopping) = (0, 0, false);
                // Whoever waits asks again, unless what came is for it.
                let n = state.line.len();
                state.line.wake(n, after);
            }
            _ => {}
        }
    }

    fn lost(&self, after: &mut After) {
        let mut state = self.lock();
        (state.lost, state.closed, state.drained) = (true, true, true);
        let n = state.line.len();
        state.line.wake(n, after);
        for (answer, waker) in state.requests.values_mut() {
            *answer = answer.or(Some(Answer::Lost));
            waker.take().into_iter().for_each(|waker| after.wake(waker));
        }
    }

    fn lies_about(&self) -> bool {
        self.lock().lies_about()
    }

    fn tick(&self, at_once: bool) {
        let mut state = self.lock();
        if std::mem::take(&mut state.active) && !at_once {
            return;
        }
        if !state.lies_about() {
            return;
        }
        let wanted = state.line.len() + state.trying;
        // What is on its way would come before what is given back.
        if state.extra > 0 || state.asked > 0 {
            return self.stop(state);
        }
        if !state.tries.is_empty() {
            return;
        }
        let kept = wanted.min(state.items.len());
        let unused = state.items.split_off(kept);
        self.put_back(state, unused);
    }
}

impl Shelf {
    /// Has nothing come any more, until it is asked for again once that is confirmed.
    fn stop(&self, mut state: MutexGuard<'_, State>) {
        if !std::mem::replace(&mut state.stopping, true) {
            self.note_under(state, say::STOP, [0; 3]);
        }
    }

    /// Says something before anybody else here does, as far as that is possible: the owner hears
    /// the answer at once, under the same lock.
    fn note_under(&self, state: MutexGuard<'_, State>, code: u16, numbers: [u64; 3]) {
        if self.access.is_owner() {
            drop(state);
            self.note(code, numbers, Urgency::Now);
        } else {
            self.note(code, numbers, Urgency::Now);
            drop(state);
        }
    }

    /// Gives back what nobody here has asked for.
    fn put_back(&self, state: MutexGuard<'_, State>, unused: VecDeque<Got>) {
        let owner = self.access.is_owner();
        let keeps_nothing = owner && state.is_plain();
        // The owner hears what follows at once, under the same lock.
        let state = (!owner).then_some(state);
        if !keeps_nothing {
            let numbers: Vec<u64> = unused.iter().map(|got| got.number).collect();
            self.give_back(&numbers, false);
            drop(state);
            return;
        }
        for got in unused.into_iter().rev() {
            let numbers = [u64::from(got.redelivered), got.priority as u64, got.number];
            let value = got.value.into_payload(owner_hold);
            drop(self.access.send(Note::new(say::PUT_BACK, numbers), value));
        }
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let mut state = self.lock();
        let unused = std::mem::take(&mut state.items);
        self.put_back(state, unused);
    }
}

/// Somebody who wants an item only if there is one.
struct Trying<'a>(&'a Shelf);

impl<'a> Trying<'a> {
    fn new(shelf: &'a Shelf) -> Self {
        shelf.lock().trying += 1;
        Trying(shelf)
    }
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        self.0.lock().trying -= 1;
        self.0.access.tick_soon(self.0);
    }
}

impl State {
    /// Items are done once they are taken.
    fn is_plain(&self) -> bool {
        self.shape.is_some_and(|shape| !shape.joinable)
    }

    /// Whether there are items that nobody here has asked for, or may be.
    fn lies_about(&self) -> bool {
        let waiting = self.line.len();
        let wanted = waiting + self.trying;
        let asked = self.asked > waiting as u64 || self.tries.len() > self.trying;
        // A queue that is gone takes nothing back and answers nothing.
        !self.lost && (self.items.len() > wanted || self.extra > 0 || asked)
    }

    /// Whether there is an item that is not for somebody before.
    fn is_at_hand(&self, place: Option<u64>) -> bool {
        let before = place.map_or(self.line.len(), |place| self.line.before(place));
        before < self.items.len()
    }

    fn answer(&mut self, request: u64, answer: Answer, after: &mut After) {
        self.tries.remove(&request);
        if let Some((place, waker)) = self.requests.get_mut(&request) {
            *place = Some(answer);
            waker.take().into_iter().for_each(|waker| after.wake(waker));
        }
    }
}

/// A question that waits for its answer.
struct Request<'a> {
    shelf: &'a Shelf,
    number: u64,
    interest: Option<Interest>,
}

impl<'a> Request<'a> {
    fn new(shelf: &'a Shelf) -> Self {
        let mut state = shelf.lock();
        state.last_request += 1;
        let number = state.last_request;
        let lost = state.lost.then_some(Answer::Lost);
        state.requests.insert(number, (lost, None));
        Request { shelf, number, interest: None }
    }

    async fn answer(mut self) -> Answer {
        poll_fn(|cx| {
            let mut state = self.shelf.lock();
            let Some((answer, waker)) = state.requests.get_mut(&self.number) else {
                return Poll::Ready(Answer::Lost);
            };
            if let Some(answer) = *answer {
                return Poll::Ready(answer);
            }
            *waker = Some(cx.waker().clone());
            drop(state);
            if self.interest.is_none() {
                self.interest = self.shelf.access.interest();
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.shelf.lock().requests.remove(&self.number);
    }
}

/// A wait until all is done. One that is dropped is not to be kept where it was asked for.
struct Joining<'a> {
    shelf: &'a Shelf,
    request: u64,
    answered: bool,
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.shelf.note(say::UNJOIN, [self.request, 0, 0], Urgency::Later);
        }
    }
}

/// A place for an item, or a wait for one; given up when dropped.
pub(super) struct Permit<'a> {
    shelf: &'a Shelf,
    request: u64,
    used: bool,
}

impl Permit<'_> {
    /// The request by which it was got.
    fn used(mut self) -> u64 {
        self.used = true;
        self.request
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.used {
            self.shelf.note(say::UNRESERVE, [self.request, 0, 0], Urgency::Now);
        }
    }
}

/// A wait for an item; its place in line is given up when it is dropped.
struct Getter<'a> {
    shelf: &'a Shelf,
    place: Option<u64>,
    interest: Option<Interest>,
}

impl Getter<'_> {
    fn poll<R>(
        &mut self,
        cx: &Context<'_>,
        take: impl Fn(&Shelf, Option<u64>) -> Option<R>,
    ) -> Poll<Result<R, Nothing>> {
        let mut state = loop {
            if let Some(got) = take(self.shelf, self.place) {
                return Poll::Ready(Ok(got));
            }
            let mut state = self.shelf.lock();
            if state.drained && state.items.is_empty() {
                return Poll::Ready(Err(Nothing::Over));
            }
            let place = *self.place.get_or_insert_with(|| state.line.enter());
            state.line.wait(place, cx);
            // What came since it looked has woken nobody.
            if !state.is_at_hand(Some(place)) {
                break state;
            }
        };
        let wanted = (state.line.len().saturating_sub(state.items.len())) as u64;
        let more = wanted.saturating_sub(state.asked);
        if more == 0 || state.stopping {
            drop(state);
            self.wait();
            return Poll::Pending;
        }
        state.asked += more;
        let extra = state.in_advance(self.shelf.access.is_owner());
        self.shelf.note_under(state, say::GET, [more, extra, 0]);
        if extra > 0 {
            // If it stops taking them, somebody must notice.
            self.shelf.access.tick_soon(self.shelf);
        }
        // In the owner's process it has come already.
        if let Some(got) = take(self.shelf, self.place) {
            return Poll::Ready(Ok(got));
        }
        let state = self.shelf.lock();
        if state.drained && state.items.is_empty() {
            return Poll::Ready(Err(Nothing::Over));
        }
        drop(state);
        self.wait();
        Poll::Pending
    }

    fn wait(&mut self) {
        if self.interest.is_none() {
            self.interest = self.shelf.access.interest();
        }
    }
}

impl State {
    /// How many items may come in advance: more and more while they are taken quickly.
    fn in_advance(&mut self, owner: bool) -> u64 {
        // The owner has them at hand.
        if owner {
            return 0;
        }
        let quick = self.asked_at.is_some_and(|at| at.elapsed() < QUICK);
        self.asked_at = Some(Instant::now());
        self.extra = if quick { (self.extra * 2).clamp(1, MAX_EXTRA) } else { 0 };
        self.extra
    }
}

impl Drop for Getter<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let mut after = After::default();
        let mut state = self.shelf.lock();
        state.line.leave(place);
        let n = state.items.len();
        state.line.wake(n, &mut after);
        if state.asked > state.line.len() as u64 {
            // What was asked for may be on its way already: only the queue can say.
            self.shelf.stop(state);
        } else {
            drop(state);
        }
        after.run();
        // What came for it goes to whoever asks next, here or elsewhere.
        self.shelf.access.tick_soon(self.shelf);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::hub::block_on;

    const PLAIN: Shape =
        Shape { max_items: u64::MAX, max_bytes: u64::MAX, ordered: false, joinable: false };

    /// Between its look and its place in line nobody wakes a getter.
    #[test]
    fn what_comes_while_a_getter_gets_in_line_is_not_overlooked() {
        let shelf = Shelf::create(PLAIN).unwrap();
        // By a getter that was given up.
        shelf.lock().asked = 1;
        let looked = Cell::new(false);
        let take = |shelf: &Shelf, place| {
            let got = shelf.take(place);
            if !looked.replace(true) {
                let item = Note::new(hear::ITEM, [5, 0, 0]);
                shelf.deliver(item, Received::from_slice(&[7]), &mut After::default());
            }
            got
        };
        let mut getter = Getter { shelf: &shelf, place: None, interest: None };
        let polled = getter.poll(&Context::from_waker(Waker::noop()), take);
        assert!(matches!(polled, Poll::Ready(Ok(Got { number: 5, .. }))));
    }

    /// Nobody would look at it later.
    #[test]
    fn what_comes_to_the_owner_and_is_for_nobody_goes_back_at_once() {
        for joinable in [false, true] {
            let shelf = Shelf::create(Shape { joinable, ..PLAIN }).unwrap();
            // As a getter's that asked twice, since the answer to another's `STOP` came in between.
            shelf.note(say::GET, [2, 0, 0], Urgency::Now);
            for n in [1, 2, 3] {
                block_on(shelf.put(None, 0, Payload::from_slice(&[n])), None).unwrap();
                assert!(shelf.lock().items.is_empty(), "item {n} lies about");
            }
            for n in [1, 2, 3] {
                let got = block_on(shelf.try_get(), None).unwrap();
                assert_eq!(got.map(|mut got| got.value.parts().0.to_vec()), Ok(vec![n]));
            }
        }
    }
}
