//! Handles that came along with bytes of a stream.

use super::Handle;

/// What was sent along in one go.
#[derive(Debug)]
pub(crate) struct HandleSet {
    pub(crate) handles: Vec<Handle>,
    /// Some of them were lost: this process had no room for more.
    #[cfg_attr(windows, allow(dead_code, reason = "there streams carry bytes alone"))]
    pub(crate) lost: bool,
}

/// How many handles one message of a stream may take along.
pub(crate) const MAX_PASSED: usize = 16;
