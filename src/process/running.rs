//! One process of a user's under way: its start, the one call it is given, its end.
//!
//! Like a pool's worker it has a private connection and a block, a driver task on
//! the runtime of its start, and supervision by the program's one thread. What is simpler:
//! one call, in slot 0, sent as soon as it is ready.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Span, debug, warn};

use super::causes::{HELLO_TIMEOUT, start_error, start_error_of};
use super::courier::Courier;
use super::error::{Error, ErrorKind, Progress};
use super::exit::Obituary;
use super::family;
use super::status::StatusBlock;
use super::supervisor::{Child, LaunchSpec, Supervisor, Watcher};
use super::surroundings::Surroundings;
use super::welcome::{ChildLog, Memory, MemoryHandles, worker_socket};
use crate::hub::Seat;
use crate::link::{Link, LinkEnd, Local};
use crate::log::{self, HeldSpan, LoggedCall};
use crate::session::{CallMeta, ParentEvent};
use crate::task::{Fault, catch};
use crate::wire::{DecodeLimits, Hello, Payload, Received, Welcome};

/// The only call's place.
const SLOT: u16 = 0;
const CALL: u64 = 1;
/// Between being asked to end and being killed.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often supervision reads in place of a runtime that is gone.
const READ_EVERY: Duration = Duration::from_millis(10);

/// How far a process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Starting,
    /// It has its call.
    Running,
    /// It has answered it.
    Answered,
    Ended,
}

/// Everything a process is made of, gathered by the builder.
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) daemon: bool,
    pub(super) task: &'static str,
    pub(super) task_id: u32,
    pub(super) payload: Payload,
    pub(super) hello: Hello,
    pub(super) welcome: Welcome,
    pub(super) spec: LaunchSpec,
    /// What its events belong into.
    pub(super) span: Span,
    pub(super) surroundings: Surroundings,
}

pub(super) struct Running {
    name: String,
    daemon: bool,
    task: &'static str,
    decode: DecodeLimits,
    child: Arc<OnceLock<Child>>,
    state: Mutex<State>,
    stage: watch::Sender<Stage>,
    supervisor: &'static Supervisor,
    runtime: Handle,
    /// Who hears what it logs.
    listener: Option<Dispatch>,
    me: Weak<Running>,
}

/// The connection; let go at the end.
struct Wire {
    link: Link<Local>,
    _logged: Option<LoggedCall>,
    block: Arc<StatusBlock>,
    log: ChildLog,
    courier: Courier,
    seat: Option<Seat>,
}

struct State {
    wire: Option<Arc<Wire>>,
    welcome: Option<(MemoryHandles, Welcome)>,
    call: Option<(u32, Payload)>,
    outcome: Option<Result<Received, Fault>>,
    answered: bool,
    /// Why it did not come up, or was killed for its behaviour.
    failure: Option<Error>,
    obituary: Option<Arc<Obituary>>,
    /// To be killed before it was even started.
    doomed: bool,
    /// When it is killed if it has not said hello.
    hello_by: Option<Instant>,
    overdue: bool,
    kill_at: Option<Instant>,
    /// The runtime is gone, or may be: supervision reads and writes.
    unread: bool,
}

impl Running {
    /// Starts it. Must be called within a runtime, which will drive it.
    pub(super) fn start(plan: Plan) -> Result<Arc<Self>, Error> {
        let spawn_error = |e: io::Error| Error::new(ErrorKind::Spawn { reason: e.to_string() });
        let supervisor = Supervisor::get().map_err(spawn_error)?;
        let (socket, theirs) = worker_socket().map_err(spawn_error)?;
        let listener = log::listener();
        let child: Arc<OnceLock<Child>> = Arc::default();
        let (name, max_message) = (plan.name.clone(), plan.welcome.max_message);
        let memory = Memory::create(name, listener.clone(), &theirs, max_message, &child);
        let (Memory { block, log, courier, seat }, handles) = memory.map_err(spawn_error)?;
        let local = Local::new(socket).map_err(spawn_error)?;
        let printed = plan.surroundings.printed(log.inbox());
        let logged = HeldSpan::new(plan.span).map(|span| log.call_begins(CALL, span));
        let link = Link::new(local, plan.hello, max_message);
        let running = Arc::new_cyclic(|me| Running {
            name: plan.name,
            daemon: plan.daemon,
            task: plan.task,
            decode: plan.welcome.decode,
            child,
            state: Mutex::new(State {
                wire: Some(Arc::new(Wire { link, _logged: logged, block, log, courier, seat })),
                welcome: Some((handles, plan.welcome)),
                call: Some((plan.task_id, plan.payload)),
                outcome: None,
                answered: false,
                failure: None,
                obituary: None,
                doomed: false,
                hello_by: None,
                overdue: false,
                kill_at: None,
                unread: false,
            }),
            stage: watch::Sender::new(Stage::Starting),
            supervisor,
            runtime: Handle::current(),
            listener,
            me: me.clone(),
        });
        if !family::add(running.clone()) {
            let reason = "this process is ending and starts no others".to_owned();
            return Err(Error::new(ErrorKind::Spawn { reason }));
        }
        supervisor.spawn(running.clone(), 0, Arc::new(plan.spec), printed, theirs);
        Ok(running)
    }

    // What it is.

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_daemon(&self) -> bool {
        self.daemon
    }

    pub(super) fn task(&self) -> &'static str {
        self.task
    }

    pub(super) fn decode_limits(&self) -> &DecodeLimits {
        &self.decode
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(super) fn child(&self) -> Option<&Child> {
        self.child.get()
    }

    pub(super) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    pub(super) fn obituary(&self) -> Option<Arc<Obituary>> {
        self.lock().obituary.clone()
    }

    /// Waits until it has come so far.
    pub(super) async fn reached(&self, stage: Stage) {
        let mut stages = self.stage.subscribe();
        // The sender lives in `self`.
        let _ = stages.wait_for(|s| *s >= stage).await;
    }

    /// Whether it came up, once it has ended or runs; else why not.
    pub(super) fn came_up(&self) -> Result<(), Error> {
        let state = self.lock();
        if state.call.is_none() {
            return Ok(());
        }
        match (&state.failure, &state.obituary) {
            (Some(failure), _) => Err(failure.clone()),
            (None, Some(obituary)) => {
                Err(start_error_of(state.overdue.then_some(HELLO_TIMEOUT), obituary))
            }
            (None, None) => Err(Error::new(ErrorKind::RuntimeGone)),
        }
    }

    /// Takes what it answered, once it has answered or ended; what it may be instead
    /// is why it did not.
    pub(super) fn take_outcome(&self) -> Result<Result<Received, Fault>, Error> {
        let mut state = self.lock();
        if let Some(outcome) = state.outcome.take() {
            return Ok(outcome);
        }
        let error = match (&state.failure, &state.obituary) {
            (Some(failure), _) => failure.clone(),
            (None, Some(obituary)) if !state.answered => {
                Error::new(ErrorKind::WorkerDied(obituary.clone()))
            }
            _ => taken(),
        };
        Err(error.with_progress(Progress::MayHaveBegun))
    }

    // What is done to it.

    pub(super) fn kill(&self) {
        let mut state = self.lock();
        state.doomed = true;
        if let Some(child) = self.child.get() {
            child.kill();
        }
    }

    pub(super) fn terminate(&self) {
        match self.child.get() {
            Some(child) => child.terminate(),
            None => self.kill(),
        }
    }

    /// Asks it to end, and makes it a second later.
    pub(super) fn end_soon(&self) {
        let at = Instant::now() + PATIENCE;
        let mut state = self.lock();
        state.kill_at = Some(state.kill_at.map_or(at, |earlier| earlier.min(at)));
        drop(state);
        self.terminate();
        self.wake_at(at);
    }

    fn wake_at(&self, at: Instant) {
        if let Some(me) = self.me.upgrade() {
            self.supervisor.wake_at(me, at);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, stage: Stage) {
        self.stage.send_if_modified(|s| {
            let later = *s < stage;
            if later {
                *s = stage;
            }
            later
        });
    }

    // Its messages.

    async fn drive(self: Arc<Self>, wire: Arc<Wire>, mut guard: Guard) {
        let mut events = Vec::new();
        loop {
            let end = poll_fn(|cx| {
                // Held until the events are dealt with: see `exited`.
                let mut rx = wire.link.receiver();
                let polled = wire.link.poll(&mut rx, cx, &mut events);
                self.handle(&wire, &mut events);
                polled
            })
            .await;
            match end {
                Ok(()) => {}
                // Its end will say why.
                Err(LinkEnd::Closed) => break,
                Err(LinkEnd::Violation(violation)) => {
                    self.violated(&violation.to_string());
                    break;
                }
            }
        }
        guard.0 = None;
    }

    fn handle(&self, wire: &Wire, events: &mut Vec<ParentEvent>) {
        for mut event in events.drain(..) {
            let handles = event.claim(&wire.courier);
            if handles && matches!(event, ParentEvent::Value { .. }) {
                // It may end now.
                wire.link.with_session(crate::session::ParentSession::shutdown);
                wire.link.kick();
            }
            match event {
                ParentEvent::HelloAccepted => self.greet(wire),
                ParentEvent::Ready(Ok(_)) => self.give(wire),
                ParentEvent::Ready(Err(fault)) => {
                    self.fail(start_error(format!("it could not begin: {fault:?}")));
                }
                ParentEvent::Value { value, .. } => self.answered(Ok(value)),
                ParentEvent::Fault { fault, .. } => self.answered(Err(fault)),
                ParentEvent::Cancelled { .. } => self.violated("it cancelled its task by itself"),
                ParentEvent::HandlesTaken { .. } => wire.courier.flush(),
                ParentEvent::Items { .. } | ParentEvent::Progress { .. } | ParentEvent::Goodbye => {
                }
            }
        }
    }

    fn greet(&self, wire: &Wire) {
        let mut state = self.lock();
        state.hello_by = None;
        let welcome = state.welcome.take();
        drop(state);
        let sent = welcome.map(|(handles, welcome)| handles.send(&wire.link, &welcome));
        if let Some(Err(e)) = sent {
            self.fail(start_error(format!("it could not be welcomed: {e}")));
        }
    }

    fn give(&self, wire: &Wire) {
        let Some((task, payload)) = self.lock().call.take() else {
            return;
        };
        let meta = CallMeta { task, items: 0, attempt: 1, remaining_ms: 0 };
        // The word in the block must say "waiting" before the frame can be seen.
        wire.block.queue(SLOT, CALL);
        let brings = wire.courier.bring(&payload);
        wire.link.with_session(|s| s.call(SLOT, CALL, meta, &payload, brings.as_ref()));
        // It is sent once: who holds the other ends of what goes along sees it end with the process.
        drop(payload);
        wire.link.kick();
        self.advance(Stage::Running);
    }

    fn answered(&self, outcome: Result<Received, Fault>) {
        let mut state = self.lock();
        state.outcome = Some(outcome);
        state.answered = true;
        drop(state);
        self.advance(Stage::Answered);
    }

    fn violated(&self, violation: &str) {
        let words = violation.to_owned();
        self.tell(LevelFilter::WARN, move |process, pid| {
            warn!(parent: None,
                process.name = process,
                process.pid = pid,
                violation = words,
                "process broke the protocol and is killed"
            );
        });
        self.fail(Error::new(ErrorKind::Protocol { violation: violation.to_owned() }));
    }

    fn fail(&self, error: Error) {
        self.lock().failure.get_or_insert(error);
        self.kill();
    }

    /// Has supervision read and write, whatever becomes of the runtime.
    pub(super) fn serve_here(&self) {
        self.lock().unread = true;
        self.wake_at(Instant::now());
    }

    /// Sends and reads where no runtime does it.
    fn serve_now(&self) {
        let Some(wire) = self.lock().wire.clone() else {
            return;
        };
        let mut events = Vec::new();
        let mut rx = wire.link.receiver();
        let read = wire.link.serve_now(&mut rx, &mut events);
        self.handle(&wire, &mut events);
        if let Err(violation) = read {
            self.violated(&violation.to_string());
        }
    }

    /// Tells whoever listens something of this process, later and elsewhere.
    fn tell(&self, level: LevelFilter, tell: impl FnOnce(&str, u32) + Send + 'static) {
        if log::is_heard(level) {
            let (name, pid) = (self.name.clone(), self.child.get().map_or(0, Child::pid));
            log::tell(self.listener.clone(), move || tell(&name, pid));
        }
    }

    fn ended(&self, obituary: Option<Arc<Obituary>>) {
        let mut state = self.lock();
        let wire = state.wire.take();
        let welcome = state.welcome.take();
        state.obituary = obituary;
        drop(state);
        if let Some(wire) = &wire {
            // Before anybody who waits hears of the end.
            if let Some(seat) = &wire.seat {
                seat.ended();
            }
            wire.log.ended();
        }
        family::remove(self);
        self.advance(Stage::Ended);
        drop((wire, welcome));
    }
}

fn taken() -> Error {
    Error::invalid("output", "asked for again", "once: the value was given to whoever asked first")
}

/// Tells when the runtime drops the driver instead of finishing it.
struct Guard(Option<Arc<Running>>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            running.serve_here();
        }
    }
}

impl Watcher for Running {
    fn spawned(&self, _: u64, result: io::Result<Child>) {
        let child = match result {
            Ok(child) => child,
            Err(e) => {
                self.lock().failure = Some(Error::new(ErrorKind::Spawn { reason: e.to_string() }));
                return self.ended(None);
            }
        };
        let pid = child.pid();
        let mut state = self.lock();
        if state.doomed {
            child.kill();
        }
        if let Some(wire) = &state.wire {
            wire.log.set_pid(pid);
        }
        let _ = self.child.set(child);
        let hello_by = Instant::now() + HELLO_TIMEOUT;
        state.hello_by = Some(hello_by);
        let wire = state.wire.clone();
        drop(state);
        self.wake_at(hello_by);
        if let (Some(me), Some(wire)) = (self.me.upgrade(), wire) {
            let guard = Guard(Some(me.clone()));
            self.runtime.spawn(me.drive(wire, guard));
        }
        self.tell(LevelFilter::DEBUG, |process, pid| {
            debug!(parent: None, process.name = process, process.pid = pid, "process started")
        });
    }

    fn exited(&self, _: u64, obituary: Obituary) {
        let wire = self.lock().wire.clone();
        if let Some(wire) = wire {
            // Whoever reads deals with the events before it lets go of the receiver,
            // so from here on there are no others but these.
            let mut rx = wire.link.receiver();
            let mut events = Vec::new();
            let drained = wire.link.drain(&mut rx, &mut events, |received| {
                [wire.block.unwritten(received), Vec::new()]
            });
            self.handle(&wire, &mut events);
            if let Err(violation) = drained {
                self.violated(&violation.to_string());
            }
        }
        let reason = obituary.reason;
        self.tell(LevelFilter::DEBUG, move |process, pid| {
            debug!(parent: None, process.name = process, process.pid = pid, %reason, "process ended");
        });
        self.ended(Some(Arc::new(obituary)));
    }

    fn tick(&self, now: Instant) -> Option<Instant> {
        if self.stage() == Stage::Ended {
            return None;
        }
        let (unread, late) = {
            let state = self.lock();
            (state.unread, state.hello_by.is_some_and(|at| at <= now))
        };
        if unread || late {
            // The hello may be there, and only nobody have had the time to read it.
            self.serve_now();
        }
        let mut state = self.lock();
        if state.hello_by.is_some_and(|at| at <= now) {
            state.hello_by = None;
            state.overdue = true;
            state.kill_at = Some(now);
        }
        if state.kill_at.is_some_and(|at| at <= now) {
            state.kill_at = None;
            drop(state);
            self.kill();
            state = self.lock();
        }
        let read_at = (state.unread && !state.answered).then(|| now + READ_EVERY);
        [state.hello_by, state.kill_at, read_at].into_iter().flatten().min()
    }
}

/// Runs a callback of the user's; its panic is logged, not passed on.
pub(crate) fn call_back(f: impl FnOnce()) {
    if let Err(panic) = catch(f) {
        let (message, ..) = panic.into_parts();
        log::tell(
            None,
            move || tracing::error!(parent: None, panic = message, "a callback panicked"),
        );
    }
}
