//! A pool of workers, which are processes of the manager's process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::OnceCell;

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

pub(super) struct Pool {
    workers: u64,
    /// Once it is up.
    pool: OnceCell<ProcessPool>,
    /// It takes no calls, also if it was never up.
    closed: AtomicBool,
}

impl Pool {
    /// One with so many workers; 0 is one for each CPU. It starts by itself.
    pub(super) fn new(workers: u64) -> Arc<Self> {
        let (pool, closed) = (OnceCell::new(), AtomicBool::new(false));
        let pool = Arc::new(Pool { workers, pool, closed });
        // Why it does not come up is of interest to whoever calls: then it is tried again.
        tokio::spawn(Arc::clone(&pool).up());
        pool
    }

    /// The pool, which is started if it is not up.
    async fn up(self: Arc<Self>) -> Result<ProcessPool, Fault> {
        if self.closed.load(Ordering::Acquire) && self.pool.get().is_none() {
            return Err(closed());
        }
        let build = || {
            let builder = ProcessPool::builder();
            match self.workers {
                0 => builder.build(),
                // Far too many are refused by the builder.
                n => builder.workers(usize::try_from(n).unwrap_or(usize::MAX)).build(),
            }
        };
        let built = self.pool.get_or_try_init(build).await;
        let pool = built.map_err(|error| failed(&error))?;
        if self.closed.load(Ordering::Acquire) {
            // Meanwhile.
            pool.close();
        }
        Ok(pool.clone())
    }

    fn run(self: Arc<Self>, session: &Arc<Session>, op: PoolOp<'_>) -> Result<Outcome, Fault> {
        session.check_write()?;
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
                    let pool = self.up().await?;
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
                let pool = self.up().await?;
                reply(&(pool.stats().workers as u64))
            }),
            PoolOp::Close => {
                self.closed.store(true, Ordering::Release);
                self.pool.get().inspect(|pool| pool.close());
                reply(&()).into()
            }
            PoolOp::Terminate => {
                self.closed.store(true, Ordering::Release);
                self.pool.get().inspect(|pool| pool.terminate());
                reply(&()).into()
            }
            PoolOp::Join => {
                if !self.closed.load(Ordering::Acquire) {
                    return Err(Fault::Call {
                        failure: CallFailure::Other,
                        is_safe_to_retry: true,
                        reason: "the pool is open: close it first".to_owned(),
                    });
                }
                Outcome::later(async move {
                    if let Some(pool) = self.pool.get() {
                        pool.join().await.map_err(|error| failed(&error))?;
                    }
                    reply(&())
                })
            }
        })
    }
}

fn closed() -> Fault {
    failed(&Error::new(ErrorKind::Closed))
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
