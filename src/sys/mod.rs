//! The operating system behind a safe surface; the only folder with `unsafe`.
//!
//! It knows nothing of ours: no frame, no task, no pool. Every function takes
//! and returns plain values, handles and `io::Result`s. `unix` and `windows` have
//! the same functions; what both do alike is here.

#![allow(unsafe_code)]

mod address_family;
mod caller;
mod env;
mod exit;
mod handle_set;
mod interest;
mod lent;
mod limit;
mod lock;
#[cfg(not(target_os = "linux"))]
mod no_park;
mod persist;
mod poll;
mod sealed;
mod shm;
mod spec;
#[cfg(not(target_os = "linux"))]
mod tail;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

pub use address_family::AddressFamily;
pub(crate) use caller::Caller;
pub(crate) use env::remove_env;
pub(crate) use exit::{RawExit, Usage, exception_deed};
pub(crate) use handle_set::{HandleSet, MAX_PASSED};
pub(crate) use interest::{BOTH, Interest, READ, WRITE};
pub(crate) use lent::{Lent, lend};
pub(crate) use limit::ResourceLimit;
pub(crate) use lock::lock;
#[cfg(not(target_os = "linux"))]
pub(crate) use no_park::{CAN_PARK, park, unpark};
pub(crate) use poll::Ready;
pub(crate) use sealed::{Filling, Sealed};
pub(crate) use shm::{Atomic, SharedBlock};
pub(crate) use spec::{SpawnSpec, Spawned, Stream};
#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
pub(crate) use windows::*;
