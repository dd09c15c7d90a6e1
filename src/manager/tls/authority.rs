//! Certificates for a first try.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use super::Tls;
use crate::manager::error::ManagerError;

/// Issues certificates to a manager and its clients, for a first try, or for a system that has no authority of its own.
///
/// They are valid until the year 4096. What is issued should be stored (it is all PEM), and the authority itself be dropped:
/// whoever has its key can issue more.
///
/// # Examples
/// ```
/// use procpool::manager::CertificateAuthority;
///
/// let authority = CertificateAuthority::generate()?;
/// let server = authority.issue("manager.example")?.tls(&authority.pem());
/// let client = authority.issue("reader")?.tls(&authority.pem());
/// # let _ = (server, client);
/// # Ok::<(), procpool::ManagerError>(())
/// ```
pub struct CertificateAuthority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its private key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The certificate.
    pub chain: String,
    /// Its private key.
    pub key: String,
}

fn failed(error: rcgen::Error) -> ManagerError {
    ManagerError::Tls { reason: format!("a certificate: {error}") }
}

impl CertificateAuthority {
    /// A new one, with a key of its own.
    ///
    /// # Errors
    /// [`Tls`](ManagerError::Tls) if the system has no random numbers.
    pub fn generate() -> Result<Self, ManagerError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "procpool");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(failed)?;
        CertifiedIssuer::self_signed(params, key).map(CertificateAuthority).map_err(failed)
    }

    /// Its own certificate, by which others know what it has issued.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a host's name or number, or a client's name.
    ///
    /// # Errors
    /// [`Tls`](ManagerError::Tls) if it is no such name.
    pub fn issue(&self, name: &str) -> Result<TlsIdentity, ManagerError> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &*self.0).map_err(failed)?;
        Ok(TlsIdentity { chain: certificate.pem(), key: key.serialize_pem() })
    }
}

impl TlsIdentity {
    /// As [`Tls::mutual`], with whatever these authorities have issued on the other end.
    #[must_use]
    pub fn tls(&self, authorities: &str) -> Tls {
        Tls::mutual(self.chain.clone(), self.key.clone(), authorities)
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateAuthority")
    }
}

/// Without the key.
impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("chain", &self.chain).finish_non_exhaustive()
    }
}
