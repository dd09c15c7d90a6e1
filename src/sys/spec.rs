//! What to start.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{ChildProcess, OutputPipe};

/// Where a standard stream of a child's goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Inherit,
    Null,
    /// Into a pipe whose reading end [`spawn`](super::spawn) returns.
    Pipe,
}

/// Everything a spawn needs; made once and used for every worker.
#[derive(Debug, Clone)]
pub(crate) struct SpawnSpec {
    /// `None`: the image this process runs, even when its file has been
    /// replaced or deleted meanwhile.
    pub(crate) program: Option<PathBuf>,
    pub(crate) args: Vec<OsString>,
    /// `None`: this process's.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) env_clear: bool,
    pub(crate) env: Vec<(OsString, Option<OsString>)>,
    pub(crate) stdout: Stream,
    pub(crate) stderr: Stream,
}

/// A child that was started, with the ends of its pipes.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) child: ChildProcess,
    pub(crate) stdout: Option<OutputPipe>,
    pub(crate) stderr: Option<OutputPipe>,
}
