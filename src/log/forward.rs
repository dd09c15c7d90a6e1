//! A child's side: a subscriber and a logger that write into the ring.
//!
//! Neither ever waits: what finds no room is counted and left out.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use tracing::callsite::Identifier;
use tracing::dispatcher::{self, Dispatch};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_core::span::Current;
use tracing_subscriber::layer::{Context, Layer, Layered, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::record::{
    self, Description, Origin, SiteRef, TextTag, ValueWriter, Within, level_number,
};
use super::ring::{HasRing, MAX_SITES, Ring, Wish};
use crate::sys::Ringer;
use crate::task;

static FORWARD: OnceLock<Forward> = OnceLock::new();

struct Forward {
    block: Arc<dyn HasRing>,
    ringer: Ringer,
    /// Held for a copy of a few hundred bytes.
    writing: Mutex<()>,
    sites: RwLock<HashMap<Identifier, &'static Local, BuildHasherDefault<AddressHasher>>>,
}

/// A callsite as this process knows it.
struct Local {
    number: u32,
    /// Whether the parent was told of it.
    told: AtomicBool,
}

thread_local! {
    /// Where a record is put together. Taken out meanwhile, as what is logged may log.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The subscriber; one and the same from the beginning, since it numbers the spans.
static OURS: Mutex<Option<Dispatch>> = Mutex::new(None);

fn ours() -> MutexGuard<'static, Option<Dispatch>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has this process's log written to the ring in `block`, once it is installed.
pub(crate) fn attach(block: Arc<dyn HasRing>, ringer: Ringer) {
    let forward = FORWARD.get_or_init(|| Forward {
        block,
        ringer,
        writing: Mutex::new(()),
        sites: RwLock::default(),
    });
    *ours() = Some(Dispatch::new(Lazily { forward, registry: OnceLock::new() }));
}

/// Runs what may set a subscriber or a logger for what comes after it; until then it is
/// ours, on this thread.
pub(crate) fn while_starting<R>(f: impl FnOnce() -> R) -> R {
    let dispatch = ours().clone();
    match dispatch {
        Some(dispatch) => dispatcher::with_default(&dispatch, f),
        None => f(),
    }
}

/// Makes the parent the one that is logged to, unless this process has set a subscriber
/// or a logger of its own by now: that stays.
pub(crate) fn install() {
    let (Some(forward), Some(dispatch)) = (FORWARD.get(), ours().take()) else {
        return;
    };
    let _ = dispatcher::set_global_default(dispatch);
    // Of callsites that other threads came to meanwhile `tracing` has noted that nobody wants
    // them; and where another subscriber is set, what ours wanted counts no more.
    tracing::callsite::rebuild_interest_cache();
    if log::set_logger(forward).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
}

impl Forward {
    fn ring(&self) -> Ring<'_> {
        Ring::of(&*self.block)
    }

    fn local(&self, metadata: &Metadata<'_>) -> &'static Local {
        let callsite = metadata.callsite();
        let sites = self.sites.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(local) = sites.get(&callsite) {
            return local;
        }
        drop(sites);
        let mut sites = self.sites.write().unwrap_or_else(PoisonError::into_inner);
        let number = sites.len().min(u32::MAX as usize) as u32;
        // As long-lived as the callsite itself.
        sites
            .entry(callsite)
            .or_insert_with(|| Box::leak(Box::new(Local { number, told: AtomicBool::new(false) })))
    }

    fn is_wanted(&self, metadata: &Metadata<'_>) -> bool {
        let ring = self.ring();
        if level_number(*metadata.level()) > ring.wanted() {
            return false;
        }
        let local = self.local(metadata);
        match ring.wish(local.number) {
            Wish::Wanted => true,
            Wish::Unwanted => false,
            Wish::Unknown => {
                // The parent hears of it before anything is logged there: whoever only
                // asks `enabled!` wants an answer, too.
                if local.number < MAX_SITES && !local.told.load(Ordering::Acquire) {
                    self.write_with_site(Some((local, metadata)), false, |_| {});
                }
                true
            }
        }
    }

    /// Has a record put together and writes it.
    fn write(&self, fill: impl FnOnce(&mut Vec<u8>)) {
        self.write_with_site(None, false, fill);
    }

    /// The same for one that ends something.
    fn write_end(&self, fill: impl FnOnce(&mut Vec<u8>)) {
        self.write_with_site(None, true, fill);
    }

    /// The same, behind the description of its callsite if the parent does not know that.
    fn write_with_site(
        &self,
        site: Option<(&'static Local, &Metadata<'_>)>,
        ends: bool,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        // Where this thread ends there is none any more.
        let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
        buffer.clear();
        fill(&mut buffer);
        let end = buffer.len();
        let untold = site.filter(|(local, _)| !local.told.load(Ordering::Acquire));
        if let Some((local, metadata)) = untold {
            record::put_site_record(&mut buffer, local.number, &describe(metadata));
        }
        let (record, description) = buffer.split_at(end);
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = self.ring();
        let records = [description, record];
        let written = match (description, record) {
            ([], []) => true,
            ([], _) => ring.push(&records[1..], ends),
            (_, []) => ring.push(&records[..1], ends),
            _ => ring.push(&records, ends),
        };
        if !(written || record.is_empty()) {
            ring.lose();
        }
        drop(writing);
        if let (true, Some((local, _))) = (written, untold) {
            local.told.store(true, Ordering::Release);
        }
        if ring.is_reader_asleep() {
            self.ringer.ring();
        }
        let _ = BUFFER.try_with(|place| place.set(buffer));
    }

    /// Writes a record of a callsite's: `put` begins it, and values follow.
    fn write_at(
        &self,
        metadata: &Metadata<'_>,
        put: impl FnOnce(&mut Vec<u8>, &SiteRef<'_>),
        values: impl FnOnce(&mut ValueWriter<'_>),
    ) {
        let local = self.local(metadata);
        let (site, told) = if local.number < MAX_SITES {
            (SiteRef::Number(local.number), Some((local, metadata)))
        } else {
            (SiteRef::Inline(describe(metadata)), None)
        };
        self.write_with_site(told, false, |buf| {
            put(buf, &site);
            values(&mut ValueWriter::new(buf));
        });
    }
}

fn describe<'a>(metadata: &'a Metadata<'_>) -> Description<&'a str> {
    Description {
        level: level_number(*metadata.level()),
        is_span: metadata.is_span(),
        line: metadata.line(),
        name: metadata.name(),
        target: metadata.target(),
        file: metadata.file(),
        module: metadata.module_path(),
        fields: metadata.fields().iter().map(|field| field.name()).collect(),
    }
}

/// The call this thread is in.
fn origin() -> Origin {
    task::current_call().map_or_else(Origin::default, |(call, task)| Origin { call, task })
}

/// The subscriber. Its registry takes time and memory that only those children pay who have
/// something to log.
struct Lazily {
    forward: &'static Forward,
    registry: OnceLock<Layered<Forwarding, Registry>>,
}

impl Lazily {
    fn registry(&self) -> &Layered<Forwarding, Registry> {
        self.registry.get_or_init(|| tracing_subscriber::registry().with(Forwarding(self.forward)))
    }
}

impl Subscriber for Lazily {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // What the parent wants may be something else at any time.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.forward.is_wanted(metadata)
    }

    fn new_span(&self, attrs: &Attributes<'_>) -> Id {
        self.registry().new_span(attrs)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.registry().record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.registry().record_follows_from(span, follows);
    }

    fn event(&self, event: &Event<'_>) {
        self.registry().event(event);
    }

    fn enter(&self, span: &Id) {
        self.registry().enter(span);
    }

    fn exit(&self, span: &Id) {
        self.registry().exit(span);
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.registry().clone_span(span)
    }

    fn try_close(&self, span: Id) -> bool {
        self.registry().try_close(span)
    }

    fn current_span(&self) -> Current {
        self.registry.get().map_or_else(Current::none, Subscriber::current_span)
    }
}

/// The layer that writes what happens into the ring.
struct Forwarding(&'static Forward);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Forwarding {
    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let within = if event.is_contextual() {
            current(&ctx)
        } else {
            event.parent().map_or(Within::Nothing, |id| Within::Span(id.into_u64()))
        };
        self.0.write_at(
            event.metadata(),
            |buf, site| record::put_event(buf, site, origin(), within),
            |values| event.record(values),
        );
    }

    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let within = if attrs.is_contextual() {
            current(&ctx)
        } else {
            attrs.parent().map_or(Within::Nothing, |id| Within::Span(id.into_u64()))
        };
        self.0.write_at(
            attrs.metadata(),
            |buf, site| record::put_span(buf, site, id.into_u64(), origin(), within),
            |values| attrs.record(values),
        );
    }

    fn on_record(&self, span: &Id, record: &Record<'_>, _: Context<'_, S>) {
        self.0.write(|buf| {
            record::put_values_of(buf, span.into_u64());
            record.record(&mut ValueWriter::new(buf));
        });
    }

    fn on_follows_from(&self, span: &Id, follows: &Id, _: Context<'_, S>) {
        self.0.write(|buf| record::put_follows(buf, span.into_u64(), follows.into_u64()));
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.0.write(|buf| record::put_enter(buf, id.into_u64()));
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.0.write_end(|buf| record::put_exit(buf, id.into_u64()));
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.0.write_end(|buf| record::put_close(buf, id.into_u64()));
    }
}

fn current<S: Subscriber + for<'a> LookupSpan<'a>>(ctx: &Context<'_, S>) -> Within {
    // Where a thread ends the registry has lost its part of it, too, and panics if asked.
    if BUFFER.try_with(|_| ()).is_err() {
        return Within::Call;
    }
    ctx.current_span().id().map_or(Within::Call, |id| Within::Span(id.into_u64()))
}

impl log::Log for Forward {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() as usize <= usize::from(self.ring().wanted())
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // Its callsite has no address, so it is described each time.
        let site = SiteRef::Inline(Description {
            level: record.level() as u8,
            is_span: false,
            line: record.line(),
            name: "log record",
            target: record.target(),
            file: record.file(),
            module: record.module_path(),
            fields: vec!["message"],
        });
        let within = dispatcher::get_default(|dispatch| {
            let current = dispatch.current_span();
            current.id().map_or(Within::Call, |id| Within::Span(id.into_u64()))
        });
        self.write(|buf| {
            record::put_event(buf, &site, origin(), within);
            ValueWriter::new(buf).text(0, TextTag::Debug, *record.args());
        });
    }

    fn flush(&self) {}
}

/// Callsites are told apart by their addresses, which need no more than a stir.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, n: usize) {
        self.0 = (self.0.rotate_left(5) ^ n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}
