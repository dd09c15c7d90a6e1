//! Waiting for a place in a full queue, first come first served.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

use atomic_waker::AtomicWaker;

const WAITING: u8 = 0;
const GRANTED: u8 = 1;
const GONE: u8 = 2;

/// One submission that waits.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    state: AtomicU8,
    waker: AtomicWaker,
}

impl Waiter {
    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    pub(super) fn is_granted(&self) -> bool {
        self.state.load(Ordering::Acquire) == GRANTED
    }
}

/// Who waits, and places kept for those who were woken and have not come yet.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    queue: VecDeque<Arc<Waiter>>,
    reserved: usize,
}

impl Waiters {
    pub(super) fn is_full(&self, queued: usize, capacity: usize) -> bool {
        // Whoever comes later waits behind those who wait.
        !self.queue.is_empty() || queued + self.reserved >= capacity
    }

    pub(super) fn enter(&mut self) -> Arc<Waiter> {
        let waiter = Arc::new(Waiter::default());
        self.queue.push_back(waiter.clone());
        waiter
    }

    /// A granted waiter takes its place.
    pub(super) fn arrive(&mut self) {
        self.reserved -= 1;
    }

    /// A waiter that will not come.
    pub(super) fn leave(&mut self, waiter: &Arc<Waiter>) {
        if waiter.state.swap(GONE, Ordering::AcqRel) == GRANTED {
            self.reserved -= 1;
        } else {
            self.queue.retain(|w| !Arc::ptr_eq(w, waiter));
        }
    }

    /// Gives free places to those who wait longest.
    pub(super) fn grant(&mut self, queued: usize, capacity: usize) {
        while queued + self.reserved < capacity {
            let Some(waiter) = self.queue.pop_front() else {
                return;
            };
            if waiter
                .state
                .compare_exchange(WAITING, GRANTED, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                self.reserved += 1;
                waiter.waker.wake();
            }
        }
    }

    /// The pool closes: all come and see.
    pub(super) fn dismiss(&mut self) {
        self.grant(0, usize::MAX);
    }
}
