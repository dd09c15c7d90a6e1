//! A pool of workers in a manager.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::manager::core::{Core, Source};
use crate::manager::error::ManagerError;
use crate::manager::op::{Kind, Parts, PoolOp, TaskCall};
use crate::manager::proxy::own::{encoded, parts, result};
use crate::manager::request::{Request, op};
use crate::task::{Call, Entry, Fnv, IntoCall, TaskFn};
use crate::wire::Payload;

/// Stands for a pool of workers in a [`Manager`](crate::Manager), in which any process that has one has tasks run.
///
/// The workers are processes of the manager's process, and end with it, or when nobody has the pool any more. Calls go through the manager,
/// so each takes two ways more than in a [`ProcessPool`](crate::ProcessPool) of one's own; what is gained is that several
/// processes share one, also over the network, where a client has only those tasks run that its
/// [rights](super::super::Rights::tasks) name, and makes no pools.
///
/// Arguments and results are values, and may hold proxies, but no queues, locks or descriptors of a program's own.
///
/// # Crash behaviour
/// As of a [`ProcessPool`](crate::ProcessPool): a worker that dies fails its calls, with
/// [`ManagerError::Call`], and is replaced. The calls of a process that ends are cancelled.
///
/// # Examples
/// ```standalone_crate
/// use procpool::Manager;
///
/// #[procpool::task]
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let manager = Manager::start().await?;
///     let pool = manager.pool(2).await?;
///     assert_eq!(pool.run(square(7)).await?, 49);
///     assert_eq!(pool.map(square, 1..=4).await?, [1, 4, 9, 16]);
///     pool.close().await?;
///     pool.join().await?;
///     manager.shutdown().await?;
///     Ok(())
/// }
/// ```
#[doc(alias = "multiprocessing.managers.PoolProxy")]
pub struct PoolProxy {
    core: Arc<Core>,
    types: PhantomData<()>,
}

proxy!(PoolProxy, Kind::POOL);

/// A call as it is sent.
pub(super) fn task_call<'a>(
    entry: &'static Entry,
    args: &'a Payload,
) -> Result<TaskCall<'a>, ManagerError> {
    let (name, signature) = (entry.name, Fnv::of(entry.signature));
    Ok(TaskCall { name, signature, args: parts(args)? })
}

impl PoolProxy {
    /// Has all these run; `decode` makes something of their results.
    fn send<C, K, R>(
        &self,
        calls: impl IntoIterator<Item = Call<C, K>>,
        decode: impl FnOnce(&[Parts<'_>]) -> Result<R, ManagerError> + Send + 'static,
    ) -> Request<R> {
        let asked = |_: &_| {
            let calls = calls.into_iter().map(|call| Ok((call.entry, encoded(call.payload)?)));
            let calls = calls.collect::<Result<Vec<_>, ManagerError>>()?;
            let calls = calls.iter().map(|(entry, args)| task_call(entry, args));
            Ok((op(&PoolOp::Run(calls.collect::<Result<_, _>>()?))?, Vec::new()))
        };
        let decode = |source: &Source, bytes: &[u8]| {
            source.check_wanted()?;
            decode(&source.reply::<Vec<Parts<'_>>>(bytes)?)
        };
        self.core.request(asked, decode).watching()
    }

    methods! {
        /// Runs one call in a worker.
        ///
        /// # Errors
        /// [`Call`](ManagerError::Call) if it failed, or the pool's workers do not come up.
        fn run | blocking_run [C: IntoCall](&self, call: C) -> C::Output {
            self.send([call.into_call()], |results| match results {
                [one] => result(one),
                _ => Err(ManagerError::Protocol { what: "not one result of a call".to_owned() }),
            })
        }

        /// Runs a task with these arguments: Python's spelling of [`run`](Self::run).
        #[doc(alias = "apply_async")]
        fn apply | blocking_apply [F: TaskFn<A, M>, A, M](&self, task: F, args: A) -> F::Output {
            self.run(task.make(args))
        }

        /// Runs a task for every element, and gives the results in order. They are sent, and come back, in one message.
        ///
        /// # Errors
        /// The first failure in order; what has not been run then is cancelled.
        #[doc(alias = "starmap")]
        #[doc(alias = "map_async")]
        fn map | blocking_map [F: TaskFn<A, M>, A, M](
            &self, task: F, elements: impl IntoIterator<Item = A>
        ) -> Vec<F::Output> {
            let calls = elements.into_iter().map(|element| task.make(element));
            self.send(calls, |results| results.iter().map(result).collect())
        }

        /// How many workers it has; waits until they are up.
        ///
        /// # Errors
        /// [`Call`](ManagerError::Call) if they do not come up.
        fn workers | blocking_workers(&self) -> usize {
            self.core.ask(&PoolOp::Workers, Source::size).watching()
        }

        /// Has it take no more calls: what it has is finished, then the workers leave.
        fn close | blocking_close(&self) -> () {
            self.core.ask(&PoolOp::Close, Source::plain).watching()
        }

        /// Ends every worker now. What was not finished fails.
        fn terminate | blocking_terminate(&self) -> () {
            self.core.ask(&PoolOp::Terminate, Source::plain).watching()
        }

        /// Waits until every worker is gone, after [`close`](Self::close) or [`terminate`](Self::terminate).
        ///
        /// # Errors
        /// [`Call`](ManagerError::Call) if it is open: that would be for ever.
        fn join | blocking_join(&self) -> () {
            self.core.ask(&PoolOp::Join, Source::plain).watching()
        }
    }
}
