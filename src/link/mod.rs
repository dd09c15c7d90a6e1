//! Where bytes meet I/O: a transport, and the link that drives a session over it.
//!
//! Knows no pool and no process.

#[allow(clippy::module_inception)]
mod link;
mod local;
mod transport;

pub(crate) use link::{Link, LinkEnd};
pub(crate) use local::Local;
