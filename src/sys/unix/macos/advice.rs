//! Hints to the kernel about memory: there are none here.

/// A hint to other systems.
pub(crate) fn advise_huge(_buf: &mut Vec<u8>) {}
