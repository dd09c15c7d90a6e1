//! What the tests need of an operating system, with one face everywhere:
//! processes seen from outside, ways to die, and what a process holds.
//!
//! Where a platform has no such thing as a test is about, the test says so at its
//! place.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::*;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::*;

use std::process::Command;

use procpool::{Error, ExitReason};
use serde::{Deserialize, Serialize};

/// Ways to be ended by the system. [`DEATHS`] are those that this one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Death {
    /// A write to memory that may not be written.
    Segv,
    /// A write to a page whose file has no such page.
    Bus,
    /// A division by zero.
    Fpe,
    /// An undefined instruction.
    Ill,
    /// A breakpoint nobody waits for.
    Trap,
    /// By force, as [`kill`] does it.
    Kill,
    /// A polite request that nobody handles.
    Term,
    /// `std::process::abort`.
    Abort,
}

impl Death {
    /// Dies, whatever handler stands in the way.
    pub fn strike(self) -> ! {
        loop {
            strike(self);
        }
    }

    /// Whether `error` tells of a worker that died this way.
    pub fn is_cause_of(self, error: &Error) -> bool {
        error.exit_reason().is_some_and(|reason| self.is(reason))
    }

    /// Whether this is what `reason` says.
    pub fn is(self, reason: ExitReason) -> bool {
        reads_as(self, reason)
    }
}

/// This test binary, started again to run the test called `role` only.
pub fn this_program(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", role, "--nocapture", "--test-threads=1"]);
    command
}

/// Ends this process by using up the thread's stack: [`is_overflow`].
pub fn use_up_the_stack() -> ! {
    if is_imitated() {
        // Wine does not keep the room that Rust's runtime reserves there for its report,
        // and ends nothing but the thread if that does not fit. So all in one step,
        // which fails before any of it is taken.
        std::hint::black_box(enormous());
    }
    std::hint::black_box(dig(1));
    unreachable!("the stack has no end")
}

#[inline(never)]
fn enormous() -> u8 {
    std::hint::black_box([1; 256 << 20])[5]
}

#[allow(unconditional_recursion)]
fn dig(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    dig(room[(depth % 64) as usize] + 1) + room[0]
}

#[cfg(target_arch = "x86_64")]
fn divide_by_zero() {
    // SAFETY: ends this process, as it should.
    unsafe {
        std::arch::asm!("xor edx, edx", "div ecx", inout("eax") 1 => _, inout("ecx") 0 => _, out("edx") _)
    };
}

#[cfg(target_arch = "x86_64")]
fn undefined_instruction() {
    // SAFETY: ends this process, as it should.
    unsafe { std::arch::asm!("ud2") };
}
