//! How connections over the network are kept from others.

#[cfg(feature = "tls")]
mod authority;

#[cfg(feature = "tls")]
pub use authority::{CertificateAuthority, TlsIdentity};

use crate::link::net::TlsSettings;

/// TLS 1.3 for a manager that other machines can reach, or for its client.
///
/// There are two ways for the ends to know each other, and both must use the same:
///
/// * [`keyed`](Self::keyed): by their [`AuthKey`](super::AuthKey) alone. What proves that they have it is bound to the very
///   connection (its exporter), so somebody in the middle, who has a connection with each of them, can pass nothing on.
/// * [`mutual`](Self::mutual): by certificates, of both. The keys are looked at all the same, but may be empty.
///
/// # Platform
/// It needs the feature `tls`; without it, serving and connecting with TLS fail with
/// [`Unsupported`](super::ManagerError::Unsupported).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls(pub(super) TlsSettings);

impl Tls {
    /// Without certificates. The key must have 16 bytes or more, best random ones: whoever gets an answer of the
    /// manager's can try out keys in their own time.
    #[must_use]
    pub fn keyed() -> Self {
        Tls(TlsSettings::Keyed)
    }

    /// With certificates: this end's with those between it and its authority, its private key, and the certificates of all
    /// authorities whose word is taken for the other end's; all in PEM. They are looked at when they are used.
    ///
    /// A client's certificate must be issued for the client's name (as a DNS name), unless that is empty.
    #[must_use]
    pub fn mutual(
        chain: impl Into<String>,
        key: impl Into<String>,
        authorities: impl Into<String>,
    ) -> Self {
        let (chain, key, authorities) = (chain.into(), key.into(), authorities.into());
        Tls(TlsSettings::Mutual { chain, key, authorities, server_name: None })
    }

    /// For whom the manager's certificate must be issued, if not for the host of its address.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        if let TlsSettings::Mutual { server_name, .. } = &mut self.0 {
            *server_name = Some(name.into());
        }
        self
    }

    pub(super) fn is_mutual(&self) -> bool {
        matches!(self.0, TlsSettings::Mutual { .. })
    }
}
