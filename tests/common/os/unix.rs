//! Linux: `/proc`, signals and descriptors.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use procpool::{Error, ExitReason};

use super::Death;

/// All of them.
pub const DEATHS: &[Death] = &[
    Death::Segv,
    Death::Bus,
    Death::Fpe,
    Death::Ill,
    Death::Trap,
    Death::Kill,
    Death::Term,
    Death::Abort,
];

impl Death {
    pub fn signal(self) -> i32 {
        match self {
            Death::Segv => libc::SIGSEGV,
            Death::Bus => libc::SIGBUS,
            Death::Fpe => libc::SIGFPE,
            Death::Ill => libc::SIGILL,
            Death::Trap => libc::SIGTRAP,
            Death::Kill => libc::SIGKILL,
            Death::Term => libc::SIGTERM,
            Death::Abort => libc::SIGABRT,
        }
    }

    /// What the error's text calls it.
    pub fn name(self) -> &'static str {
        match self {
            Death::Segv => "killed by SIGSEGV",
            Death::Bus => "killed by SIGBUS",
            Death::Fpe => "killed by SIGFPE",
            Death::Ill => "killed by SIGILL",
            Death::Trap => "killed by SIGTRAP",
            Death::Kill => "killed by SIGKILL",
            Death::Term => "killed by SIGTERM",
            Death::Abort => "killed by SIGABRT",
        }
    }

    /// `ExitReason::code` of it.
    pub fn code(self) -> i32 {
        -self.signal()
    }
}

pub(super) fn reads_as(death: Death, reason: ExitReason) -> bool {
    reason.signal() == Some(death.signal())
}

/// Whether a worker ended by using up its stack.
pub fn is_overflow(error: &Error) -> bool {
    // The runtime's guard page handler reports it and aborts.
    Death::Abort.is_cause_of(error) && error.obituary().is_some_and(|o| o.is_stack_overflow())
}

pub(super) fn strike(death: Death) {
    match death {
        // SAFETY: it is not: the page may not be written, which is the point.
        Death::Segv => unsafe { page(-1, libc::PROT_NONE).write_volatile(1) },
        // SAFETY: as above; the file behind the page is empty.
        Death::Bus => unsafe {
            let file = libc::memfd_create(c"empty".as_ptr(), 0);
            page(file, libc::PROT_READ | libc::PROT_WRITE).write_volatile(1);
        },
        #[cfg(target_arch = "x86_64")]
        Death::Fpe => super::divide_by_zero(),
        #[cfg(target_arch = "x86_64")]
        Death::Ill => super::undefined_instruction(),
        Death::Abort => std::process::abort(),
        death => {
            // SAFETY: plain calls without memory of ours.
            unsafe {
                libc::signal(death.signal(), libc::SIG_DFL);
                libc::raise(death.signal());
            }
        }
    }
}

fn page(file: i32, protection: i32) -> *mut u8 {
    let flags = if file < 0 { libc::MAP_PRIVATE | libc::MAP_ANONYMOUS } else { libc::MAP_SHARED };
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, file, 0).cast() }
}

// Processes.

/// State letter and parent of a process; `None` if it is gone.
fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = stat.rsplit_once(')')?.1;
    let mut fields = rest.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Direct children of this process, zombies included, with their state letter.
pub fn children() -> Vec<(u32, char)> {
    let me = std::process::id();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        if let Some((state, parent)) = state_and_parent(pid)
            && parent == me
        {
            found.push((pid, state));
        }
    }
    found
}

pub fn parent(pid: u32) -> Option<u32> {
    Some(state_and_parent(pid)?.1)
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    matches!(state_and_parent(pid), Some((state, _)) if state != 'Z' && state != 'X')
}

pub fn is_stopped(pid: u32) -> bool {
    matches!(state_and_parent(pid), Some(('T', _)))
}

/// For messages: what the system says of a process.
pub fn describe(pid: u32) -> String {
    format!("{pid}: {:?}", state_and_parent(pid))
}

fn signal(pid: u32, signal: i32) {
    // SAFETY: a plain call.
    assert_eq!(unsafe { libc::kill(pid as libc::pid_t, signal) }, 0, "no process {pid}");
}

/// Ends a process by force: [`Death::Kill`].
pub fn kill(pid: u32) {
    signal(pid, libc::SIGKILL);
}

/// Asks a process of any kind to end: [`ASKED`].
pub fn ask_to_end(pid: u32) {
    signal(pid, libc::SIGTERM);
}

/// How a worker ends that was asked to.
pub const ASKED: Death = Death::Term;

/// Has no thread of a process run any more.
pub fn stop(pid: u32) {
    signal(pid, libc::SIGSTOP);
}

/// Stops this process, maybe a moment later.
pub fn stop_myself() {
    stop(std::process::id());
}

/// What a program is asked to end in order by.
#[derive(Debug, Clone, Copy)]
pub struct Request(i32);

pub const REQUESTS: &[Request] = &[Request(libc::SIGTERM), Request(libc::SIGINT)];

impl Request {
    /// Whether it could be sent.
    pub fn send(self, program: &Child) -> bool {
        signal(program.id(), self.0);
        true
    }
}

/// Makes this process deaf to all that can be ignored or blocked on this thread.
pub fn be_deaf() {
    // SAFETY: plain calls on local structs.
    unsafe {
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
}

/// Makes this process ignore polite requests to end.
pub fn ignore_requests_to_end() {
    // SAFETY: a plain call.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
}

/// Closes whatever this process may watch another one by.
pub fn be_blind() {
    for (fd, to) in open_files() {
        if to.starts_with("anon_inode:") {
            // SAFETY: a plain system call; what breaks by it is the point.
            unsafe { libc::close(fd as i32) };
        }
    }
}

/// Ends this process with nothing run on the way.
pub fn exit_at_once(code: i32) -> ! {
    // SAFETY: nothing runs afterwards.
    unsafe { libc::_exit(code) }
}

/// Has [`children`] see, later on, also what programs of [`spawn`] left behind.
pub fn adopt_orphans() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
}

/// Starts a program.
pub fn spawn(command: &mut Command) -> std::io::Result<Child> {
    command.spawn()
}

/// Keeps a crash of this process from asking anybody anything.
pub fn crash_quietly() {}

/// Whether the system is only imitated, in which case some of its promises are not
/// kept.
pub fn is_imitated() -> bool {
    false
}

// What a process holds.

/// Open descriptors with what they lead to.
pub fn open_files() -> Vec<(u64, String)> {
    let Ok(dir) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    dir.flatten()
        .filter_map(|entry| {
            let to = std::fs::read_link(entry.path()).ok()?;
            let fd = entry.file_name().to_string_lossy().parse().ok()?;
            Some((fd, to.to_string_lossy().into_owned()))
        })
        // The directory being read.
        .filter(|(_, to)| !to.contains("/fd"))
        .collect()
}

/// What there is at a moment.
pub struct Holdings {
    descriptors: BTreeMap<u64, String>,
    shared_memory: Vec<PathBuf>,
}

impl Holdings {
    pub fn now() -> Self {
        Holdings {
            descriptors: open_files().into_iter().collect(),
            shared_memory: std::fs::read_dir("/dev/shm")
                .map(|d| d.flatten().map(|e| e.path()).collect())
                .unwrap_or_default(),
        }
    }

    /// What came since then and is still there.
    pub fn since(&self) -> Vec<String> {
        let now = Holdings::now();
        let descriptors = now
            .descriptors
            .into_iter()
            .filter(|(fd, what)| self.descriptors.get(fd) != Some(what))
            .map(|(fd, what)| format!("descriptor {fd} -> {what}"));
        let shared_memory = now
            .shared_memory
            .into_iter()
            .filter(|p| !self.shared_memory.contains(p))
            .map(|p| format!("shared memory {}", p.display()));
        descriptors.chain(shared_memory).collect()
    }
}

/// Adds text to the end of a file that several processes write to, in one call: it
/// is there whole or not at all, whoever dies, and does not mix with others'.
pub fn append(path: impl AsRef<Path>, text: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Whether a handle becomes ready within `limit`.
pub fn is_ready(handle: &impl std::os::fd::AsFd, limit: std::time::Duration) -> bool {
    use std::os::fd::AsRawFd;
    let mut poll =
        libc::pollfd { fd: handle.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, as is said.
    unsafe { libc::poll(&mut poll, 1, limit.as_millis() as i32) == 1 }
}
