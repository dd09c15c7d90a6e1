//! Hashes of names.

/// FNV-1a: fixed across builds and platforms, unlike std's hasher.
pub(crate) struct Fnv(pub(crate) u64);

impl Fnv {
    pub(crate) const fn new() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    /// Adds a run of bytes, and that it ends here.
    pub(crate) const fn write(&mut self, bytes: &[u8]) {
        let mut i = 0;
        while i <= bytes.len() {
            let byte = if i < bytes.len() { bytes[i] } else { 0xff };
            self.0 = (self.0 ^ byte as u64).wrapping_mul(0x0100_0000_01b3);
            i += 1;
        }
    }

    /// The hash of one text.
    pub(crate) const fn of(text: &str) -> u64 {
        let mut hash = Fnv::new();
        hash.write(text.as_bytes());
        hash.0
    }
}
