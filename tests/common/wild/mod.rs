//! What code that goes astray in a worker can get hold of: the pool's connection and
//! the status block.
#![allow(dead_code)]

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as here;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as here;

pub use here::*;

/// Where the status block is mapped, and its length in words. Inside a call only.
pub fn block() -> (*const AtomicU64, usize) {
    static BLOCK: OnceLock<(usize, usize)> = OnceLock::new();
    let (start, len) = *BLOCK.get_or_init(here::find_block);
    (start as *const AtomicU64, len / 8)
}
