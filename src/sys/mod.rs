//! The operating system behind a safe surface; the only folder with `unsafe`.
//!
//! It knows nothing of ours: no frame, no task, no pool. Every function takes
//! and returns plain values, descriptors and `io::Result`s.

#![allow(unsafe_code)]

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;
