//! The objects of a program and who holds them; pure: notes in, notes out.

use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::mail::Waste;
use super::note::Note;
use crate::wire::{ObjectName, Payload};

/// Who speaks: the number of a process's seat. 0 is the process that owns the objects.
pub(crate) type SeatId = u64;
pub(crate) const OWNER: SeatId = 0;

/// Something that one process owns and others use.
pub(crate) trait Object: Send {
    /// A process says something. An error ends that process's session: it has broken the rules.
    fn note(
        &mut self,
        by: SeatId,
        note: Note,
        value: Payload,
        out: &mut Out,
    ) -> Result<(), &'static str>;

    /// How many pieces of memory it has mapped in the process that owns it.
    fn mappings(&self) -> usize {
        0
    }

    /// Whether processes use it without a word, in memory that they share.
    fn is_used_unheard(&self) -> bool {
        false
    }

    /// A process has no handle of it any more: because it has dropped them, or has ended.
    fn left(&mut self, by: SeatId, out: &mut Out);

    /// A process that had it has ended, or is not trusted any more.
    fn ended(&mut self, by: SeatId, out: &mut Out) {
        self.left(by, out);
    }

    /// Nobody has it any more. What it keeps of others is to be let go of by `out`: dropping it can
    /// take its time.
    fn over(&mut self, out: &mut Out);
}

/// What follows from a note.
#[derive(Default)]
pub(crate) struct Out {
    /// What is said to whom, about which object.
    pub(super) notes: Vec<(SeatId, u64, Note, Payload)>,
    /// The same of what need not be said twice.
    pub(super) pokes: Vec<(SeatId, u64, Note)>,
    /// To be dropped when no lock is held: values can hold objects.
    pub(super) trash: Vec<Payload>,
    pub(super) dead: Vec<Box<dyn Object>>,
    pub(super) waste: Waste,
    /// To whom what an object has said before is not to be said.
    pub(super) unsaid: Vec<(SeatId, u64)>,
    /// Who asked for which object that there is not.
    pub(super) lost: Vec<(SeatId, u64)>,
    /// The object that speaks.
    current: u64,
}

impl Out {
    /// Says something to a process.
    #[inline]
    pub(crate) fn say(&mut self, to: SeatId, note: Note, value: Payload) {
        self.notes.push((to, self.current, note, value));
    }

    /// Says something to a process that has the object; what was said like that before, and not sent yet, is said with it, its
    /// numbers joined (`|`). So however often it is said, whoever does not read has one of it.
    pub(crate) fn poke(&mut self, to: SeatId, note: Note) {
        self.pokes.push((to, self.current, note));
    }

    /// Takes back what this object has said to a process that has not been sent it.
    pub(crate) fn unsay(&mut self, to: SeatId) {
        self.unsaid.push((to, self.current));
        self.notes.retain(|(seat, object, ..)| (*seat, *object) != (to, self.current));
    }

    /// Lets go of a value.
    pub(crate) fn drop_later(&mut self, value: Payload) {
        if !value.attached().is_empty() {
            self.trash.push(value);
        }
    }
}

impl Out {
    /// Drops something when no lock is held: it may take its time.
    pub(super) fn waste(&mut self, what: impl Any + Send) {
        self.waste.push(Box::new(what));
    }

    /// What has been said to whom.
    #[cfg(test)]
    pub(crate) fn said(&self) -> impl Iterator<Item = (SeatId, Note)> {
        self.notes.iter().map(|(to, _, note, _)| (*to, *note))
    }

    /// Has what follows done as it is once no lock is held.
    #[cfg(test)]
    pub(crate) fn run(mut self) {
        let mut after = super::mail::After::default();
        after.take_over(&mut self);
        after.run();
    }
}

struct Owned {
    key: u128,
    /// Who has made it.
    maker: SeatId,
    object: Box<dyn Object>,
    holds: HashMap<SeatId, Held>,
}

impl Owned {
    fn is_known(&self, by: SeatId) -> bool {
        self.holds.get(&by).is_some_and(|held| held.known)
    }
}

/// What a seat holds of an object.
#[derive(Default)]
struct Held {
    /// Holds that it has taken itself.
    opened: i64,
    /// Those that others have put on the object for it. One may be let go of before it is heard of, since it is
    /// another process that says so: then this is negative, and says nothing about the others.
    granted: i64,
    /// It has been given the object, or knows its key.
    known: bool,
}

impl Held {
    fn is_over(&self) -> bool {
        !self.known || self.opened <= 0 && self.granted <= 0
    }
}

/// All objects of a program.
#[derive(Default)]
pub(super) struct Server {
    objects: HashMap<u64, Owned>,
    /// Nobody may hold these any more; looked at again before they are dropped.
    doubtful: Vec<u64>,
    /// How many objects of whose making there are.
    made: HashMap<SeatId, Made>,
    /// Memory mapped for objects of other processes' making.
    mappings: usize,
}

#[derive(Default)]
struct Made {
    objects: usize,
    mappings: usize,
}

/// Objects that a process may have made at a time.
const MAX_MADE: usize = 1 << 20;
/// Those of them that have memory, which takes mappings of the owner's; and those that all processes may have made. (Linux
/// gives a process 65,530 mappings by itself.)
const MAX_MAPPINGS: usize = 1 << 13;
const MAX_ALL_MAPPINGS: usize = 1 << 15;

/// An object that there cannot be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotMade {
    /// Its number is another's.
    Taken,
    TooMany,
}

impl Server {
    /// Adds an object with one hold of `by`.
    pub(super) fn create(
        &mut self,
        by: SeatId,
        name: ObjectName,
        object: Box<dyn Object>,
        out: &mut Out,
    ) -> Result<(), NotMade> {
        let mappings = object.mappings();
        let made = self.made.entry(by).or_default();
        let too_many = made.objects >= MAX_MADE
            || made.mappings + mappings > MAX_MAPPINGS
            || self.mappings + mappings > MAX_ALL_MAPPINGS;
        let refused = match self.objects.contains_key(&name.id) {
            true => Some(NotMade::Taken),
            false => (by != OWNER && too_many).then_some(NotMade::TooMany),
        };
        if let Some(refused) = refused {
            out.dead.push(object);
            return Err(refused);
        }
        made.objects += 1;
        made.mappings += mappings;
        if by != OWNER {
            self.mappings += mappings;
        }
        let holds = HashMap::from([(by, Held { opened: 1, granted: 0, known: true })]);
        self.objects.insert(name.id, Owned { key: name.key, maker: by, object, holds });
        Ok(())
    }

    /// Takes one more hold for whoever knows the key, or has been given the object: whoever passed that on may have
    /// spoilt the key. Anybody else is refused, and may speak of it until that is heard: who decodes what another
    /// process forged says something at once.
    pub(super) fn open(&mut self, by: SeatId, name: ObjectName) -> bool {
        match self.objects.get_mut(&name.id) {
            Some(owned) if owned.key == name.key || owned.is_known(by) => {
                let held = owned.holds.entry(by).or_default();
                held.opened = held.opened.saturating_add(1);
                held.known = true;
                true
            }
            Some(owned) if by != OWNER => {
                // It lets go of that hold, too.
                let held = owned.holds.entry(by).or_default();
                held.opened = held.opened.saturating_add(1);
                false
            }
            _ => false,
        }
    }

    /// Takes a hold for `to`, at the wish of somebody who has one; false if there is no such object.
    pub(super) fn grant(&mut self, id: u64, to: SeatId) -> bool {
        let Some(owned) = self.objects.get_mut(&id) else { return false };
        let held = owned.holds.entry(to).or_default();
        held.granted = held.granted.saturating_add(1);
        held.known = true;
        true
    }

    /// Whether a process may speak of an object: of one that is gone it may not have heard.
    pub(super) fn may_name(&self, by: SeatId, id: u64) -> bool {
        self.objects.get(&id).is_none_or(|owned| owned.is_known(by))
    }

    /// A process has no handle of an object, though it may have holds.
    pub(super) fn leave(&mut self, by: SeatId, id: u64, out: &mut Out) {
        if let Some(owned) = self.objects.get_mut(&id) {
            out.current = id;
            owned.object.left(by, out);
        }
    }

    /// A process lets go of holds that it was given.
    pub(super) fn release(&mut self, by: SeatId, id: u64, holds: i64, out: &mut Out) {
        self.let_go(by, id, |held| held.granted = held.granted.saturating_sub(holds), out);
    }

    /// A process lets go of holds that it has taken itself.
    pub(super) fn close(&mut self, by: SeatId, id: u64, holds: i64, out: &mut Out) {
        self.let_go(by, id, |held| held.opened = held.opened.saturating_sub(holds), out);
    }

    /// Whoever says that it lets go of more than it has says so of its own.
    fn let_go(&mut self, by: SeatId, id: u64, less: impl FnOnce(&mut Held), out: &mut Out) {
        let Some(owned) = self.objects.get_mut(&id) else { return };
        let held = owned.holds.entry(by).or_default();
        less(held);
        if held.is_over() {
            if (held.opened, held.granted) == (0, 0) {
                owned.holds.remove(&by);
            }
            out.current = id;
            owned.object.left(by, out);
            self.doubtful.push(id);
        }
    }

    #[inline]
    pub(super) fn note(
        &mut self,
        by: SeatId,
        id: u64,
        note: Note,
        value: Payload,
        out: &mut Out,
    ) -> Result<(), &'static str> {
        match self.objects.get_mut(&id) {
            Some(owned) if owned.is_known(by) => {
                out.current = id;
                owned.object.note(by, note, value, out)
            }
            Some(owned) if !owned.holds.contains_key(&by) => {
                out.trash.push(value);
                Err("it spoke of an object that it was not given")
            }
            // It has not heard yet that there is no such object, or none for it.
            _ => {
                out.trash.push(value);
                Ok(())
            }
        }
    }

    /// A process has ended: all its holds with it.
    pub(super) fn left(&mut self, by: SeatId, out: &mut Out) {
        self.left_where(by, |_| true, out);
    }

    /// A process is about to end, and is not heard any more: what it can use all the same it has until it has ended.
    pub(super) fn is_leaving(&mut self, by: SeatId, out: &mut Out) {
        self.left_where(by, |object| !object.is_used_unheard(), out);
    }

    fn left_where(&mut self, by: SeatId, which: impl Fn(&dyn Object) -> bool, out: &mut Out) {
        for (id, owned) in &mut self.objects {
            if which(&*owned.object) && owned.holds.remove(&by).is_some() {
                out.current = *id;
                owned.object.ended(by, out);
                self.doubtful.push(*id);
            }
        }
    }

    /// Whether there are objects to [`bury`](Self::bury).
    pub(super) fn has_doubtful(&self) -> bool {
        !self.doubtful.is_empty()
    }

    /// Drops objects that nobody holds; to be called when all that was said is heard.
    pub(super) fn bury(&mut self, out: &mut Out) {
        for id in std::mem::take(&mut self.doubtful) {
            if self.objects.get(&id).is_some_and(|o| o.holds.values().all(Held::is_over))
                && let Some(mut owned) = self.objects.remove(&id)
            {
                owned.object.over(out);
                if let Entry::Occupied(mut made) = self.made.entry(owned.maker) {
                    let mappings = owned.object.mappings();
                    made.get_mut().objects -= 1;
                    made.get_mut().mappings -= mappings;
                    if made.get().objects == 0 {
                        made.remove();
                    }
                    if owned.maker != OWNER {
                        self.mappings -= mappings;
                    }
                }
                out.dead.push(owned.object);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what it is told.
    struct Echo;

    impl Object for Echo {
        fn note(
            &mut self,
            by: SeatId,
            note: Note,
            value: Payload,
            out: &mut Out,
        ) -> Result<(), &'static str> {
            out.say(by, note, value);
            Ok(())
        }

        fn left(&mut self, _: SeatId, _: &mut Out) {}

        fn over(&mut self, _: &mut Out) {}
    }

    struct Mapped;

    impl Object for Mapped {
        fn note(
            &mut self,
            _: SeatId,
            _: Note,
            _: Payload,
            _: &mut Out,
        ) -> Result<(), &'static str> {
            Ok(())
        }

        fn mappings(&self) -> usize {
            1
        }

        fn left(&mut self, _: SeatId, _: &mut Out) {}

        fn over(&mut self, _: &mut Out) {}
    }

    /// Who was given an object has it, whatever became of its key on the way.
    #[test]
    fn who_was_given_an_object_needs_no_key() {
        let (mut server, mut out) = (Server::default(), Out::default());
        let (right, wrong) = (ObjectName { id: 1, key: 7 }, ObjectName { id: 1, key: 8 });
        server.create(OWNER, right, Box::new(Mapped), &mut out).unwrap();
        assert!(server.grant(1, 2));
        assert!(server.open(2, wrong));
        // What had brought it is gone.
        server.release(2, 1, 1, &mut out);
        let note = Note::new(0, [0; 3]);
        assert_eq!(server.note(2, 1, note, Payload::empty(), &mut out), Ok(()));
    }

    /// Who was deceived by another process has broken no rule.
    #[test]
    fn who_is_refused_an_object_may_not_have_heard_it() {
        let (mut server, mut out) = (Server::default(), Out::default());
        let (right, wrong) = (ObjectName { id: 1, key: 7 }, ObjectName { id: 1, key: 8 });
        server.create(OWNER, right, Box::new(Echo), &mut out).unwrap();
        let note = Note::new(0, [0; 3]);
        let mut say = |server: &mut Server| server.note(2, 1, note, Payload::empty(), &mut out);
        assert!(say(&mut server).is_err(), "it has not asked for it");
        assert!(!server.open(2, wrong) && !server.may_name(2, 1));
        assert_eq!(say(&mut server), Ok(()));
        assert_eq!(out.said().count(), 0, "the object heard it");
        server.close(OWNER, 1, 1, &mut out);
        server.bury(&mut out);
        assert!(server.objects.is_empty(), "it kept the object");
    }

    /// A child lets go of what brought it an object, which it keeps, and is heard before its parent, which has put the
    /// hold on it.
    #[test]
    fn a_hold_that_is_let_go_of_before_it_is_heard_of_is_no_other() {
        let (mut server, mut out) = (Server::default(), Out::default());
        let name = ObjectName { id: 1, key: 7 };
        server.create(2, name, Box::new(Mapped), &mut out).unwrap();
        assert!(server.open(3, name));
        server.release(3, 1, 1, &mut out);
        server.bury(&mut out);
        let note = Note::new(0, [0; 3]);
        assert_eq!(server.note(3, 1, note, Payload::empty(), &mut out), Ok(()));
        assert!(server.grant(1, 3));
        server.close(2, 1, 1, &mut out);
        server.bury(&mut out);
        assert_eq!(server.objects.len(), 1, "the child has it still");
        server.close(3, 1, 1, &mut out);
        server.bury(&mut out);
        assert!(server.objects.is_empty());
    }

    /// However many processes make them, the owner has mappings left for itself.
    #[test]
    fn objects_with_memory_are_counted() {
        let (mut server, mut out) = (Server::default(), Out::default());
        let mut next = 0;
        let mut make = |server: &mut Server, by, out: &mut Out| {
            next += 1;
            let name = ObjectName { id: next, key: 0 };
            server.create(by, name, Box::new(Mapped), out).map(|()| next)
        };
        let first = make(&mut server, 1, &mut out).unwrap();
        (1..MAX_MAPPINGS).for_each(|_| assert!(make(&mut server, 1, &mut out).is_ok()));
        assert_eq!(make(&mut server, 1, &mut out), Err(NotMade::TooMany));
        make(&mut server, 2, &mut out).unwrap();
        make(&mut server, OWNER, &mut out).unwrap();
        server.close(1, first, 1, &mut out);
        server.bury(&mut out);
        make(&mut server, 1, &mut out).unwrap();
        assert_eq!(make(&mut server, 1, &mut out), Err(NotMade::TooMany));
        // Of all processes together, too.
        for by in 2..6 {
            let all = (0..MAX_MAPPINGS).take_while(|_| make(&mut server, by, &mut out).is_ok());
            assert!(all.count() > 0 || by == 5);
        }
        assert_eq!(make(&mut server, 99, &mut out), Err(NotMade::TooMany));
        make(&mut server, OWNER, &mut out).unwrap();
        (1..10).for_each(|by| server.left(by, &mut out));
        server.bury(&mut out);
        make(&mut server, 99, &mut out).unwrap();
    }
}
