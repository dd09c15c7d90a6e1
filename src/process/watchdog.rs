//! The worker's second thread: ends the worker with its parent, and flushes
//! finished results while the main thread is inside a long call.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::outgoing::Outgoing;
use crate::sys::{self, Handle, Poller, Ready};

/// A finished result waits at most about twice this behind a long call.
const TICK: Duration = Duration::from_millis(1);
/// Quiet ticks after which the thread sleeps until it is rung.
const QUIET_TICKS: u32 = 100;
const PARENT: u64 = 0;

pub(super) type SharedOutgoing = Arc<Mutex<Outgoing>>;

pub(super) struct Watchdog {
    poller: Poller,
    awake: AtomicBool,
}

impl Watchdog {
    /// Starts the thread. `parent` is what tells of the parent's end.
    pub(super) fn start(parent: Option<Handle>, out: SharedOutgoing) -> io::Result<Arc<Self>> {
        let watchdog = Arc::new(Watchdog { poller: Poller::new()?, awake: AtomicBool::new(false) });
        if let Some(parent) = &parent {
            watchdog.poller.add(sys::handle_ref(parent), PARENT)?;
        }
        let thread = watchdog.clone();
        // Only where this thread hears of the parent's end in any case.
        let armed = parent.is_some();
        let (ready, started) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("procpool-watchdog".into()).stack_size(64 * 1024).spawn(
            move || {
                let _parent = parent;
                let _ = ready.send(armed && sys::arm_group_death(false).is_ok());
                thread.run(&out);
            },
        )?;
        if started.recv() == Ok(true) {
            sys::arm_group_death(true)?;
        }
        Ok(watchdog)
    }

    /// To be called before user code runs while results are unwritten.
    #[inline]
    pub(super) fn results_wait(&self) {
        if !self.awake.load(Ordering::Relaxed) && !self.awake.swap(true, Ordering::AcqRel) {
            self.poller.ring();
        }
    }

    fn run(&self, out: &Mutex<Outgoing>) {
        let mut ready = Vec::new();
        let mut quiet = 0;
        let mut waiting = false;
        loop {
            let awake = self.awake.load(Ordering::Acquire);
            ready.clear();
            let _ = self.poller.wait(awake.then_some(TICK), &mut ready);
            if ready.contains(&Ready::Key(PARENT)) {
                sys::kill_own_group();
            }
            if !awake {
                continue;
            }
            // Held: the main thread is busy with it right now.
            let Ok(mut out) = out.try_lock() else {
                continue;
            };
            if out.is_empty() {
                waiting = false;
                quiet += 1;
                if quiet > QUIET_TICKS {
                    quiet = 0;
                    // With the buffer locked and empty, whoever fills it next
                    // sees that this thread sleeps.
                    self.awake.store(false, Ordering::Release);
                }
            } else if waiting {
                waiting = false;
                quiet = 0;
                if out.flush().is_err() {
                    sys::kill_own_group();
                }
            } else {
                waiting = true;
            }
        }
    }
}
