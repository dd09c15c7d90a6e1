//! What is done before a process ends in order.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once, PoisonError, mpsc};
use std::time::Duration;

use super::family;
use super::printed::Pump;
use super::running::call_back;
use crate::hub;
use crate::log;
use crate::sys;

type Hook = Box<dyn FnOnce() + Send>;

static HOOKS: Mutex<Vec<Hook>> = Mutex::new(Vec::new());

/// All hooks together may take so long.
const HOOKS_TIME: Duration = Duration::from_secs(5);

/// Has `hook` run when this process ends in order.
///
/// That is: when `main` returns, a [`Process`](crate::Process)'s task is done (also by a
/// panic), a pool lets its worker go, or `std::process::exit` is called; not when the
/// process is killed. The order is: the task's value is sent, the hooks run, the last one first,
/// daemon children are ended, other children are waited for, the process exits.
///
/// Hooks run on a thread of their own, for 5 s together at most (in a pool's worker as
/// long as the pool has patience, about a second); then the process goes on to end. A
/// panic of a hook is logged and holds up nothing.
///
/// # Platform
/// On Windows `std::process::exit` runs no hooks.
///
/// # Examples
/// ```
/// procpool::on_exit(|| println!("bye"));
/// ```
#[doc(alias = "atexit")]
pub fn on_exit(hook: impl FnOnce() + Send + 'static) {
    arm();
    HOOKS.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(hook));
}

/// Has [`run`] called at this process's end.
pub(super) fn arm() {
    static ARMED: Once = Once::new();
    static OWNER: AtomicU32 = AtomicU32::new(0);
    extern "C" fn ending() {
        // A copy made by `fork` has neither the children nor the threads.
        if OWNER.load(Ordering::Relaxed) == std::process::id() {
            run();
        }
    }
    ARMED.call_once(|| {
        OWNER.store(std::process::id(), Ordering::Relaxed);
        sys::at_exit(ending);
    });
}

/// Does all that is to be done before the end, once.
pub(super) fn run() {
    static RUN: Once = Once::new();
    RUN.call_once(|| {
        run_hooks();
        hub::flush();
        family::end();
        Pump::settle();
        log::settle();
    });
}

fn run_hooks() {
    fn next() -> Option<Hook> {
        HOOKS.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
    let Some(mut hook) = next() else {
        return;
    };
    let (done, waiting) = mpsc::channel::<()>();
    let thread = std::thread::Builder::new().name("procpool-exit".into()).spawn(move || {
        let _done = done;
        loop {
            call_back(hook);
            // One may have added another.
            match next() {
                Some(another) => hook = another,
                None => break,
            }
        }
    });
    if thread.is_ok() && waiting.recv_timeout(HOOKS_TIME) == Err(mpsc::RecvTimeoutError::Timeout) {
        let _ = writeln!(
            std::io::stderr(),
            "procpool: an `on_exit` hook has not ended after {HOOKS_TIME:?}; exiting"
        );
    }
}
