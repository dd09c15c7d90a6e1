//! Floor for many calls at a time: a bare multiplexer between tokio and a blocking child.
//!
//! A frame is the length of its payload (u32), an id (u64) and the payload (a u64). Whatever waits is
//! written at once. There is no serialization, no cancelling, no death: what a pool adds to this is its price.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::support::place::Place;
use crate::support::role::Role;

pub const WORKER: &str = "mux";

const HEAD: usize = 4 + 8;
const BUFFER: usize = 256 << 10;

/// Bytes read, whole frames at a time.
struct Frames {
    buf: Vec<u8>,
    len: usize,
}

impl Frames {
    fn new() -> Frames {
        Frames { buf: vec![0; BUFFER], len: 0 }
    }

    fn space(&mut self) -> &mut [u8] {
        &mut self.buf[self.len..]
    }

    /// Takes in `n` bytes read into the space, and hands every whole frame to `each`.
    fn advance(&mut self, n: usize, mut each: impl FnMut(&[u8])) {
        self.len += n;
        let mut at = 0;
        while let Some(head) = self.buf[at..self.len].first_chunk::<4>() {
            let end = at + HEAD + u32::from_le_bytes(*head) as usize;
            if end > self.len {
                break;
            }
            each(&self.buf[at..end]);
            at = end;
        }
        self.buf.copy_within(at..self.len, 0);
        self.len -= at;
    }
}

/// Child: sends every frame back, one write for all that one read brought.
pub fn worker(socket: &mut UnixStream) {
    let mut frames = Frames::new();
    let mut out = Vec::with_capacity(BUFFER);
    while let Ok(n @ 1..) = socket.read(frames.space()) {
        frames.advance(n, |frame| out.extend_from_slice(frame));
        if socket.write_all(&out).is_err() {
            return;
        }
        out.clear();
    }
}

enum Slot {
    Waiting(Option<Waker>),
    Done(u64),
}

#[derive(Default)]
struct State {
    out: Vec<u8>,
    slots: Vec<Slot>,
    free: VecDeque<usize>,
}

struct Shared {
    socket: tokio::net::UnixStream,
    state: Mutex<State>,
    written_to: Notify,
}

/// The parent's side.
#[derive(Clone)]
pub struct Mux(Arc<Shared>);

/// The child and the tasks behind a [`Mux`].
pub struct MuxFloor {
    pub mux: Mux,
    tasks: [JoinHandle<()>; 2],
    _child: Role,
}

impl MuxFloor {
    pub fn new(rt: &Runtime, place: &Place) -> MuxFloor {
        let child = Role::start(WORKER, Some(&place.worker));
        let socket = child.socket.try_clone().expect("descriptor");
        socket.set_nonblocking(true).expect("a socket");
        let _reactor = rt.enter();
        let mux = Mux(Arc::new(Shared {
            socket: tokio::net::UnixStream::from_std(socket).expect("a reactor"),
            state: Mutex::default(),
            written_to: Notify::new(),
        }));
        let tasks = [rt.spawn(write_out(mux.0.clone())), rt.spawn(read_in(mux.0.clone()))];
        MuxFloor { mux, tasks, _child: child }
    }
}

impl Drop for MuxFloor {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Mux {
    /// Sends `x`, to be sent back.
    pub fn call(&self, x: u64) -> Reply<'_> {
        let mut state = self.0.state.lock().expect("no panic under the lock");
        let slot = Slot::Waiting(None);
        let id = match state.free.pop_front() {
            Some(id) => {
                state.slots[id] = slot;
                id
            }
            None => {
                state.slots.push(slot);
                state.slots.len() - 1
            }
        };
        let first = state.out.is_empty();
        state.out.extend_from_slice(&8u32.to_le_bytes());
        state.out.extend_from_slice(&(id as u64).to_le_bytes());
        state.out.extend_from_slice(&x.to_le_bytes());
        drop(state);
        if first {
            self.0.written_to.notify_one();
        }
        Reply { shared: &self.0, id }
    }
}

/// Resolves to what was sent back.
pub struct Reply<'a> {
    shared: &'a Shared,
    id: usize,
}

impl Future for Reply<'_> {
    type Output = u64;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        let mut state = self.shared.state.lock().expect("no panic under the lock");
        match &mut state.slots[self.id] {
            Slot::Done(x) => {
                let x = *x;
                state.free.push_back(self.id);
                Poll::Ready(x)
            }
            Slot::Waiting(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

async fn write_out(shared: Arc<Shared>) {
    let mut batch = Vec::new();
    loop {
        shared.written_to.notified().await;
        // Tasks that are ready to call go first: a batch is as large as it can be.
        tokio::task::yield_now().await;
        {
            let mut state = shared.state.lock().expect("no panic under the lock");
            std::mem::swap(&mut batch, &mut state.out);
        }
        let mut at = 0;
        while at < batch.len() {
            match shared.socket.try_write(&batch[at..]) {
                Ok(n) => at += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if shared.socket.writable().await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
        batch.clear();
    }
}

async fn read_in(shared: Arc<Shared>) {
    let mut frames = Frames::new();
    let mut wakers: Vec<Waker> = Vec::new();
    while shared.socket.readable().await.is_ok() {
        let n = match shared.socket.try_read(frames.space()) {
            Ok(0) => return,
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        let mut state = shared.state.lock().expect("no panic under the lock");
        frames.advance(n, |frame| {
            let word = |at| u64::from_le_bytes(frame[at..at + 8].try_into().expect("8 bytes"));
            let slot = &mut state.slots[word(4) as usize];
            if let Slot::Waiting(Some(waker)) = std::mem::replace(slot, Slot::Done(word(HEAD))) {
                wakers.push(waker);
            }
        });
        drop(state);
        wakers.drain(..).for_each(Waker::wake);
    }
}
