//! Floors for waking somebody in another process: a bare futex, and a bare eventfd through tokio.

#![allow(unsafe_code, reason = "calls into libc")]

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Instant;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Runtime;

use crate::support::place::Place;
use crate::support::pool::crowd;
use crate::support::role::Role;

pub const FUTEX: &str = "futex";
pub const EVENTFD: &str = "eventfd";

const PAGE: usize = 4096;

/// A page that another process maps too, of which the first word is used.
struct Page(NonNull<AtomicU32>);

impl Page {
    fn map(fd: RawFd) -> Page {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, access, libc::MAP_SHARED, fd, 0) };
        assert_ne!(at, libc::MAP_FAILED, "a page is mapped");
        Page(NonNull::new(at.cast()).expect("not at zero"))
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: the mapping is aligned, writable, and never unmapped.
        unsafe { self.0.as_ref() }
    }

    fn futex(&self, operation: libc::c_int, value: u32) {
        let no_limit = std::ptr::null::<libc::timespec>();
        // SAFETY: the word is mapped; there is no limit.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), operation, value, no_limit) };
    }

    /// Makes the word that, and wakes who waits for it.
    fn set(&self, value: u32) {
        self.word().store(value, SeqCst);
        self.futex(libc::FUTEX_WAKE, 1);
    }

    /// Waits while the word is that; what it is then.
    fn wait(&self, value: u32) -> u32 {
        loop {
            match self.word().load(SeqCst) {
                now if now != value => return now,
                _ => self.futex(libc::FUTEX_WAIT, value),
            }
        }
    }
}

/// A descriptor that children inherit.
fn inherited(fd: libc::c_int) -> OwnedFd {
    assert!(fd >= 0, "a descriptor: {}", std::io::Error::last_os_error());
    // SAFETY: the system has just made it, for us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Starts a child that has these descriptors; no later child has.
fn start(role: &str, place: &Place, fds: &[&OwnedFd]) -> Role {
    let mut child = Role::start(role, Some(&place.worker));
    let numbers: Vec<_> = fds.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    writeln!(child.socket, "{}", numbers.join(" ")).expect("child reads");
    for fd in fds {
        // SAFETY: sets a flag of a descriptor that is ours.
        unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    child
}

/// Child: the descriptors it was started with.
fn given(socket: &mut UnixStream) -> Vec<RawFd> {
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line).expect("parent writes");
    line.split_whitespace().map(|n| n.parse().expect("a number")).collect()
}

/// Two blocking processes that wake each other with a futex.
pub struct Futex {
    _child: Role,
    page: Page,
    turn: u32,
}

impl Futex {
    pub fn new(place: &Place) -> Futex {
        // SAFETY: the name is a string that ends.
        let fd = inherited(unsafe { libc::memfd_create(c"bench".as_ptr(), 0) });
        // SAFETY: no memory of ours is touched.
        assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), PAGE as i64) }, 0);
        let child = start(FUTEX, place, &[&fd]);
        Futex { _child: child, page: Page::map(fd.as_raw_fd()), turn: 0 }
    }

    /// Seconds for `n` rounds, of two wakes each.
    pub fn run(&mut self, n: usize) -> f64 {
        let start = Instant::now();
        for _ in 0..n {
            self.page.set(self.turn + 1);
            self.turn = self.page.wait(self.turn + 1);
        }
        start.elapsed().as_secs_f64()
    }
}

/// Child: makes every number that is odd the next one.
pub fn futex(socket: &mut UnixStream) {
    let page = Page::map(given(socket)[0]);
    let mut turn = 0;
    loop {
        turn = page.wait(turn) + 1;
        page.set(turn);
    }
}

/// A task that is woken by an eventfd, which a blocking process writes; it answers with another.
pub struct EventFd {
    _child: Role,
    from: Arc<OwnedFd>,
    to: Arc<OwnedFd>,
}

impl EventFd {
    pub fn new(place: &Place) -> EventFd {
        // SAFETY: no memory of ours is touched.
        let from = inherited(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK) });
        // SAFETY: as above.
        let to = inherited(unsafe { libc::eventfd(0, 0) });
        let _child = start(EVENTFD, place, &[&to, &from]);
        EventFd { _child, from: Arc::new(from), to: Arc::new(to) }
    }

    /// Seconds for `n` rounds, of which each begins here.
    #[allow(deprecated, reason = "what replaces it is not in the oldest tokio that will do")]
    pub fn run(&mut self, rt: &Runtime, n: usize) -> f64 {
        crowd(rt, 1, || {
            let (from, to) = (self.from.clone(), self.to.clone());
            async move {
                let from = AsyncFd::with_interest(from, Interest::READABLE).expect("a reactor");
                for _ in 0..n {
                    write(to.as_raw_fd());
                    loop {
                        let mut ready = from.readable().await.expect("a reactor");
                        if read(from.as_raw_fd()) {
                            break;
                        }
                        ready.clear_ready();
                    }
                }
            }
        })
    }
}

/// Child: answers each.
pub fn eventfd(socket: &mut UnixStream) {
    let fds = given(socket);
    while read(fds[0]) {
        write(fds[1]);
    }
}

fn write(fd: RawFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: eight bytes of ours are read.
    let n = unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
    assert_eq!(n, 8, "an eventfd is written");
}

/// False if there is nothing.
fn read(fd: RawFd) -> bool {
    let mut count = [0u8; 8];
    // SAFETY: at most the eight bytes are written.
    unsafe { libc::read(fd, count.as_mut_ptr().cast(), count.len()) == 8 }
}
