//! Why there is no connection over the network.

use std::io;
use std::net::SocketAddr;

#[derive(Debug, thiserror::Error)]
pub(crate) enum NetError {
    /// Others could listen in.
    #[error("{0} can be reached from other machines")]
    Insecure(SocketAddr),
    /// What was set up for TLS is of no use.
    #[cfg(feature = "tls")]
    #[error("{0}")]
    Settings(String),
    /// The two ends do not trust each other.
    #[cfg(feature = "tls")]
    #[error("TLS: {0}")]
    Tls(String),
    #[cfg(not(feature = "tls"))]
    #[error("this program was built without TLS: enable the feature `tls` of procpool")]
    NoTls,
    #[error(transparent)]
    Io(#[from] io::Error),
}
