//! Showing on standard error what is logged, in programs without a subscriber.

use std::fmt::{self, Debug, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use super::record::{level_number, level_of};
use super::site::{OURS, VIA};

/// What is shown: 0 nothing … 5 everything.
static SHOWN: AtomicU8 = AtomicU8::new(0);

/// There is another subscriber.
#[derive(Debug)]
pub(crate) struct Taken;

/// Shows events up to `level` from now on, this process's under the name `process`; again
/// called, changes the level.
pub(crate) fn show_on_stderr(level: LevelFilter, process: &'static str) -> Result<(), Taken> {
    static SET: Mutex<bool> = Mutex::new(false);
    let mut set = SET.lock().unwrap_or_else(PoisonError::into_inner);
    let before = SHOWN.swap(level.into_level().map_or(0, level_number), Ordering::Relaxed);
    if *set {
        tracing::callsite::rebuild_interest_cache();
        return Ok(());
    }
    let ours = ToStderr { process, spans: AtomicU64::new(0) };
    if tracing::subscriber::set_global_default(ours).is_err() {
        SHOWN.store(before, Ordering::Relaxed);
        return Err(Taken);
    }
    *set = true;
    // A program that has a logger sees its records there.
    let logger: &'static RecordsToStderr = Box::leak(Box::new(RecordsToStderr { process }));
    if log::set_logger(logger).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
    Ok(())
}

fn is_shown(level: u8) -> bool {
    level <= SHOWN.load(Ordering::Relaxed)
}

fn show(level: impl fmt::Display, process: &str, text: &str) {
    let mut line = format!("[{level}/{process}] {text}");
    if line.contains(char::is_control) {
        // Whoever logs it must not write lines of others, or to the terminal.
        let escaped =
            |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
        line = line.chars().map(escaped).collect();
    }
    line.push('\n');
    // One write, so that lines of several programs do not mix.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

struct ToStderr {
    process: &'static str,
    spans: AtomicU64,
}

impl Subscriber for ToStderr {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && is_shown(level_number(*metadata.level()))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let level = level_of(SHOWN.load(Ordering::Relaxed));
        Some(level.map_or(LevelFilter::OFF, LevelFilter::from_level))
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let process = match (line.process, line.via) {
            (Some(process), Some(via)) => format!("{process} via {via}"),
            (Some(process), None) | (None, Some(process)) => process,
            (None, None) => self.process.to_owned(),
        };
        show(event.metadata().level(), &process, &(line.message + &line.fields));
    }
}

/// An event as text.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
    /// Of a child, and of which child that says so.
    process: Option<String>,
    via: Option<String>,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            name if name == OURS[0] => self.process = Some(value.to_owned()),
            name if name == VIA[0] => self.via = Some(value.to_owned()),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            // Who and in which call is more than the line has room for.
            name if VIA.contains(&name) || OURS.contains(&name) => Ok(()),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

struct RecordsToStderr {
    process: &'static str,
}

impl log::Log for RecordsToStderr {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        is_shown(metadata.level() as u8)
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            show(record.level(), self.process, &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn levels_are_numbered_alike_everywhere() {
        let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
        for (number, (level, theirs)) in (1..).zip(levels.into_iter().zip(log::Level::iter())) {
            assert_eq!((level_number(level), level_of(number)), (number, Some(level)));
            assert_eq!(theirs as u8, number);
        }
    }
}
