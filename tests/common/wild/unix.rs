//! Linux: a socket and a memfd.

use std::io::ErrorKind::WouldBlock;

/// The pool's socket: the only one a worker has.
pub fn socket() -> i32 {
    for (fd, to) in crate::common::os::open_files() {
        if to.starts_with("socket:") {
            return fd as i32;
        }
    }
    panic!("no socket here")
}

/// Writes to the connection, past everything. Less than all if nobody listens.
pub fn send(bytes: &[u8]) {
    let socket = socket();
    let mut sent = 0;
    while sent < bytes.len() {
        let rest = &bytes[sent..];
        // SAFETY: the pointer and the length are of one slice.
        let n = unsafe { libc::send(socket, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
        match n {
            n if n > 0 => sent += n as usize,
            _ if std::io::Error::last_os_error().kind() == WouldBlock => std::thread::yield_now(),
            // The parent has closed its end.
            _ => return,
        }
    }
}

/// Leaves to nobody else what will come.
pub fn take_over() {}

/// Takes the next `n` bytes from the connection, waiting for them.
pub fn swallow(n: usize) {
    let socket = socket();
    let mut bytes = vec![0_u8; n];
    let mut got = 0;
    while got < n {
        let rest = &mut bytes[got..];
        // SAFETY: the pointer and the length are of one slice.
        match unsafe { libc::recv(socket, rest.as_mut_ptr().cast(), rest.len(), 0) } {
            n if n > 0 => got += n as usize,
            0 => panic!("end of the stream"),
            _ => {
                let error = std::io::Error::last_os_error();
                assert_eq!(error.kind(), WouldBlock, "{error}");
                std::thread::yield_now();
            }
        }
    }
}

/// Closes all but the standard three.
pub fn close_everything() {
    // SAFETY: a plain system call; what breaks by it is the point.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
}

/// Ends the connection, and keeps its descriptor.
pub fn hang_up() {
    // SAFETY: a plain system call.
    unsafe { libc::shutdown(socket(), libc::SHUT_RDWR) };
}

/// Start and length of the status block.
pub(super) fn find_block() -> (usize, usize) {
    for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
        if line.contains("procpool-status") {
            let (from, rest) = line.split_once('-').unwrap();
            let to = rest.split_once(' ').unwrap().0;
            let from = usize::from_str_radix(from, 16).unwrap();
            let to = usize::from_str_radix(to, 16).unwrap();
            return (from, to - from);
        }
    }
    panic!("no status block here")
}
