//! Processes, threads and tasks around a [`Table`], of which a checker decides who runs next: for `model_tests.rs`.
//!
//! Threads sleep as on a futex, tasks wait in a [`Line`], and wakes of tasks of other processes are letters that arrive at some
//! time. A process may die at any operation on the memory.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool as Flag, AtomicI64, AtomicU64 as Count};
use std::task::{Context, Wake, Waker};

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::atomic::AtomicU64;
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread::{self, JoinHandle};

use super::table::{self, Looked, Party, Wait};
use super::{Kind, Table};
use crate::hub::{After, Line};

const PARTIES: usize = 4;

/// What one process has besides the memory.
struct Process {
    /// Threads asleep.
    bed: (Mutex<()>, Condvar),
    line: Mutex<Line>,
    /// Whether somebody is alone; and what tasks sleep on.
    inner: (Mutex<bool>, Condvar),
    /// Operations until it dies.
    left: AtomicI64,
    dead: Flag,
    /// For the tests: what it holds.
    held: Count,
    /// Whether it has come to a barrier.
    sits: Flag,
}

impl Process {
    fn new() -> Self {
        Process {
            bed: Default::default(),
            line: Mutex::default(),
            inner: Default::default(),
            left: AtomicI64::new(i64::MAX),
            dead: Flag::new(false),
            held: Count::new(0),
            sits: Flag::new(false),
        }
    }

    fn wake_tasks(&self, all: bool) {
        let mut after = After::default();
        let mut line = self.line.lock().unwrap();
        let n = if all { line.len() } else { 1 };
        line.wake(n, &mut after);
        drop(line);
        after.run();
    }

    /// All its threads end where they are.
    fn die(&self) -> ! {
        self.dead.store(true, SeqCst);
        drop(self.bed.0.lock().unwrap());
        self.bed.1.notify_all();
        drop(self.inner.0.lock().unwrap());
        self.inner.1.notify_all();
        resume_unwind(Box::new(Died))
    }
}

struct Died;

/// A wake for tasks on its way; the last one is none.
type Letter = Option<(Party, bool)>;

pub(super) struct World {
    words: Vec<AtomicU64>,
    processes: Vec<Process>,
    post: (Mutex<VecDeque<Letter>>, Condvar),
    /// The arbiter does one thing at a time.
    grave: Mutex<()>,
}

/// Who is at the memory: a process, or the arbiter.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) world: Arc<World>,
    pub(super) me: Party,
    /// Ends with its process.
    mortal: bool,
}

impl World {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(World {
            words: (0..8 * (PARTIES + 1)).map(|_| AtomicU64::new(0)).collect(),
            processes: (0..=PARTIES).map(|_| Process::new()).collect(),
            post: Default::default(),
            grave: Mutex::new(()),
        })
    }

    pub(super) fn arbiter(self: &Arc<Self>) -> Seat {
        Seat { world: self.clone(), me: 0, mortal: false }
    }

    /// A new process.
    pub(super) fn process(self: &Arc<Self>) -> Seat {
        let me = table::join(&self.arbiter(), 1, 1).unwrap();
        Seat { world: self.clone(), me, mortal: false }
    }

    /// One that dies after fewer than `most` operations, if it does so many.
    pub(super) fn mortal(self: &Arc<Self>, most: i64) -> Seat {
        self.process().mortal(most)
    }

    /// What processes hold that are not dead.
    pub(super) fn held(&self) -> u64 {
        let alive = self.processes.iter().filter(|p| !p.dead.load(SeqCst));
        alive.map(|p| p.held.load(SeqCst)).sum()
    }

    pub(super) fn is_dead(&self, party: Party) -> bool {
        self.processes[usize::from(party)].dead.load(SeqCst)
    }

    /// Delivers letters, until [`stop`](Self::stop).
    pub(super) fn postman(self: &Arc<Self>) -> JoinHandle<()> {
        let world = self.clone();
        thread::spawn(move || {
            loop {
                let mut letters = world.post.0.lock().unwrap();
                while letters.is_empty() {
                    letters = world.post.1.wait(letters).unwrap();
                }
                let Some((party, all)) = letters.pop_front().unwrap() else { return };
                drop(letters);
                let to = Seat { world: world.clone(), me: party, mortal: false };
                table::about_to_look(&to, party);
                to.process().wake_tasks(all);
            }
        })
    }

    fn send(&self, letter: Letter) {
        self.post.0.lock().unwrap().push_back(letter);
        self.post.1.notify_one();
    }

    pub(super) fn stop(&self, postman: JoinHandle<()>) {
        self.send(None);
        postman.join().unwrap();
    }
}

/// Threads of a process; nothing of what they had is given back if it dies.
pub(super) struct Running {
    seat: Seat,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    pub(super) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Waits for the end of all.
    pub(super) fn join(self) {
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    /// [`bury`](Self::bury), while others go on.
    pub(super) fn bury_later(self, kind: Kind) -> JoinHandle<()> {
        thread::spawn(move || self.bury(kind, |_| ()))
    }

    /// When they have ended the process gives its entry up, and may die in that; then the arbiter does it.
    pub(super) fn bury(self, kind: Kind, before: impl FnOnce(bool)) {
        let seat = self.seat.clone();
        self.join();
        let died = seat.world.is_dead(seat.me);
        before(died);
        if !died {
            seat.run(|| kind.recover(&seat, seat.me));
        }
        let arbiter = seat.world.arbiter();
        let _one = seat.world.grave.lock().unwrap();
        if table::seat(&arbiter, seat.me) != 0 {
            kind.recover(&arbiter, seat.me);
        }
    }
}

/// Whether what waits does so as a thread or as a task.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    Thread,
    Task,
}
pub(super) use As::{Task, Thread};

struct Alarm(Seat, Flag);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        let (lock, woken) = &self.0.process().inner;
        let guard = lock.lock().unwrap();
        self.1.store(true, SeqCst);
        drop(guard);
        woken.notify_all();
    }
}

impl Seat {
    fn process(&self) -> &Process {
        &self.world.processes[usize::from(self.me)]
    }

    /// It dies after fewer than `most` operations from now on.
    pub(super) fn mortal(self, most: i64) -> Seat {
        self.process().left.store(thread_rng().gen_range(0..most), Relaxed);
        Seat { mortal: true, ..self }
    }

    /// Runs something that ends where its process dies.
    fn run(&self, body: impl FnOnce()) {
        if let Err(e) = catch_unwind(AssertUnwindSafe(body))
            && !e.is::<Died>()
        {
            resume_unwind(e);
        }
    }

    /// One thread for each.
    pub(super) fn spawn<F: Fn(&Seat, As) + Send + Sync + 'static>(
        &self,
        members: &[As],
        body: F,
    ) -> Running {
        let body = Arc::new(body);
        let spawn = |how: &As| {
            let (seat, how, body) = (self.clone(), *how, body.clone());
            thread::spawn(move || seat.run(|| body(&seat, how)))
        };
        Running { seat: self.clone(), threads: members.iter().map(spawn).collect() }
    }

    /// Before each operation.
    fn operation(&self) {
        if !self.mortal {
            return;
        }
        let process = self.process();
        if process.dead.load(SeqCst) {
            resume_unwind(Box::new(Died));
        }
        if process.left.fetch_sub(1, Relaxed) == 0 {
            process.die();
        }
    }

    pub(super) fn hold(&self) {
        self.process().held.fetch_add(1, SeqCst);
    }

    pub(super) fn let_go(&self) {
        self.process().held.fetch_sub(1, SeqCst);
    }

    pub(super) fn sits(&self) -> bool {
        self.process().sits.load(SeqCst)
    }

    /// Waits as `Place` does; `quits`: in how many of a hundred cases it waits no more, instead of sleeping.
    pub(super) fn wait<W: Wait>(&self, how: As, wait: W, quits: u32) -> Option<W::Got> {
        match how {
            Thread => self.wait_as_thread(wait, quits),
            Task => self.wait_as_task(wait, quits),
        }
    }

    fn wait_as_thread<W: Wait>(&self, mut wait: W, quits: u32) -> Option<W::Got> {
        loop {
            let pokes = table::about_to_look(self, self.me);
            match wait.look(self, self.me, late()) {
                Looked::Got(got) => return Some(got),
                Looked::TooMany => panic!("too many"),
                Looked::Nothing if by_chance(quits) => return self.quit(wait),
                Looked::Nothing => self.park(pokes),
            }
        }
    }

    fn wait_as_task<W: Wait>(&self, mut wait: W, quits: u32) -> Option<W::Got> {
        let process = self.process();
        let mut place = None;
        let alarm = Arc::new(Alarm(self.clone(), Flag::new(false)));
        let waker = Waker::from(alarm.clone());
        loop {
            alarm.1.store(false, SeqCst);
            let mut line = process.line.lock().unwrap();
            let at = *place.get_or_insert_with(|| line.enter());
            line.wait(at, &Context::from_waker(&waker));
            drop(line);
            match wait.look(self, self.me, late()) {
                Looked::Got(got) => {
                    let mut line = process.line.lock().unwrap();
                    let woken = line.is_woken(at);
                    line.leave(at);
                    drop(line);
                    if woken {
                        process.wake_tasks(false);
                    }
                    return Some(got);
                }
                Looked::TooMany => panic!("too many"),
                Looked::Nothing if by_chance(quits) => {
                    process.line.lock().unwrap().leave(at);
                    return self.quit(wait);
                }
                Looked::Nothing => {}
            }
            let mut guard = process.inner.0.lock().unwrap();
            while !alarm.1.load(SeqCst) && !process.dead.load(SeqCst) {
                guard = process.inner.1.wait(guard).unwrap();
            }
            drop(guard);
            if process.dead.load(SeqCst) {
                resume_unwind(Box::new(Died));
            }
        }
    }

    /// Its time is over, or it is dropped.
    fn quit<W: Wait>(&self, mut wait: W) -> Option<W::Got> {
        if by_chance(50) {
            wait.expire(self);
            return wait.quit(self, self.me);
        }
        if let Some(got) = wait.quit(self, self.me) {
            W::give_back(got, self, self.me);
        }
        None
    }

    fn park(&self, pokes: u32) {
        let process = self.process();
        let guard = process.bed.0.lock().unwrap();
        let unchanged = self.world.words[table::bed(self.me)].load(SeqCst) as u32 == pokes;
        if unchanged && !process.dead.load(SeqCst) {
            drop(process.bed.1.wait(guard).unwrap());
        }
    }
}

pub(super) fn by_chance(of_a_hundred: u32) -> bool {
    of_a_hundred > 0 && thread_rng().gen_range(0..100) < of_a_hundred
}

fn late() -> bool {
    by_chance(30)
}

impl Table for Seat {
    fn load(&self, word: usize) -> u64 {
        self.operation();
        self.world.words[word].load(SeqCst)
    }

    fn store(&self, word: usize, value: u64) {
        self.operation();
        self.world.words[word].store(value, SeqCst);
    }

    fn swap_if(&self, word: usize, old: u64, new: u64) -> bool {
        self.operation();
        self.world.words[word].compare_exchange(old, new, SeqCst, SeqCst).is_ok()
    }

    fn add(&self, word: usize, n: u64) -> u64 {
        self.operation();
        self.world.words[word].fetch_add(n, SeqCst)
    }

    fn or(&self, word: usize, bits: u64) -> u64 {
        self.operation();
        self.world.words[word].fetch_or(bits, SeqCst)
    }

    fn and(&self, word: usize, bits: u64) -> u64 {
        self.operation();
        self.world.words[word].fetch_and(bits, SeqCst)
    }

    fn wake(&self, party: Party, _: usize, tasks: bool, all: bool) {
        self.operation();
        let process = &self.world.processes[usize::from(party)];
        drop(process.bed.0.lock().unwrap());
        if all {
            process.bed.1.notify_all();
        } else {
            process.bed.1.notify_one();
        }
        if !tasks {
            return;
        }
        self.operation();
        if party == self.me {
            table::about_to_look(self, self.me);
            process.wake_tasks(all);
        } else {
            self.world.send(Some((party, all)));
        }
    }

    fn alone<R>(&self, f: impl FnOnce() -> R) -> R {
        let (lock, changed) = &self.process().inner;
        let mut busy = lock.lock().unwrap();
        while *busy && !(self.mortal && self.process().dead.load(SeqCst)) {
            busy = changed.wait(busy).unwrap();
        }
        // Of a dead process nobody else is there any more.
        *busy = self.me != 0;
        drop(busy);
        self.operation();
        let done = f();
        *lock.lock().unwrap() = false;
        changed.notify_all();
        done
    }

    fn step(&self, name: &'static str) {
        if name == "come" {
            self.process().sits.store(true, SeqCst);
        }
    }
}
