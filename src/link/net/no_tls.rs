//! In place of TLS where it is not built in: there is none of these.

use tokio::net::TcpStream;

use super::{NetConnection, NetError, TlsSettings};

#[derive(Debug)]
pub(crate) enum TlsServer {}

impl TlsServer {
    pub(crate) fn new(_: &TlsSettings) -> Result<Self, NetError> {
        Err(NetError::NoTls)
    }

    #[allow(clippy::unused_async, reason = "as with TLS")]
    pub(super) async fn accept(&self, _: TcpStream) -> Result<NetConnection, NetError> {
        match *self {}
    }
}

pub(super) enum TlsClient {}

impl TlsClient {
    pub(super) fn new(_: &TlsSettings, _: &str) -> Result<Self, NetError> {
        Err(NetError::NoTls)
    }

    #[allow(clippy::unused_async, reason = "as with TLS")]
    pub(super) async fn connect(self, _: TcpStream) -> Result<NetConnection, NetError> {
        match self {}
    }
}

#[derive(Debug)]
pub(crate) enum PeerCertificate {}

impl PeerCertificate {
    pub(crate) fn is_for(&self, _: &str) -> bool {
        match *self {}
    }
}
