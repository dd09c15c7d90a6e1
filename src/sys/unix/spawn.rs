//! Starting a child from the running image, and holding on to it.
//!
//! The child's end of the socket becomes its standard input, so `std` keeps
//! to `posix_spawn`: any `pre_exec` would copy the parent's page tables, which
//! takes 100 ms and more in a large parent.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::platform::{collect, cpu_time, own_image, peek, process_handle, send_signal};
use super::wait::Wait;
use super::{ChildSocket, Handle, HandleRef};
use crate::sys::persist::persist;
use crate::sys::{RawExit, SpawnSpec, Spawned, Stream, Usage};

/// A started child: who it is and what the parent holds of it.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    pid: Pid,
    handle: OwnedFd,
    /// Held while the pid is used: it names our child only until it is reaped.
    reaped: Mutex<bool>,
}

/// Starts the child with `socket` as its standard input, in a process group of
/// its own. Must be called from a thread that lives as long as the program:
/// the parent-death signal is tied to the spawning *thread*.
pub(crate) fn spawn(spec: &SpawnSpec, socket: ChildSocket) -> io::Result<Spawned> {
    let mut command = match &spec.program {
        Some(path) => Command::new(path),
        None => {
            let mut command = Command::new(own_image()?);
            if let Some(name) = std::env::args_os().next() {
                command.arg0(name);
            }
            command
        }
    };
    if let Some(directory) = &spec.directory {
        command.current_dir(directory);
    }
    if spec.env_clear {
        command.env_clear();
    }
    for (key, value) in &spec.env {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    let stdio = |stream| match stream {
        Stream::Inherit => Stdio::inherit(),
        Stream::Null => Stdio::null(),
        Stream::Pipe => Stdio::piped(),
    };
    command.args(&spec.args).stdin(Stdio::from(socket)).process_group(0);
    command.stdout(stdio(spec.stdout)).stderr(stdio(spec.stderr));
    let mut child = persist(passes, || command.spawn())?;
    let pid = Pid::from_child(&child);
    let stdout = child.stdout.take().map(|pipe| OutputPipe(pipe.into()));
    let stderr = child.stderr.take().map(|pipe| OutputPipe(pipe.into()));
    // Not reaped yet, so the pid still names our child.
    let handle = match process_handle(pid) {
        Ok(handle) => handle,
        Err(e) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(e);
        }
    };
    let child = ChildProcess { pid, handle, reaped: Mutex::new(false) };
    for pipe in stdout.iter().chain(&stderr) {
        super::set_nonblocking(pipe.0.as_fd(), true)?;
    }
    Ok(Spawned { child, stdout, stderr })
}

/// Whether a start may succeed a moment later: the file is being written by somebody (as one is that was just
/// put there), or the system is short of processes or memory.
fn passes(error: &io::Error) -> bool {
    let busy = [libc::ETXTBSY, libc::EAGAIN, libc::ENOMEM];
    error.raw_os_error().is_some_and(|code| busy.contains(&code))
}

/// The reading end of what a child prints; never waits.
#[derive(Debug)]
pub(crate) struct OutputPipe(OwnedFd);

impl OutputPipe {
    /// Appends what the pipe holds, at most `max` bytes; `Ok(0)` is the end.
    pub(crate) fn read_now(&self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        buf.reserve(max);
        Ok(rustix::io::retry_on_intr(|| {
            rustix::io::read(&self.0, rustix::buffer::spare_capacity(buf))
        })?)
    }

    /// The same once the child has ended.
    pub(crate) fn read_last(&self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        self.read_now(buf, max)
    }

    pub(super) fn handle(&self) -> HandleRef<'_> {
        self.0.as_fd()
    }
}

impl ChildProcess {
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get() as u32
    }

    /// Readable once the child has ended.
    pub(crate) fn handle(&self) -> HandleRef<'_> {
        self.handle.as_fd()
    }

    /// Asks the child to end (SIGTERM).
    pub(crate) fn terminate(&self) {
        let reaped = self.lock();
        if !*reaped {
            send_signal(self.pid, &self.handle, Signal::TERM);
        }
    }

    /// Interrupts the child (SIGINT).
    #[allow(clippy::unnecessary_wraps, reason = "elsewhere it cannot be done")]
    pub(crate) fn interrupt(&self) -> io::Result<()> {
        let reaped = self.lock();
        if !*reaped {
            send_signal(self.pid, &self.handle, Signal::INT);
        }
        Ok(())
    }

    /// A handle that is readable once the child has ended.
    pub(crate) fn sentinel(&self) -> io::Result<Handle> {
        self.handle.try_clone()
    }

    /// Ends the child, and everything in its group, now (SIGKILL).
    pub(crate) fn kill(&self) {
        // The group at once and not only when the child is collected: this process
        // may be about to end, and then nobody will be there to do that.
        let reaped = self.lock();
        if !*reaped {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
            send_signal(self.pid, &self.handle, Signal::KILL);
        }
    }

    /// CPU time the child and its threads have used, while it is not reaped.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        let reaped = self.lock();
        if *reaped { None } else { cpu_time(self.pid) }
    }

    /// Collects the ended child and kills what is left of its process group.
    ///
    /// Does not wait; `None` while the child still runs. The group is killed
    /// while the zombie still holds its number, so that no stranger can have it.
    pub(crate) fn reap(&self) -> Option<(RawExit, Usage)> {
        let mut reaped = self.lock();
        if *reaped {
            return Some((RawExit::Unknown, Usage::default()));
        }
        match peek(self.pid, &self.handle) {
            Wait::Running => return None,
            Wait::Ended(..) => {
                let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
            }
            Wait::Gone => {}
        }
        *reaped = true;
        match collect(self.pid, &self.handle, false) {
            Wait::Ended(exit, usage) => Some((exit, usage)),
            _ => Some((RawExit::Unknown, Usage::default())),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, bool> {
        self.reaped.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if *self.lock() {
            return;
        }
        // Nobody watches it: it could not be, or its watcher is gone.
        self.kill();
        while let Wait::Running = collect(self.pid, &self.handle, true) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> (ChildProcess, OutputPipe) {
        let spec = SpawnSpec {
            program: Some("/bin/sh".into()),
            args: vec!["-c".into(), script.into()],
            directory: None,
            env_clear: false,
            env: Vec::new(),
            stdout: Stream::Inherit,
            stderr: Stream::Pipe,
        };
        let (_ours, theirs) = super::super::pair().unwrap();
        let Spawned { child, stderr, .. } = spawn(&spec, theirs).unwrap();
        (child, stderr.unwrap())
    }

    fn readable(fd: HandleRef<'_>) {
        use rustix::event::{PollFd, PollFlags, poll};
        poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], None).unwrap();
    }

    fn wait(child: &ChildProcess) -> RawExit {
        readable(child.handle());
        child.reap().unwrap().0
    }

    #[test]
    fn exit_codes_and_signals_are_told_apart() {
        assert_eq!(wait(&sh("exit 7").0), RawExit::Code(7));
        assert!(matches!(
            wait(&sh("kill -SEGV $$").0),
            RawExit::Signal { signal: libc::SIGSEGV, .. }
        ));
    }

    #[test]
    fn the_group_goes_with_the_child() {
        let (child, pipe) = sh("sleep 1000 & echo $! >&2; exec 2>&-; exit 3");
        assert_eq!(wait(&child), RawExit::Code(3));
        // End of file: nobody holds the pipe once the grandchild is dead.
        let mut text = Vec::new();
        loop {
            readable(pipe.handle());
            if pipe.read_now(&mut text, 64).unwrap() == 0 {
                break;
            }
        }
        assert!(!text.is_empty());
    }
}
