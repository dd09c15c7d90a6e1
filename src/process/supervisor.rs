//! One permanent thread that starts, watches, times and collects all children.
//!
//! It is a plain thread for two reasons: deadlines must fire and deaths be seen
//! even while the user blocks every thread of the runtime, and the kernel ties
//! the parent-death signal to the *thread* that spawned, so that thread must
//! live as long as the program.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::exit::Obituary;
use super::printed::{Printed, Pump, Tail};
use super::sweep::sweep;
use crate::hub;
use crate::log;
use crate::sys::{
    self, ChildProcess, ChildSocket, Handle, OutputPipe, Poller, Ready, SpawnSpec, Spawned,
};
use crate::task::catch;

/// The system's waits take only so much (`int` milliseconds before Linux 5.11).
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What to start; made once for all workers of a pool.
pub(crate) type LaunchSpec = SpawnSpec;

/// Whoever owns children; called on the supervision thread, so it must not wait.
pub(crate) trait Watcher: Send + Sync {
    /// The outcome of a [`Supervisor::spawn`].
    fn spawned(&self, token: u64, result: io::Result<Child>);
    /// A child has ended and was collected.
    fn exited(&self, token: u64, obituary: Obituary);
    /// The time set by [`Supervisor::wake_at`] has come; gives the next one.
    fn tick(&self, now: Instant) -> Option<Instant>;
}

/// A running child, to be signalled from any thread.
#[derive(Debug, Clone)]
pub(crate) struct Child(Arc<ChildProcess>);

impl Child {
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    pub(crate) fn terminate(&self) {
        self.0.terminate();
    }

    pub(crate) fn kill(&self) {
        self.0.kill();
    }

    pub(crate) fn interrupt(&self) -> io::Result<()> {
        self.0.interrupt()
    }

    /// A handle that is ready once it has ended.
    pub(crate) fn sentinel(&self) -> io::Result<Handle> {
        self.0.sentinel()
    }

    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        self.0.cpu_time()
    }
}

enum Command {
    Spawn {
        watcher: Arc<dyn Watcher>,
        token: u64,
        spec: Arc<SpawnSpec>,
        printed: Printed,
        socket: ChildSocket,
    },
    WakeAt {
        watcher: Arc<dyn Watcher>,
        at: Instant,
    },
}

/// Stands for the hub among the children.
const HUB: u64 = u64::MAX - 1;

pub(crate) struct Supervisor {
    poller: Poller,
    commands: Mutex<VecDeque<Command>>,
}

struct Watched {
    child: Arc<ChildProcess>,
    watcher: Arc<dyn Watcher>,
    token: u64,
    tails: Tails,
}

/// What it prints, where that goes through us.
struct Tails {
    stdout: Option<Arc<Tail>>,
    stderr: Option<Arc<Tail>>,
}

#[derive(Default)]
struct Thread {
    children: HashMap<u64, Watched>,
    next_key: u64,
    /// At most one a watcher; watchers are few (a pool each).
    timers: Vec<(Instant, Weak<dyn Watcher>)>,
}

impl Supervisor {
    /// The program's supervisor, started at first use.
    pub(crate) fn get() -> io::Result<&'static Supervisor> {
        // Set only once its thread runs: where no thread can be started now, one may
        // be later.
        static SUPERVISOR: Mutex<Option<&'static Supervisor>> = Mutex::new(None);
        let mut known = SUPERVISOR.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(supervisor) = *known {
            return Ok(supervisor);
        }
        let supervisor =
            Arc::new(Supervisor { poller: Poller::new()?, commands: Mutex::default() });
        let thread = supervisor.clone();
        std::thread::Builder::new()
            .name("procpool-supervisor".into())
            .spawn(move || thread.run())?;
        Ok(*known.insert(Box::leak(Box::new(supervisor))))
    }

    /// Starts a child; the watcher hears of it.
    pub(crate) fn spawn(
        &self,
        watcher: Arc<dyn Watcher>,
        token: u64,
        spec: Arc<SpawnSpec>,
        printed: Printed,
        socket: ChildSocket,
    ) {
        self.send(Command::Spawn { watcher, token, spec, printed, socket });
    }

    /// Has `watcher` ticked at `at`, or earlier if it asked for that before.
    pub(crate) fn wake_at(&self, watcher: Arc<dyn Watcher>, at: Instant) {
        self.send(Command::WakeAt { watcher, at });
    }

    fn send(&self, command: Command) {
        let mut commands = self.lock();
        let first = commands.is_empty();
        commands.push_back(command);
        drop(commands);
        if first {
            self.poller.ring();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Command>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        log::end_no_spans_here();
        let mut thread = Thread::default();
        let mut ready = Vec::new();
        loop {
            let next = thread.timers.iter().map(|(at, _)| *at).min();
            let wait = if self.lock().is_empty() {
                next.map(|at| at.saturating_duration_since(Instant::now()).min(LONGEST_WAIT))
            } else {
                Some(Duration::ZERO)
            };
            ready.clear();
            if self.poller.wait(wait, &mut ready).is_err() {
                // Only a programming error makes epoll fail; do not spin on it.
                std::thread::sleep(Duration::from_millis(10));
            }
            for found in &ready {
                match found {
                    Ready::Key(HUB) => hub::wake(&self.poller),
                    Ready::Key(key) => self.ended(&mut thread, *key),
                    Ready::Bell => {}
                }
            }
            thread.tick();
            // One a round, so that a burst of spawns cannot hold up deadlines.
            let command = self.lock().pop_front();
            match command {
                Some(Command::Spawn { watcher, token, spec, printed, socket }) => {
                    if thread.next_key == 0 {
                        // Where that fails, only queues made by children stay unheard.
                        let _ = hub::announce(&self.poller, HUB);
                    }
                    self.start(&mut thread, watcher, token, &spec, printed, socket);
                }
                Some(Command::WakeAt { watcher, at }) => {
                    thread.wake_at(Arc::downgrade(&watcher), at);
                }
                None => {}
            }
        }
    }

    fn start(
        &self,
        thread: &mut Thread,
        watcher: Arc<dyn Watcher>,
        token: u64,
        spec: &SpawnSpec,
        printed: Printed,
        socket: ChildSocket,
    ) {
        let key = thread.next_key;
        thread.next_key += 1;
        let started = sys::spawn(spec, socket).and_then(|Spawned { child, stdout, stderr }| {
            let watch = |pipe: Option<OutputPipe>, taker, key| {
                pipe.map(|pipe| Pump::get()?.watch(key, pipe, taker)).transpose()
            };
            let stdout = watch(stdout, printed.stdout, 2 * key)?;
            let stderr = watch(stderr, printed.stderr, 2 * key + 1)?;
            // Dropped on failure, which kills the child.
            self.poller.add(child.handle(), key)?;
            Ok((Arc::new(child), Tails { stdout, stderr }))
        });
        match started {
            Ok((child, tails)) => {
                let handle = Child(child.clone());
                thread
                    .children
                    .insert(key, Watched { child, watcher: watcher.clone(), token, tails });
                survive(|| watcher.spawned(token, Ok(handle)));
            }
            Err(e) => survive(|| watcher.spawned(token, Err(e))),
        }
    }

    fn ended(&self, thread: &mut Thread, key: u64) {
        let Some(watched) = thread.children.get(&key) else {
            return;
        };
        let Some((exit, usage)) = watched.child.reap() else {
            return;
        };
        self.poller.remove(watched.child.handle());
        let Some(watched) = thread.children.remove(&key) else {
            return;
        };
        let finish = |tail: Option<&Arc<Tail>>| match (tail, Pump::get()) {
            (Some(tail), Ok(pump)) => pump.finish(tail),
            _ => Vec::new(),
        };
        finish(watched.tails.stdout.as_ref());
        let stderr_tail = finish(watched.tails.stderr.as_ref());
        let obituary = Obituary {
            reason: exit.into(),
            usage: usage.into(),
            stderr_tail,
            pid: watched.child.pid(),
        };
        sweep();
        survive(|| watched.watcher.exited(watched.token, obituary));
    }
}

/// Calls back into a watcher. One that panics has a bug; it must not end the
/// supervision of all others.
fn survive(f: impl FnOnce()) {
    if let Err(panic) = catch(f) {
        let (message, ..) = panic.into_parts();
        log::tell(
            None,
            move || tracing::error!(parent: None, panic = message, "a watcher panicked"),
        );
    }
}

impl Thread {
    fn wake_at(&mut self, watcher: Weak<dyn Watcher>, at: Instant) {
        self.timers.retain(|(_, w)| w.strong_count() > 0);
        match self.timers.iter_mut().find(|(_, w)| Weak::ptr_eq(w, &watcher)) {
            Some((earlier, _)) => *earlier = at.min(*earlier),
            None => self.timers.push((at, watcher)),
        }
    }

    fn tick(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut i = 0;
        while i < self.timers.len() {
            if self.timers[i].0 > now {
                i += 1;
                continue;
            }
            let (_, weak) = self.timers.swap_remove(i);
            let Some(watcher) = weak.upgrade() else {
                continue;
            };
            let mut next = None;
            survive(|| next = watcher.tick(now));
            if let Some(at) = next {
                self.wake_at(weak, at);
            }
        }
    }
}
