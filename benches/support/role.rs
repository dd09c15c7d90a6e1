//! The second process of a floor: this very binary, started again in a role.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};

use crate::support::{memory, mux, place, socket, spawn, wake};

const ROLE: &str = "BENCH_ROLE";
const CPUS: &str = "BENCH_CPUS";

/// A child in a role, connected by a socket pair, ended when dropped.
pub struct Role {
    pub socket: UnixStream,
    child: Child,
}

impl Role {
    /// Starts the child on `cpus`, or where this thread runs.
    pub fn start(role: &str, cpus: Option<&[usize]>) -> Role {
        let (socket, theirs) = UnixStream::pair().expect("socket pair");
        let mut command = Command::new("/proc/self/exe");
        command.env(ROLE, role).stdin(OwnedFd::from(theirs));
        if let Some(cpus) = cpus {
            let list: Vec<String> = cpus.iter().map(usize::to_string).collect();
            command.env(CPUS, list.join(","));
        }
        let child = command.spawn().expect("this binary can be started again");
        Role { socket, child }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the role and exits, in a process that [`Role::start`] started; the first line of every bench.
pub fn run_role_if_child() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    if let Ok(cpus) = std::env::var(CPUS) {
        let cpus: Vec<usize> = cpus.split(',').map(|c| c.parse().expect("a core")).collect();
        place::pin_process(&cpus);
    }
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    let mut socket = UnixStream::from(stdin.expect("the socket is our standard input"));
    match role.as_str() {
        socket::PONG => socket::pong(&mut socket),
        socket::TOKIO_PONG => socket::tokio_pong(socket),
        socket::ECHO => socket::echo(&mut socket),
        socket::TAKE => socket::take(&mut socket),
        memory::READER => memory::reader(&mut socket),
        mux::WORKER => mux::worker(&mut socket),
        spawn::CURRENT_THREAD => spawn::first_byte(&mut socket, spawn::Flavour::CurrentThread),
        spawn::MULTI_THREAD => spawn::first_byte(&mut socket, spawn::Flavour::MultiThread),
        wake::FUTEX => wake::futex(&mut socket),
        wake::EVENTFD => wake::eventfd(&mut socket),
        role => panic!("unknown role {role}"),
    }
    std::process::exit(0);
}

/// Waits until the parent hangs up.
pub fn wait_for_end(socket: &mut UnixStream) {
    let _ = socket.read(&mut [0]);
}
