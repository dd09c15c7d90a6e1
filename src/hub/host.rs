//! The owner's side: the objects, and the seats of the processes that use them.
//!
//! One thread reads what processes say and passes on what follows; the owner's own calls do the
//! same under the same lock, without a wake. Nothing here waits for anybody: a process that does
//! not read what it asked for has it kept, and costs nobody else anything.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use super::guest::{Guest, Line};
use super::mail::{After, Mailbox};
use super::name::random;
use super::note::Note;
use super::seat::End;
use super::server::{OWNER, Object, Out, SeatId};
use super::state::State;
use crate::sys::{self, Doorbell, HandleRef, Hearing, Poller, Ready};
use crate::wire::{Hold, ObjectName, Payload};

const BELL: u64 = 1;
/// How often the thread looks whether whoever is on duty does.
const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_millis(100);
/// Looks of the driver before it lets other tasks run.
const LOOKS: u32 = 16;
/// Times that the driver is woken while no task of the owner's waits, before it stops.
const IN_VAIN: u32 = 32;

pub(super) struct Host {
    state: Mutex<State>,
    poller: Poller,
    bell: Doorbell,
    running: AtomicBool,
    /// Who reads, of which is known at any time that somebody does.
    duty: Mutex<Duty>,
    /// Looks of the driver.
    beats: AtomicU64,
    /// Pending operations of asynchronous code of the owner's.
    interest: AtomicUsize,
    /// Objects of which the owner has let go of a hold, wherever that happened.
    released: Mutex<Vec<u64>>,
}

/// The thread reads, unless a task on the runtime of the last child does: what the owner's tasks
/// wait for then costs no wake of another thread. Should that runtime be blocked, the thread notices.
#[derive(Default)]
struct Duty {
    driven: bool,
    /// There is no hearing within a runtime.
    unable: bool,
}

static HOST: OnceLock<Host> = OnceLock::new();

thread_local! {
    /// This thread does what follows of something, and so on.
    static LETTING_GO: Cell<bool> = const { Cell::new(false) };
    /// What follows of that; to be had also while the thread ends.
    static LEFT: RefCell<ManuallyDrop<Vec<After>>> =
        const { RefCell::new(ManuallyDrop::new(Vec::new())) };
}

/// A queue that goes may hold queues that hold queues: they go one after the other, not one
/// inside the other.
struct LettingGo;

impl LettingGo {
    fn run(after: After) {
        LEFT.with_borrow_mut(|left| left.push(after));
        if LETTING_GO.replace(true) {
            return;
        }
        let _going = LettingGo;
        while let Some(after) = LEFT.with_borrow_mut(|left| left.pop()) {
            after.run();
        }
    }
}

impl Drop for LettingGo {
    fn drop(&mut self) {
        LEFT.with_borrow_mut(|left| drop(std::mem::take(&mut **left)));
        LETTING_GO.set(false);
    }
}

/// The program's hub, made at first use.
pub(super) fn host() -> io::Result<&'static Host> {
    static MAKING: Mutex<()> = Mutex::new(());
    if let Some(host) = HOST.get() {
        return Ok(host);
    }
    let _making = sys::lock(&MAKING);
    if let Some(host) = HOST.get() {
        return Ok(host);
    }
    let (poller, bell) = (Poller::new()?, Doorbell::new()?);
    poller.add_doorbell(&bell, BELL)?;
    let running = AtomicBool::new(false);
    Ok(HOST.get_or_init(|| Host {
        state: Mutex::default(),
        poller,
        bell,
        running,
        duty: Mutex::default(),
        beats: AtomicU64::new(0),
        interest: AtomicUsize::new(0),
        released: Mutex::default(),
    }))
}

impl Host {
    fn lock(&self) -> MutexGuard<'_, State> {
        sys::lock(&self.state)
    }

    /// Does something of which nothing follows. Whoever holds the lock has to let go afterwards of
    /// what others have released meanwhile.
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let result = f(&mut self.lock());
        self.let_go();
        result
    }

    /// Does something with the objects, and what follows from it.
    fn act<R>(&self, f: impl FnOnce(&mut State, &mut Out, &mut After) -> R) -> R {
        self.act_on(self.lock(), f)
    }

    fn act_on<R>(
        &self,
        state: MutexGuard<'_, State>,
        f: impl FnOnce(&mut State, &mut Out, &mut After) -> R,
    ) -> R {
        let result = self.act_once(state, f);
        self.let_go();
        result
    }

    fn act_once<R>(
        &self,
        mut state: MutexGuard<'_, State>,
        f: impl FnOnce(&mut State, &mut Out, &mut After) -> R,
    ) -> R {
        let mut after = After::default();
        let mut out = Out::default();
        let dying = state.dying.len();
        let result = f(&mut state, &mut out, &mut after);
        let released = std::mem::take(&mut *self.released());
        for id in released {
            state.server.release(OWNER, id, 1, &mut out);
        }
        state.settle(&mut out, &mut after);
        if state.server.has_doubtful() {
            // Whoever has said that it has one more has said so by now.
            state.hear(&mut out, &mut after);
            state.server.bury(&mut out);
            state.settle(&mut out, &mut after);
        }
        let violations = std::mem::take(&mut state.violations);
        let more_dying = state.dying.len() > dying;
        drop(state);
        if more_dying {
            // The thread looks after them.
            self.poller.ring();
        }
        LettingGo::run(after);
        violations.iter().for_each(|(end, how)| end(how));
        result
    }

    /// Lets go of what the owner has released, and of what that releases.
    fn let_go(&self) {
        while !LETTING_GO.get() && !self.released().is_empty() {
            let state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                // Whoever has it, perhaps the caller, comes here when it is done.
                Err(TryLockError::WouldBlock) => return,
            };
            self.act_once(state, |_, _, _| ());
        }
    }

    fn released(&self) -> MutexGuard<'_, Vec<u64>> {
        sys::lock(&self.released)
    }

    // The owner's own use.

    pub(super) fn create(&self, name: ObjectName, object: Box<dyn Object>) {
        // Names are random: there is no other.
        let _ = self.act(|state, out, _| state.server.create(OWNER, name, object, out));
    }

    /// Takes a hold of the owner's; false if there is no such object.
    pub(super) fn open(&self, name: ObjectName) -> bool {
        self.act(|state, out, after| {
            state.server.open(OWNER, name) || {
                // Whoever made it may have said so, unheard.
                state.wait_no_more();
                state.hear(out, after);
                state.server.open(OWNER, name)
            }
        })
    }

    pub(super) fn add_mailbox(&self, object: u64, mailbox: Weak<dyn Mailbox>) {
        self.with(|state| state.mail.add(object, mailbox));
    }

    pub(super) fn mailbox(&self, object: u64) -> Option<Arc<dyn Mailbox>> {
        self.with(|state| state.mail.get(object))
    }

    pub(super) fn release(&self, object: u64) {
        self.act(|state, out, _| {
            state.mail.forget(object);
            if !state.mail.is_here(object) {
                state.server.leave(OWNER, object, out);
            }
            state.server.close(OWNER, object, 1, out);
        });
    }

    /// Takes over the hold that a process has put on an object for the owner; none if it has not.
    pub(super) fn claim(&self, object: u64, from: SeatId) -> Option<OwnerHold> {
        self.act(|state, out, after| {
            // It has said so before it spoke of it elsewhere.
            state.wait_no_more();
            state.hear(out, after);
            let transfers = state.transfers.get_mut(&(from, object))?;
            *transfers -= 1;
            if *transfers == 0 {
                state.transfers.remove(&(from, object));
            }
            Some(OwnerHold(object))
        })
    }

    pub(super) fn grant(&self, object: u64, to: SeatId) {
        self.act(|state, _, _| state.server.grant(object, to));
    }

    /// Says something to an object; what other processes have said before is heard before it, if
    /// that matters.
    pub(super) fn note(&self, object: u64, note: Note, value: Payload, hear: bool) {
        self.act(|state, out, after| {
            if hear {
                state.hear(out, after);
            }
            // The owner keeps to the rules.
            let kept = state.server.note(OWNER, object, note, value, out);
            debug_assert_eq!(kept, Ok(()));
        });
    }

    // Other processes.

    /// A place for a child-to-be, whose memory this is.
    pub(super) fn seat(&self, line: Line, max_value: u64, end: End) -> SeatId {
        let id = random();
        let mut seat = Guest::new(line, max_value, OWNER, id);
        seat.end = Some(end);
        seat.runtime = Handle::try_current().ok();
        self.with(|state| state.seats.insert(id, seat));
        id
    }

    /// The process has ended: what it said is heard, then its leases end.
    pub(super) fn seat_ended(&self, id: SeatId) {
        self.act(|state, out, after| {
            state.hear(out, after);
            state.dismiss(id, out);
        });
    }

    /// What a child must be given to ring here.
    pub(super) fn ringer(&self) -> HandleRef<'_> {
        self.bell.ringer()
    }

    /// Has whoever watches `poller` hear of the first ring, until the thread runs.
    pub(super) fn announce(&self, poller: &Poller, key: u64) -> io::Result<()> {
        poller.add_doorbell(&self.bell, key)
    }

    /// The thread listens from now on.
    pub(super) fn take_over(&self, poller: &Poller) {
        poller.remove_doorbell(&self.bell);
        // The ring that the other has heard.
        self.poller.ring();
    }

    pub(super) fn run(&'static self) -> io::Result<()> {
        if self.running.load(Ordering::Acquire) || self.running.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let thread = std::thread::Builder::new().name("procpool-hub".into());
        if let Err(e) = thread.spawn(|| self.serve()) {
            self.running.store(false, Ordering::Release);
            return Err(e);
        }
        Ok(())
    }

    /// Hears all there is, and passes on what follows; false if somebody has said more meanwhile.
    fn look(&self) -> bool {
        self.act(|state, out, after| {
            let heard = state.hear(out, after);
            !heard && state.fall_asleep()
        })
    }

    fn serve(&self) {
        let mut ready = Vec::new();
        let mut patience = SHORT;
        loop {
            let driven = self.duty().driven;
            if !driven {
                patience = SHORT;
            }
            let dying = !self.lock().dying.is_empty();
            if (!driven || dying) && !self.look() {
                continue;
            }
            let beats = self.beats.load(Ordering::Acquire);
            ready.clear();
            // A child can make the bell deaf for the others, so it is not relied on for ever.
            let limit = match (dying, driven) {
                (true, _) => Some(SHORT),
                (false, true) => Some(patience),
                (false, false) => self.has_seats().then_some(LONG),
            };
            if self.poller.wait(limit, &mut ready).is_err() {
                // Only a programming error makes it fail; do not spin on it.
                std::thread::sleep(SHORT);
            }
            if ready.iter().any(|ready| matches!(ready, Ready::Key(BELL))) {
                self.bell.hush();
            } else if driven {
                // Whoever is on duty has not looked, though there is something to hear.
                let stuck = beats == self.beats.load(Ordering::Acquire) && self.has_unheard();
                if stuck {
                    self.look();
                }
                patience = if stuck { SHORT } else { (patience * 2).min(LONG) };
            }
        }
    }

    fn has_seats(&self) -> bool {
        self.with(|state| !state.seats.is_empty())
    }

    fn has_unheard(&self) -> bool {
        self.with(|state| state.has_unheard())
    }

    fn duty(&self) -> MutexGuard<'_, Duty> {
        sys::lock(&self.duty)
    }

    /// A task of the owner's waits.
    pub(super) fn interest(&'static self) -> OwnerInterest {
        self.interest.fetch_add(1, Ordering::Relaxed);
        let mut duty = self.duty();
        let is_open = !duty.driven && !duty.unable;
        let runtime = if is_open { self.lock().runtime() } else { None };
        duty.driven |= runtime.is_some();
        drop(duty);
        if let Some(runtime) = runtime {
            // Given up by whoever drops the task, be that a runtime that has ended.
            let on_duty = OnDuty(self);
            runtime.spawn(async move {
                let on_duty = on_duty;
                on_duty.0.drive().await;
            });
        }
        let interest = OwnerInterest(self);
        self.let_go();
        interest
    }

    async fn drive(&self) {
        let Ok(bell) = Hearing::new(&self.bell) else {
            self.duty().unable = true;
            return;
        };
        self.poller.remove_doorbell(&self.bell);
        let mut in_vain = 0;
        loop {
            self.beats.fetch_add(1, Ordering::AcqRel);
            // Before it is satisfied by what is heard.
            let wanted = self.interest.load(Ordering::Relaxed) > 0;
            let mut looks = 1;
            while !self.look() {
                looks += 1;
                if looks % LOOKS == 0 {
                    tokio::task::yield_now().await;
                }
            }
            in_vain = if wanted { 0 } else { in_vain + 1 };
            // What others say to each other need not be this runtime's work.
            if in_vain == IN_VAIN || bell.rung().await.is_err() {
                return;
            }
            self.bell.hush();
        }
    }
}

/// A task of the owner's that waits.
pub(crate) struct OwnerInterest(&'static Host);

impl Drop for OwnerInterest {
    fn drop(&mut self) {
        self.0.interest.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives the duty back to the thread.
struct OnDuty(&'static Host);

impl Drop for OnDuty {
    fn drop(&mut self) {
        let mut duty = self.0.duty();
        // It may be there still.
        self.0.poller.remove_doorbell(&self.0.bell);
        let _ = self.0.poller.add_doorbell(&self.0.bell, BELL);
        duty.driven = false;
        drop(duty);
        self.0.poller.ring();
    }
}

/// A hold of the owner's that nobody has taken over yet.
#[derive(Debug)]
pub(super) struct OwnerHold(pub(super) u64);

impl Hold for OwnerHold {
    fn given_to(&self, seat: SeatId) {
        if let Some(host) = HOST.get() {
            host.grant(self.0, seat);
        }
    }
}

impl Drop for OwnerHold {
    fn drop(&mut self) {
        let Some(host) = HOST.get() else { return };
        host.released().push(self.0);
        host.let_go();
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::random_name;
    use super::*;

    /// Tells when it is dropped.
    struct Quiet(Arc<AtomicBool>);

    impl Object for Quiet {
        fn note(
            &mut self,
            _: SeatId,
            _: Note,
            _: Payload,
            _: &mut Out,
        ) -> Result<(), &'static str> {
            Ok(())
        }

        fn left(&mut self, _: SeatId, _: &mut Out) {}

        fn over(&mut self, _: &mut Out) {}
    }

    impl Drop for Quiet {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_released_while_somebody_looks_does_not_stay() {
        let (host, name, gone) = (host().unwrap(), random_name(), Arc::default());
        host.create(name, Box::new(Quiet(Arc::clone(&gone))));
        // One that it was given, and none of its own any more.
        host.with(|state| state.server.grant(name.id, OWNER));
        host.release(name.id);
        host.with(|_| {
            drop(OwnerHold(name.id));
            assert!(!gone.load(Ordering::Relaxed));
        });
        assert!(gone.load(Ordering::Relaxed));
    }
}
