//! The first messages: a worker says what it is, the parent says what it may.

use serde::{Deserialize, Serialize};

use super::attached::Brought;
use super::budget::DecodeLimits;

pub(crate) const PROTOCOL_VERSION: u32 = 1;

/// What a worker says of itself; both sides must be the same program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) protocol: u32,
    /// Tells two builds of one program apart.
    pub(crate) build: u64,
    /// Names and signatures of all tasks.
    pub(crate) tasks: u64,
    pub(crate) task_count: u32,
}

/// Where a worker and its parent differ, with both values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HelloMismatch {
    #[error("the worker speaks protocol version {theirs}, this process {ours}")]
    Protocol { ours: u32, theirs: u32 },
    #[error(
        "the worker has {theirs_count} tasks (table {theirs:016x}), this process {ours_count} (table {ours:016x})"
    )]
    Tasks { ours: u64, ours_count: u32, theirs: u64, theirs_count: u32 },
    #[error("the worker is build {theirs:016x}, this process build {ours:016x}")]
    Build { ours: u64, theirs: u64 },
}

impl Hello {
    /// `self` is this process, `theirs` what the worker sent.
    pub(crate) fn check(&self, theirs: &Hello) -> Result<(), HelloMismatch> {
        if self.protocol != theirs.protocol {
            return Err(HelloMismatch::Protocol { ours: self.protocol, theirs: theirs.protocol });
        }
        if (self.tasks, self.task_count) != (theirs.tasks, theirs.task_count) {
            return Err(HelloMismatch::Tasks {
                ours: self.tasks,
                ours_count: self.task_count,
                theirs: theirs.tasks,
                theirs_count: theirs.task_count,
            });
        }
        if self.build != theirs.build {
            return Err(HelloMismatch::Build { ours: self.build, theirs: theirs.build });
        }
        Ok(())
    }
}

/// What an accepted worker is told before its first call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) name: String,
    /// How many pools above this one: 1 in a worker of the main program.
    pub(crate) depth: u32,
    pub(crate) max_message: u64,
    pub(crate) decode: DecodeLimits,
    pub(crate) memory: Option<u64>,
    pub(crate) cpu_seconds: Option<u64>,
    pub(crate) files: Option<u64>,
    /// The initializer: its task id and encoded arguments.
    pub(crate) initializer: Option<(u32, Vec<u8>)>,
    /// What is given along with the initializer's arguments.
    pub(crate) initializer_brings: Option<Brought>,
    pub(crate) parent_name: String,
    pub(crate) parent_pid: u32,
    /// Its place in the hub, as that writes it; empty if it has none.
    pub(crate) ticket: Vec<u8>,
    /// Of a process that runs one task and ends; `None` for a worker.
    pub(crate) process: Option<ProcessRole>,
}

/// What a process that is not a worker is told of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRole {
    /// Which child of which child of the main program it is.
    pub(crate) ordinals: Vec<u32>,
    pub(crate) daemon: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_is_named_with_both_values() {
        let ours = Hello { protocol: 1, build: 10, tasks: 20, task_count: 3 };
        assert_eq!(ours.check(&ours.clone()), Ok(()));
        let text = |theirs: Hello| ours.check(&theirs).unwrap_err().to_string();
        let t = text(Hello { protocol: 9, ..ours.clone() });
        assert!(t.contains('9') && t.contains('1'), "{t}");
        let t = text(Hello { task_count: 4, ..ours.clone() });
        assert!(t.contains("4 tasks") && t.contains('3'), "{t}");
        let t = text(Hello { build: 255, ..ours.clone() });
        assert!(t.contains("ff") && t.contains("0a"), "{t}");
    }
}
