//! What to start.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where a child's standard error goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StderrMode {
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
    /// Its standard output is thrown away.
    pub(crate) quiet: bool,
    pub(crate) stderr: StderrMode,
}
