//! What one child logs, as its parent gets it.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::dispatcher::{self, Dispatch};
use tracing::field::ValueSet;
use tracing::subscriber::NoSubscriber;
use tracing::{Event, Level, Span};

use super::held::HeldSpan;
use super::lines::PrintedOn;
use super::reader;
use super::record::{self, Description, Origin, Record, SiteRef, Value, Values, Within};
use super::ring::{HasRing, MAX_SITES, Ring, Scribbled, Wish};
use super::site::{Logger, Site};
use crate::sys::{Doorbell, HandleRef, lock};
use crate::task::{self, catch};

/// Spans of one child that may be open at a time; more are left out.
const MAX_SPANS: usize = 16 * 1024;
/// Bytes of lines that may wait to be logged; more are left out.
const MAX_PRINTED: usize = 256 * 1024;
/// How often it is told that something was lost.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The subscriber of this thread, to hear what a child logs; `None` if there is none yet:
/// then it will be whatever the program's is at the time.
pub(crate) fn listener() -> Option<Dispatch> {
    // Made known to the subscriber here, where no lock is held.
    reader::prepare();
    dispatcher::get_default(|d| (!d.is::<NoSubscriber>()).then(|| d.clone()))
}

/// Runs `f` with `listener` as this thread's subscriber.
pub(super) fn under<R>(listener: Option<&Dispatch>, f: impl FnOnce() -> R) -> R {
    match listener {
        Some(listener) => dispatcher::with_default(listener, f),
        None => f(),
    }
}

/// The log of one child.
pub(crate) struct Inbox {
    name: String,
    pid: AtomicU32,
    block: Arc<dyn HasRing>,
    /// Until it has ended: however long its log takes to be read, no descriptor is held.
    bell: Mutex<Option<Doorbell>>,
    /// Whose it is; `None` for whatever is the program's at the time.
    dispatch: Option<Dispatch>,
    /// The spans its calls were made in.
    calls: Mutex<HashMap<u64, CallSpan>>,
    /// Bytes of the ring that are done with.
    read: AtomicU64,
    reading: Mutex<Reading>,
    printed: Mutex<Printed>,
    /// What it logs is nonsense.
    broken: AtomicBool,
    ended: AtomicBool,
}

struct CallSpan {
    span: HeldSpan,
    /// Up to where it may still be needed, once the call has ended.
    until: Option<u64>,
}

/// Lines that wait for the reading thread.
#[derive(Default)]
struct Printed {
    lines: VecDeque<(PrintedOn, String)>,
    bytes: usize,
    lost: u64,
}

#[derive(Default)]
struct Reading {
    sites: HashMap<u32, Known>,
    spans: HashMap<u64, OpenSpan>,
    /// Spans that this thread is in, for the child.
    entered: Vec<u64>,
    /// Callsites made for this child.
    made: usize,
    lost: u64,
    told: Option<Instant>,
}

/// A callsite of the child's.
#[derive(Clone)]
enum Known {
    Own(&'static Site),
    /// One of too many: what it would have been.
    Shared(&'static Site, Arc<Description<String>>),
}

struct OpenSpan {
    /// Its own, or if nobody wants that, what it is part of.
    span: Span,
    own: bool,
    known: Known,
}

/// A call whose events belong into the span it was made in; until this is dropped.
pub(crate) struct LoggedCall {
    inbox: Arc<Inbox>,
    call: u64,
}

impl LoggedCall {
    pub(crate) fn begins(inbox: &Arc<Inbox>, call: u64, span: HeldSpan) -> Self {
        lock(&inbox.calls).insert(call, CallSpan { span, until: None });
        LoggedCall { inbox: inbox.clone(), call }
    }
}

impl Drop for LoggedCall {
    fn drop(&mut self) {
        self.inbox.call_ended(self.call);
    }
}

impl Known {
    fn of(description: &Description<&str>, made: &mut usize) -> Self {
        match Site::of(description, made) {
            Some(site) => Known::Own(site),
            None => {
                let shared = Site::shared(description.level, description.is_span);
                Known::Shared(shared, Arc::new(description.map(|text| (*text).to_owned())))
            }
        }
    }

    fn site(&self) -> &'static Site {
        let (Known::Own(site) | Known::Shared(site, _)) = self;
        site
    }

    /// Calls `f` with the values of its site's fields.
    fn with_values<R>(
        &self,
        values: &Values<'_>,
        logger: Option<&Logger<'_>>,
        f: impl FnOnce(&ValueSet<'_>) -> R,
    ) -> R {
        let (site, description) = match self {
            Known::Own(site) => return site.with_values(values, logger, f),
            Known::Shared(site, description) => (site, description),
        };
        let mut words = String::new();
        for (index, value) in values {
            let _ = match description.fields.get(*index).map(String::as_str) {
                Some("message") => write!(words, "{value} "),
                Some(field) => write!(words, "{field}={value} "),
                None => Ok(()),
            };
        }
        let mut all = vec![(0, Value::Str(words.trim_end()))];
        all.push((1, Value::Str(&description.target)));
        all.extend(description.file.as_deref().map(|file| (2, Value::Str(file))));
        all.extend(description.line.map(|line| (3, Value::U64(line.into()))));
        site.with_values(&all, logger, f)
    }
}

impl Inbox {
    /// The log of a child to be, which will write to the ring in `block`.
    pub(crate) fn open(
        name: String,
        dispatch: Option<Dispatch>,
        block: Arc<dyn HasRing>,
    ) -> io::Result<Arc<Self>> {
        let inbox = Arc::new(Inbox {
            name,
            pid: AtomicU32::new(0),
            block,
            bell: Mutex::new(Some(Doorbell::new()?)),
            dispatch,
            calls: Mutex::default(),
            read: AtomicU64::new(0),
            reading: Mutex::default(),
            printed: Mutex::default(),
            broken: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        reader::add(&inbox)?;
        Ok(inbox)
    }

    /// Calls `f` with the bell, unless the child has ended.
    pub(super) fn with_bell<R>(&self, f: impl FnOnce(&Doorbell) -> R) -> Option<R> {
        lock(&self.bell).as_ref().map(f)
    }

    /// Calls `f` with what the child is to ring with, unless it has ended.
    pub(crate) fn with_ringer<R>(&self, f: impl FnOnce(HandleRef<'_>) -> R) -> Option<R> {
        self.with_bell(|bell| f(bell.ringer()))
    }

    pub(crate) fn set_pid(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    fn call_ended(&self, call: u64) {
        let mut calls = lock(&self.calls);
        let read = self.read.load(Ordering::Acquire);
        let logged = self.ring().logged_by_now(read);
        if read >= logged || self.broken.load(Ordering::Acquire) {
            let ended = calls.remove(&call);
            drop(calls);
            // Its end may run code of the user's.
            drop(ended);
        } else if let Some(call) = calls.get_mut(&call) {
            call.until = Some(logged);
        }
    }

    /// Has a line that the child printed logged.
    pub(crate) fn print(&self, on: PrintedOn, line: String) {
        let mut printed = lock(&self.printed);
        let bytes = size_of::<String>() + line.len();
        if printed.bytes + bytes > MAX_PRINTED {
            printed.lost += 1;
            return;
        }
        let first = printed.lines.is_empty();
        printed.bytes += bytes;
        printed.lines.push_back((on, line));
        drop(printed);
        if first {
            reader::wake();
        }
    }

    /// The child has ended: what is still there is read, then it is let go.
    pub(crate) fn ended(&self) {
        self.ended.store(true, Ordering::Release);
        let bell = lock(&self.bell).take();
        bell.iter().for_each(reader::remove);
        reader::wake();
    }

    // For the reading thread alone.

    fn ring(&self) -> Ring<'_> {
        Ring::of(&*self.block)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn want(&self, level: u8) {
        self.ring().want(level);
    }

    /// Tells the child anew what is wanted of the callsites it has.
    pub(super) fn tell_wishes(&self) {
        let ring = self.ring();
        for (number, known) in &lock(&self.reading).sites {
            ring.set_wish(*number, wish(known));
        }
    }

    /// Says that nobody looks until the child rings; true if there is something already.
    pub(super) fn sleep(&self) -> bool {
        !self.broken.load(Ordering::Acquire) && self.ring().sleep(self.read.load(Ordering::Relaxed))
    }

    /// Passes on what there is, at most about a ring's worth; whether there was anything.
    pub(super) fn drain(&self) -> bool {
        // As this thread's default: while a program has only one subscriber, `tracing` asks
        // that of the thread that makes a callsite known, and nobody else.
        under(self.dispatch.as_ref(), || {
            let printed = self.drain_printed();
            self.drain_ring() || printed
        })
    }

    fn drain_printed(&self) -> bool {
        let lines = {
            let mut printed = lock(&self.printed);
            printed.bytes = 0;
            std::mem::take(&mut printed.lines)
        };
        let any = !lines.is_empty();
        for (on, line) in lines {
            drop(catch(|| self.log_line(on, &line)));
        }
        any
    }

    fn log_line(&self, on: PrintedOn, line: &str) {
        let pid = self.pid.load(Ordering::Relaxed);
        macro_rules! log_line {
            ($target:literal, $level:ident) => {
                tracing::event!(
                    target: $target,
                    // This thread may be in a span of another child's.
                    parent: None,
                    Level::$level,
                    process.name = self.name,
                    process.pid = pid,
                    "{line}"
                )
            };
        }
        match on {
            PrintedOn::Stdout => log_line!("procpool::stdout", INFO),
            PrintedOn::Stderr => log_line!("procpool::stderr", WARN),
        }
    }

    fn drain_ring(&self) -> bool {
        let mut reading = lock(&self.reading);
        if self.broken.load(Ordering::Acquire) {
            self.tell_lost(&mut reading);
            return false;
        }
        let mut read = self.read.load(Ordering::Relaxed);
        let (mut any, mut nonsense) = (false, false);
        for _ in 0..8 {
            let batch = self.ring().read(&mut read, |bytes| match record::read(bytes) {
                // A subscriber that panics must not take the others' logs along.
                Some(record) => drop(catch(|| self.pass_on(&mut reading, &record))),
                None => nonsense = true,
            });
            match batch {
                Ok(true) => any = true,
                Ok(false) => break,
                Err(Scribbled) => {
                    nonsense = true;
                    break;
                }
            }
        }
        self.read.store(read, Ordering::Release);
        self.forget_calls(read);
        if nonsense {
            self.broken.store(true, Ordering::Release);
            self.close(&mut reading);
            self.forget_all_calls();
            self.tell("what it logs is nonsense and is ignored from here on", 0);
        }
        self.tell_lost(&mut reading);
        any
    }

    /// To be called once, after the last [`Inbox::drain`].
    pub(super) fn finish(&self) {
        under(self.dispatch.as_ref(), || {
            let mut reading = lock(&self.reading);
            reading.told = None;
            self.tell_lost(&mut reading);
            self.close(&mut reading);
        });
        self.forget_all_calls();
    }

    fn forget_all_calls(&self) {
        // The spans end when the lock is free again.
        let calls = std::mem::take(&mut *lock(&self.calls));
        drop(calls);
    }

    fn forget_calls(&self, read: u64) {
        let mut calls = lock(&self.calls);
        if calls.is_empty() {
            return;
        }
        let over = calls.extract_if(|_, call| call.until.is_some_and(|until| until <= read));
        let over: Vec<_> = over.collect();
        drop(calls);
        drop(over);
    }

    /// Leaves and ends every span that the child did not.
    fn close(&self, reading: &mut Reading) {
        while let Some(span) = reading.entered.pop() {
            drop(catch(|| reading.spans.get(&span).map(leave)));
        }
        let spans = std::mem::take(&mut reading.spans);
        drop(catch(|| drop(spans)));
    }

    fn tell_lost(&self, reading: &mut Reading) {
        let lost = self.ring().lost().saturating_add(lock(&self.printed).lost);
        if lost == reading.lost || reading.told.is_some_and(|at| at.elapsed() < TELL_EVERY) {
            return;
        }
        // The child's number: it may say anything.
        let more = lost.saturating_sub(reading.lost);
        reading.lost = lost;
        reading.told = Some(Instant::now());
        self.tell("it logged more than could be read: some of it is lost", more);
    }

    fn tell(&self, what: &str, lost: u64) {
        let pid = self.pid.load(Ordering::Relaxed);
        drop(catch(|| {
            tracing::event!(
                target: "procpool",
                parent: None,
                Level::WARN,
                process.name = self.name,
                process.pid = pid,
                lost,
                "{what}"
            );
        }));
    }

    fn pass_on(&self, reading: &mut Reading, record: &Record<'_>) {
        match record {
            Record::Site { number, description } => {
                if *number < MAX_SITES {
                    let known = Known::of(description, &mut reading.made);
                    self.ring().set_wish(*number, wish(&known));
                    reading.sites.insert(*number, known);
                }
            }
            Record::Event { site, origin, within, values } => {
                if let Some(known) = known(reading, site) {
                    let parent = self.parent(reading, *origin, *within);
                    self.event(&known, *origin, &parent, values);
                }
            }
            Record::Span { site, id, origin, within, values } => {
                // Where its end was lost; or it is made up.
                close(reading, *id);
                if let Some(known) = known(reading, site)
                    && reading.spans.len() < MAX_SPANS
                {
                    let parent = self.parent(reading, *origin, *within);
                    let open = self.span(known, *origin, parent, values);
                    reading.spans.insert(*id, open);
                }
            }
            Record::Values { span, values } => {
                if let Some(open) = reading.spans.get(span).filter(|open| open.own) {
                    open.known.with_values(values, None, |values| {
                        open.span.with_subscriber(|(id, dispatch)| {
                            dispatch.record(id, &tracing::span::Record::new(values));
                        });
                    });
                }
            }
            Record::Follows { span, from } => {
                if let (Some(open), Some(from)) = (reading.spans.get(span), reading.spans.get(from))
                    && open.own
                    && from.own
                {
                    open.span.follows_from(&from.span);
                }
            }
            Record::Enter { span } => {
                if let Some(open) = reading.spans.get(span).filter(|open| open.own)
                    && reading.entered.len() < MAX_SPANS
                {
                    open.span.with_subscriber(|(id, dispatch)| dispatch.enter(id));
                    reading.entered.push(*span);
                }
            }
            Record::Exit { span } => {
                if let Some(at) = reading.entered.iter().rposition(|s| s == span) {
                    reading.entered.remove(at);
                    reading.spans.get(span).map(leave);
                }
            }
            Record::Close { span } => close(reading, *span),
        }
    }

    /// The span that something is part of.
    fn parent(&self, reading: &Reading, origin: Origin, within: Within) -> Span {
        let callers = || self.callers(origin).map_or_else(Span::none, |span| (*span).clone());
        match within {
            Within::Nothing => Span::none(),
            Within::Call => callers(),
            Within::Span(id) => reading.spans.get(&id).map_or_else(callers, |s| s.span.clone()),
        }
    }

    fn logger(&self, origin: Origin) -> Logger<'_> {
        let task = task::registry().ok().and_then(|registry| registry.get(origin.task));
        Logger {
            process: &self.name,
            pid: self.pid.load(Ordering::Relaxed),
            task: task.filter(|_| origin.call != 0).map(|entry| entry.name),
            call: origin.call,
        }
    }

    /// The span in which the call was made.
    fn callers(&self, origin: Origin) -> Option<HeldSpan> {
        lock(&self.calls).get(&origin.call).map(|call| call.span.clone())
    }

    /// Calls `f` for what is logged at `site`, if the subscriber wants it.
    fn if_wanted<R>(
        &self,
        site: &'static Site,
        origin: Origin,
        parent: &Span,
        f: impl Fn(&Dispatch) -> R,
    ) -> Option<R> {
        // The subscriber that has `parent`, or else this thread's; and not inside
        // `get_default`, since what runs there is cut off from it.
        let dispatch = parent
            .with_subscriber(|(_, dispatch)| dispatch.clone())
            .unwrap_or_else(|| dispatcher::get_default(Dispatch::clone));
        let ask = || site.is_wanted_by(&dispatch).then(|| f(&dispatch));
        // A filter by spans looks at those that this thread is in.
        match site.is_wanted_sometimes().then(|| self.callers(origin)).flatten() {
            Some(callers) => callers.in_scope(ask),
            None => ask(),
        }
    }

    fn event(&self, known: &Known, origin: Origin, parent: &Span, values: &Values<'_>) {
        let site = known.site();
        self.if_wanted(site, origin, parent, |dispatch| {
            known.with_values(values, Some(&self.logger(origin)), |values| {
                dispatch.event(&Event::new_child_of(parent.id(), site.metadata(), values));
            });
        });
    }

    fn span(&self, known: Known, origin: Origin, parent: Span, values: &Values<'_>) -> OpenSpan {
        let site = known.site();
        let made = self.if_wanted(site, origin, &parent, |dispatch| {
            known.with_values(values, Some(&self.logger(origin)), |values| {
                dispatcher::with_default(dispatch, || {
                    Span::child_of(parent.id(), site.metadata(), values)
                })
            })
        });
        match made {
            Some(span) => OpenSpan { span, own: true, known },
            None => OpenSpan { span: parent, own: false, known },
        }
    }
}

fn known(reading: &mut Reading, site: &SiteRef<'_>) -> Option<Known> {
    match site {
        SiteRef::Number(number) => reading.sites.get(number).cloned(),
        SiteRef::Inline(description) => Some(Known::of(description, &mut reading.made)),
    }
}

fn wish(known: &Known) -> Wish {
    if known.site().is_unwanted() { Wish::Unwanted } else { Wish::Wanted }
}

fn leave(open: &OpenSpan) {
    open.span.with_subscriber(|(id, dispatch)| dispatch.exit(id));
}

/// Leaves a span as often as it was entered, and ends it.
fn close(reading: &mut Reading, span: u64) {
    while let Some(at) = reading.entered.iter().rposition(|s| *s == span) {
        reading.entered.remove(at);
        reading.spans.get(&span).map(leave);
    }
    reading.spans.remove(&span);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tracing::span::{Attributes, Id};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::super::ring::tests::block;
    use super::*;

    /// What became of spans.
    #[derive(Clone, Default)]
    struct Counts(Arc<[AtomicUsize; 4]>);

    impl Counts {
        fn count(&self, what: usize) {
            self.0[what].fetch_add(1, Ordering::SeqCst);
        }
    }

    impl<S: tracing::Subscriber> Layer<S> for Counts {
        fn on_new_span(&self, _: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
            self.count(0);
        }

        fn on_enter(&self, _: &Id, _: Context<'_, S>) {
            self.count(1);
        }

        fn on_exit(&self, _: &Id, _: Context<'_, S>) {
            self.count(2);
        }

        fn on_close(&self, _: Id, _: Context<'_, S>) {
            self.count(3);
        }
    }

    #[test]
    fn a_span_that_begins_twice_has_ended_in_between() {
        let counts = Counts::default();
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(counts.clone()));
        let memory = Arc::new(block());
        let inbox = Inbox::open("forger".into(), Some(dispatch), memory.clone()).unwrap();
        let ring = Ring::of(&*memory);
        let push = |put: &dyn Fn(&mut Vec<u8>)| {
            let mut record = Vec::new();
            put(&mut record);
            assert!(ring.push(&[&record], false));
        };
        let description = Description {
            level: 3,
            is_span: true,
            line: None,
            name: "forged",
            target: "inbox",
            file: None,
            module: None,
            fields: Vec::new(),
        };
        push(&|buf| record::put_site_record(buf, 1, &description));
        for _ in 0..5 {
            push(&|buf| {
                let site = SiteRef::Number(1);
                record::put_span(buf, &site, 77, Origin::default(), Within::Nothing);
                record::ValueWriter::new(buf);
            });
            push(&|buf| record::put_enter(buf, 77));
            push(&|buf| record::put_enter(buf, 77));
        }
        inbox.ended();
        reader::settle();
        let counts: Vec<_> = counts.0.iter().map(|n| n.load(Ordering::SeqCst)).collect();
        assert_eq!(counts, [5, 10, 10, 5], "begun, entered, left, ended");
    }
}
