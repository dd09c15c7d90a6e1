//! What children print: the last 64 KiB kept, the whole shown or logged.
//!
//! One thread for all workers of the program, so that a flood cannot block
//! supervision and a blocked terminal blocks only those who write to it.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::at_exit;
use crate::log::{Inbox, Lines, PrintedOn};
use crate::sys::{OutputPipe, Poller, Ready, lock};

/// Bytes kept for the obituary.
const TAIL: usize = 64 * 1024;
const CHUNK: usize = 16 * 1024;

pub(super) struct Pump {
    poller: Poller,
    pipes: Mutex<HashMap<u64, Arc<Tail>>>,
    /// What supervision read at a worker's end and has still to be shown.
    rest: Mutex<Vec<u8>>,
    /// Held from reading until what was read is shown.
    showing: Mutex<()>,
}

/// Who takes what a child prints.
#[derive(Clone)]
pub(crate) enum Taker {
    Nobody,
    /// It is shown on our standard error.
    Stderr,
    /// It is logged, line by line.
    Log(Arc<Inbox>),
}

/// The takers of both streams.
pub(crate) struct Printed {
    pub(super) stdout: Taker,
    pub(super) stderr: Taker,
}

/// Set only once its thread runs, as the supervisor is.
static PUMP: Mutex<Option<&'static Pump>> = Mutex::new(None);

/// One stream of one child's.
pub(super) struct Tail {
    key: u64,
    pipe: OutputPipe,
    taker: Taker,
    kept: Mutex<VecDeque<u8>>,
    lines: Mutex<Lines>,
}

impl Pump {
    /// The program's pump, started at first use.
    pub(super) fn get() -> std::io::Result<&'static Pump> {
        let mut known = lock(&PUMP);
        if let Some(pump) = *known {
            return Ok(pump);
        }
        let pump = Arc::new(Pump {
            poller: Poller::new()?,
            pipes: Mutex::default(),
            rest: Mutex::default(),
            showing: Mutex::default(),
        });
        at_exit::arm();
        let thread = pump.clone();
        std::thread::Builder::new().name("procpool-stderr".into()).spawn(move || thread.run())?;
        Ok(*known.insert(Box::leak(Box::new(pump))))
    }

    pub(super) fn watch(
        &self,
        key: u64,
        pipe: OutputPipe,
        taker: Taker,
    ) -> std::io::Result<Arc<Tail>> {
        let (kept, lines) = (Mutex::default(), Mutex::default());
        let tail = Arc::new(Tail { key, pipe, taker, kept, lines });
        lock(&self.pipes).insert(key, tail.clone());
        if let Err(e) = self.poller.add_pipe(&tail.pipe, key) {
            lock(&self.pipes).remove(&key);
            return Err(e);
        }
        Ok(tail)
    }

    /// What is left of an ended worker's output, without waiting for anyone who
    /// may still hold the pipe.
    pub(super) fn finish(&self, tail: &Tail) -> Vec<u8> {
        if lock(&self.pipes).remove(&tail.key).is_some() {
            self.poller.remove_pipe(&tail.pipe);
        }
        // Held, so that what the thread has read comes before what is read here.
        let mut lines = lock(&tail.lines);
        let mut rest = Vec::new();
        // Bounded: somebody else may go on writing.
        for _ in 0..64 {
            match tail.read(&mut rest, OutputPipe::read_last) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        match &tail.taker {
            Taker::Stderr if !rest.is_empty() => {
                lock(&self.rest).append(&mut rest);
                self.poller.ring();
            }
            Taker::Log(log) => {
                lines.split(&rest, |line| log.print(tail.stream(), line));
                lines.end().into_iter().for_each(|line| log.print(tail.stream(), line));
            }
            _ => {}
        }
        drop(lines);
        lock(&tail.kept).iter().copied().collect()
    }

    /// Shows what is left before this program ends, waiting at most a second for
    /// whoever shows something already.
    pub(super) fn settle() {
        let Some(pump) = *lock(&PUMP) else { return };
        for _ in 0..1000 {
            if let Ok(_showing) = pump.showing.try_lock() {
                let rest = std::mem::take(&mut *lock(&pump.rest));
                let _ = std::io::stderr().write_all(&rest);
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn run(&self) {
        let mut ready = Vec::new();
        let mut chunk = Vec::new();
        loop {
            ready.clear();
            if self.poller.wait(None, &mut ready).is_err() {
                return;
            }
            for found in &ready {
                let _showing = lock(&self.showing);
                match found {
                    Ready::Bell => chunk.append(&mut lock(&self.rest)),
                    Ready::Key(key) => {
                        let Some(tail) = lock(&self.pipes).get(key).cloned() else {
                            continue;
                        };
                        let mut lines = lock(&tail.lines);
                        match tail.read(&mut chunk, OutputPipe::read_now) {
                            Ok(n) if n > 0 => match &tail.taker {
                                Taker::Stderr => {}
                                Taker::Log(log) => {
                                    lines.split(&chunk, |line| log.print(tail.stream(), line));
                                    chunk.clear();
                                }
                                Taker::Nobody => chunk.clear(),
                            },
                            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                            _ => {
                                if lock(&self.pipes).remove(key).is_some() {
                                    self.poller.remove_pipe(&tail.pipe);
                                }
                            }
                        }
                    }
                }
                if !chunk.is_empty() {
                    let _ = std::io::stderr().lock().write_all(&chunk);
                    chunk.clear();
                }
            }
        }
    }
}

impl Tail {
    fn stream(&self) -> PrintedOn {
        // As supervision numbers them.
        if self.key.is_multiple_of(2) { PrintedOn::Stdout } else { PrintedOn::Stderr }
    }

    /// Reads once and keeps the tail; the bytes are appended to `seen`.
    fn read(
        &self,
        seen: &mut Vec<u8>,
        read: fn(&OutputPipe, &mut Vec<u8>, usize) -> std::io::Result<usize>,
    ) -> std::io::Result<usize> {
        let mut kept = lock(&self.kept);
        let start = seen.len();
        let n = read(&self.pipe, seen, CHUNK)?;
        kept.extend(&seen[start..]);
        let excess = kept.len().saturating_sub(TAIL);
        kept.drain(..excess);
        Ok(n)
    }
}
