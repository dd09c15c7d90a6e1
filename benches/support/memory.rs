//! Floors of handing many bytes to a process that reads them all: in a bare memory file, and over a bare socket.

#![allow(unsafe_code, reason = "calls into libc")]

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::support::place::Place;
use crate::support::role::Role;

pub const READER: &str = "reader";

const FILE: u8 = 0;
const BYTES: u8 = 1;

/// All of them, read once.
pub fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(words, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}

/// A mapping, which ends when it is dropped.
struct Map {
    start: *mut u8,
    len: usize,
}

impl Map {
    fn new(file: &File, len: usize, access: libc::c_int, flags: libc::c_int) -> Map {
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, file.as_raw_fd(), 0) };
        assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        Map { start: at.cast(), len }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's alone.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

/// Child: reads what it is given, and answers with the sum.
pub fn reader(socket: &mut UnixStream) {
    let mut head = [0; 9];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut head)];
        let got = rustix::net::recvmsg(&*socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC);
        if !got.is_ok_and(|got| got.bytes == 9) {
            return;
        }
        let [kind, len @ ..] = head;
        let len = u64::from_le_bytes(len) as usize;
        let sum = if kind == FILE {
            let mut files = control.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut files) => files.next(),
                _ => None,
            });
            let file = File::from(files.next().expect("a file comes along"));
            let map = Map::new(&file, len, libc::PROT_READ, libc::MAP_PRIVATE);
            // SAFETY: the file is sealed, so that nobody writes it.
            sum(unsafe { std::slice::from_raw_parts(map.start, len) })
        } else {
            let mut bytes = Vec::with_capacity(len);
            let mut part = (&mut *socket).take(len as u64);
            part.read_to_end(&mut bytes).expect("parent sends");
            sum(&bytes)
        };
        if socket.write_all(&sum.to_le_bytes()).is_err() {
            return;
        }
    }
}

/// A blocking process that reads all it is given.
pub struct Reader(Role);

impl Reader {
    pub fn new(place: &Place) -> Reader {
        Reader(Role::start(READER, Some(&place.worker)))
    }

    /// Seconds to fill a fresh memory file with `bytes`, seal it, and have it read.
    pub fn by_fresh_file(&mut self, bytes: &[u8]) -> f64 {
        let start = Instant::now();
        let file = filled(bytes);
        self.hand_over(&file, bytes);
        // Mapped here, too, until it is dropped.
        let map = Map::new(&file, bytes.len(), libc::PROT_READ, libc::MAP_PRIVATE);
        drop(map);
        drop(file);
        start.elapsed().as_secs_f64()
    }

    /// Seconds to have a file read that is filled already.
    pub fn by_file(&mut self, file: &File, bytes: &[u8]) -> f64 {
        let start = Instant::now();
        self.hand_over(file, bytes);
        start.elapsed().as_secs_f64()
    }

    /// Seconds to have them read over the socket, into a fresh buffer.
    pub fn by_socket(&mut self, bytes: &[u8]) -> f64 {
        let start = Instant::now();
        let mut head = [BYTES; 9];
        head[1..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.socket.write_all(&head).expect("child reads");
        self.0.socket.write_all(bytes).expect("child reads");
        self.answer(bytes);
        start.elapsed().as_secs_f64()
    }

    fn hand_over(&mut self, file: &File, bytes: &[u8]) {
        let mut head = [FILE; 9];
        head[1..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = [file.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
        let parts = [IoSlice::new(&head)];
        rustix::net::sendmsg(&self.0.socket, &parts, &mut control, SendFlags::empty())
            .expect("child reads");
        self.answer(bytes);
    }

    fn answer(&mut self, bytes: &[u8]) {
        let mut answer = [0; 8];
        self.0.socket.read_exact(&mut answer).expect("child answers");
        // The sum itself would cost this process a read; the ends will do.
        assert!(bytes.is_empty() || answer != [0; 8]);
    }
}

/// A fresh memory file with these bytes, sealed.
pub fn filled(bytes: &[u8]) -> File {
    // SAFETY: a name that ends; the descriptor is nobody else's.
    let file = unsafe {
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        File::from_raw_fd(libc::memfd_create(c"floor".as_ptr(), flags))
    };
    // Faster than filling it by a mapping, of which each page would be cleared first, and fault.
    (&file).write_all(bytes).expect("memory for it");
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: a plain call.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }, 0);
    file
}
