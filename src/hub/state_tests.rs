//! What processes say by their rings, heard without any process.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::guest::{Guest, Line};
use super::mail::After;
use super::note::{Note, bringing};
use super::object::ObjectKind;
use super::ring::{Direction, HasRings, RINGS_LEN, Reader, Writer};
use super::server::{OWNER, Object, Out, SeatId};
use super::state::State;
use super::{CREATE, GRANT, INTRODUCE};
use crate::sys::{self, Handle, HandleChannel, SharedBlock, handle_ref};
use crate::wire::{Assembler, Brought, Kind, ObjectName, Outbox, Payload};

const ECHO: u64 = 1 << 40;
const MAX_VALUE: u64 = 1 << 20;

struct Echo;

thread_local! {
    /// Who has said what to any of them, in the order in which it was heard.
    static HEARD: RefCell<Vec<(SeatId, u64)>> = const { RefCell::new(Vec::new()) };
}

impl Object for Echo {
    fn note(
        &mut self,
        by: SeatId,
        note: Note,
        value: Payload,
        out: &mut Out,
    ) -> Result<(), &'static str> {
        HEARD.with_borrow_mut(|heard| heard.push((by, note.numbers[0])));
        out.say(by, note, value);
        Ok(())
    }

    fn left(&mut self, _: SeatId, _: &mut Out) {}

    fn over(&mut self, _: &mut Out) {}
}

inventory::submit! { ObjectKind { number: ECHO, make: |_, _| Ok(Box::new(Echo)) } }

struct Block(SharedBlock);

impl HasRings for Block {
    fn rings(&self) -> (&SharedBlock, usize) {
        (&self.0, 0)
    }
}

/// A process that has an object, and how often it was ended.
struct Speaker {
    id: SeatId,
    writer: Writer,
    outbox: Outbox,
    reader: Reader,
    assembler: Assembler,
    ended: Arc<AtomicUsize>,
}

impl Speaker {
    fn sit_down(state: &mut State, id: SeatId) -> Self {
        Speaker::sit_down_with(state, id, None)
    }

    fn sit_down_with(state: &mut State, id: SeatId, channel: Option<HandleChannel>) -> Self {
        let name = ObjectName { id, key: 9 };
        let (block, _) = SharedBlock::create("test", RINGS_LEN).unwrap();
        let block = Arc::new(Block(block));
        let (bell, _) = sys::bell().unwrap();
        let ended = Arc::new(AtomicUsize::new(0));
        let counter = ended.clone();
        let end = Arc::new(move |_: &'static str| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let line = Line { holder: block.clone(), bell, channel: channel.map(Arc::new) };
        let mut guest = Guest::new(line, MAX_VALUE, OWNER, id);
        guest.end = Some(end);
        state.seats.insert(id, guest);
        let mut speaker = Speaker {
            id,
            writer: Writer::new(block.clone(), Direction::Up),
            outbox: Outbox::default(),
            reader: Reader::new(block, Direction::Down),
            assembler: Assembler::new(u64::MAX, |_| ()),
            ended,
        };
        let note = Note::with_key(CREATE, name, ECHO);
        let header = note.header(Kind::Manage, id);
        speaker.outbox.message(header, &note.encode(sys::ticks()), &Payload::empty());
        speaker
    }

    fn say(&mut self, number: u64, value: &Payload) {
        self.say_at(number, value, sys::ticks());
    }

    fn say_at(&mut self, number: u64, value: &Payload, at: u64) {
        let note = Note::new(1, [number, 0, 0]);
        self.outbox.message(note.header(Kind::Note, self.id), &note.encode(at), value);
    }

    fn grant(&mut self, object: u64, to: SeatId) {
        let note = Note::new(GRANT, [to, 0, 0]);
        let header = note.header(Kind::Manage, object);
        self.outbox.message(header, &note.encode(sys::ticks()), &Payload::empty());
    }

    /// Says something of the hub's, with what lies under these tokens.
    fn manage(&mut self, object: u64, note: Note, value: &Payload, tokens: &[u64]) {
        let brought = Brought { handles: tokens.to_vec(), objects: Vec::new() };
        let header = bringing(note.header(Kind::Manage, object));
        self.outbox.message(header, &brought.encode(&note.encode(sys::ticks())), value);
    }

    /// Writes what there is room for; whether that was all.
    fn flush(&mut self) -> bool {
        while !self.outbox.is_empty() {
            let n = self.writer.write(&self.outbox.slices()).unwrap();
            self.outbox.advance(n);
            if n == 0 {
                return false;
            }
        }
        true
    }

    /// The numbers of what was said to it.
    fn read(&mut self) -> Vec<u64> {
        let mut numbers = Vec::new();
        while !self.reader.is_empty() {
            let (buf, max) = self.assembler.target();
            let n = self.reader.read(buf, max).unwrap();
            self.assembler.received(n);
            while let Some(message) = self.assembler.next().unwrap() {
                numbers.push(Note::take(message).unwrap().0.numbers[0]);
            }
        }
        numbers
    }
}

/// Hears all that is to be heard, and ends who broke the rules.
fn look(state: &mut State) {
    let (mut out, mut after) = (Out::default(), After::default());
    while state.hear(&mut out, &mut after) {}
    state.settle(&mut out, &mut after);
    std::mem::take(&mut state.violations).iter().for_each(|(end, how)| end(how));
}

/// Writes whatever there is room for, and has it heard, until it is all said or the speaker ended.
fn say_all(state: &mut State, speaker: &mut Speaker) {
    while !speaker.flush() && speaker.ended.load(Ordering::Relaxed) == 0 {
        look(state);
    }
    look(state);
}

#[test]
fn who_asks_and_does_not_read_is_ended_in_time() {
    let mut state = State::default();
    let (mut rude, mut polite) =
        (Speaker::sit_down(&mut state, 7), Speaker::sit_down(&mut state, 8));
    for asked in (0..2_000_000).step_by(1000) {
        (0..1000).for_each(|i| rude.say(asked + i, &Payload::empty()));
        say_all(&mut state, &mut rude);
        if rude.ended.load(Ordering::Relaxed) > 0 {
            break;
        }
    }
    assert_eq!(rude.ended.load(Ordering::Relaxed), 1);
    assert!(HEARD.take().len() >= 1_000_000, "not too early");
    polite.say(3, &Payload::empty());
    say_all(&mut state, &mut polite);
    assert_eq!(polite.read(), [3], "the other costs it nothing");
}

#[test]
fn who_always_lags_behind_is_not_taken_for_one_that_does_not_read() {
    let mut state = State::default();
    let mut slow = Speaker::sit_down(&mut state, 7);
    let (mut asked, mut answers) = (0, 0);
    while answers < 2_500_000 {
        // As many again as were answered: some are always left.
        while asked < answers + 30_000 {
            slow.say(asked, &Payload::empty());
            asked += 1;
        }
        say_all(&mut state, &mut slow);
        answers += slow.read().len() as u64;
    }
    assert_eq!(slow.ended.load(Ordering::Relaxed), 0);
}

#[test]
fn the_last_words_of_a_process_are_heard() {
    let mut state = State::default();
    let mut speaker = Speaker::sit_down(&mut state, 7);
    look(&mut state);
    (0..100).for_each(|i| speaker.say(i, &Payload::empty()));
    assert!(speaker.flush());
    state.dismiss(7, &mut Out::default());
    assert!(HEARD.take().into_iter().map(|(_, number)| number).eq(0..100));
    assert!(!state.has_unheard());
}

#[test]
fn what_was_said_before_is_heard_before_whoever_said_it() {
    let mut state = State::default();
    let mut speakers = [7, 8, 9].map(|id| Speaker::sit_down(&mut state, id));
    for (number, by) in [2, 1, 0, 0, 2, 1, 2, 2, 0].into_iter().enumerate() {
        speakers[by].say(number as u64, &Payload::empty());
    }
    for speaker in &mut speakers {
        assert!(speaker.flush());
    }
    look(&mut state);
    let heard = HEARD.take();
    assert!(heard.iter().map(|(_, number)| *number).eq(0..9), "{heard:?}");
}

/// Times are for the order, not to be believed.
#[test]
fn who_lies_about_the_time_is_heard_all_the_same() {
    let mut state = State::default();
    let mut speakers = [7, 8].map(|id| Speaker::sit_down(&mut state, id));
    speakers[0].say_at(0, &Payload::empty(), u64::MAX);
    speakers[0].say_at(1, &Payload::empty(), 0);
    speakers[1].say_at(0, &Payload::empty(), 0);
    for speaker in &mut speakers {
        assert!(speaker.flush());
    }
    look(&mut state);
    assert!(state.fall_asleep());
    assert_eq!(HEARD.take(), [(8, 0), (7, 0), (7, 1)]);
}

#[test]
fn a_value_longer_than_allowed_ends_its_sender() {
    let mut state = State::default();
    let mut speaker = Speaker::sit_down(&mut state, 7);
    speaker.say(1, &Payload::from_slice(&vec![1; MAX_VALUE as usize]));
    while !speaker.flush() {
        look(&mut state);
        speaker.read();
    }
    look(&mut state);
    assert_eq!(speaker.ended.load(Ordering::Relaxed), 0, "just short enough");
    speaker.say(2, &Payload::from_slice(&vec![1; 2 * MAX_VALUE as usize]));
    speaker.flush();
    look(&mut state);
    assert_eq!(speaker.ended.load(Ordering::Relaxed), 1);
}

/// Else who says so for ever would have the owner keep ever more.
#[test]
fn nothing_is_kept_of_what_is_passed_on_and_gone() {
    let mut state = State::default();
    let mut speaker = Speaker::sit_down(&mut state, 7);
    (0..1000).for_each(|i| speaker.grant(1000 + i, OWNER));
    speaker.grant(7, OWNER);
    say_all(&mut state, &mut speaker);
    assert_eq!(speaker.ended.load(Ordering::Relaxed), 0);
    assert_eq!(state.transfers.into_iter().collect::<Vec<_>>(), [((7, 7), 1)]);
}

#[test]
fn what_is_passed_on_to_one_that_has_ended_is_not_kept_for_it() {
    let mut state = State::default();
    let mut speakers = [7, 8].map(|id| Speaker::sit_down(&mut state, id));
    state.seats.get_mut(&8).unwrap().parent = 7;
    look(&mut state);
    // Its last words, which are heard after its parent's.
    speakers[1].grant(8, 7);
    assert!(speakers[1].flush());
    let mut out = Out::default();
    state.dismiss(7, &mut out);
    assert!(state.seats.is_empty());
    state.server.bury(&mut out);
    assert!(!state.server.open(OWNER, ObjectName { id: 8, key: 9 }), "nobody holds it any more");
}

/// A handle, and its other end, by which it is seen whether it is closed.
struct Watched(Handle, HandleChannel);

impl Watched {
    /// None where no process can make one for two others.
    fn new() -> Option<Self> {
        let [one, other] = HandleChannel::between().unwrap()?;
        Some(Watched(one, HandleChannel::open(other).unwrap()))
    }

    /// Gives it away; its other end.
    fn give_by(self, channel: &HandleChannel) -> HandleChannel {
        channel.give(handle_ref(&self.0)).unwrap();
        self.1
    }
}

fn is_open(other: &HandleChannel) -> bool {
    other.take(0, drop).unwrap_err().kind() == ErrorKind::WouldBlock
}

/// Hears what there is; what is to be dropped when no lock is held.
fn hear(state: &mut State) -> After {
    let (mut out, mut after) = (Out::default(), After::default());
    assert!(state.hear(&mut out, &mut after));
    after
}

/// Closing one can wait for whomever its giver likes.
#[test]
fn handles_given_by_who_breaks_the_rules_are_not_closed_under_the_lock() {
    let mut state = State::default();
    let Some(Watched(theirs, ours)) = Watched::new() else { return };
    let mut speaker = Speaker::sit_down_with(&mut state, 7, Some(ours));
    // Each begins to count at 0.
    let again = HandleChannel::open(theirs.try_clone().unwrap()).unwrap();
    let theirs = HandleChannel::open(theirs).unwrap();
    let mut given = Vec::new();
    for channel in [&theirs, &theirs, &again, &again] {
        given.push(Watched::new().unwrap().give_by(channel));
    }
    speaker.manage(8, Note::new(CREATE, [0; 3]), &Payload::empty(), &[0, 5]);
    assert!(speaker.flush());
    let after = hear(&mut state);
    assert_eq!(state.violations.len(), 1);
    // Which came with what it said; the others may be closed by now, elsewhere.
    assert!(is_open(&given[0]));
    drop((after, state));
    assert!(!is_open(&given[0]));
}

#[test]
fn a_bell_is_not_closed_under_the_lock_where_none_is_to_be_given() {
    let mut state = State::default();
    let Some(Watched(theirs, ours)) = Watched::new() else { return };
    let mut speaker = Speaker::sit_down_with(&mut state, 7, Some(ours));
    let theirs = HandleChannel::open(theirs).unwrap();
    let (_block, memory) = SharedBlock::create("test", RINGS_LEN).unwrap();
    theirs.give(handle_ref(&memory)).unwrap();
    let given = [(); 2].map(|()| Watched::new().unwrap().give_by(&theirs));
    let note = Note::new(INTRODUCE, [RINGS_LEN as u64, 0, MAX_VALUE]);
    speaker.manage(8, note, &Payload::from_slice(&[1; 3]), &[0, 1, 2]);
    assert!(speaker.flush());
    let after = hear(&mut state);
    assert!(state.seats.contains_key(&8));
    assert!(given.iter().all(is_open));
    drop((after, state));
    assert!(!given.iter().any(is_open));
}
