//! Callsites of children, made known to this process's subscribers as its own.
//!
//! A subscriber holds on to a callsite for ever, so each is made once a program and never
//! let go; how many there are is bounded, since children may make them up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing::Dispatch;
use tracing::callsite::{self, Callsite, Identifier};
use tracing::field::{DisplayValue, Field, FieldSet, ValueSet, display};
use tracing::metadata::{Kind, Metadata};
use tracing::subscriber::Interest;

use super::reader;
use super::record::{Description, MAX_FIELDS, Value, level_of};

/// Callsites a program makes of its children's, and of one child's; those that come after
/// share one a level.
const MAX_KNOWN: usize = 8 * 1024;
const MAX_OF_ONE: usize = 1024;

/// What is added to the fields of every event and span: who logged it, in which call.
pub(super) const OURS: [&str; 4] = ["process.name", "process.pid", "task.name", "task.call"];
/// Instead, where fields of these names are there already, as of a child of the child's: who
/// says so.
pub(super) const VIA: [&str; 2] = ["process.via", "process.via_pid"];
/// The fields of a shared one: its message has all the rest in words.
const SHARED: [&str; 4] = ["message", "log.target", "log.file", "log.line"];

const NEVER: u8 = 0;
const SOMETIMES: u8 = 1;
const ALWAYS: u8 = 2;
/// Nobody was asked yet.
const UNASKED: u8 = 3;

pub(super) struct Site {
    metadata: OnceLock<Metadata<'static>>,
    interest: AtomicU8,
    fields: OnceLock<Vec<Field>>,
    /// How many of its fields are the child's own.
    theirs: usize,
}

type Sites = HashMap<Description<String>, &'static Site>;

fn all_known() -> MutexGuard<'static, Option<Sites>> {
    static KNOWN: Mutex<Option<Sites>> = Mutex::new(None);
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Site {
    /// The site of such a description, unless there are too many: `made` is how many were
    /// made for this child.
    pub(super) fn of(description: &Description<&str>, made: &mut usize) -> Option<&'static Site> {
        let mut known = all_known();
        let known = known.get_or_insert_default();
        let key = description.map(|text| (*text).to_owned());
        if let Some(site) = known.get(&key) {
            return Some(site);
        }
        if known.len() >= MAX_KNOWN || *made >= MAX_OF_ONE {
            return None;
        }
        *made += 1;
        let site = Site::new(&key);
        known.insert(key, site);
        Some(site)
    }

    /// The one that those share of which there are too many.
    pub(super) fn shared(level: u8, is_span: bool) -> &'static Site {
        let shared = Description {
            level,
            is_span,
            line: None,
            name: "one of too many".to_owned(),
            target: "procpool".to_owned(),
            file: None,
            module: None,
            fields: SHARED.map(str::to_owned).to_vec(),
        };
        let mut known = all_known();
        let known = known.get_or_insert_default();
        known.entry(shared).or_insert_with_key(Site::new)
    }

    fn new(description: &Description<String>) -> &'static Site {
        fn leak(text: &str) -> &'static str {
            Box::leak(Box::from(text))
        }
        let mut names: Vec<&'static str> = description.fields.iter().map(|f| leak(f)).collect();
        let theirs = names.len();
        if names.iter().any(|name| OURS.contains(name)) {
            names.extend(VIA);
        } else {
            names.extend(OURS);
        }
        let site: &'static Site = Box::leak(Box::new(Site {
            metadata: OnceLock::new(),
            interest: AtomicU8::new(UNASKED),
            fields: OnceLock::new(),
            theirs,
        }));
        let fields = FieldSet::new(Vec::leak(names), Identifier(site));
        site.fields.get_or_init(|| fields.iter().collect());
        site.metadata.get_or_init(|| {
            Metadata::new(
                leak(&description.name),
                leak(&description.target),
                level_of(description.level).unwrap_or(tracing::Level::ERROR),
                description.file.as_deref().map(leak),
                description.line,
                description.module.as_deref().map(leak),
                fields,
                if description.is_span { Kind::SPAN } else { Kind::EVENT },
            )
        });
        callsite::register(site);
        site
    }

    pub(super) fn metadata(&'static self) -> &'static Metadata<'static> {
        known(&self.metadata)
    }

    /// Whether nobody at all wants what comes from here.
    pub(super) fn is_unwanted(&self) -> bool {
        self.interest.load(Ordering::Relaxed) == NEVER
    }

    /// Whether it depends on the moment, such as the spans that are entered.
    pub(super) fn is_wanted_sometimes(&self) -> bool {
        self.interest.load(Ordering::Relaxed) == SOMETIMES
    }

    /// Whether this subscriber wants it; to be asked on the thread that then logs.
    pub(super) fn is_wanted_by(&'static self, dispatch: &Dispatch) -> bool {
        match self.interest.load(Ordering::Relaxed) {
            NEVER => false,
            ALWAYS => true,
            _ => dispatch.enabled(self.metadata()),
        }
    }

    /// Calls `f` with values of this site's fields; those that say who logs only with a
    /// `logger`.
    pub(super) fn with_values<R>(
        &'static self,
        values: &[(usize, Value<'_>)],
        logger: Option<&Logger<'_>>,
        f: impl FnOnce(&ValueSet<'_>) -> R,
    ) -> R {
        let fields = known(&self.fields);
        let held: Vec<(usize, Held<'_>)> = values
            .iter()
            .filter(|(index, _)| *index < self.theirs && !VIA.contains(&fields[*index].name()))
            .map(|(index, value)| (*index, Held::from(*value)))
            .collect();
        let pid = logger.map(|l| u64::from(l.pid));
        let call = logger.map(|l| l.call).filter(|call| *call != 0);
        // Of one that is passed on only the first two have fields: `VIA`.
        let ours: [Option<&dyn tracing::Value>; OURS.len()] = [
            logger.map(|l| &l.process as _),
            pid.as_ref().map(|pid| pid as _),
            logger.and_then(|l| l.task.as_ref()).map(|task| task as _),
            call.as_ref().map(|call| call as _),
        ];
        let mut all: [(&Field, Option<&dyn tracing::Value>); MAX_FIELDS + OURS.len()] =
            [(&fields[0], None); MAX_FIELDS + OURS.len()];
        for (place, (index, value)) in all.iter_mut().zip(&held) {
            *place = (&fields[*index], Some(value.as_value()));
        }
        let mine = all[held.len()..].iter_mut().zip(fields[self.theirs..].iter().zip(ours));
        for (place, (field, value)) in mine {
            *place = (field, value);
        }
        f(&self.metadata().fields().value_set(&all))
    }
}

/// Filled in before anybody has the site.
fn known<T>(cell: &OnceLock<T>) -> &T {
    match cell.get() {
        Some(value) => value,
        None => unreachable!("a site is made with all its parts"),
    }
}

/// Who logged something, and in which call.
pub(super) struct Logger<'a> {
    pub(super) process: &'a str,
    pub(super) pid: u32,
    pub(super) task: Option<&'static str>,
    /// 0 is none.
    pub(super) call: u64,
}

/// A value in a form that subscribers take.
enum Held<'a> {
    F64(f64),
    I64(i64),
    U64(u64),
    I128(i128),
    U128(u128),
    Bool(bool),
    Str(&'a str),
    Debug(DisplayValue<&'a str>),
}

impl<'a> From<Value<'a>> for Held<'a> {
    fn from(value: Value<'a>) -> Self {
        match value {
            Value::F64(v) => Held::F64(v),
            Value::I64(v) => Held::I64(v),
            Value::U64(v) => Held::U64(v),
            Value::I128(v) => Held::I128(v),
            Value::U128(v) => Held::U128(v),
            Value::Bool(v) => Held::Bool(v),
            Value::Str(v) => Held::Str(v),
            Value::Debug(v) => Held::Debug(display(v)),
        }
    }
}

impl Held<'_> {
    fn as_value(&self) -> &dyn tracing::Value {
        match self {
            Held::F64(v) => v,
            Held::I64(v) => v,
            Held::U64(v) => v,
            Held::I128(v) => v,
            Held::U128(v) => v,
            Held::Bool(v) => v,
            Held::Str(v) => v,
            Held::Debug(v) => v,
        }
    }
}

impl Callsite for Site {
    fn set_interest(&self, interest: Interest) {
        let interest = match () {
            () if interest.is_never() => NEVER,
            () if interest.is_always() => ALWAYS,
            () => SOMETIMES,
        };
        let before = self.interest.swap(interest, Ordering::Relaxed);
        if before != interest && before != UNASKED {
            reader::filter_changed();
        }
    }

    fn metadata(&self) -> &Metadata<'_> {
        known(&self.metadata)
    }
}
