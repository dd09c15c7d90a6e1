//! From wishes to a running pool.

use std::fmt;
use std::time::{Duration, Instant};

use super::config::{Config, Sandbox, StartMethod};
use super::dispatcher::{InitCheck, Parts, Shared};
use super::process_pool::ProcessPool;
use super::restart::{RestartPolicy, Restarts};
use super::scheduler::{self, Scheduler};
use crate::process::{
    Error, ErrorKind, HELLO_TIMEOUT, Limits, Stderr, Stdout, Supervisor, current_process,
    fault_error, next_depth, own_hello,
};
use crate::sys;
use crate::task::{self, TaskFn, decode_output};
use crate::wire::{DecodeLimits, Payload, Received, Welcome};

/// Makes a [`ProcessPool`]; every option has a default.
///
/// # Examples
/// ```standalone_crate
/// # use std::time::Duration;
/// # #[procpool::main]
/// # async fn main() -> Result<(), procpool::Error> {
/// let pool = procpool::ProcessPool::builder()
///     .workers(2)
///     .name("thumbs")
///     .call_timeout(Duration::from_secs(10))
///     .build()
///     .await?;
/// # pool.shutdown().await
/// # }
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    config: Config,
    initializer: Option<Initializer>,
}

struct Initializer {
    encoded: Result<(&'static task::Entry, Payload), Error>,
    check: InitCheck,
}

/// What an initializer may return: `()`, or a `Result` whose error is shown.
pub trait InitOutput {
    /// The error's text, if it failed.
    fn failure(self) -> Option<String>;
}

impl InitOutput for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<T, E: fmt::Display> InitOutput for Result<T, E> {
    fn failure(self) -> Option<String> {
        self.err().map(|e| e.to_string())
    }
}

impl Builder {
    pub(super) fn new() -> Self {
        Builder { config: Config::default(), initializer: None }
    }

    /// Number of workers, 1 to 4096. Default: the CPUs this process may use,
    /// after affinity and cgroup quota.
    #[doc(alias = "processes")]
    #[doc(alias = "max_workers")]
    pub fn workers(mut self, n: usize) -> Self {
        self.config.workers = Some(n);
        self
    }

    /// Name of the pool; its workers are `name-1`, `name-2` and so on. Default:
    /// `"pool"`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// A task every worker runs once before its first call, with the same
    /// arguments. If it panics or returns an `Err`, [`build`](Builder::build)
    /// fails with its reason. The encoded arguments may take about 16,000 bytes.
    /// Default: none.
    pub fn initializer<F, A, M>(mut self, task: F, args: A) -> Self
    where
        F: TaskFn<A, M>,
        F::Output: InitOutput,
    {
        let call = task.make(args);
        let encoded = match call.payload {
            Ok(payload) => {
                if payload.blobs().is_empty() {
                    Ok((call.entry, payload))
                } else {
                    Err(Error::new(ErrorKind::TooLarge { len: payload.len() as u64, max: 16_000 }))
                }
            }
            Err(e) => {
                let e = *e;
                Err(Error::new(ErrorKind::ArgEncode { param: e.param, reason: e.reason })
                    .with_call(call.entry.name, None))
            }
        };
        let limits = self.config.decode;
        let check = Box::new(move |value: Received| {
            let output: F::Output = decode_output(value, &limits).map_err(fault_error)?;
            match output.failure() {
                None => Ok(()),
                Some(reason) => Err(Error::new(ErrorKind::Start { reason, obituary: None })),
            }
        });
        self.initializer = Some(Initializer { encoded, check });
        self
    }

    /// Replaces a worker after so many calls (a chunk of a map is one call), less
    /// up to a tenth at random so that workers do not go all at once. Default:
    /// never.
    #[doc(alias = "maxtasksperchild")]
    #[doc(alias = "max_tasks_per_child")]
    pub fn max_tasks_per_worker(mut self, n: u64) -> Self {
        self.config.max_tasks = Some(n);
        self
    }

    /// Replaces a worker whose resident memory exceeds this many bytes after a
    /// call. For a hard limit during a call see [`Limits::memory`]. Default: never.
    pub fn max_worker_memory(mut self, bytes: u64) -> Self {
        self.config.max_memory = Some(bytes);
        self
    }

    /// Replaces a worker after this time, less up to a tenth at random, once it
    /// has finished what it does. Default: never.
    pub fn max_worker_age(mut self, age: Duration) -> Self {
        self.config.max_age = Some(age);
        self
    }

    /// Stops a call that runs longer than this; in a map, every element by itself.
    /// Default: none.
    pub fn call_timeout(mut self, limit: Duration) -> Self {
        self.config.call_timeout = Some(limit);
        self
    }

    /// How many calls may wait for a worker before submitting waits too.
    /// Default: 1,048,576.
    pub fn queue_capacity(mut self, calls: usize) -> Self {
        self.config.queue_capacity = calls;
        self
    }

    /// Ceilings the kernel keeps for every worker. Default: none.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.surroundings.limits = limits;
        self
    }

    /// Keeps workers from doing harm. Not built yet: `build` answers
    /// `Unsupported`.
    pub fn sandbox(mut self, sandbox: Sandbox) -> Self {
        self.config.sandbox = Some(sandbox);
        self
    }

    /// Starts workers with an empty environment, but for what
    /// [`env`](Builder::env) adds. Default: they inherit this process's.
    ///
    /// # Platform
    /// `SystemRoot` stays on Windows, where hardly a program starts without it.
    pub fn env_clear(mut self) -> Self {
        self.config.surroundings.env_clear = true;
        self.config.surroundings.env.clear();
        self
    }

    /// Sets a variable in the workers' environment.
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.surroundings.env.push((key.into(), Some(value.into())));
        self
    }

    /// Removes a variable from the workers' environment.
    pub fn env_remove(mut self, key: impl Into<String>) -> Self {
        self.config.surroundings.env.push((key.into(), None));
        self
    }

    /// What becomes of the workers' standard output. Default: [`Stdout::Inherit`].
    pub fn stdout(mut self, stdout: Stdout) -> Self {
        self.config.surroundings.stdout = stdout;
        self
    }

    /// What becomes of the workers' standard error. Default:
    /// [`Stderr::Forward`].
    pub fn stderr(mut self, stderr: Stderr) -> Self {
        self.config.surroundings.stderr = stderr;
        self
    }

    /// How workers come into being. Default: [`StartMethod::Spawn`], the only
    /// one built yet.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.config.start_method = method;
        self
    }

    /// How workers that do not come up are replaced.
    pub fn restart(mut self, policy: RestartPolicy) -> Self {
        self.config.restart = policy;
        self
    }

    /// How long a blocking call that is cancelled or timed out may go on before
    /// its worker is killed: tasks that look at
    /// [`Context::is_cancelled`](crate::Context::is_cancelled) can so save their
    /// worker. Default: 10 ms.
    ///
    /// # Platform
    /// Windows measures in ticks of its clock, by default of 16 ms.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.config.cancel_grace = grace;
        self
    }

    /// How long a worker may take from its hello to the end of its initializer.
    /// Default: as long as it likes. (The hello itself must come within 5 s.) A worker
    /// that takes longer is killed; `build` then fails with
    /// [`TimeoutPhase::Starting`](crate::TimeoutPhase::Starting).
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.config.start_timeout = Some(limit);
        self
    }

    /// How many async calls one worker runs at a time, 1 to 1024. Default: 16.
    pub fn async_calls_per_worker(mut self, n: usize) -> Self {
        self.config.async_calls = n;
        self
    }

    /// Most bytes that the arguments or the result of one call may take, or an item that a worker
    /// puts into a queue: 65,536 to 4,294,967,295. Default: 1 GiB.
    pub fn max_message_bytes(mut self, bytes: u64) -> Self {
        self.config.max_message = bytes;
        self
    }

    /// What decoding one value may cost, on either side.
    pub fn decode_limits(mut self, limits: DecodeLimits) -> Self {
        self.config.decode = limits;
        self
    }

    /// Replaces a worker after a call panicked in it, for tasks whose state may
    /// be spoiled by that. Elements of a map are not looked at. Default: it is
    /// kept.
    pub fn recycle_on_panic(mut self, recycle: bool) -> Self {
        self.config.recycle_on_panic = recycle;
        self
    }

    /// Starts the workers and waits until every one is ready.
    ///
    /// The pool lives on the current tokio runtime; it can be used from others
    /// while that one lives.
    ///
    /// # Errors
    /// `InvalidOption` names the option, its value and what is allowed;
    /// `Unsupported` what is not built yet; `Start` or `Spawn` the reason why the
    /// first worker that did not come up did not: a missing hook, a failed
    /// initializer, another build, what it wrote last. All other workers are then
    /// ended.
    ///
    /// # Cancel safety
    /// Dropping the future ends the workers started so far.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O and time drivers enabled (`enable_all`).
    pub async fn build(self) -> Result<ProcessPool, Error> {
        let mut config = self.config;
        config.check()?;
        let spec = config.surroundings.launch()?;
        let registry = task::registry()
            .map_err(|e| Error::new(ErrorKind::Start { reason: e.to_string(), obituary: None }))?;
        let depth = next_depth()?;
        let mut checked = None;
        let mut initializer = None;
        if let Some(init) = self.initializer {
            let (entry, payload) = init.encoded?;
            let id = entry.id().ok_or_else(|| {
                Error::new(ErrorKind::NotRegistered { task: entry.name.to_owned() })
            })?;
            initializer = Some((id, payload.head().to_vec()));
            checked = Some((payload, init.check));
        }
        let supervisor = Supervisor::get()
            .map_err(|e| Error::new(ErrorKind::Spawn { reason: e.to_string() }))?;
        let workers = config.worker_count();
        config.workers = Some(workers);
        let nanos = |t: Duration| t.as_nanos() as u64;
        let epoch = Instant::now();
        let seed = u64::from(std::process::id()) << 32 ^ epoch_seed();
        let scheduler = Scheduler::new(
            scheduler::Limits {
                target: workers as u32,
                max_tasks: config.max_tasks,
                max_age: config.max_age.map(nanos),
                async_calls: config.async_calls as u32,
                cancel_grace: nanos(config.cancel_grace),
                start_timeout: nanos(HELLO_TIMEOUT),
                cpus: sys::usable_cpus().get() as u32,
            },
            Restarts::new(config.restart.clone(), seed),
        );
        let limits = &config.surroundings.limits;
        let welcome = Welcome {
            name: String::new(),
            depth,
            max_message: config.max_message,
            decode: config.decode,
            memory: limits.memory,
            cpu_seconds: limits.cpu_time.map(|t| t.as_secs()),
            files: limits.files,
            initializer,
            initializer_brings: None,
            parent_name: current_process().name().to_owned(),
            parent_pid: std::process::id(),
            ticket: Vec::new(),
            process: None,
        };
        let parts = Parts {
            config,
            scheduler,
            hello: own_hello(registry),
            welcome,
            spec,
            initializer: checked,
            supervisor,
            runtime: tokio::runtime::Handle::current(),
            epoch,
        };
        let (shared, ready) = Shared::start(parts);
        // From here on dropping the pool ends the workers.
        let pool = ProcessPool::from_shared(shared);
        match ready.await {
            Ok(Ok(())) => Ok(pool),
            Ok(Err(error)) => {
                pool.end_now();
                Err(error)
            }
            Err(_) => Err(Error::new(ErrorKind::RuntimeGone)),
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("initializer", &self.initializer.is_some())
            .finish()
    }
}

/// Something that differs between pools made at the same moment elsewhere.
fn epoch_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
