//! Logging for programs without a subscriber.

use tracing::level_filters::LevelFilter;

use super::error::Error;
use super::identity::current_process;
use crate::log;

/// Shows what this process and its children log on standard error, a line each:
/// `[LEVEL/ProcessName] message field=value …`.
///
/// For programs that set no `tracing` subscriber; those that do have their children's events
/// there, and need nothing of this. Events up to `level` are shown, of every target, and
/// records of the `log` crate; called again, it changes the level, also for children that
/// run. Children pass on to this process what they log, so this is the only one to call it.
/// At `INFO` a [`Process`](crate::Process) tells of its start and end. Spans and targets are not
/// shown, control characters are escaped; `[INFO/Process-2:1 via Process-2]` is what `Process-2`
/// says that a child of its own said.
///
/// # Errors
/// `InvalidOption` if this process has another subscriber; a child has.
///
/// # Examples
/// ```standalone_crate
/// use procpool::Process;
///
/// #[procpool::task]
/// fn work(x: u64) {
///     tracing::info!(x, "working");
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), procpool::Error> {
///     procpool::log_to_stderr(tracing::Level::INFO)?;
///     // [INFO/Process-1] process calls its task task="…::work"
///     // [INFO/Process-1] working x=3
///     // [INFO/Process-1] process exits code=0
///     Process::spawn(work(3)).await?.join().await;
///     Ok(())
/// }
/// ```
#[doc(alias = "get_logger")]
pub fn log_to_stderr(level: impl Into<LevelFilter>) -> Result<(), Error> {
    log::show_on_stderr(level.into(), current_process().name()).map_err(|log::Taken| {
        let has = "called where a subscriber is set";
        Error::invalid("log_to_stderr", has, "in a main program that sets none")
    })
}
