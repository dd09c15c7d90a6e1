//! From wishes to a running process.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use tracing::Span;

use super::causes::start_error;
use super::child::own_hello;
use super::error::{Error, ErrorKind};
use super::handle::Process;
use super::identity::{current_process, next_child, next_depth};
use super::running::{Plan, Running, Stage};
use super::surroundings::{Limits, Stderr, Stdout, Surroundings};
use crate::task::{self, Call, EncodeFailure, Entry};
use crate::wire::{DecodeLimits, Payload, ProcessRole, Welcome};

/// Most bytes the arguments or the value may take.
const MAX_MESSAGE: u64 = 1 << 30;

/// Makes a [`Process`]; every option has a default.
///
/// # Examples
/// ```standalone_crate
/// use procpool::Process;
///
/// #[procpool::task]
/// fn serve(port: u16) -> u16 {
///     port
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), procpool::Error> {
///     let mut server = Process::builder(serve(80)).name("my_service").daemon(true).start().await?;
///     assert_eq!(server.name(), "my_service");
///     assert_eq!(server.output().await?, 80);
///     Ok(())
/// }
/// ```
#[must_use = "a ProcessBuilder does nothing until it is started"]
pub struct ProcessBuilder<R> {
    entry: &'static Entry,
    payload: Result<Payload, Box<EncodeFailure>>,
    name: Option<String>,
    daemon: Option<bool>,
    surroundings: Surroundings,
    value: PhantomData<fn() -> R>,
}

impl<R> ProcessBuilder<R> {
    pub(super) fn new<K>(call: Call<R, K>) -> Self {
        ProcessBuilder {
            entry: call.entry,
            payload: call.payload,
            name: None,
            daemon: None,
            surroundings: Surroundings::default(),
            value: PhantomData,
        }
    }

    /// Its name, for people. Default: `"Process-3"` for the third process this one has
    /// started, `"Process-3:1"` for the first that that one starts.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether it is ended when this process ends in order, and when its [`Process`] is
    /// dropped, instead of being waited for. Default: what this process is. Unlike
    /// Python's, a daemon may have children.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = Some(daemon);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.surroundings.env.push((key.into(), Some(value.into())));
        self
    }

    /// Removes a variable of its environment.
    pub fn env_remove(mut self, key: impl Into<String>) -> Self {
        self.surroundings.env.push((key.into(), None));
        self
    }

    /// Has it start with an empty environment. Variables set before are forgotten.
    pub fn env_clear(mut self) -> Self {
        self.surroundings.env_clear = true;
        self.surroundings.env.clear();
        self
    }

    /// Its working directory. Default: this process's.
    #[doc(alias = "cwd")]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.surroundings.directory = Some(directory.into());
        self
    }

    /// What becomes of its standard output. Default: [`Stdout::Inherit`].
    pub fn stdout(mut self, stdout: Stdout) -> Self {
        self.surroundings.stdout = stdout;
        self
    }

    /// What becomes of its standard error. Default: [`Stderr::Forward`].
    pub fn stderr(mut self, stderr: Stderr) -> Self {
        self.surroundings.stderr = stderr;
        self
    }

    /// The program to start instead of this one: another file of the same build, since
    /// both must have the same tasks. Default: the running image.
    #[doc(alias = "set_executable")]
    pub fn executable(mut self, program: impl Into<PathBuf>) -> Self {
        self.surroundings.program = Some(program.into());
        self
    }

    /// Ceilings that the kernel keeps for it. Default: none.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.surroundings.limits = limits;
        self
    }
}

impl<R: DeserializeOwned + Send + 'static> ProcessBuilder<R> {
    /// Starts it: resolves when its task has been sent to it.
    ///
    /// # Errors
    /// `InvalidOption`, `ArgEncode` and, in a process that is four levels below the main
    /// program, `Unsupported` before anything is started; `Spawn`, `Start` or
    /// `TimedOut` (with [`TimeoutPhase::Starting`](crate::TimeoutPhase::Starting)) when it did not
    /// come up, with why.
    ///
    /// # Cancel safety
    /// Dropping the future ends the process.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O and time drivers enabled.
    pub async fn start(self) -> Result<Process<R>, Error> {
        let sign = |error: Error| error.with_call(self.entry.name, None);
        self.surroundings.check()?;
        let spec = self.surroundings.launch()?;
        let registry = task::registry().map_err(|e| start_error(e.to_string()))?;
        let task_id = self.entry.id().ok_or_else(|| {
            Error::new(ErrorKind::NotRegistered { task: self.entry.name.to_owned() })
        })?;
        let depth = next_depth()?;
        let payload = self.payload.map_err(|failure| {
            let EncodeFailure { param, reason } = *failure;
            sign(Error::new(ErrorKind::ArgEncode { param, reason }))
        })?;
        let len = payload.len() as u64;
        if len > MAX_MESSAGE {
            return Err(sign(Error::new(ErrorKind::TooLarge { len, max: MAX_MESSAGE })));
        }
        let (ordinals, default_name) = next_child();
        let name = self.name.unwrap_or(default_name);
        let me = current_process();
        let daemon = self.daemon.unwrap_or(me.is_daemon());
        let limits = &self.surroundings.limits;
        let welcome = Welcome {
            name: name.clone(),
            depth,
            max_message: MAX_MESSAGE,
            decode: DecodeLimits::default(),
            memory: limits.memory,
            cpu_seconds: limits.cpu_time.map(|t| t.as_secs()),
            files: limits.files,
            initializer: None,
            initializer_brings: None,
            parent_name: me.name().to_owned(),
            parent_pid: me.pid(),
            ticket: Vec::new(),
            process: Some(ProcessRole { ordinals, daemon }),
        };
        let running = Running::start(Plan {
            name,
            daemon,
            task: self.entry.name,
            task_id,
            payload,
            hello: own_hello(registry),
            welcome,
            spec,
            span: Span::current(),
            surroundings: self.surroundings,
        })?;
        let unwanted = KillOnDrop(Some(running.clone()));
        running.reached(Stage::Running).await;
        running.came_up()?;
        unwanted.disarm();
        Ok(Process::new(running))
    }
}

impl<R> fmt::Debug for ProcessBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessBuilder")
            .field("task", &self.entry.name)
            .field("name", &self.name)
            .field("daemon", &self.daemon)
            .field("surroundings", &self.surroundings)
            .finish()
    }
}

/// Ends a process whose start nobody waits for any more.
struct KillOnDrop(Option<std::sync::Arc<Running>>);

impl KillOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            running.kill();
        }
    }
}
