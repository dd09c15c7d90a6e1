//! A byte buffer that needs no allocation while it is short.

/// Bytes held without an allocation: the arguments of most calls.
pub(crate) const INLINE: usize = 30;

/// Grows from an array into a vector; once cleared it is short again, but keeps
/// the vector's capacity.
#[derive(Debug, Clone)]
pub(crate) struct SmallBuf {
    len: u8,
    spilled: bool,
    inline: [u8; INLINE],
    heap: Vec<u8>,
}

impl Default for SmallBuf {
    #[inline]
    fn default() -> Self {
        SmallBuf { len: 0, spilled: false, inline: [0; INLINE], heap: Vec::new() }
    }
}

impl SmallBuf {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        if self.spilled { &self.heap } else { &self.inline[..usize::from(self.len)] }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        if self.spilled { self.heap.len() } else { usize::from(self.len) }
    }

    #[inline]
    pub(crate) fn push(&mut self, byte: u8) {
        if !self.spilled {
            if let Some(place) = self.inline.get_mut(usize::from(self.len)) {
                *place = byte;
                self.len += 1;
                return;
            }
            self.spill(1);
        }
        self.heap.push(byte);
    }

    #[inline]
    pub(crate) fn extend_from_slice(&mut self, bytes: &[u8]) {
        if !self.spilled {
            let (start, end) = (usize::from(self.len), usize::from(self.len) + bytes.len());
            if let Some(place) = self.inline.get_mut(start..end) {
                copy_short(place, bytes);
                self.len = end as u8;
                return;
            }
            self.spill(bytes.len());
        }
        self.heap.extend_from_slice(bytes);
    }

    #[cold]
    fn spill(&mut self, more: usize) {
        self.heap.clear();
        self.heap.reserve(usize::from(self.len) + more);
        self.heap.extend_from_slice(&self.inline[..usize::from(self.len)]);
        self.spilled = true;
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        if self.spilled {
            self.heap.truncate(len);
        } else {
            self.len = self.len.min(len.min(INLINE) as u8);
        }
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.spilled = false;
    }

    /// Gives back memory that only an unusually large value needed.
    pub(crate) fn shrink(&mut self, keep: usize) {
        if self.heap.capacity() > keep && !self.spilled {
            self.heap = Vec::new();
        }
    }

    /// The bytes as an array and its length, or as a vector.
    #[inline]
    pub(super) fn into_parts(self) -> Result<(u8, [u8; INLINE]), Vec<u8>> {
        if self.spilled { Err(self.heap) } else { Ok((self.len, self.inline)) }
    }
}

/// Copies a slice of at most a few words by overlapping copies of fixed size: a
/// call of `memcpy` costs more than that.
#[inline]
fn copy_short(to: &mut [u8], from: &[u8]) {
    fn ends<const N: usize>(to: &mut [u8], from: &[u8]) -> Option<()> {
        to.first_chunk_mut::<N>()?.copy_from_slice(from.first_chunk::<N>()?);
        to.last_chunk_mut::<N>()?.copy_from_slice(from.last_chunk::<N>()?);
        Some(())
    }
    let done = match from.len() {
        0 => Some(()),
        1 => ends::<1>(to, from),
        2..4 => ends::<2>(to, from),
        4..8 => ends::<4>(to, from),
        8..=16 => ends::<8>(to, from),
        _ => None,
    };
    if done.is_none() {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_a_vector_would() {
        let mut buf = SmallBuf::default();
        let mut vec = Vec::new();
        for round in 0..3 {
            for n in 0..50u8 {
                if n % 3 == 0 {
                    buf.extend_from_slice(&[n, n, n]);
                    vec.extend_from_slice(&[n, n, n]);
                } else {
                    buf.push(n);
                    vec.push(n);
                }
                assert_eq!(buf.as_slice(), vec, "round {round}");
                assert_eq!(buf.len(), vec.len());
            }
            buf.truncate(40);
            vec.truncate(40);
            assert_eq!(buf.as_slice(), vec);
            buf.clear();
            vec.clear();
            assert_eq!(buf.len(), 0);
        }
        buf.extend_from_slice(&[1; INLINE]);
        buf.truncate(7);
        assert_eq!(buf.as_slice(), [1; 7]);
    }
}
