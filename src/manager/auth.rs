//! What the two ends of a connection know in common.

use std::fmt;
use std::sync::Arc;

/// A secret by which a manager and its clients know each other: any bytes, best 32 random ones.
///
/// It is never sent, and `Debug` does not show it.
///
/// # Examples
/// ```
/// use procpool::manager::AuthKey;
///
/// let key = AuthKey::new("correct horse battery staple");
/// assert_eq!(format!("{key:?}"), "AuthKey(28 bytes)");
/// let key = AuthKey::random();
/// assert_eq!(AuthKey::new(key.as_bytes()), key);
/// ```
#[doc(alias = "authkey")]
#[derive(Clone, PartialEq, Eq)]
pub struct AuthKey(Arc<[u8]>);

impl AuthKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        AuthKey(bytes.as_ref().into())
    }

    /// 32 random bytes.
    ///
    /// # Panics
    /// If the system has no random numbers.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).unwrap_or_else(|e| panic!("no random numbers: {e}"));
        AuthKey(bytes.into())
    }

    /// Its bytes, for a place where the other program finds them and nobody else can read.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthKey({} bytes)", self.0.len())
    }
}
