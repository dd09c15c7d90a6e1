//! Bytes that are being filled, to be shared.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use super::bytes::SharedBytes;
use crate::sys::Filling;

/// Memory to be filled in place and then shared as [`SharedBytes`].
///
/// # Examples
/// ```
/// use procpool::SharedBytesMut;
///
/// # fn main() -> std::io::Result<()> {
/// let mut table = SharedBytesMut::zeroed(1 << 20)?;
/// for (i, byte) in table.iter_mut().enumerate() {
///     *byte = (i % 7) as u8;
/// }
/// let table = table.freeze()?; // to be given to any number of workers
/// assert_eq!(table[8], 1);
/// # Ok(())
/// # }
/// ```
pub struct SharedBytesMut(Option<Filling>);

impl SharedBytesMut {
    /// `len` zeroes.
    ///
    /// # Errors
    /// As [`SharedBytes::copy_from`].
    pub fn zeroed(len: usize) -> io::Result<Self> {
        let filling = (len > 0).then(|| Filling::create("procpool-bytes", len)).transpose()?;
        Ok(SharedBytesMut(filling))
    }

    /// Seals it: from now on it can be read and shared, and never written.
    ///
    /// # Errors
    /// If the system cannot, which costs the bytes.
    pub fn freeze(self) -> io::Result<SharedBytes> {
        match self.0 {
            Some(filling) => Ok(SharedBytes::sealed(filling.seal()?)),
            None => Ok(SharedBytes::default()),
        }
    }
}

impl Deref for SharedBytesMut {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], Filling::bytes)
    }
}

impl DerefMut for SharedBytesMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_mut().map_or(&mut [], Filling::bytes_mut)
    }
}

impl fmt::Debug for SharedBytesMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedBytesMut({} bytes)", self.len())
    }
}
