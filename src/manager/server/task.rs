//! Tasks of this program that clients have run here.

use super::custom::failed;
use super::session::Session;
use super::value::Value;
use crate::manager::core::{NOT_KEPT, without_objects};
use crate::manager::fault::{Fault, quoted};
use crate::manager::op::TaskCall;
use crate::task::{self, BlockingFn, Body, Cost, Entry, catch, registry, run_body};
use crate::wire::Received;

/// The task that is meant, if the client may have it run.
pub(super) fn find(session: &Session, call: &TaskCall<'_>) -> Result<&'static Entry, Fault> {
    session.check_task(call.name)?;
    let registry = registry().map_err(|e| Fault::Unsupported(e.to_string()))?;
    registry.find(call.name, call.signature).ok_or_else(|| {
        let name = quoted(call.name);
        Fault::Unsupported(format!("the manager's program has no task `{name}` as it is called"))
    })
}

/// A task that is to be run on what is there, with the other arguments.
pub(super) struct Change {
    pub(super) entry: &'static Entry,
    run: BlockingFn,
    /// Arguments without the first one.
    rest: Vec<u8>,
    blobs: Vec<Vec<u8>>,
}

const NONE: u8 = 0;
const SOME: u8 = 1;

impl Change {
    /// The first argument of the call stands for what is there.
    pub(super) fn of(session: &Session, call: &TaskCall<'_>) -> Result<Self, Fault> {
        let entry = find(session, call)?;
        let Body::Blocking(run) = entry.body else {
            let what = format!("{} is async: it cannot be run here", entry.name);
            return Err(Fault::Unsupported(what));
        };
        let Some((&NONE, rest)) = call.args.head().split_first() else {
            return Err(Fault::Malformed("a call without a place for what is there".to_owned()));
        };
        let (rest, blobs) = (rest.to_vec(), call.args.blobs());
        Ok(Change { entry, run, rest, blobs })
    }

    /// What it makes of a value, or of nothing.
    pub(super) fn of_value(&self, old: Option<&Value>) -> Result<Option<Vec<u8>>, Fault> {
        let mut head = vec![NONE];
        if let Some(old) = old {
            if !old.refs().is_empty() {
                let what = "tasks cannot be run on values with proxies in them".to_owned();
                return Err(Fault::Unsupported(what));
            }
            head[0] = SOME;
            head.extend_from_slice(old.bytes());
        }
        head.extend_from_slice(&self.rest);
        let received = Received::from_parts(head, self.blobs.clone());
        let done = without_objects(|| catch(|| run_body(self.run, received)));
        let result =
            done.unwrap_or_else(|panic| Err(task::Fault::Panicked(panic))).map_err(failed)?;
        if !result.attached().is_empty() || !result.blobs().is_empty() {
            return Err(Fault::Encode(NOT_KEPT.to_owned()));
        }
        match result.head().split_first() {
            Some((&NONE, [])) => Ok(None),
            Some((&SOME, value)) => Ok(Some(value.to_vec())),
            _ => {
                let what = format!("{} does not give what is to be there", self.entry.name);
                Err(Fault::Malformed(what))
            }
        }
    }
}

impl AsRef<Cost> for Entry {
    fn as_ref(&self) -> &Cost {
        &self.cost
    }
}
