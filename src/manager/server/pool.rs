//! A pool of workers, which are processes of the manager's process.

use std::sync::Arc;

use tokio::sync::watch;

use super::object::{Outcome, Reply, Served, parse, reply};
use super::session::Session;
use super::task;
use crate::manager::core::NOT_KEPT;
use crate::manager::error::CallFailure;
use crate::manager::fault::Fault;
use crate::manager::op::{Parts, PoolOp};
use crate::pool::ProcessPool;
use crate::process::{Error, ErrorKind};
use crate::wire::Received;

/// The pool, once it is up, or why it is not; it ends when nobody has that any more.
type Up = watch::Receiver<Option<Result<ProcessPool, Error>>>;

pub(super) struct Pool {
    up: Up,
}

impl Pool {
    /// One with so many workers; 0 is one for each CPU. It starts by itself.
    pub(super) fn new(workers: u64) -> Self {
        let mut builder = ProcessPool::builder();
        if workers > 0 {
            // Far too many are refused by the builder.
            builder = builder.workers(usize::try_from(workers).unwrap_or(usize::MAX));
        }
        let (tell, up) = watch::channel(None);
        tokio::spawn(async move {
            let built = tokio::select! {
                built = builder.build() => built,
                () = tell.closed() => return,
            };
            tell.send_replace(Some(built));
        });
        Pool { up }
    }

    fn run(&self, session: &Arc<Session>, op: PoolOp<'_>) -> Result<Outcome, Fault> {
        session.check_write()?;
        let up = self.up.clone();
        Ok(match op {
            PoolOp::Run(calls) => {
                let bytes = calls.iter().map(|call| call.args.len() as u64).sum();
                // Counted until they have been run.
                let held = session.account.hold(bytes)?;
                let calls = calls.iter().map(|call| {
                    let entry = task::find(session, call)?;
                    Ok((entry, call.args.payload()))
                });
                let calls = calls.collect::<Result<Vec<_>, Fault>>()?;
                Outcome::later(async move {
                    let pool = there(up).await?;
                    let calls = calls.into_iter();
                    let running: Vec<_> =
                        calls.map(|(entry, args)| pool.run_encoded(entry, args)).collect();
                    let mut results = Vec::with_capacity(running.len());
                    for one in running {
                        results.push(one.await.map_err(|error| failed(&error))?);
                    }
                    drop(held);
                    say(&mut results)
                })
            }
            PoolOp::Workers => Outcome::later(async move {
                let pool = there(up).await?;
                reply(&(pool.stats().workers as u64))
            }),
            PoolOp::Close => Outcome::later(async move {
                there(up).await?.close();
                reply(&())
            }),
            PoolOp::Terminate => Outcome::later(async move {
                there(up).await?.terminate();
                reply(&())
            }),
            PoolOp::Join => Outcome::later(async move {
                let joined = there(up).await?.join().await;
                joined.map_err(|error| match error.kind() {
                    ErrorKind::InvalidOption { .. } => Fault::Call {
                        failure: CallFailure::Other,
                        is_safe_to_retry: true,
                        reason: "the pool is open: close it first".to_owned(),
                    },
                    _ => failed(&error),
                })?;
                reply(&())
            }),
        })
    }
}

async fn there(mut up: Up) -> Result<ProcessPool, Fault> {
    match up.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(Ok(pool))) => Ok(pool.clone()),
        Ok(Some(Err(error))) => Err(failed(error)),
        Ok(None) | Err(_) => Err(Fault::Closed),
    }
}

fn failed(error: &Error) -> Fault {
    let failure = match error.kind() {
        ErrorKind::Panicked { .. } => CallFailure::Panicked,
        ErrorKind::WorkerDied(_) => CallFailure::WorkerDied,
        ErrorKind::Closed | ErrorKind::RuntimeGone => CallFailure::Closed,
        _ => CallFailure::Other,
    };
    let is_safe_to_retry = error.is_safe_to_retry();
    Fault::Call { failure, is_safe_to_retry, reason: error.to_string() }
}

fn say(results: &mut [Received]) -> Reply {
    let parts = results.iter_mut().map(Parts::of_received).collect::<Option<Vec<_>>>();
    reply(&parts.ok_or_else(|| Fault::Encode(NOT_KEPT.to_owned()))?)
}

impl Served for Pool {
    fn call(self: Arc<Self>, session: &Arc<Session>, op: &[u8]) -> Outcome {
        parse(op).and_then(|op| self.run(session, op)).unwrap_or_else(|fault| Err(fault).into())
    }
}
