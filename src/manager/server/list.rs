//! A list, or an array, which is a list that keeps its length.

use std::sync::{Arc, Mutex};

use super::object::{Outcome, Reply, Served, parse, reply};
use super::session::Session;
use super::value::Value;
use crate::manager::fault::Fault;
use crate::manager::op::{Cell, Kind, ListOp};
use crate::sys::lock;

pub(super) struct List {
    kind: Kind,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    values: Vec<Value>,
    /// How often it was changed.
    version: u64,
}

impl List {
    pub(super) fn new(kind: Kind, values: Vec<Value>) -> Self {
        List { kind, inner: Mutex::new(Inner { values, version: 0 }) }
    }
}

impl Served for List {
    fn call(self: Arc<Self>, session: &Arc<Session>, op: &[u8]) -> Outcome {
        parse(op).and_then(|op| self.run(session, op)).into()
    }
}

/// Where an index leads, that counts from the end if it is negative.
fn at(index: i64, len: usize) -> Result<usize, Fault> {
    let from_start = if index < 0 { index.checked_add(len as i64) } else { Some(index) };
    let at = from_start.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < len);
    at.ok_or(Fault::Index { index, len: len as u64 })
}

/// The same for an end of a range, which is moved inside.
fn bound(index: Option<i64>, len: usize, default: usize) -> usize {
    match index {
        None => default,
        Some(index) if index < 0 => (len as i64).saturating_add(index).max(0) as usize,
        Some(index) => usize::try_from(index).unwrap_or(len).min(len),
    }
}

fn range(start: Option<i64>, stop: Option<i64>, len: usize) -> std::ops::Range<usize> {
    let start = bound(start, len, 0);
    start..bound(stop, len, len).max(start)
}

/// Every `step`th from `start` to before `stop`, as Python slices.
fn steps(start: Option<i64>, stop: Option<i64>, step: i64, len: usize) -> Vec<usize> {
    if step > 0 {
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        return range(start, stop, len).step_by(step).collect();
    }
    let last = len as i64 - 1;
    let place = |index: i64| if index < 0 { (index + len as i64).max(-1) } else { index.min(last) };
    let (mut at, stop) = (start.map_or(last, place), stop.map_or(-1, place));
    let mut all = Vec::new();
    while at > stop {
        all.push(at as usize);
        at = at.saturating_add(step);
    }
    all
}

impl List {
    fn is_array(&self) -> bool {
        self.kind == Kind::ARRAY
    }

    /// A list may become longer or shorter.
    fn resizes(&self) -> Result<(), Fault> {
        if self.is_array() {
            return Err(Fault::Unsupported("an array keeps its length".to_owned()));
        }
        Ok(())
    }

    fn run(&self, session: &Arc<Session>, op: ListOp<'_>) -> Reply {
        use ListOp as O;
        let looks = matches!(
            op,
            O::Len
                | O::Get(_)
                | O::Slice { .. }
                | O::Index { .. }
                | O::Count(_)
                | O::Contains(_)
                | O::Snapshot
                | O::Copy
        );
        if looks { self.look(session, op) } else { self.change(session, op) }
    }

    fn look(&self, session: &Arc<Session>, op: ListOp<'_>) -> Reply {
        use ListOp as O;
        let take = |cell: &Cell<'_>| session.take(cell);
        let inner = lock(&self.inner);
        let (values, len) = (&inner.values, inner.values.len());
        match op {
            O::Len => reply(&(len as u64)),
            O::Get(index) => {
                let value = values[at(index, len)?].clone();
                drop(inner);
                session.show(&session.cell(&value))
            }
            O::Slice { step: 0, .. } => Err(Fault::Failed("the step of a slice is 0".to_owned())),
            O::Slice { start, stop, step } => {
                let all = steps(start, stop, step, len);
                let all: Vec<_> = all.into_iter().map(|i| values[i].clone()).collect();
                drop(inner);
                session.show(&session.cells(&all))
            }
            O::Index { value, start, stop } => {
                let value = take(&value)?;
                let range = range(start, stop, len);
                let found = values[range.clone()].iter().position(|one| *one == value);
                reply(&found.map(|i| (i + range.start) as u64))
            }
            O::Count(value) => {
                let value = take(&value)?;
                reply(&(values.iter().filter(|one| **one == value).count() as u64))
            }
            O::Contains(value) => reply(&values.contains(&take(&value)?)),
            O::Snapshot => {
                let (version, values) = (inner.version, values.clone());
                drop(inner);
                session.show(&(version, session.cells(&values)))
            }
            O::Copy => {
                let values = values.clone();
                drop(inner);
                let copy = values.iter().map(|value| session.again(&[], value));
                let copy = List::new(self.kind, copy.collect::<Result<_, _>>()?);
                reply(&session.adopt(self.kind, Arc::new(copy))?)
            }
            _ => Err(Fault::Malformed("it is no question".to_owned())),
        }
    }

    fn change(&self, session: &Arc<Session>, op: ListOp<'_>) -> Reply {
        use ListOp as O;
        session.check_write()?;
        let take = |cell: &Cell<'_>| session.take(cell);
        // What it kept is dropped when the lock is given back: that can take its time.
        let mut gone = Vec::new();
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        let len = inner.values.len();
        let values = &mut inner.values;
        let done = match op {
            O::Set(index, value) => {
                gone.push(std::mem::replace(&mut values[at(index, len)?], take(&value)?));
                reply(&())
            }
            O::Push(value) => {
                self.resizes()?;
                values.push(take(&value)?);
                reply(&())
            }
            O::Extend(more) => {
                self.resizes()?;
                values.extend(session.take_all(&more)?);
                reply(&())
            }
            O::Insert(index, value) => {
                self.resizes()?;
                values.insert(bound(Some(index), len, len), take(&value)?);
                reply(&())
            }
            O::Pop(index) => {
                self.resizes()?;
                let index = match index {
                    None if len == 0 => return reply(&None::<Cell<'_>>),
                    index => at(index.unwrap_or(-1), len)?,
                };
                let value = values.remove(index);
                let said = session.one(Some(&value));
                gone.push(value);
                said
            }
            O::Delete(index) => {
                self.resizes()?;
                gone.push(values.remove(at(index, len)?));
                reply(&())
            }
            O::Remove(value) => {
                self.resizes()?;
                let value = take(&value)?;
                let found = values.iter().position(|one| *one == value);
                gone.extend(found.map(|i| values.remove(i)));
                reply(&found.is_some())
            }
            O::Clear => {
                self.resizes()?;
                gone.append(values);
                reply(&())
            }
            O::SetSlice { start, stop, values: new } => {
                let range = range(start, stop, len);
                if self.is_array() && range.len() != new.len() {
                    let (expected, found) = (range.len() as u64, new.len() as u64);
                    return Err(Fault::SliceLen { expected, found });
                }
                gone.extend(values.splice(range, session.take_all(&new)?));
                reply(&())
            }
            O::Reverse => {
                values.reverse();
                reply(&())
            }
            O::Repeat(n) => {
                self.resizes()?;
                let n = usize::try_from(n).unwrap_or(usize::MAX);
                let all = len.checked_mul(n).filter(|all| *all <= MAX_LEN);
                let all = all.ok_or(Fault::Limit { what: "values".into(), max: MAX_LEN as u64 })?;
                if n == 0 {
                    gone.append(values);
                } else {
                    let again = (len..all).map(|i| session.again(&[], &values[i % len]));
                    let again = again.collect::<Result<Vec<_>, _>>()?;
                    values.extend(again);
                }
                reply(&())
            }
            O::Replace { version, values: new } => {
                if version == inner.version {
                    if self.is_array() && new.len() != len {
                        let (expected, found) = (len as u64, new.len() as u64);
                        return Err(Fault::SliceLen { expected, found });
                    }
                    let new = session.take_all(&new)?;
                    gone.append(values);
                    *values = new;
                } else {
                    return reply(&false);
                }
                reply(&true)
            }
            O::CompareSet { index, old, new } => {
                let place = &mut values[at(index, len)?];
                if *place != take(&old)? {
                    return reply(&false);
                }
                gone.push(std::mem::replace(place, take(&new)?));
                reply(&true)
            }
            _ => Err(Fault::Malformed("it is no change".to_owned())),
        };
        inner.version += 1;
        drop(guard);
        done
    }
}

/// Values that a list is repeated to at most.
const MAX_LEN: usize = 1 << 28;

#[cfg(test)]
mod tests {
    use super::*;

    /// Python's own answers.
    #[test]
    fn slices_are_pythons() {
        let all = |start, stop, step| steps(start, stop, step, 5);
        assert_eq!(all(None, None, 1), [0, 1, 2, 3, 4]);
        assert_eq!(all(Some(-3), None, 1), [2, 3, 4]);
        assert_eq!(all(Some(1), Some(-1), 2), [1, 3]);
        assert_eq!(all(Some(9), None, 1), [0usize; 0]);
        assert_eq!(all(None, None, -1), [4, 3, 2, 1, 0]);
        assert_eq!(all(Some(3), Some(0), -2), [3, 1]);
        assert_eq!(all(Some(-9), None, -1), [0usize; 0]);
        assert_eq!(all(Some(1), Some(-9), -1), [1, 0]);
        assert_eq!(all(Some(9), Some(-9), i64::MIN), [4]);
        assert_eq!(all(Some(i64::MIN), Some(i64::MAX), i64::MAX), [0]);
        assert_eq!(steps(None, None, -1, 0), [0usize; 0]);
        assert_eq!(at(-1, 3), Ok(2));
        assert_eq!(at(-4, 3), Err(Fault::Index { index: -4, len: 3 }));
        assert_eq!(at(3, 3), Err(Fault::Index { index: 3, len: 3 }));
    }
}
