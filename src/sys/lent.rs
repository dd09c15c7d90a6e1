//! Memory that one process writes again and again, and others only read.

use std::io;

use super::{Handle, Mapping, SharedBlock, check_lent, handle_ref, keep_to_write, unsealed};

/// Zeroed memory of `len` bytes, at least one, that only this process can write; and the handle by which
/// others read it.
pub(crate) fn lend(name: &str, len: usize) -> io::Result<(SharedBlock, Handle)> {
    let (handle, read_only) = unsealed(name, len)?;
    let mapping = Mapping::of_own(handle_ref(&handle), len)?;
    mapping.keep_from_forks();
    Ok((SharedBlock::of(mapping), keep_to_write(handle, read_only)?))
}

/// Such memory of another process, which may write it at any time.
#[derive(Debug)]
pub(crate) struct Lent(Mapping);

impl Lent {
    /// Opens what another process gave. What could become shorter, is not all there, or of another
    /// length is refused.
    pub(crate) fn open(handle: &Handle, len: usize) -> io::Result<Self> {
        check_lent(handle_ref(handle), len)?;
        Ok(Lent(Mapping::read_changing(handle_ref(handle), len)?))
    }

    /// Copies bytes out of it.
    ///
    /// # Panics
    /// If they are not inside it.
    pub(crate) fn load(&self, offset: usize, to: &mut [u8]) {
        assert!(offset <= self.0.len && to.len() <= self.0.len - offset);
        // SAFETY: in bounds (checked); the target is private. A racing writer can only spoil the
        // values.
        unsafe {
            let from = self.0.start.as_ptr().add(offset);
            std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_read_what_is_written_anew_and_cannot_write() {
        let (block, handle) = lend("test", 10_000).unwrap();
        let lent = Lent::open(&handle, 10_000).unwrap();
        for round in 1..4u8 {
            block.copy_in(5000, &[round; 5000]);
            let mut bytes = [0; 5000];
            lent.load(5000, &mut bytes);
            assert_eq!(bytes, [round; 5000]);
        }
        assert!(Mapping::of_own(handle_ref(&handle), 10_000).is_err(), "it cannot be written");
        assert!(Lent::open(&handle, 10_000 + 16 * 4096).is_err());
    }
}
