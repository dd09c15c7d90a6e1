//! What the owner of the objects knows: the objects, and the processes that use them. It hears what
//! those have said, and says what follows.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::guest::{Broken, Guest, Line, Said};
use super::host::OwnerHold;
use super::mail::{After, Mail};
use super::object::make;
use super::ring::{HasRings, RINGS_LEN};
use super::seat::End;
use super::server::{NotMade, OWNER, Out, SeatId, Server};
use super::{CREATE, DISMISS, EXPEL, GRANT, INTRODUCE, LEAVE, LIVES, LOST, OPEN, RELEASE};
use crate::sys::{self, Bell, HandleChannel, SharedBlock, Sleeper, handle_ref};
use crate::wire::{Attached, Kind, ObjectName, Payload};

/// Processes that descend from one child of the owner's, at a time.
const MAX_FAMILY: usize = 1 << 12;
/// Bytes of the memory that a process and its child share, at most: room in the owner's address space.
const MAX_BLOCK: usize = 1 << 28;

/// For so long what a process holds is kept whose parent has ended. By then it has too, and else gave another's life for
/// its own.
const DYING: Duration = Duration::from_secs(30);

const NOT_GIVEN: Broken = Broken("it passed on an object that it was not given");
const UNKNOWN: Broken = Broken("it said something that the hub does not understand");
const INTRODUCED: Broken = Broken("it introduced a process that cannot be");
const CREATED: Broken = Broken("it made an object that cannot be, or too many");

#[derive(Default)]
pub(super) struct State {
    pub(super) server: Server,
    /// Holds that processes have put on objects for the owner, which it has not taken over yet.
    pub(super) transfers: HashMap<(SeatId, u64), i64>,
    /// What ends processes that broke the rules, and how they did.
    pub(super) violations: Vec<(End, &'static str)>,
    pub(super) seats: BTreeMap<SeatId, Guest>,
    pub(super) mail: Mail,
    /// Processes that are about to end, and until then may be at what they hold.
    pub(super) dying: Vec<Dying>,
    /// What was said and is not followed yet, in its order.
    said: VecDeque<Said>,
    /// What is being read; kept for its memory.
    fresh: Vec<Said>,
}

impl State {
    /// Hears what all processes have said; false if that was nothing.
    ///
    /// In the order in which they said it: whoever puts something, tells somebody, and that one puts
    /// something too, may have done so while the first one's ring had been looked at already and the
    /// other's had not. So what was said after this looks comes the next time, when all that was
    /// said before it is seen; and the rest comes by the time at which it was said. A process that
    /// lies about that changes the order of its own words among others', nothing else.
    pub(super) fn hear(&mut self, out: &mut Out, after: &mut After) -> bool {
        let buried = self.bury(out);
        if !self.has_unheard() {
            if buried {
                self.settle(out, after);
            }
            return buried;
        }
        let until = sys::ticks();
        let mut fresh = std::mem::take(&mut self.fresh);
        let broken = self.read_all(&mut fresh, out);
        self.said.extend(fresh.drain(..));
        self.fresh = fresh;
        // Stable, and ascending for each process: its words stay in their order.
        self.said.make_contiguous().sort_by_key(|said| said.at);
        let mut speaker = OWNER;
        while self.said.front().is_some_and(|said| said.at <= until)
            && let Some(said) = self.said.pop_front()
        {
            if said.by != speaker {
                self.pass_on(out, after);
                speaker = said.by;
            }
            self.take(said, out);
        }
        if !self.said.is_empty() {
            let now = sys::ticks();
            self.said.iter_mut().for_each(|said| said.at = said.at.min(now));
        }
        broken.into_iter().for_each(|(id, how)| self.distrust(id, how, out));
        self.settle(out, after);
        true
    }

    /// Reads what there is; who broke the rules.
    fn read_all(&mut self, said: &mut Vec<Said>, out: &mut Out) -> Vec<(SeatId, Broken)> {
        let mut broken = Vec::new();
        let mut last = None;
        let mut introduced = Vec::new();
        loop {
            let next = introduced.pop().or_else(|| {
                let mut seats = self.seats.range((last.map_or(Unbounded, Excluded), Unbounded));
                last = seats.find(|(_, seat)| seat.has_spoken()).map(|(id, _)| *id);
                last
            });
            let Some(id) = next else { return broken };
            if let Err(how) = self.read(id, said, &mut introduced, out) {
                broken.push((id, how));
            }
        }
    }

    fn read(
        &mut self,
        id: SeatId,
        said: &mut Vec<Said>,
        introduced: &mut Vec<SeatId>,
        out: &mut Out,
    ) -> Result<(), Broken> {
        let from = said.len();
        let Some(seat) = self.seats.get_mut(&id) else { return Ok(()) };
        let read = seat.read(id, said);
        self.introduce_all(said, from, introduced, out)?;
        read
    }

    /// Gives seats to all that are introduced in what was said, from `at` on.
    fn introduce_all(
        &mut self,
        said: &mut Vec<Said>,
        mut at: usize,
        introduced: &mut Vec<SeatId>,
        out: &mut Out,
    ) -> Result<(), Broken> {
        while let Some(one) = said.get(at) {
            if (one.kind, one.note.code) == (Kind::Manage, INTRODUCE) {
                // What the new one says may come before what this one says next.
                let one = said.remove(at);
                introduced.push(one.id);
                self.introduce(one, out)?;
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    /// What follows of what a process has said.
    fn take(&mut self, said: Said, out: &mut Out) {
        let by = said.by;
        if self.seats.get(&by).is_none_or(|seat| seat.distrusted) {
            return out.waste(said.value);
        }
        if let Err(how) = self.follow(said, out) {
            self.distrust(by, how, out);
        }
    }

    fn follow(&mut self, said: Said, out: &mut Out) -> Result<(), Broken> {
        let Said { by, id, kind, note, mut value, .. } = said;
        // What comes along is held by the owner from here on; the sender must hold it itself.
        if value.objects().iter().any(|object| !self.server.may_name(by, *object)) {
            out.waste(value);
            return Err(NOT_GIVEN);
        }
        for object in value.objects() {
            self.server.grant(*object, OWNER);
        }
        let creates = (kind, note.code) == (Kind::Manage, CREATE);
        let lives = (kind, note.code) == (Kind::Manage, LIVES);
        let given = if creates || lives { value.take_handles() } else { None }.unwrap_or_default();
        let mut given: Vec<_> = given.into_iter().filter_map(Result::ok).collect();
        // Of its own children the owner knows by itself.
        let descends = self.seats.get(&by).is_some_and(|seat| seat.parent != OWNER);
        if lives
            && descends
            && let Some(seat) = self.seats.get_mut(&by)
        {
            given.extend(seat.life.take());
            seat.life = given.pop();
        }
        let value = value.into_payload(|id| {
            Attached::Object(ObjectName { id, key: 0 }, Arc::new(OwnerHold(id)))
        });
        if kind == Kind::Note {
            return self.server.note(by, id, note, value, out).map_err(Broken);
        }
        let made = creates.then(|| {
            let handles: Vec<_> = given.iter().map(handle_ref).collect();
            make(note.numbers[2], value.head(), &handles)
        });
        if !given.is_empty() {
            // Closing what a process gives can take its time.
            out.waste(given);
        }
        out.drop_later(value);
        match (kind, note.code) {
            (Kind::Manage, CREATE) => {
                let made = made.unwrap_or_else(|| Err(io::ErrorKind::InvalidInput.into()));
                match made.map(|object| self.server.create(by, note.name(id), object, out)) {
                    Ok(Ok(())) => {}
                    // To whoever has asked for it, it is as gone.
                    Ok(Err(NotMade::TooMany)) => out.lost.push((by, id)),
                    Ok(Err(NotMade::Taken)) => return Err(CREATED),
                    Err(e) if is_nonsense(&e) => return Err(CREATED),
                    Err(_) => out.lost.push((by, id)),
                }
            }
            (Kind::Manage, OPEN) => {
                if !self.server.open(by, note.name(id)) {
                    out.lost.push((by, id));
                }
            }
            (Kind::Manage, LEAVE) => self.server.leave(by, id, out),
            (Kind::Manage, RELEASE) => {
                let holds = i64::try_from(note.numbers[0]).map_err(|_| UNKNOWN)?;
                match note.numbers[1] {
                    0 => self.server.release(by, id, holds, out),
                    _ => self.server.close(by, id, holds, out),
                }
            }
            (Kind::Manage, GRANT) => {
                let to = note.numbers[0];
                if !self.server.may_name(by, id) {
                    return Err(NOT_GIVEN);
                }
                if to == OWNER {
                    // Until the owner has what it is sent. Of what is gone nothing is kept.
                    if self.server.grant(id, OWNER) {
                        *self.transfers.entry((by, id)).or_default() += 1;
                    }
                } else if self.seats.get(&to).is_some_and(|seat| !seat.ended) {
                    // One that has ended lets go of nothing any more.
                    self.server.grant(id, to);
                }
            }
            (Kind::Manage, LIVES) if descends => {}
            (Kind::Manage, DISMISS) => {
                let ended = self.seats.get(&by).is_none_or(|seat| seat.ended);
                if !ended && self.seats.get(&id).is_some_and(|seat| seat.parent == by) {
                    self.dismiss(id, out);
                }
            }
            _ => return Err(UNKNOWN),
        }
        Ok(())
    }

    /// A seat for the child of a process that has one.
    fn introduce(&mut self, said: Said, out: &mut Out) -> Result<(), Broken> {
        let Said { by: parent, id: child, note, mut value, .. } = said;
        let handles = value.take_handles().unwrap_or_default();
        let mut handles = handles.into_iter().map(Result::ok);
        let given = match value.parts().0 {
            &[memory, bell, channel] => [memory, bell, channel],
            _ => [0; 3],
        };
        let given = given.map(|given| if given == 0 { None } else { handles.next().flatten() });
        let [memory, bell, channel] = given;
        let rest: Vec<_> = handles.collect();
        let Some(speaker) = self.seats.get(&parent) else {
            out.waste((memory, bell, channel, rest));
            return Ok(());
        };
        let (max_value, family) = (note.numbers[2].min(speaker.max_value), speaker.family);
        let [len, at, _] = note.numbers.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let inside = at.checked_add(RINGS_LEN).is_some_and(|end| end <= len);
        let fits = at % 4096 == 0 && inside && len <= MAX_BLOCK;
        let relatives = self.seats.values().filter(|seat| seat.family == family).count();
        let taken = child == OWNER || self.seats.contains_key(&child);
        let block = match &memory {
            Some(memory) if fits && !taken && relatives < MAX_FAMILY => {
                SharedBlock::open(handle_ref(memory), len).map_err(|_| INTRODUCED)
            }
            _ => Err(INTRODUCED),
        };
        // There are bells without any. Closing what a process gives can take its time.
        let (bell, unasked) = if Sleeper::GIVEN { (bell, None) } else { (None, bell) };
        out.waste((memory, unasked, rest));
        let block = match block {
            Ok(block) => block,
            Err(how) => {
                out.waste((bell, channel));
                return Err(how);
            }
        };
        let Ok(bell) = Bell::open(bell) else {
            out.waste(channel);
            return Err(INTRODUCED);
        };
        let channel = channel.map(HandleChannel::open).transpose().map_err(|_| INTRODUCED)?;
        let holder = Arc::new(Mapped { block, at });
        let line = Line { holder, bell, channel: channel.map(Arc::new) };
        self.seats.insert(child, Guest::new(line, max_value, parent, family));
        Ok(())
    }

    /// A process has ended, and so its children have or will.
    pub(super) fn dismiss(&mut self, id: SeatId, out: &mut Out) {
        let mut ended = vec![id];
        let mut next = 0;
        while let Some(&id) = ended.get(next) {
            next += 1;
            // Its last words, which would come after its end.
            let all = std::mem::take(&mut self.said).into_iter();
            let (mut its, others): (Vec<_>, Vec<_>) = all.partition(|said| said.by == id);
            self.said = others.into();
            if let Some(seat) = self.seats.get_mut(&id) {
                // What it said before it broke the rules, if it did.
                let _ = seat.end(id, &mut its);
            }
            // They end with it, and have their last words too. Their numbers are new: no seat is given
            // up before all have ended.
            let _ = self.introduce_all(&mut its, 0, &mut Vec::new(), out);
            its.into_iter().for_each(|said| self.take(said, out));
            // Those that end with it run on until the system sees to that.
            match self.seats.get_mut(&id).and_then(|seat| seat.life.take()) {
                Some(life) if !sys::has_ended(handle_ref(&life)) => {
                    self.server.is_leaving(id, out);
                    self.dying.push(Dying { id, life, until: Instant::now() + DYING });
                }
                life => {
                    out.waste(life);
                    self.server.left(id, out);
                }
            }
            for ((_, object), holds) in self.transfers.extract_if(|(by, _), _| *by == id) {
                self.server.release(OWNER, object, holds, out);
            }
            for (child, seat) in &mut self.seats {
                if seat.parent == id && !std::mem::replace(&mut seat.ended, true) {
                    ended.push(*child);
                }
            }
        }
        ended.iter().filter_map(|id| self.seats.remove(id)).for_each(|seat| out.waste(seat));
    }

    /// Lets go of processes that have ended by now, after whoever they end with; whether there are any.
    fn bury(&mut self, out: &mut Out) -> bool {
        let over: Vec<_> = self.dying.extract_if(.., |dying| dying.is_over()).collect();
        let any = !over.is_empty();
        for Dying { id, life, .. } in over {
            self.server.left(id, out);
            out.waste(life);
        }
        any
    }

    /// A process broke the rules: it is ended by whoever can.
    fn distrust(&mut self, id: SeatId, Broken(how): Broken, out: &mut Out) {
        self.server.left(id, out);
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| !seat.distrusted) else { return };
        out.waste(seat.distrust());
        if seat.ended {
            return;
        }
        let parent = seat.parent;
        if let Some(end) = seat.end.clone() {
            self.violations.push((end, how));
        } else if let Some(parent) = self.seats.get_mut(&parent) {
            parent.manage(EXPEL, id);
        }
    }

    /// Passes on what is said, and lets go of what is over.
    pub(super) fn settle(&mut self, out: &mut Out, after: &mut After) {
        loop {
            self.pass_on(out, after);
            for (id, seat) in &mut self.seats {
                seat.flush(&mut self.server, *id, &mut after.trash);
            }
            let mut seats = self.seats.iter();
            let Some((id, how)) = seats.find_map(|(id, seat)| Some((*id, seat.breach()?))) else {
                break;
            };
            self.distrust(id, how, out);
        }
        after.take_over(out);
    }

    /// Passes on what is said.
    fn pass_on(&mut self, out: &mut Out, after: &mut After) {
        for (to, object) in out.unsaid.drain(..) {
            if let Some(seat) = self.seats.get_mut(&to) {
                seat.unsay(object, &mut after.trash);
            }
        }
        let mut told = OWNER;
        for (to, object, note, value) in out.notes.drain(..) {
            if to != told {
                // Several things to one are most often said one after the other: one ring.
                self.flush(told, after);
                told = to;
            }
            if to == OWNER {
                if let Some(value) = self.mail.deliver(object, note, value, after) {
                    after.trash.push(value);
                }
            } else if let Some(seat) = self.seats.get_mut(&to) {
                seat.say(object, note, value);
            } else {
                after.trash.push(value);
            }
        }
        for (to, object, note) in out.pokes.drain(..) {
            if to == OWNER {
                self.mail.deliver(object, note, Payload::empty(), after);
            } else if self.server.may_name(to, object)
                && let Some(seat) = self.seats.get_mut(&to)
            {
                seat.poke(object, note);
            }
        }
        for (to, object) in out.lost.drain(..) {
            if let Some(seat) = self.seats.get_mut(&to) {
                seat.manage(LOST, object);
            }
        }
        self.flush(told, after);
    }

    fn flush(&mut self, to: SeatId, after: &mut After) {
        if let Some(seat) = self.seats.get_mut(&to) {
            seat.flush(&mut self.server, to, &mut after.trash);
        }
    }

    /// What processes have said is needed now, though there may be no room for all that it brings.
    pub(super) fn wait_no_more(&mut self) {
        self.seats.values_mut().for_each(Guest::wait_no_more);
    }

    /// Of some child.
    pub(super) fn runtime(&self) -> Option<Handle> {
        self.seats.values().find_map(|seat| seat.runtime.clone())
    }

    pub(super) fn has_unheard(&self) -> bool {
        !self.said.is_empty() || self.seats.values().any(Guest::has_spoken)
    }

    /// Has every process ring from now on; false if one has said something meanwhile.
    pub(super) fn fall_asleep(&mut self) -> bool {
        self.said.is_empty() && self.seats.values().all(Guest::fall_asleep)
    }
}

/// A process that is about to end.
pub(super) struct Dying {
    id: SeatId,
    life: sys::Handle,
    until: Instant,
}

impl Dying {
    fn is_over(&self) -> bool {
        sys::has_ended(handle_ref(&self.life)) || Instant::now() > self.until
    }
}

/// The memory of a process that another has introduced.
struct Mapped {
    block: SharedBlock,
    at: usize,
}

impl HasRings for Mapped {
    fn rings(&self) -> (&SharedBlock, usize) {
        (&self.block, self.at)
    }
}

/// Whether an object cannot be made for what was asked for, and not for want of something here.
fn is_nonsense(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
}
