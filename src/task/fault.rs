//! How a call can fail without hurting its worker.

use serde::{Deserialize, Serialize};

/// Longest text of any kind that a fault carries across.
const MAX_TEXT: usize = 32 * 1024;

/// A failure of one call inside a worker that goes on living.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    Panicked(PanicReport),
    ArgDecode {
        what: String,
        reason: String,
    },
    ResultEncode {
        type_name: String,
        reason: String,
    },
    UnknownTask {
        id: u32,
    },
    /// The result is longer than a message may be.
    TooLarge {
        len: u64,
        max: u64,
    },
}

/// A panic as data.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanicReport {
    pub(crate) message: String,
    pub(crate) location: Option<String>,
    pub(crate) backtrace: Option<String>,
}

impl PanicReport {
    /// Message, location, backtrace.
    pub(crate) fn into_parts(self) -> (String, Option<String>, Option<String>) {
        (self.message, self.location, self.backtrace)
    }
}

impl Fault {
    /// What is wrong with a value that was decoded here.
    pub(crate) fn words(self) -> String {
        match self {
            Fault::ArgDecode { what, reason } => format!("{what}: {reason}"),
            other => format!("{other:?}"),
        }
    }

    /// The same without what could not be decoded.
    pub(crate) fn reason(self) -> String {
        match self {
            Fault::ArgDecode { reason, .. } => reason,
            other => other.words(),
        }
    }

    /// The same with every text cut to a length that fits a frame.
    pub(crate) fn bounded(mut self) -> Self {
        match &mut self {
            Fault::Panicked(report) => {
                cut(&mut report.message, MAX_TEXT / 2);
                if let Some(location) = &mut report.location {
                    cut(location, 4096);
                }
                if let Some(backtrace) = &mut report.backtrace {
                    cut(backtrace, MAX_TEXT / 2);
                }
            }
            Fault::ArgDecode { what, reason } => {
                cut(what, 4096);
                cut(reason, MAX_TEXT);
            }
            Fault::ResultEncode { type_name, reason } => {
                cut(type_name, 4096);
                cut(reason, MAX_TEXT);
            }
            Fault::UnknownTask { .. } | Fault::TooLarge { .. } => {}
        }
        self
    }
}

fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let end = (0..=max).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_a_character() {
        let fault = Fault::ArgDecode { what: "ä".repeat(4000), reason: "x".into() }.bounded();
        let Fault::ArgDecode { what, .. } = fault else { unreachable!() };
        assert!(what.len() <= 4096 + '…'.len_utf8());
        assert!(what.ends_with('…'));
    }
}
