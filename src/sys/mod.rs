//! The operating system behind a safe surface; the only folder with `unsafe`.
//!
//! It knows nothing of ours: no frame, no task, no pool. Every function takes
//! and returns plain values, handles and `io::Result`s. `unix` and `windows` have
//! the same functions; what both do alike is here.

#![allow(unsafe_code)]

mod env;
mod exit;
mod limit;
mod poll;
mod shm;
mod spec;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

pub(crate) use env::remove_env;
pub(crate) use exit::{RawExit, Usage, exception_deed};
pub(crate) use limit::ResourceLimit;
pub(crate) use poll::Ready;
pub(crate) use shm::SharedBlock;
pub(crate) use spec::{SpawnSpec, Spawned, Stream};
#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
pub(crate) use windows::*;
