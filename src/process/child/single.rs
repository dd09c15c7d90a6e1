//! A process that is no worker: it runs one task and ends.

use std::io::Write;

use super::*;
use crate::process::causes::fault_error;

impl Worker {
    /// Runs the one task of a process that is no worker; gives the exit code.
    pub(super) fn run_once(&mut self, end: &mut WorkerEnd) -> Result<i32, Stop> {
        let OwnedCall { slot, id, meta, args, entry } = self.first_call(end)?;
        self.block.begin(slot, id);
        if args.has_handles() {
            self.took(slot, id)?;
        }
        tracing::info!(target: "procpool", task = entry.name, "process calls its task");
        let result = self
            .run_alone(entry, args, current(slot, id, meta))
            .and_then(|payload| admit(payload.len(), self.max_message).map(|()| payload));
        let code = match &result {
            Ok(_) => task::exit_code(),
            Err(fault) => {
                show(fault);
                1
            }
        };
        // Where nobody is left to read it, it still ends as it should.
        let leaves_handles = result.as_ref().is_ok_and(Payload::has_handles);
        let answered = answer(&self.out, &self.courier, slot, id, false, result.map(Encoded))
            .and_then(|()| lock(&self.out).flush());
        if leaves_handles && answered.is_ok() && HandleChannel::ENDS_WITH_GIVER {
            // The parent fetches them out of this process, and says when it has.
            let _ = self.first_call(end);
        }
        Ok(code)
    }

    fn first_call(&mut self, end: &mut WorkerEnd) -> Result<OwnedCall, Stop> {
        loop {
            while let Some(message) = self.assembler.next()? {
                match self.session.handle(message)? {
                    WorkerEvent::Call { slot, id, meta, args, body, brought } => {
                        let Some(entry) = self.registry.get(meta.task) else {
                            self.refuse(slot, id, meta.task)?;
                            continue;
                        };
                        let args = received(args, body, brought, &self.courier);
                        return Ok(OwnedCall { slot, id, meta, args, entry });
                    }
                    WorkerEvent::Shutdown => return Err(Stop::Shutdown),
                    WorkerEvent::Cancel { .. } => {}
                    WorkerEvent::Welcome(_) => unreachable!("the session takes one welcome"),
                }
            }
            lock(&self.out).flush()?;
            let (buf, max) = self.assembler.target();
            let n = end.recv(buf, max)?;
            if n == 0 {
                return Err(Stop::Orphaned);
            }
            self.assembler.received(n);
        }
    }
}

/// Shows on standard error why a process fails; of a panic the hook has shown the rest.
fn show(fault: &Fault) {
    match fault {
        Fault::Panicked(report) => {
            let shown = std::env::var_os("RUST_BACKTRACE").is_some_and(|v| v != "0");
            if let (Some(backtrace), false) = (&report.backtrace, shown) {
                let _ = writeln!(io::stderr(), "stack backtrace:\n{backtrace}");
            }
        }
        other => {
            let name = identity::current_process().name().to_owned();
            let error = fault_error(other.clone());
            let _ = writeln!(io::stderr(), "procpool: process {name} fails: {error}");
        }
    }
}
