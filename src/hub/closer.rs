//! Where handles are closed that other processes gave.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::lock;

/// Threads at a time. Each of them can be kept by a handle that does not close.
const MOST: usize = 64;
/// For so long what waits is left to whoever is at it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Drops what takes handles along that another process gave: closing one can wait for whomever that
/// process likes.
pub(crate) fn drop_elsewhere(waste: impl Any + Send) {
    static CLOSER: Closer = Closer::new();
    CLOSER.add(Box::new(waste));
}

/// A thread that drops things one after the other, and further ones while that is stuck.
struct Closer {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waste: VecDeque<Box<dyn Any + Send>>,
    /// Since when each thread that drops something is at it.
    busy: Vec<Instant>,
    /// Threads that see to it that what waits is dropped.
    on_guard: usize,
    /// The one that waits for more, if there is one.
    idle: bool,
}

impl Closer {
    const fn new() -> Self {
        let state = State { waste: VecDeque::new(), busy: Vec::new(), on_guard: 0, idle: false };
        Closer { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn add(&'static self, waste: Box<dyn Any + Send>) {
        let mut state = lock(&self.state);
        state.waste.push_back(waste);
        if state.idle {
            self.changed.notify_all();
        } else {
            self.watch(&mut state);
        }
    }

    /// Has a thread see to what waits, if none does.
    fn watch(&'static self, state: &mut State) {
        let enough = state.idle || state.on_guard > 0 || state.busy.len() >= MOST;
        if !state.waste.is_empty() && !enough {
            let thread = std::thread::Builder::new().name("procpool-close".into());
            // Where none can be had now, whoever comes next tries again.
            state.on_guard += usize::from(thread.spawn(|| self.run()).is_ok());
        }
    }

    fn run(&'static self) {
        let mut state = lock(&self.state);
        loop {
            if state.waste.is_empty() {
                state.on_guard -= 1;
                if state.idle {
                    return;
                }
                state.idle = true;
                let wait = self.changed.wait_while(state, |state| state.waste.is_empty());
                state = wait.unwrap_or_else(PoisonError::into_inner);
                state.idle = false;
                state.on_guard += 1;
            }
            let now = Instant::now();
            let newest = state.busy.iter().max().copied();
            let left = newest.map_or(Duration::ZERO, |at| (at + PATIENCE).duration_since(now));
            if !left.is_zero() {
                // Whoever is at it goes on with the next.
                let wait = self.changed.wait_timeout(state, left);
                state = wait.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let Some(waste) = state.waste.pop_front() else { continue };
            state.on_guard -= 1;
            state.busy.push(now);
            self.watch(&mut state);
            drop(state);
            drop(waste);
            state = lock(&self.state);
            state.on_guard += 1;
            let at = state.busy.iter().position(|at| *at == now);
            at.map(|at| state.busy.swap_remove(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Tells when it is being dropped, and is so only when the other end is.
    struct Slow(Sender<()>, Receiver<()>);

    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.0.send(());
            let _ = self.1.recv();
        }
    }

    #[test]
    fn what_does_not_close_keeps_nothing_else_from_it() {
        let closer: &'static Closer = Box::leak(Box::new(Closer::new()));
        let (tell, told) = channel();
        let mut stuck = Vec::new();
        for _ in 0..3 {
            let (keep, kept) = channel();
            stuck.push(keep);
            closer.add(Box::new(Slow(tell.clone(), kept)));
            told.recv_timeout(LONG).expect("it is begun with");
        }
        for _ in 0..100 {
            let (_, kept) = channel();
            closer.add(Box::new(Slow(tell.clone(), kept)));
        }
        for _ in 0..100 {
            told.recv_timeout(LONG).expect("it is closed");
        }
        drop(stuck);
    }

    #[test]
    fn one_thread_is_enough_where_all_close() {
        let closer: &'static Closer = Box::leak(Box::new(Closer::new()));
        let (tell, told) = channel();
        for _ in 0..1000 {
            let (_, kept) = channel();
            closer.add(Box::new(Slow(tell.clone(), kept)));
        }
        for _ in 0..1000 {
            told.recv_timeout(LONG).expect("it is closed");
        }
        let state = lock(&closer.state);
        assert!(state.busy.len() + state.on_guard + usize::from(state.idle) <= 2);
    }
}
