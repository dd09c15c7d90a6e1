//! A subscriber that keeps what it is told, for tests to look at.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Fields by name, each with the method that recorded it.
pub type Fields = BTreeMap<&'static str, (&'static str, String)>;

#[derive(Debug, Clone)]
pub struct Seen {
    pub level: Level,
    pub target: String,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub fields: Fields,
    /// Names of the spans it is in, from the outside.
    pub spans: Vec<String>,
}

impl Seen {
    pub fn message(&self) -> &str {
        self.text("message")
    }

    /// The text of a field, empty if it has none.
    pub fn text(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", |(_, text)| text)
    }
}

#[derive(Default)]
struct Kept {
    events: Vec<Seen>,
    /// What becomes of spans, a line each.
    spans: Vec<String>,
}

/// What was seen so far.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Kept>>);

impl Recorder {
    /// One that records what `filter` lets through.
    pub fn with<F>(filter: F) -> (Self, Dispatch)
    where
        F: Layer<tracing_subscriber::Registry> + Send + Sync,
    {
        let recorder = Recorder::default();
        let layered = tracing_subscriber::registry().with(filter);
        (recorder.clone(), Dispatch::new(layered.with(recorder)))
    }

    /// Events of workers and processes, in the order of their arrival.
    pub fn events(&self) -> Vec<Seen> {
        let kept = self.0.lock().unwrap();
        let is_printed =
            |e: &Seen| e.target == "procpool::stdout" || e.target == "procpool::stderr";
        let is_ours = |e: &Seen| e.target.starts_with("procpool::") && !is_printed(e);
        let theirs =
            kept.events.iter().filter(|e| e.fields.contains_key("process.name") && !is_ours(e));
        theirs.cloned().collect()
    }

    pub fn messages(&self) -> Vec<String> {
        self.events().iter().map(|e| e.message().to_owned()).collect()
    }

    /// What became of spans of workers and processes.
    pub fn spans(&self) -> Vec<String> {
        self.0.lock().unwrap().spans.clone()
    }
}

struct Name(Fields);

#[derive(Default)]
struct Collect(Fields);

impl Collect {
    fn put(&mut self, field: &Field, how: &'static str, value: impl Debug) {
        self.0.insert(field.name(), (how, format!("{value:?}")));
    }
}

impl Visit for Collect {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, "f64", value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, "i64", value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, "u64", value);
    }
    fn record_i128(&mut self, field: &Field, value: i128) {
        self.put(field, "i128", value);
    }
    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field, "u128", value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, "bool", value);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), ("str", value.to_owned()));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, "debug", value);
    }
}

fn path<S: Subscriber + for<'a> LookupSpan<'a>>(
    span: Option<&Id>,
    ctx: &Context<'_, S>,
) -> Vec<String> {
    let scope = span.and_then(|id| ctx.span_scope(id));
    scope.into_iter().flat_map(|s| s.from_root()).map(|s| s.name().to_owned()).collect()
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut fields = Collect::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let seen = Seen {
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            file: metadata.file().map(str::to_owned),
            line: metadata.line(),
            fields: fields.0,
            spans: path(ctx.event_span(event).map(|s| s.id()).as_ref(), &ctx),
        };
        self.0.lock().unwrap().events.push(seen);
    }

    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let mut fields = Collect::default();
        attrs.record(&mut fields);
        if fields.0.contains_key("process.name") {
            let line = format!("new {}", path(Some(id), &ctx).join(":"));
            self.0.lock().unwrap().spans.push(line);
        }
        ctx.span(id).unwrap().extensions_mut().insert(Name(fields.0));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        let mut fields = Collect::default();
        values.record(&mut fields);
        self.note("record", id, &ctx, &format!(" {:?}", fields.0));
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, ctx: Context<'_, S>) {
        let other = ctx.span(follows).unwrap().name().to_owned();
        self.note("follows", id, &ctx, &format!(" {other}"));
    }

    fn on_enter(&self, id: &Id, ctx: Context<'_, S>) {
        self.note("enter", id, &ctx, "");
    }

    fn on_exit(&self, id: &Id, ctx: Context<'_, S>) {
        self.note("exit", id, &ctx, "");
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        self.note("close", &id, &ctx, "");
    }
}

impl Recorder {
    fn note<S>(&self, what: &str, id: &Id, ctx: &Context<'_, S>, more: &str)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let span = ctx.span(id).unwrap();
        let theirs =
            span.extensions().get::<Name>().is_some_and(|n| n.0.contains_key("process.name"));
        if theirs {
            self.0.lock().unwrap().spans.push(format!("{what} {}{more}", span.name()));
        }
    }
}
