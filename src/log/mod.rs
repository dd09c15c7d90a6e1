//! What children log, passed on to this process's subscribers.
//!
//! A child writes its events and spans into a ring in the memory it shares with its
//! parent; a thread of the parent's reads the rings of all children and hands what it
//! finds to the subscriber there. Knows no process and no pool.

mod forward;
mod held;
mod inbox;
mod lines;
mod reader;
mod record;
mod ring;
mod site;
mod to_stderr;

pub(crate) use forward::{attach, install, while_starting};
pub(crate) use held::{HeldSpan, end_no_spans_here};
pub(crate) use inbox::{Inbox, LoggedCall, listener};
pub(crate) use lines::{Lines, PrintedOn};
pub(crate) use reader::{caught_up, is_heard, settle, tell};
pub(crate) use ring::{HasRing, RING_LEN};
pub(crate) use to_stderr::{Taken, show_on_stderr};
