//! Where bytes meet I/O: a transport, and the link that drives a session over it.
//!
//! Knows no pool and no process.

#[cfg(test)]
mod contract_tests;
mod driver;
mod local;
#[cfg(test)]
mod memory;
pub(crate) mod net;
mod pace;
mod transport;

pub(crate) use driver::{Link, LinkEnd};
pub(crate) use local::{Acceptor, End, Listening, Local, Lookout, WorkerEnd, connect};
pub(crate) use pace::Pace;
