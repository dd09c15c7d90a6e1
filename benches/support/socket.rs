//! Floors over a bare socket pair: the round trip of a few bytes, the echo of many.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use crate::support::place::Place;
use crate::support::pool::crowd;
use crate::support::role::Role;

pub const PONG: &str = "pong";
pub const TOKIO_PONG: &str = "tokio_pong";
pub const ECHO: &str = "echo";
pub const TAKE: &str = "take";

/// As long as a small message.
const PING: usize = 16;

/// Child: sends every ping back.
pub fn pong(socket: &mut UnixStream) {
    let mut ping = [0; PING];
    while socket.read_exact(&mut ping).is_ok() && socket.write_all(&ping).is_ok() {}
}

/// Child: the same with tokio, on its one thread.
pub fn tokio_pong(socket: UnixStream) {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    rt.block_on(async {
        socket.set_nonblocking(true).expect("a socket");
        let mut socket = tokio::net::UnixStream::from_std(socket).expect("a reactor");
        let mut ping = [0; PING];
        while socket.read_exact(&mut ping).await.is_ok() && socket.write_all(&ping).await.is_ok() {}
    });
}

/// Round trip between two blocking processes.
pub struct PingPong(Role);

impl PingPong {
    pub fn new(place: &Place) -> PingPong {
        PingPong(Role::start(PONG, Some(&place.worker)))
    }

    /// Seconds for `n` round trips.
    pub fn run(&mut self, n: usize) -> f64 {
        let mut ping = [7; PING];
        let start = Instant::now();
        for _ in 0..n {
            self.0.socket.write_all(&ping).expect("child reads");
            self.0.socket.read_exact(&mut ping).expect("child answers");
        }
        start.elapsed().as_secs_f64()
    }
}

/// Round trip between a task on `rt` and a blocking process: seconds for `n` of them.
pub fn tokio_ping_pong(rt: &Runtime, role: &mut Role, n: usize) -> f64 {
    let socket = role.socket.try_clone().expect("descriptor");
    crowd(rt, 1, move || {
        let socket = socket.try_clone().expect("descriptor");
        async move {
            socket.set_nonblocking(true).expect("a socket");
            let mut socket = tokio::net::UnixStream::from_std(socket).expect("a reactor");
            let mut ping = [7; PING];
            for _ in 0..n {
                socket.write_all(&ping).await.expect("child reads");
                socket.read_exact(&mut ping).await.expect("child answers");
            }
        }
    })
}

/// Child: takes a length and so many bytes into a buffer, and sends them back; the buffer is kept
/// from one time to the next when the first byte asks for it.
pub fn echo(socket: &mut UnixStream) {
    let mut kept = Vec::new();
    let mut head = [0; 9];
    while socket.read_exact(&mut head).is_ok() {
        let [keep, len @ ..] = head;
        let len = u64::from_le_bytes(len) as usize;
        if keep == 0 || kept.len() != len {
            kept = vec![0; len];
        }
        if socket.read_exact(&mut kept).is_err() || socket.write_all(&kept).is_err() {
            return;
        }
        if keep == 0 {
            kept = Vec::new();
        }
    }
}

/// Child: takes a length and so many bytes into a fresh buffer, and sends one byte back.
pub fn take(socket: &mut UnixStream) {
    let mut len = [0; 8];
    while socket.read_exact(&mut len).is_ok() {
        let mut bytes = vec![0; u64::from_le_bytes(len) as usize];
        if socket.read_exact(&mut bytes).is_err() || socket.write_all(&[1]).is_err() {
            return;
        }
    }
}

/// What the buffers of the child of an [`Echo`] are.
#[derive(Clone, Copy)]
pub enum Buffers {
    /// Fresh from the system every time, as they are for a call's argument.
    Fresh,
    /// Used before.
    Kept,
}

/// Echo of one large buffer between two blocking processes.
pub struct Echo {
    role: Role,
    out: Vec<u8>,
}

impl Echo {
    pub fn new(place: &Place, len: usize) -> Echo {
        Echo { role: Role::start(ECHO, Some(&place.worker)), out: vec![3; len] }
    }

    /// Seconds for one echo, read here into a fresh buffer.
    pub fn run(&mut self, child: Buffers) -> f64 {
        let socket = &mut self.role.socket;
        let len = self.out.len();
        let start = Instant::now();
        let keep = matches!(child, Buffers::Kept);
        socket.write_all(&[keep.into()]).expect("child reads");
        socket.write_all(&(len as u64).to_le_bytes()).expect("child reads");
        socket.write_all(&self.out).expect("child reads");
        let mut back = vec![0; len];
        socket.read_exact(&mut back).expect("child answers");
        assert_eq!(back.last(), Some(&3));
        drop(back);
        start.elapsed().as_secs_f64()
    }
}
