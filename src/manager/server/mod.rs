//! The manager's side: what it has, and the processes that use it.

mod barrier;
mod condition;
mod connection;
mod custom;
mod dict;
mod entrance;
mod event;
#[cfg(test)]
mod fuzz_tests;
mod gate;
mod list;
mod lock;
mod object;
mod pool;
mod queue;
mod replies;
mod semaphore;
mod serve;
mod session;
mod set;
mod single;
mod store;
mod table;
mod task;
mod user;
mod value;

use std::sync::Arc;

pub(in crate::manager) use custom::make as make_own;
pub(in crate::manager) use entrance::Entrance;
pub(in crate::manager) use gate::Gate;
pub(in crate::manager) use object::Served;
pub(in crate::manager) use serve::serve;
pub(in crate::manager) use store::{Store, random};
pub(in crate::manager) use value::Hold;

use self::object::parse;
use self::session::Session;
use super::fault::Fault;
use super::op::{Cell, Kind, Raw};
use super::types;

/// A new object of a kind that every manager has.
fn make(session: &Session, kind: Kind, init: &[u8]) -> Result<Arc<dyn Served>, Fault> {
    Ok(match kind {
        Kind::LIST | Kind::ARRAY => {
            let values: Vec<Cell<'_>> = parse(init)?;
            Arc::new(list::List::new(kind, session.take_all(&values)?))
        }
        Kind::DICT | Kind::NAMESPACE => {
            let items: Vec<(Raw<'_>, Cell<'_>)> = parse(init)?;
            let items = items.iter().map(|(key, value)| Ok((*key, session.take_at(key.0, value)?)));
            Arc::new(dict::Dict::new(kind, &items.collect::<Result<Vec<_>, Fault>>()?))
        }
        Kind::SET => Arc::new(set::Set::new(session, &parse::<Vec<Raw<'_>>>(init)?)?),
        Kind::VALUE => Arc::new(single::Single::new(session.take(&parse(init)?)?)),
        Kind::QUEUE | Kind::JOINABLE_QUEUE => Arc::new(queue::Queue::new(parse(init)?)),
        Kind::LOCK => Arc::new(lock::Lock::new(false)),
        Kind::RLOCK => Arc::new(lock::Lock::new(true)),
        Kind::SEMAPHORE => Arc::new(semaphore::Semaphore::new(parse(init)?, false)),
        Kind::BOUNDED_SEMAPHORE => Arc::new(semaphore::Semaphore::new(parse(init)?, true)),
        Kind::EVENT => Arc::new(event::Event::new()),
        Kind::CONDITION => {
            // With the lock of that number, or one of its own.
            let lock = match parse::<Option<u64>>(init)? {
                None => Arc::new(lock::Lock::new(true)),
                Some(id) => {
                    let entry = session.held(id).ok_or(Fault::NoObject)?;
                    let (expected, found) = (Kind::LOCK.name(), entry.kind.name());
                    entry.object.clone().as_lock().ok_or_else(|| Fault::WrongKind {
                        expected: expected.to_owned(),
                        found: found.to_owned(),
                    })?
                }
            };
            Arc::new(condition::Condition::new(lock))
        }
        Kind::BARRIER => Arc::new(barrier::Barrier::new(parse(init)?)),
        Kind::POOL => {
            session.check_pools()?;
            pool::Pool::new(parse(init)?)
        }
        kind if kind.is_own() => {
            // What it is made of counts as long as it is there.
            let hold = session.account.hold(init.len() as u64)?;
            types::make(kind, &parse(init)?, hold)?
        }
        _ => return Err(Fault::Unsupported(format!("it makes no objects of kind {}", kind.0))),
    })
}
