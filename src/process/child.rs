//! What runs in a worker: the handshake, then calls until it is told to stop.
//!
//! The main thread reads frames and runs blocking calls itself, without a
//! hand-over. Async calls run on a current-thread runtime driven by the same
//! thread; the two kinds are never here at one time.

mod answer;
mod single;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use self::answer::{admit, answer, encode_fault, received, send, send_item, send_ready};
use super::at_exit;
use super::courier::Courier;
use super::failpoint;
use super::hook::WORKER_MARK;
use super::identity::{self, Identity, Parent};
use super::outgoing::{OPEN_MAX, Outgoing};
use super::status::StatusBlock;
use super::watchdog::{SharedOutgoing, Watchdog};
use crate::hub;
use crate::link::{Listening, WorkerEnd};
use crate::log;
use crate::session::{CallMeta, ItemsMeta, Violation, WorkerEvent, WorkerSession};
use crate::sys::{self, Handle, HandleChannel, ResourceLimit, Ringer, Socket, lock};
use crate::task::{
    self, Args, Body as TaskBody, BoxFuture, Current, Encoded, Entry, Fault, Output, OwnedArgs,
    PanicReport, Registry, Services, catch, with_current,
};
use crate::wire::{
    Assembler, Body, Brought, DecodeLimits, Flags, HEADER_LEN, Header, Hello, Kind,
    PROTOCOL_VERSION, Payload, Received, Welcome,
};

/// Exit codes of a worker that cannot work; its standard error says why.
const CANNOT_START: i32 = 70;
const BAD_PARENT: i32 = 76;

/// Why a worker stops.
enum Stop {
    /// As told.
    Shutdown,
    /// The parent is gone.
    Orphaned,
    Violation(Violation),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Stop::Violation(violation)
    }
}

impl From<crate::wire::WireError> for Stop {
    fn from(error: crate::wire::WireError) -> Self {
        Stop::Violation(error.into())
    }
}

/// An unreadable or unwritable socket means that nobody is at the other end.
impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Stop::Orphaned
    }
}

/// Runs this process as a worker, for the rest of its life.
pub(super) fn run() -> ! {
    let stop = match start() {
        Ok((mut worker, mut end)) if worker.once => match worker.run_once(&mut end) {
            Ok(code) => {
                // Its tasks end with it; what they left on threads may take for ever.
                if let Some(runtime) = worker.runtime.take() {
                    runtime.shutdown_background();
                }
                drop(worker);
                at_exit::run();
                tracing::info!(target: "procpool", code, "process exits");
                std::process::exit(code)
            }
            Err(stop) => stop,
        },
        Ok((mut worker, mut end)) => worker.serve(&mut end),
        Err(e) => {
            eprintln!("procpool: this worker cannot start: {e}");
            sys::exit_now(CANNOT_START)
        }
    };
    match stop {
        Stop::Shutdown => {
            at_exit::run();
            std::process::exit(0)
        }
        Stop::Orphaned => sys::kill_own_group(),
        Stop::Violation(violation) => {
            eprintln!("procpool: this worker was sent nonsense: {violation}");
            sys::exit_now(BAD_PARENT)
        }
    }
}

struct Worker {
    assembler: Assembler,
    session: WorkerSession,
    registry: &'static Registry,
    block: Arc<StatusBlock>,
    out: SharedOutgoing,
    courier: Arc<Courier>,
    watchdog: Arc<Watchdog>,
    limits: DecodeLimits,
    max_message: u64,
    output: Output,
    runtime: Option<tokio::runtime::Runtime>,
    /// It is no worker: it runs one task and ends.
    once: bool,
}

/// A call that outlives the buffer it arrived in.
struct OwnedCall {
    slot: u16,
    id: u64,
    meta: CallMeta,
    args: Received,
    entry: &'static Entry,
}

fn start() -> io::Result<(Worker, WorkerEnd)> {
    let socket = sys::parent_socket()
        .map_err(|e| io::Error::other(format!("{WORKER_MARK} is set, but {e}")))?;
    sys::remove_env(WORKER_MARK);
    hub::be_guest();
    sys::reset_signals();
    sys::arm_parent_death()?;
    let _ = sys::apply_limit(ResourceLimit::NoCore);
    let registry = task::registry().map_err(io::Error::other)?;
    failpoint::hit("started");
    let hello = own_hello(registry);
    let bytes = postcard::to_allocvec(&hello).map_err(io::Error::other)?;
    let header = Header::new(Kind::Hello, 0, 0, bytes.len()).encode();
    let sent = HEADER_LEN + bytes.len();
    sys::write_all_blocking(&socket, &[&header[..], &bytes].concat())?;

    let mut session = WorkerSession::new();
    let mut assembler = Assembler::new(u64::MAX, sys::advise_huge);
    let (welcome, handles) = welcome(&socket, &mut assembler, &mut session)?;
    failpoint::hit("welcomed");
    let mut handles = handles.into_iter();
    let block = handles.next().ok_or_else(|| io::Error::other("the status block did not come"))?;
    let ringer = handles.next().ok_or_else(|| io::Error::other("the bell did not come"))?;
    let channel = Arc::new(HandleChannel::to_parent(handles.next())?);
    let ticket: Option<hub::Ticket> = (!welcome.ticket.is_empty())
        .then(|| postcard::from_bytes(&welcome.ticket))
        .transpose()
        .map_err(io::Error::other)?;
    let block = Arc::new(StatusBlock::open(sys::handle_ref(&block))?);
    if let Some(ticket) = ticket {
        hub::sit_down(ticket, block.clone(), &channel, &mut handles)?;
    }
    let courier = Arc::new(Courier::to_parent(channel, ticket.map(|ticket| ticket.parent)));
    let parent = handles.next();
    let limits = [
        welcome.memory.map(ResourceLimit::Memory),
        welcome.cpu_seconds.map(ResourceLimit::CpuSeconds),
        welcome.files.map(ResourceLimit::Files),
    ];
    for limit in limits.into_iter().flatten() {
        sys::apply_limit(limit)
            .map_err(|e| io::Error::other(format!("limit {limit:?} is refused: {e}")))?;
    }
    let out = Outgoing::new(socket.try_clone()?, block.clone(), sent as u64);
    let out = Arc::new(Mutex::new(out));
    let role = welcome.process.clone();
    let once = role.is_some();
    if once {
        // Before it says that it is ready: it may be interrupted from then on. Ctrl-C at
        // the terminal does not reach it, since it has a group of its own.
        sys::accept_interrupts();
    }
    let initializer = welcome.initializer.clone();
    if initializer.is_none() {
        // Before anything that takes time: the parent makes use of it meanwhile.
        send_ready(&out, &courier, Ok(Payload::empty()))?;
        session.ready();
    }
    let life = parent.as_ref().and_then(|parent| parent.try_clone().ok());
    identity::assume(Identity {
        name: welcome.name.clone(),
        daemon: role.as_ref().is_some_and(|role| role.daemon),
        ordinals: role.map(|role| role.ordinals).unwrap_or_default(),
        parent: Some(Parent { name: welcome.parent_name, pid: welcome.parent_pid, life }),
    });
    log::attach(block.clone(), Ringer::new(ringer));
    let watchdog = Watchdog::start(parent, out.clone())?;
    task::install_hook();
    let limits = welcome.decode;
    assembler.set_max_message(welcome.max_message);
    task::provide_services(Box::new(WorkerServices {
        name: welcome.name,
        depth: welcome.depth,
        block: block.clone(),
        out: out.clone(),
    }));
    let mut worker = Worker {
        assembler,
        session,
        registry,
        block,
        out,
        courier,
        watchdog,
        limits,
        max_message: welcome.max_message,
        output: Output::new(),
        runtime: None,
        once,
    };
    if let Some((task, args)) = initializer {
        let args = Received::from_parts(args, Vec::new());
        let mut args = args.with_brought(welcome.initializer_brings.map(Box::new));
        args.claim(&*worker.courier);
        let result = log::while_starting(|| worker.run_initializer(task, args));
        log::install();
        send_ready(&worker.out, &worker.courier, result)?;
        worker.session.ready();
    } else {
        log::install();
    }
    Ok((worker, WorkerEnd::new(socket)))
}

/// What this process says of itself, as worker or as parent.
pub(crate) fn own_hello(registry: &Registry) -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        build: registry.build,
        tasks: registry.table,
        task_count: registry.len(),
    }
}

fn welcome(
    socket: &Socket,
    assembler: &mut Assembler,
    session: &mut WorkerSession,
) -> io::Result<(Welcome, Vec<Handle>)> {
    let mut bytes = vec![0; 16 * 1024];
    let (mut n, handles) = sys::recv_with_handles(socket, &mut bytes)?;
    loop {
        if n == 0 {
            // The parent refused us or is gone.
            sys::exit_now(BAD_PARENT);
        }
        assembler.extend(&bytes[..n]);
        if let Some(message) = assembler.next().map_err(io::Error::other)? {
            return match session.handle(message).map_err(io::Error::other)? {
                WorkerEvent::Welcome(welcome) => Ok((*welcome, handles)),
                other => Err(io::Error::other(format!("{other:?} instead of a welcome"))),
            };
        }
        bytes.clear();
        n = sys::recv_blocking(socket, &mut bytes, 16 * 1024)?;
    }
}

struct WorkerServices {
    name: String,
    depth: u32,
    block: Arc<StatusBlock>,
    out: SharedOutgoing,
}

impl Services for WorkerServices {
    fn worker_name(&self) -> &str {
        &self.name
    }

    fn depth(&self) -> u32 {
        self.depth
    }

    fn is_cancelled(&self, slot: u16, id: u64) -> bool {
        self.block.is_unwanted(slot, id)
    }

    fn progress(&self, slot: u16, id: u64, done: u64, total: u64) {
        let mut meta = [0; 16];
        meta[..8].copy_from_slice(&done.to_le_bytes());
        meta[8..].copy_from_slice(&total.to_le_bytes());
        let header = Header::new(Kind::Progress, slot, id, 0);
        let mut out = lock(&self.out);
        // An item of a chunk: its results are being collected where the message
        // would go, and nobody can listen to a chunk's reports.
        if out.is_open() {
            return;
        }
        if out.message(header, &meta, &Payload::empty()).and_then(|()| out.flush()).is_err() {
            sys::kill_own_group();
        }
    }
}

impl Worker {
    fn run_initializer(&mut self, task: u32, args: Received) -> Result<Payload, Fault> {
        let entry = self.registry.get(task).ok_or(Fault::UnknownTask { id: task })?;
        self.run_alone(entry, args, Current::local())
    }

    /// Runs one task with nothing else going on.
    fn run_alone(
        &mut self,
        entry: &'static Entry,
        mut received: Received,
        current: Current,
    ) -> Result<Payload, Fault> {
        match entry.body {
            TaskBody::Blocking(run) => {
                let mut args = Args::of(&mut received, &self.limits);
                let mut out = Output::default();
                catch(|| with_current(current, || run(&mut args, &mut out)))
                    .unwrap_or_else(|panic| Err(args.blame(&out, panic)))?;
                Ok(out.into_encoded().0)
            }
            TaskBody::Async(run) => {
                let future = run(OwnedArgs::new(received, self.limits));
                let guarded = Guarded { future: Some(future), current, ended: false };
                let runtime = self.runtime().map_err(runtime_fault)?;
                let result = runtime.block_on(guarded);
                result.map(|encoded| encoded.0)
            }
        }
    }

    fn runtime(&mut self) -> io::Result<&tokio::runtime::Runtime> {
        if self.runtime.is_none() {
            self.runtime =
                Some(tokio::runtime::Builder::new_current_thread().enable_all().build()?);
        }
        match &self.runtime {
            Some(runtime) => Ok(runtime),
            None => unreachable!("just set"),
        }
    }

    /// Serves until there is a reason to stop.
    fn serve(&mut self, end: &mut WorkerEnd) -> Stop {
        loop {
            let call = match self.serve_blocking(end) {
                Ok(call) => call,
                Err(stop) => return self.leave(stop),
            };
            let mut next = Some(call);
            while let Some(call) = next.take() {
                match self.serve_async(end, call) {
                    Ok(Some(blocking)) => {
                        let OwnedCall { slot, id, meta, args, entry } = blocking;
                        if let Err(stop) = self.run_received(slot, id, meta, args, entry) {
                            return self.leave(stop);
                        }
                    }
                    Ok(None) => {}
                    Err(stop) => return self.leave(stop),
                }
            }
        }
    }

    fn leave(&mut self, stop: Stop) -> Stop {
        if matches!(stop, Stop::Shutdown) {
            let mut out = lock(&self.out);
            let _ = out
                .message(Header::new(Kind::Goodbye, 0, 0, 0), &[], &Payload::empty())
                .and_then(|()| out.flush());
        }
        stop
    }

    /// Runs blocking calls until an async one comes.
    fn serve_blocking(&mut self, end: &mut WorkerEnd) -> Result<OwnedCall, Stop> {
        // User code runs while a message is lent out of the assembler, so the
        // assembler is taken out of `self` meanwhile.
        let mut assembler = std::mem::replace(&mut self.assembler, Assembler::new(0, |_| ()));
        let result = self.serve_from(end, &mut assembler);
        self.assembler = assembler;
        result
    }

    fn serve_from(
        &mut self,
        end: &mut WorkerEnd,
        assembler: &mut Assembler,
    ) -> Result<OwnedCall, Stop> {
        loop {
            while let Some(message) = assembler.next()? {
                match self.session.handle(message)? {
                    WorkerEvent::Call { slot, id, meta, args, body, brought } => {
                        let Some(entry) = self.registry.get(meta.task) else {
                            self.refuse(slot, id, meta.task)?;
                            continue;
                        };
                        if entry.is_async() {
                            let args = received(args, body, brought, &self.courier);
                            return Ok(OwnedCall { slot, id, meta, args, entry });
                        }
                        if matches!(body, Body::Inline) && brought.is_none() {
                            // Decoded where it lies.
                            let args = Args::new(args, &mut [], &self.limits);
                            self.run_blocking(slot, id, meta, args, false, entry)?;
                        } else {
                            let args = received(args, body, brought, &self.courier);
                            self.run_received(slot, id, meta, args, entry)?;
                        }
                    }
                    // It crossed the end of its call.
                    WorkerEvent::Cancel { .. } => {}
                    WorkerEvent::Shutdown => return Err(Stop::Shutdown),
                    WorkerEvent::Welcome(_) => unreachable!("the session takes one welcome"),
                }
            }
            lock(&self.out).flush()?;
            failpoint::hit("flushed");
            let (buf, max) = assembler.target();
            let n = end.recv(buf, max)?;
            if n == 0 {
                return Err(Stop::Orphaned);
            }
            assembler.received(n);
        }
    }

    fn refuse(&self, slot: u16, id: u64, task: u32) -> Result<(), Stop> {
        if self.block.begin(slot, id) {
            let fault = encode_fault(Fault::UnknownTask { id: task });
            lock(&self.out).message(Header::new(Kind::Fault, slot, id, 0), &[], &fault)?;
        }
        Ok(())
    }

    /// Says that the handles that came with a call are here, whether it begins or not.
    fn took(&self, slot: u16, id: u64) -> io::Result<()> {
        let mut out = lock(&self.out);
        out.message(Header::new(Kind::Took, slot, id, 0), &[], &Payload::empty())?;
        out.flush()
    }

    fn run_received(
        &mut self,
        slot: u16,
        id: u64,
        meta: CallMeta,
        mut args: Received,
        entry: &'static Entry,
    ) -> Result<(), Stop> {
        let took = args.has_handles();
        let limits = self.limits;
        self.run_blocking(slot, id, meta, Args::of(&mut args, &limits), took, entry)
    }

    /// Runs one blocking call, or the calls of one chunk.
    #[inline]
    fn run_blocking(
        &mut self,
        slot: u16,
        id: u64,
        meta: CallMeta,
        mut args: Args<'_>,
        took: bool,
        entry: &'static Entry,
    ) -> Result<(), Stop> {
        failpoint::hit("received");
        let begun = self.block.begin(slot, id);
        if took {
            self.took(slot, id)?;
        }
        if !begun {
            return Ok(());
        }
        failpoint::hit("begun");
        let TaskBody::Blocking(run) = entry.body else { unreachable!("asked before") };
        if !lock(&self.out).is_empty() {
            self.watchdog.results_wait();
        }
        let current = current(slot, id, meta);
        if meta.items > 0 {
            return self.run_chunk(slot, id, meta.items, &mut args, run, current);
        }
        let output = &mut self.output;
        // A chunk that was given up may have left something.
        output.reset();
        let result = with_current(current, || catch(|| run(&mut args, output)))
            .unwrap_or_else(|panic| Err(args.blame(output, panic)))
            .and_then(|()| admit(output.builder.len(), self.max_message));
        failpoint::hit("ran");
        let builder = std::mem::take(&mut output.builder);
        output.reset();
        match result {
            Ok(()) => {
                let header = Header::new(Kind::Value, slot, id, 0);
                send(&self.out, &self.courier, header, &[], &builder.finish())?;
            }
            Err(fault) => {
                let header = Header::new(Kind::Fault, slot, id, 0);
                lock(&self.out).message(header, &[], &encode_fault(fault))?;
            }
        }
        failpoint::hit("published");
        Ok(())
    }

    fn run_chunk<'a>(
        &mut self,
        slot: u16,
        id: u64,
        items: u32,
        args: &mut Args<'a>,
        run: fn(&mut Args<'a>, &mut Output) -> Result<(), Fault>,
        current: Current,
    ) -> Result<(), Stop> {
        with_current(current, || self.run_items(slot, id, items, args, run))
    }

    fn run_items<'a>(
        &mut self,
        slot: u16,
        id: u64,
        items: u32,
        args: &mut Args<'a>,
        run: fn(&mut Args<'a>, &mut Output) -> Result<(), Fault>,
    ) -> Result<(), Stop> {
        let output = &mut self.output;
        let mut open = lock(&self.out).open_items(slot, id, 0)?;
        for item in 0..items {
            if item > 0 {
                if self.block.is_unwanted(slot, id) {
                    lock(&self.out).close_items(&open);
                    return self.drop_rest(slot, id);
                }
                self.block.note_progress();
                args.next_item(&self.limits);
            }
            output.reset();
            output.builder.head.push(0);
            let result =
                catch(|| run(args, output)).unwrap_or_else(|panic| Err(args.blame(output, panic)));
            let result = result.and_then(|()| admit(output.builder.len(), self.max_message));
            let mut lost_place = false;
            if let Err(fault) = result {
                // Where an argument could not be decoded, nobody knows where
                // the next one begins.
                lost_place = matches!(fault, Fault::ArgDecode { .. });
                output.reset();
                output.builder.head.push(1);
                output.builder.head.extend_from_slice(encode_fault(fault).head());
            }
            failpoint::hit("item ran");
            let builder = &mut output.builder;
            let plain = builder.blobs.is_empty() && builder.attached.is_empty();
            if !plain || !open.add(&self.block, builder.head.as_slice()) {
                let mut out = lock(&self.out);
                out.close_items(&open);
                if !plain || builder.len() > OPEN_MAX {
                    drop(out);
                    let payload = std::mem::take(builder).finish();
                    send_item(&self.out, &self.courier, slot, id, item, &payload)?;
                    open = lock(&self.out).open_items(slot, id, item + 1)?;
                } else {
                    // Let the parent decode while the rest is computed.
                    out.flush()?;
                    open = out.open_items(slot, id, item)?;
                    open.add(&self.block, builder.head.as_slice());
                }
            }
            failpoint::hit("item published");
            if lost_place && item + 1 < items {
                lock(&self.out).close_items(&open);
                return self.drop_rest(slot, id);
            }
        }
        // Keep the capacity for the next chunk, not for ever.
        output.reset();
        output.builder.head.shrink(1 << 20);
        lock(&self.out).close_items(&open);
        failpoint::hit("chunk closed");
        Ok(())
    }

    /// Gives the rest of a chunk back to the parent.
    fn drop_rest(&self, slot: u16, id: u64) -> Result<(), Stop> {
        let header = Header::new(Kind::Cancelled, slot, id, 0);
        Ok(lock(&self.out).message(header, &[], &Payload::empty())?)
    }

    /// Runs async calls until a blocking one comes.
    fn serve_async(
        &mut self,
        end: &mut WorkerEnd,
        first: OwnedCall,
    ) -> Result<Option<OwnedCall>, Stop> {
        self.runtime()?;
        let Some(runtime) = self.runtime.take() else { unreachable!("just made") };
        let mut assembler = std::mem::replace(&mut self.assembler, Assembler::new(0, |_| ()));
        let result = runtime.block_on(self.drive(end, &mut assembler, first));
        self.assembler = assembler;
        self.runtime = Some(runtime);
        result
    }

    async fn drive(
        &mut self,
        end: &mut WorkerEnd,
        assembler: &mut Assembler,
        first: OwnedCall,
    ) -> Result<Option<OwnedCall>, Stop> {
        let mut incoming = end.listen()?;
        let (done, mut finished) = mpsc::unbounded_channel();
        let mut running: HashMap<u16, Running> = HashMap::new();
        self.begin_async(first, &done, &mut running)?;
        loop {
            while let Some(message) = assembler.next()? {
                match self.session.handle(message)? {
                    WorkerEvent::Call { slot, id, meta, args, body, brought } => {
                        let Some(entry) = self.registry.get(meta.task) else {
                            self.refuse(slot, id, meta.task)?;
                            continue;
                        };
                        let args = received(args, body, brought, &self.courier);
                        let call = OwnedCall { slot, id, meta, args, entry };
                        if !entry.is_async() {
                            // The parent waits for the last async call before it
                            // sends a blocking one.
                            lock(&self.out).flush()?;
                            return Ok(Some(call));
                        }
                        self.begin_async(call, &done, &mut running)?;
                    }
                    WorkerEvent::Cancel { slot, id } => {
                        if let Some(task) = running.get(&slot)
                            && task.id == id
                            && !task.claimed.swap(true, Ordering::AcqRel)
                        {
                            task.handle.abort();
                            if let Some(task) = running.remove(&slot) {
                                tokio::spawn(dropped(task, slot, self.out.clone(), done.clone()));
                            }
                        }
                    }
                    WorkerEvent::Shutdown => return Err(Stop::Shutdown),
                    WorkerEvent::Welcome(_) => unreachable!("the session takes one welcome"),
                }
            }
            lock(&self.out).flush()?;
            tokio::select! {
                biased;
                Some((slot, id)) = finished.recv() => {
                    let mut next = Some((slot, id));
                    while let Some((slot, id)) = next {
                        if running.get(&slot).is_some_and(|task| task.id == id) {
                            running.remove(&slot);
                        }
                        next = finished.try_recv().ok();
                    }
                }
                read = receive(&mut incoming, assembler) => {
                    if read? == 0 {
                        return Err(Stop::Orphaned);
                    }
                }
            }
        }
    }

    fn begin_async(
        &self,
        call: OwnedCall,
        done: &mpsc::UnboundedSender<(u16, u64)>,
        running: &mut HashMap<u16, Running>,
    ) -> io::Result<()> {
        let OwnedCall { slot, id, meta, args, entry } = call;
        let begun = self.block.begin(slot, id);
        if args.has_handles() {
            self.took(slot, id)?;
        }
        if !begun {
            return Ok(());
        }
        let TaskBody::Async(run) = entry.body else { unreachable!("asked before") };
        let (limits, max) = (self.limits, self.max_message);
        let claimed = Arc::new(AtomicBool::new(false));
        let (out, done, mine) = (self.out.clone(), done.clone(), claimed.clone());
        let courier = self.courier.clone();
        let current = current(slot, id, meta);
        let task = tokio::spawn(async move {
            // The future is made inside, so that a panic of it is caught too.
            let future: BoxFuture =
                Box::pin(async move { run(OwnedArgs::new(args, limits)).await });
            let result = Guarded { future: Some(future), current, ended: false }.await;
            if mine.swap(true, Ordering::AcqRel) {
                return;
            }
            let result = result.and_then(|encoded| {
                admit(encoded.0.len() + usize::from(meta.items > 0), max).map(|()| encoded)
            });
            let written = answer(&out, &courier, slot, id, meta.items > 0, result);
            if written.is_err() {
                sys::kill_own_group();
            }
            let _ = done.send((slot, id));
        });
        running.insert(slot, Running { id, claimed, handle: task });
        Ok(())
    }
}

/// Receives once into the assembler; when dropped, nothing was received.
async fn receive(incoming: &mut Listening<'_>, assembler: &mut Assembler) -> io::Result<usize> {
    let (buf, max) = assembler.target();
    let n = incoming.recv(buf, max).await?;
    assembler.received(n);
    Ok(n)
}

/// Says that a cancelled call is gone, once it is: its destructors may do, and
/// take, as much as its body.
async fn dropped(
    task: Running,
    slot: u16,
    out: SharedOutgoing,
    done: mpsc::UnboundedSender<(u16, u64)>,
) {
    let _ = task.handle.await;
    let header = Header::new(Kind::Cancelled, slot, task.id, 0);
    if lock(&out).message(header, &[], &Payload::empty()).is_err() {
        sys::kill_own_group();
    }
    // Has it written.
    let _ = done.send((slot, task.id));
}

struct Running {
    id: u64,
    /// Set by whoever answers the call: its end or its cancellation.
    claimed: Arc<AtomicBool>,
    handle: tokio::task::JoinHandle<()>,
}

/// A task's future with its context set, and its panics caught, at every poll.
struct Guarded {
    future: Option<BoxFuture>,
    current: Current,
    ended: bool,
}

/// A cancelled one: its destructors belong to the call as its body does.
impl Drop for Guarded {
    fn drop(&mut self) {
        let future = self.future.take();
        let current = Current { dropped: !self.ended, ..self.current };
        with_current(current, || drop(future));
    }
}

impl Future for Guarded {
    type Output = Result<Encoded, Fault>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(future) = &mut this.future else { unreachable!("let go only at the end") };
        let polled = with_current(this.current, || catch(|| future.as_mut().poll(cx)));
        let polled = polled.unwrap_or_else(|panic| Poll::Ready(Err(Fault::Panicked(panic))));
        this.ended = polled.is_ready();
        polled
    }
}

fn current(slot: u16, id: u64, meta: CallMeta) -> Current {
    let deadline = match meta.remaining_ms {
        0 => None,
        ms => Instant::now().checked_add(Duration::from_millis(ms.into())),
    };
    Current { slot, task: meta.task, id, attempt: meta.attempt, deadline, dropped: false }
}

fn runtime_fault(error: io::Error) -> Fault {
    Fault::Panicked(PanicReport {
        message: format!("the worker could not make a tokio runtime: {error}"),
        location: None,
        backtrace: None,
    })
}
