//! What stands in a ring: callsites, events and spans, as bytes.
//!
//! Everything is bounded when it is written, and nothing is believed when it is read.

use std::fmt::{self, Write};

use tracing::Level;
use tracing::field::{Field, Visit};

use super::ring::MAX_RECORD;

/// Fields of one event or span that are carried; what we add comes on top.
pub(super) const MAX_FIELDS: usize = 28;
/// Bytes of one value; a longer one ends in "…".
const MAX_TEXT: usize = 8 * 1024;
/// Bytes of a name.
const MAX_NAME: usize = 512;
const ELLIPSIS: &str = "…";

const SITE: u8 = 1;
const EVENT: u8 = 2;
const INLINE_EVENT: u8 = 3;
const SPAN: u8 = 4;
const INLINE_SPAN: u8 = 5;
const VALUES: u8 = 6;
const FOLLOWS: u8 = 7;
const ENTER: u8 = 8;
const EXIT: u8 = 9;
const CLOSE: u8 = 10;

/// Where in the code something is logged, in words.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Description<S> {
    /// 1 error … 5 trace.
    pub(super) level: u8,
    pub(super) is_span: bool,
    pub(super) line: Option<u32>,
    pub(super) name: S,
    pub(super) target: S,
    pub(super) file: Option<S>,
    pub(super) module: Option<S>,
    pub(super) fields: Vec<S>,
}

impl<S> Description<S> {
    pub(super) fn map<'a, T>(&'a self, f: impl Fn(&'a S) -> T) -> Description<T> {
        Description {
            level: self.level,
            is_span: self.is_span,
            line: self.line,
            name: f(&self.name),
            target: f(&self.target),
            file: self.file.as_ref().map(&f),
            module: self.module.as_ref().map(&f),
            fields: self.fields.iter().map(&f).collect(),
        }
    }
}

/// The call something was logged in; its number is 0 outside of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Origin {
    pub(super) call: u64,
    pub(super) task: u32,
}

/// What an event or a span is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// By its own wish of nothing.
    Nothing,
    /// Of whatever the caller was in.
    Call,
    Span(u64),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum SiteRef<'a> {
    Number(u32),
    Inline(Description<&'a str>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    F64(f64),
    I64(i64),
    U64(u64),
    I128(i128),
    U128(u128),
    Bool(bool),
    Str(&'a str),
    /// What its `Debug` said.
    Debug(&'a str),
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::F64(v) => write!(f, "{v}"),
            Value::I64(v) => write!(f, "{v}"),
            Value::U64(v) => write!(f, "{v}"),
            Value::I128(v) => write!(f, "{v}"),
            Value::U128(v) => write!(f, "{v}"),
            Value::Bool(v) => write!(f, "{v}"),
            Value::Str(v) | Value::Debug(v) => f.write_str(v),
        }
    }
}

pub(super) type Values<'a> = Vec<(usize, Value<'a>)>;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record<'a> {
    Site { number: u32, description: Description<&'a str> },
    Event { site: SiteRef<'a>, origin: Origin, within: Within, values: Values<'a> },
    Span { site: SiteRef<'a>, id: u64, origin: Origin, within: Within, values: Values<'a> },
    Values { span: u64, values: Values<'a> },
    Follows { span: u64, from: u64 },
    Enter { span: u64 },
    Exit { span: u64 },
    Close { span: u64 },
}

/// The number a level has here.
pub(super) fn level_number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

pub(super) fn level_of(number: u8) -> Option<Level> {
    Some(match number {
        1 => Level::ERROR,
        2 => Level::WARN,
        3 => Level::INFO,
        4 => Level::DEBUG,
        5 => Level::TRACE,
        _ => return None,
    })
}

// Writing.

fn put_u32(buf: &mut Vec<u8>, n: u32) {
    buf.extend_from_slice(&n.to_le_bytes());
}

fn put_u64(buf: &mut Vec<u8>, n: u64) {
    buf.extend_from_slice(&n.to_le_bytes());
}

/// The longest beginning of `text` that takes at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn put_name(buf: &mut Vec<u8>, name: &str) {
    let name = cut(name, MAX_NAME);
    buf.extend_from_slice(&(name.len() as u16).to_le_bytes());
    buf.extend_from_slice(name.as_bytes());
}

fn put_name_or_none(buf: &mut Vec<u8>, name: Option<&str>) {
    buf.push(name.is_some().into());
    if let Some(name) = name {
        put_name(buf, name);
    }
}

fn put_description(buf: &mut Vec<u8>, d: &Description<&str>) {
    buf.extend_from_slice(&[d.level, d.is_span.into(), d.line.is_some().into()]);
    put_u32(buf, d.line.unwrap_or(0));
    put_name(buf, d.name);
    put_name(buf, d.target);
    put_name_or_none(buf, d.file);
    put_name_or_none(buf, d.module);
    let fields = &d.fields[..d.fields.len().min(MAX_FIELDS)];
    buf.push(fields.len() as u8);
    for field in fields {
        put_name(buf, field);
    }
}

fn put_site(buf: &mut Vec<u8>, site: &SiteRef<'_>, numbered: u8, inline: u8) {
    match site {
        SiteRef::Number(number) => {
            buf.push(numbered);
            put_u32(buf, *number);
        }
        SiteRef::Inline(description) => {
            buf.push(inline);
            put_description(buf, description);
        }
    }
}

fn put_place(buf: &mut Vec<u8>, origin: Origin, within: Within) {
    put_u64(buf, origin.call);
    put_u32(buf, origin.task);
    let (tag, span) = match within {
        Within::Nothing => (0, 0),
        Within::Call => (1, 0),
        Within::Span(id) => (2, id),
    };
    buf.push(tag);
    put_u64(buf, span);
}

pub(super) fn put_site_record(buf: &mut Vec<u8>, number: u32, description: &Description<&str>) {
    buf.push(SITE);
    put_u32(buf, number);
    put_description(buf, description);
}

/// To be followed by the values.
pub(super) fn put_event(buf: &mut Vec<u8>, site: &SiteRef<'_>, origin: Origin, within: Within) {
    put_site(buf, site, EVENT, INLINE_EVENT);
    put_place(buf, origin, within);
}

/// To be followed by the values.
pub(super) fn put_span(
    buf: &mut Vec<u8>,
    site: &SiteRef<'_>,
    id: u64,
    origin: Origin,
    within: Within,
) {
    put_site(buf, site, SPAN, INLINE_SPAN);
    put_u64(buf, id);
    put_place(buf, origin, within);
}

/// To be followed by the values.
pub(super) fn put_values_of(buf: &mut Vec<u8>, span: u64) {
    buf.push(VALUES);
    put_u64(buf, span);
}

pub(super) fn put_follows(buf: &mut Vec<u8>, span: u64, from: u64) {
    buf.push(FOLLOWS);
    put_u64(buf, span);
    put_u64(buf, from);
}

pub(super) fn put_enter(buf: &mut Vec<u8>, span: u64) {
    buf.push(ENTER);
    put_u64(buf, span);
}

pub(super) fn put_exit(buf: &mut Vec<u8>, span: u64) {
    buf.push(EXIT);
    put_u64(buf, span);
}

pub(super) fn put_close(buf: &mut Vec<u8>, span: u64) {
    buf.push(CLOSE);
    put_u64(buf, span);
}

/// Writes values behind a record, as they are visited.
pub(super) struct ValueWriter<'a> {
    buf: &'a mut Vec<u8>,
    /// Where their number stands.
    count_at: usize,
}

impl<'a> ValueWriter<'a> {
    pub(super) fn new(buf: &'a mut Vec<u8>) -> Self {
        let count_at = buf.len();
        buf.push(0);
        ValueWriter { buf, count_at }
    }

    fn begin(&mut self, index: usize, tag: u8) -> bool {
        if index >= MAX_FIELDS || usize::from(self.buf[self.count_at]) >= MAX_FIELDS {
            return false;
        }
        self.buf[self.count_at] += 1;
        self.buf.extend_from_slice(&[index as u8, tag]);
        true
    }

    pub(super) fn text(&mut self, index: usize, tag: TextTag, text: fmt::Arguments<'_>) {
        if !self.begin(index, tag as u8) {
            return;
        }
        let at = self.buf.len();
        self.buf.extend_from_slice(&[0; 2]);
        // What comes after it must fit, too, if only as "…".
        let rest = MAX_FIELDS * 24;
        let max = MAX_TEXT.min((MAX_RECORD - rest).saturating_sub(self.buf.len()));
        let mut text_writer = Bounded { buf: self.buf, left: max, full: false };
        let _ = text_writer.write_fmt(text);
        let len = (self.buf.len() - at - 2) as u16;
        self.buf[at..at + 2].copy_from_slice(&len.to_le_bytes());
    }
}

#[derive(Clone, Copy)]
pub(super) enum TextTag {
    Str = 7,
    Debug = 8,
}

/// Takes so much of a text and then says "…".
struct Bounded<'a> {
    buf: &'a mut Vec<u8>,
    left: usize,
    full: bool,
}

impl Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // No error: whoever writes may take that for impossible.
        if self.full {
            return Ok(());
        }
        let part = cut(text, self.left);
        self.buf.extend_from_slice(part.as_bytes());
        self.left -= part.len();
        if part.len() < text.len() {
            self.buf.extend_from_slice(ELLIPSIS.as_bytes());
            self.full = true;
        }
        Ok(())
    }
}

impl Visit for ValueWriter<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if self.begin(field.index(), 1) {
            self.buf.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if self.begin(field.index(), 2) {
            self.buf.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if self.begin(field.index(), 3) {
            self.buf.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        if self.begin(field.index(), 4) {
            self.buf.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        if self.begin(field.index(), 5) {
            self.buf.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if self.begin(field.index(), 6) {
            self.buf.push(value.into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.index(), TextTag::Str, format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field.index(), TextTag::Debug, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.index(), TextTag::Debug, format_args!("{value:?}"));
    }
}

// Reading.

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        self.byte().map(|b| b != 0)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = self.array().map(u16::from_le_bytes)?;
        let (text, rest) = self.0.split_at_checked(len.into())?;
        self.0 = rest;
        str::from_utf8(text).ok()
    }

    fn name(&mut self) -> Option<&'a str> {
        self.text().filter(|name| name.len() <= MAX_NAME)
    }

    fn name_or_none(&mut self) -> Option<Option<&'a str>> {
        Some(if self.flag()? { Some(self.name()?) } else { None })
    }

    fn description(&mut self) -> Option<Description<&'a str>> {
        let level = self.byte()?;
        level_of(level)?;
        let is_span = self.flag()?;
        let (has_line, line) = (self.flag()?, self.u32()?);
        let (name, target) = (self.name()?, self.name()?);
        let (file, module) = (self.name_or_none()?, self.name_or_none()?);
        let count = usize::from(self.byte()?);
        if count > MAX_FIELDS {
            return None;
        }
        let fields = (0..count).map(|_| self.name()).collect::<Option<_>>()?;
        let line = has_line.then_some(line);
        Some(Description { level, is_span, line, name, target, file, module, fields })
    }

    fn place(&mut self) -> Option<(Origin, Within)> {
        let origin = Origin { call: self.u64()?, task: self.u32()? };
        let (tag, span) = (self.byte()?, self.u64()?);
        let within = match tag {
            0 => Within::Nothing,
            1 => Within::Call,
            2 => Within::Span(span),
            _ => return None,
        };
        Some((origin, within))
    }

    fn values(&mut self) -> Option<Values<'a>> {
        let count = usize::from(self.byte()?);
        if count > MAX_FIELDS {
            return None;
        }
        (0..count).map(|_| Some((self.byte()?.into(), self.value()?))).collect()
    }

    fn value(&mut self) -> Option<Value<'a>> {
        Some(match self.byte()? {
            1 => Value::F64(f64::from_le_bytes(self.array()?)),
            2 => Value::I64(i64::from_le_bytes(self.array()?)),
            3 => Value::U64(self.u64()?),
            4 => Value::I128(i128::from_le_bytes(self.array()?)),
            5 => Value::U128(u128::from_le_bytes(self.array()?)),
            6 => Value::Bool(self.flag()?),
            7 => Value::Str(self.text()?),
            8 => Value::Debug(self.text()?),
            _ => return None,
        })
    }

    fn site(&mut self, inline: bool) -> Option<SiteRef<'a>> {
        Some(if inline {
            SiteRef::Inline(self.description()?)
        } else {
            SiteRef::Number(self.u32()?)
        })
    }
}

/// What a record says; `None` if that is nonsense.
pub(super) fn read(bytes: &[u8]) -> Option<Record<'_>> {
    let mut r = Reader(bytes);
    let kind = r.byte()?;
    let record = match kind {
        SITE => Record::Site { number: r.u32()?, description: r.description()? },
        EVENT | INLINE_EVENT => {
            let site = r.site(kind == INLINE_EVENT)?;
            let (origin, within) = r.place()?;
            Record::Event { site, origin, within, values: r.values()? }
        }
        SPAN | INLINE_SPAN => {
            let (site, id) = (r.site(kind == INLINE_SPAN)?, r.u64()?);
            let (origin, within) = r.place()?;
            Record::Span { site, id, origin, within, values: r.values()? }
        }
        VALUES => Record::Values { span: r.u64()?, values: r.values()? },
        FOLLOWS => Record::Follows { span: r.u64()?, from: r.u64()? },
        ENTER => Record::Enter { span: r.u64()? },
        EXIT => Record::Exit { span: r.u64()? },
        CLOSE => Record::Close { span: r.u64()? },
        _ => return None,
    };
    r.0.is_empty().then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn description() -> Description<&'static str> {
        Description {
            level: 2,
            is_span: false,
            line: Some(17),
            name: "event",
            target: "a::b",
            file: Some("src/a.rs"),
            module: None,
            fields: vec!["message", "n"],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let origin = Origin { call: 7, task: 3 };
        let mut buf = Vec::new();
        put_site_record(&mut buf, 5, &description());
        assert_eq!(read(&buf), Some(Record::Site { number: 5, description: description() }));
        for site in [SiteRef::Number(5), SiteRef::Inline(description())] {
            for within in [Within::Nothing, Within::Call, Within::Span(9)] {
                buf.clear();
                put_event(&mut buf, &site, origin, within);
                ValueWriter::new(&mut buf).text(0, TextTag::Str, format_args!("{}!", "hello"));
                let values = vec![(0, Value::Str("hello!"))];
                let expected = Record::Event { site: site.clone(), origin, within, values };
                assert_eq!(read(&buf), Some(expected));
                buf.clear();
                put_span(&mut buf, &site, 11, origin, within);
                ValueWriter::new(&mut buf);
                let values = Vec::new();
                let expected = Record::Span { site: site.clone(), id: 11, origin, within, values };
                assert_eq!(read(&buf), Some(expected));
            }
        }
        type Put = fn(&mut Vec<u8>, u64);
        let short: [(Put, Record<'_>); 3] = [
            (put_enter, Record::Enter { span: 4 }),
            (put_exit, Record::Exit { span: 4 }),
            (put_close, Record::Close { span: 4 }),
        ];
        for (put, expected) in short {
            buf.clear();
            put(&mut buf, 4);
            assert_eq!(read(&buf), Some(expected));
        }
        buf.clear();
        put_follows(&mut buf, 4, 5);
        assert_eq!(read(&buf), Some(Record::Follows { span: 4, from: 5 }));
    }

    #[test]
    fn records_stay_within_their_bounds() {
        let long = "ü".repeat(MAX_RECORD);
        let mut buf = Vec::new();
        let fields = vec![&long[..]; 100];
        let all = Description { name: &long[..], target: &long, fields, ..description() };
        put_event(&mut buf, &SiteRef::Inline(all), Origin::default(), Within::Call);
        let mut values = ValueWriter::new(&mut buf);
        for index in 0..100 {
            values.text(index, TextTag::Debug, format_args!("{long}"));
        }
        assert!(buf.len() <= MAX_RECORD, "{}", buf.len());
        let Some(Record::Event { values, .. }) = read(&buf) else { panic!() };
        assert_eq!(values.len(), MAX_FIELDS);
        assert!(matches!(values[0].1, Value::Debug(text) if text.ends_with('…')));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_change_is_too_strange(at in 0_usize..60, to in any::<u8>()) {
            let mut buf = Vec::new();
            let site = SiteRef::Inline(description());
            put_span(&mut buf, &site, 1, Origin::default(), Within::Span(3));
            ValueWriter::new(&mut buf).text(1, TextTag::Str, format_args!("x"));
            let at = at % buf.len();
            buf[at] = to;
            let _ = read(&buf);
        }
    }
}
