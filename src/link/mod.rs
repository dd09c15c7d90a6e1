//! Where bytes meet I/O: a transport, and the link that drives a session over it.
//!
//! Knows no pool and no process.

#[cfg(test)]
mod contract_tests;
mod driver;
mod local;
#[cfg(test)]
mod memory;
mod transport;

pub(crate) use driver::{Link, LinkEnd};
pub(crate) use local::{Listening, Local, WorkerEnd};
