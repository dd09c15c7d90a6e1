//! Managers that other machines could reach.
#![cfg(feature = "tls")]

mod common;

use std::sync::Arc;

use procpool::manager::{
    AuthKey, CertificateAuthority, ConnectOptions, ManagerAddress, Rights, ServeOptions, Tls,
};
use procpool::{ListProxy, Manager, ManagerError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls;

procpool::test_hook!();

fn key() -> AuthKey {
    AuthKey::new("a key that both of them know")
}

fn none() -> AuthKey {
    AuthKey::new("")
}

/// The manager's own address as others reach it.
fn reached(manager: &Manager) -> ManagerAddress {
    format!("localhost:{}", manager.address().port().unwrap()).parse().unwrap()
}

async fn refused(at: &ManagerAddress, options: ConnectOptions) -> String {
    let error = Manager::connect(at, options).await.unwrap_err();
    assert!(matches!(error, ManagerError::Authentication { .. }), "{error:?}");
    error.to_string()
}

#[test]
fn a_key_alone_is_enough_for_other_machines() {
    common::run(|| async {
        let serve = ServeOptions::from(key()).tls(Tls::keyed());
        let manager = Manager::serve("0.0.0.0:0", serve).await.unwrap();
        let at: ManagerAddress =
            format!("127.0.0.1:{}", manager.address().port().unwrap()).parse().unwrap();
        let with = |key: AuthKey| ConnectOptions::from(key).tls(Tls::keyed());
        let there = Manager::connect(&at, with(key())).await.unwrap();
        // Both directions are full at times.
        let long = vec![7u8; 5 << 20];
        let list = there.list([long.clone()]).await.unwrap();
        assert!(list.get(0).await.unwrap() == long);
        there.publish("list", &list).await.unwrap();
        let to = at.clone();
        let blocking = tokio::task::spawn_blocking(move || {
            let there = Manager::blocking_connect(&to, with(key())).unwrap();
            let list: ListProxy<Vec<u8>> = there.blocking_find("list").unwrap();
            list.blocking_push(&vec![1]).unwrap();
            list.blocking_get(0).unwrap().len()
        });
        assert_eq!(blocking.await.unwrap(), 5 << 20);
        assert_eq!(list.len().await.unwrap(), 2);
        refused(&at, with(AuthKey::new("another key of some length"))).await;
        // Not even asked: it could be found out by trying.
        refused(&at, with(AuthKey::new("short"))).await;
        let short = ServeOptions::from(AuthKey::new("short")).tls(Tls::keyed());
        let error = Manager::serve("0.0.0.0:0", short).await.unwrap_err();
        assert!(matches!(error, ManagerError::Authentication { .. }), "{error:?}");
        // In the clear nothing is understood.
        let error = Manager::connect(&at, key()).await.unwrap_err();
        assert!(
            matches!(error, ManagerError::Died { .. } | ManagerError::Authentication { .. }),
            "{error:?}"
        );
        drop((there, list));
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn certificates_say_who_both_are() {
    common::run(|| async {
        let authority = CertificateAuthority::generate().unwrap();
        let pem = authority.pem();
        let issue = |name: &str| authority.issue(name).unwrap().tls(&pem);
        let serve = ServeOptions::new()
            .client("reader", none(), Rights::none().read_only())
            .client("writer", none(), Rights::all())
            .client("both", key(), Rights::all())
            .tls(issue("localhost"));
        let manager = Manager::serve("0.0.0.0:0", serve).await.unwrap();
        let at = reached(&manager);
        let options = |name: &str, key: AuthKey, tls: Tls| ConnectOptions::new(name, key).tls(tls);
        let writer =
            Manager::connect(&at, options("writer", none(), issue("writer"))).await.unwrap();
        writer.publish("list", &writer.list([1u32]).await.unwrap()).await.unwrap();
        let reader =
            Manager::connect(&at, options("reader", none(), issue("reader"))).await.unwrap();
        let list: ListProxy<u32> = reader.find("list").await.unwrap();
        assert_eq!(list.to_vec().await.unwrap(), [1]);
        assert!(matches!(list.push(&2).await, Err(ManagerError::Denied { .. })));
        // Its own certificate does not make it another.
        refused(&at, options("writer", none(), issue("reader"))).await;
        // The key is asked for as well where there is one.
        Manager::connect(&at, options("both", key(), issue("both"))).await.unwrap();
        refused(&at, options("both", AuthKey::new("another key"), issue("both"))).await;
        // Of another authority, and of none.
        let other = CertificateAuthority::generate().unwrap();
        refused(&at, options("writer", none(), other.issue("writer").unwrap().tls(&pem))).await;
        refused(&at, options("both", key(), Tls::keyed())).await;
        // The manager's has to be of its host's name and its authority's, too.
        let error =
            refused(&at, options("writer", none(), issue("writer").server_name("other"))).await;
        assert!(error.contains("certificate"), "{error}");
        let distrusting = authority.issue("writer").unwrap().tls(&other.pem());
        refused(&at, options("writer", none(), distrusting)).await;
        let nonsense = Tls::mutual("nonsense", "nonsense", "nonsense");
        let error = Manager::connect(&at, options("writer", none(), nonsense)).await.unwrap_err();
        assert!(matches!(error, ManagerError::Tls { .. }), "{error:?}");
        manager.shutdown().await.unwrap();
    });
}

/// A certificate that an authority issued until a time that is over.
fn expired(name: &str, issuer: &rcgen::Issuer<'_, rcgen::KeyPair>, authority: &str) -> Tls {
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    Tls::mutual(certificate.pem(), key.serialize_pem(), authority)
}

#[test]
fn expired_certificates_are_refused() {
    common::run(|| async {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority =
            rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap())
                .unwrap();
        let pem = authority.pem();
        let good = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &*authority).unwrap();
            Tls::mutual(certificate.pem(), key.serialize_pem(), pem.clone())
        };
        let old = |name: &str| expired(name, &authority, &pem);
        let serve = |tls: Tls| {
            let options = ServeOptions::new().client("me", none(), Rights::all()).tls(tls);
            async { Manager::serve("0.0.0.0:0", options).await.unwrap() }
        };
        let me = |tls: Tls| ConnectOptions::new("me", none()).tls(tls);
        let manager = serve(good("localhost")).await;
        let at = reached(&manager);
        Manager::connect(&at, me(good("me"))).await.unwrap();
        let error = refused(&at, me(old("me"))).await;
        assert!(error.to_lowercase().contains("expired"), "{error}");
        manager.shutdown().await.unwrap();
        let manager = serve(old("localhost")).await;
        let error = refused(&reached(&manager), me(good("me"))).await;
        assert!(error.to_lowercase().contains("expired"), "{error}");
        manager.shutdown().await.unwrap();
    });
}

/// Takes connections with a certificate of its own, and passes on what is said: only the key could tell.
#[test]
fn somebody_in_the_middle_is_noticed() {
    common::run(|| async {
        let serve = ServeOptions::from(key()).tls(Tls::keyed());
        let manager = Manager::serve("0.0.0.0:0", serve).await.unwrap();
        let port = manager.address().port().unwrap();
        let middle = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at: ManagerAddress = middle.local_addr().unwrap().into();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let made = rcgen::generate_simple_self_signed(vec!["procpool".to_owned()]).unwrap();
        let chain = vec![made.cert.der().clone()];
        let secret = made.signing_key.serialize_der().try_into().unwrap();
        let to_client = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .unwrap();
        let to_client = tokio_rustls::TlsAcceptor::from(Arc::new(to_client));
        let to_server = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        let to_server = tokio_rustls::TlsConnector::from(Arc::new(to_server));
        let relay = tokio::spawn(async move {
            let (client, _) = middle.accept().await.unwrap();
            let mut client = to_client.accept(client).await.unwrap();
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let name = "procpool".try_into().unwrap();
            let mut server = to_server.connect(name, server).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
        let options = ConnectOptions::from(key()).tls(Tls::keyed());
        let error = refused(&at, options).await;
        assert!(error.contains("does not know the key"), "{error}");
        relay.await.unwrap();
        manager.shutdown().await.unwrap();
    });
}

#[derive(Debug)]
struct Anybody;

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        unreachable!()
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// The greeting of a client that speaks TLS 1.2 and no newer.
const OLD_HELLO: &[u8] = &[
    22, 3, 1, 0, 61, // a record of the handshake
    1, 0, 0, 57, 3, 3, // the hello, version 1.2
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    0, // no session
    0, 2, 0xC0, 0x2B, // ECDHE-ECDSA, AES 128, GCM
    1, 0, // no compression
    0, 14, // extensions:
    0, 10, 0, 4, 0, 2, 0, 29, // X25519
    0, 13, 0, 4, 0, 2, 4, 3, // ECDSA with SHA-256; the lengths are set below
];

#[test]
fn tls_1_2_is_refused() {
    common::run(|| async {
        let serve = ServeOptions::from(key()).tls(Tls::keyed());
        let manager = Manager::serve("0.0.0.0:0", serve).await.unwrap();
        let port = manager.address().port().unwrap();
        let mut hello = OLD_HELLO.to_vec();
        let (record, message) = (hello.len() - 5, hello.len() - 9);
        hello[4] = record as u8;
        hello[8] = message as u8;
        let extensions = 5 + 6 + 32 + 1 + 4 + 2;
        hello[extensions + 1] = (hello.len() - extensions - 2) as u8;
        let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        client.write_all(&hello).await.unwrap();
        let mut said = Vec::new();
        let _ = client.read_to_end(&mut said).await;
        // A fatal alert: protocol_version.
        assert_eq!(said[..1], [21]);
        assert_eq!(said[5..], [2, 70]);
        manager.shutdown().await.unwrap();
    });
}
