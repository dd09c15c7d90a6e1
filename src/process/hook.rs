//! How a process finds out that it is a worker.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};

use super::child;
use super::error::{Error, ErrorKind};

/// Set in the environment of a worker, and removed again before user code.
pub(crate) const WORKER_MARK: &str = "PROCPOOL_WORKER";

static HOOKED: AtomicBool = AtomicBool::new(false);

/// Makes this program able to be its own worker; the first line of `main`.
///
/// In the process a user starts it returns at once. In a worker, which is the
/// same program started again by a pool, it runs calls until the pool is done
/// with it and never returns: nothing after it, and as little as possible before
/// it, should have effects. [`#[procpool::main]`](macro@crate::main) contains it.
///
/// # Examples
/// ```
/// fn main() {
///     procpool::init();
///     // the program
/// }
/// ```
#[allow(clippy::needless_doctest_main)]
pub fn init() {
    HOOKED.store(true, Ordering::Relaxed);
    run_if_worker();
}

/// The body of the hidden test that [`test_hook!`](crate::test_hook) adds: an
/// empty test, unless this process is a worker.
#[doc(hidden)]
pub fn run_if_worker() {
    if std::env::var_os(WORKER_MARK).is_some() {
        child::run()
    }
}

/// Registered by [`test_hook!`](crate::test_hook): the name of a test that calls
/// [`init`], by which a libtest binary can be started as a worker.
#[doc(hidden)]
pub struct TestHook(pub &'static str);

inventory::collect!(TestHook);

/// The arguments with which this program becomes a worker, or why it cannot.
pub(crate) fn entry_point() -> Result<Vec<OsString>, Error> {
    if HOOKED.load(Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    if std::env::var_os(WORKER_MARK).is_some() {
        // Started as a worker, and here we are making a pool: the hook was
        // passed by. End before this becomes a fork bomb.
        eprintln!(
            "procpool: this process was started as a worker but runs the program instead: {MISSING}"
        );
        std::process::exit(71);
    }
    // A libtest binary: `test name` as libtest knows it, without the crate.
    if let Some(TestHook(path)) = inventory::iter::<TestHook>().next() {
        let test = path.split_once("::").map_or(*path, |(_, rest)| rest);
        return Ok(["--exact", test, "--nocapture", "--test-threads=1", "--quiet"]
            .iter()
            .map(OsString::from)
            .collect());
    }
    Err(Error::new(ErrorKind::Start { reason: MISSING.to_owned(), obituary: None }))
}

const MISSING: &str = "the worker hook is missing; mark main with `#[procpool::main]`, or call `procpool::init()` as its first line (in a test binary: `procpool::test_hook!();`)";
