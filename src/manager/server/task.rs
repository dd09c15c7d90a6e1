//! Tasks of this program that clients have run here.

use super::custom::failed;
use super::session::Session;
use super::value::Value;
use crate::manager::core::{NOT_KEPT, without_objects};
use crate::manager::fault::Fault;
use crate::manager::op::TaskCall;
use crate::task::{self, Body, Entry, catch, registry, run_body};

/// Characters of another's word that go back to it.
const MAX_NAME: usize = 256;

/// The task that is meant, if the client may have it run.
pub(super) fn find(session: &Session, call: &TaskCall<'_>) -> Result<&'static Entry, Fault> {
    session.check_task(call.name)?;
    let registry = registry().map_err(|e| Fault::Unsupported(e.to_string()))?;
    registry.find(call.name, call.signature).ok_or_else(|| {
        let name: String = call.name.chars().take(MAX_NAME).collect();
        Fault::Unsupported(format!("the manager's program has no task `{name}` as it is called"))
    })
}

/// What a task makes of what is there: the first of its arguments, in place of the `None` that came with it.
pub(super) fn compute(
    entry: &Entry,
    old: Option<&Value>,
    call: &TaskCall<'_>,
) -> Result<Option<Vec<u8>>, Fault> {
    const NONE: u8 = 0;
    const SOME: u8 = 1;
    let Body::Blocking(run) = entry.body else {
        return Err(Fault::Unsupported(format!("{} is async: it cannot be run here", entry.name)));
    };
    let Some((&NONE, rest)) = call.args.head().split_first() else {
        return Err(Fault::Malformed("a call without a place for what is there".to_owned()));
    };
    let mut head = vec![NONE];
    if let Some(old) = old {
        if !old.refs().is_empty() {
            let what = "tasks cannot be run on values with proxies in them".to_owned();
            return Err(Fault::Unsupported(what));
        }
        head[0] = SOME;
        head.extend_from_slice(old.bytes());
    }
    head.extend_from_slice(rest);
    let received = call.args.with_head(head);
    let done = without_objects(|| catch(|| run_body(run, received)));
    let result = done.unwrap_or_else(|panic| Err(task::Fault::Panicked(panic))).map_err(failed)?;
    if !result.attached().is_empty() || !result.blobs().is_empty() {
        return Err(Fault::Encode(NOT_KEPT.to_owned()));
    }
    match result.head().split_first() {
        Some((&NONE, [])) => Ok(None),
        Some((&SOME, value)) => Ok(Some(value.to_vec())),
        _ => Err(Fault::Malformed(format!("{} does not give what is to be there", entry.name))),
    }
}
