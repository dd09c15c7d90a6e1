//! TLS 1.3, and nothing older; with certificates on both ends, or bound to what is said over it.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::pump::pumped;
use super::{NetConnection, NetError, TlsSettings};

/// Of what both ends know of their connection, this is ours (RFC 5705, RFC 8446 7.5).
const LABEL: &[u8] = b"EXPORTER-procpool-manager";

/// How long a refused client may take to hear of it.
const MOMENT: Duration = Duration::from_secs(1);

/// Closes a connection once its client has done so: a system that has something unread would have the client forget why
/// it was refused.
async fn let_go(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut buf = [0; 1024];
    while stream.read(&mut buf).await? > 0 {}
    Ok(())
}

fn settings(error: impl std::fmt::Display) -> NetError {
    NetError::Settings(format!("certificates for TLS: {error}"))
}

fn failed(error: impl std::fmt::Display) -> NetError {
    NetError::Tls(error.to_string())
}

fn chain_of(pem: &str) -> Result<Vec<CertificateDer<'static>>, NetError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match chain.map_err(settings)? {
        chain if chain.is_empty() => Err(settings("there is none in the text")),
        chain => Ok(chain),
    }
}

fn key_of(pem: &str) -> Result<PrivateKeyDer<'static>, NetError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(settings)
}

fn roots_of(pem: &str) -> Result<Arc<RootCertStore>, NetError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain_of(pem)? {
        roots.add(certificate).map_err(settings)?;
    }
    Ok(Arc::new(roots))
}

/// What is bound to it, and the pumped connection.
fn connection<S>(
    stream: S,
    exported: Result<[u8; 32], rustls::Error>,
    certificate: Option<PeerCertificate>,
) -> Result<NetConnection, NetError>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let binding = exported.map_err(failed)?.to_vec();
    let refused = Arc::new(OnceLock::new());
    let (end, pump) = pumped(stream, refused.clone())?;
    Ok(NetConnection { end, pump: Some(Box::pin(pump)), binding, certificate, refused })
}

pub(crate) struct TlsServer(TlsAcceptor);

impl std::fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsServer")
    }
}

impl TlsServer {
    pub(crate) fn new(tls: &TlsSettings) -> Result<Self, NetError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(settings)?;
        let mut config = match tls {
            TlsSettings::Keyed => {
                // One for the time being: nobody looks at more of it than that its owner has the key.
                let key = rcgen::KeyPair::generate().map_err(settings)?;
                let params = rcgen::CertificateParams::new(vec!["procpool".to_owned()]);
                let certificate = params.and_then(|params| params.self_signed(&key));
                let chain = vec![certificate.map_err(settings)?.der().clone()];
                let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(settings)?;
                builder.with_no_client_auth().with_single_cert(chain, key)
            }
            TlsSettings::Mutual { chain, key, authorities, .. } => {
                let roots = roots_of(authorities)?;
                let clients = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder
                    .with_client_cert_verifier(clients.build().map_err(settings)?)
                    .with_single_cert(chain_of(chain)?, key_of(key)?)
            }
        }
        .map_err(settings)?;
        // Each connection proves everything anew.
        config.send_tls13_tickets = 0;
        Ok(TlsServer(TlsAcceptor::from(Arc::new(config))))
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> Result<NetConnection, NetError> {
        let stream = match self.0.accept(stream).into_fallible().await {
            Ok(stream) => stream,
            Err((error, stream)) => {
                let _ = tokio::time::timeout(MOMENT, let_go(stream)).await;
                return Err(failed(error));
            }
        };
        let (_, session) = stream.get_ref();
        let exported = session.export_keying_material([0; 32], LABEL, None);
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let certificate = certificate.map(|one| PeerCertificate(one.clone().into_owned()));
        connection(stream, exported, certificate)
    }
}

pub(super) struct TlsClient {
    connector: TlsConnector,
    server: ServerName<'static>,
}

impl TlsClient {
    pub(super) fn new(tls: &TlsSettings, host: &str) -> Result<Self, NetError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(settings)?;
        let (mut config, server) = match tls {
            TlsSettings::Keyed => {
                let any = Arc::new(AnyCertificate(provider));
                let builder = builder.dangerous().with_custom_certificate_verifier(any);
                (builder.with_no_client_auth(), "procpool")
            }
            TlsSettings::Mutual { chain, key, authorities, server_name } => {
                let roots = roots_of(authorities)?;
                let servers = WebPkiServerVerifier::builder_with_provider(roots, provider);
                let config = builder
                    .with_webpki_verifier(servers.build().map_err(settings)?)
                    .with_client_auth_cert(chain_of(chain)?, key_of(key)?)
                    .map_err(settings)?;
                (config, server_name.as_deref().unwrap_or(host))
            }
        };
        config.resumption = Resumption::disabled();
        let server = ServerName::try_from(server.to_owned()).map_err(settings)?;
        Ok(TlsClient { connector: TlsConnector::from(Arc::new(config)), server })
    }

    pub(super) async fn connect(self, stream: TcpStream) -> Result<NetConnection, NetError> {
        let stream = self.connector.connect(self.server, stream).await.map_err(failed)?;
        let (_, session) = stream.get_ref();
        let exported = session.export_keying_material([0; 32], LABEL, None);
        connection(stream, exported, None)
    }
}

/// A certificate that was checked to be of one of the authorities.
#[derive(Debug)]
pub(crate) struct PeerCertificate(CertificateDer<'static>);

impl PeerCertificate {
    /// Whether it was issued for that name.
    pub(crate) fn is_for(&self, name: &str) -> bool {
        let Ok(name) = ServerName::try_from(name) else { return false };
        ParsedCertificate::try_from(&self.0)
            .is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
    }
}

/// Takes whatever certificate there is, if only its owner has the key to it: that makes the connection one with whoever
/// is at its other end, and who that is is found out over it.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
