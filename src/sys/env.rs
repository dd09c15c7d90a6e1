//! The environment of this process.

/// Removes a variable from the environment.
///
/// Only for the first lines of a worker, before it has other threads.
pub(crate) fn remove_env(key: &str) {
    // SAFETY: called while this process has no thread that could read the
    // environment at the same time.
    unsafe { std::env::remove_var(key) };
}
