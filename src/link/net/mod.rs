//! Connections over the network, as ends: TCP, and TLS on top of it.
//!
//! Whoever uses one reads and writes an [`End`](super::End), as of a pipe. Where a socket of TCP is an end by itself, it is that;
//! else a pump copies between the network and one end of a pair of this process's own, the other one of which is used. The
//! pair's room is all that lies between, so that whoever does not read slows down whoever writes.

mod connection;
mod dial;
mod error;
#[cfg(not(feature = "tls"))]
mod no_tls;
mod pump;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
mod tls_settings;

pub(crate) use connection::{NetConnection, Pump};
pub(crate) use dial::{Target, dial};
pub(crate) use error::NetError;
#[cfg(not(feature = "tls"))]
use no_tls::TlsClient;
#[cfg(not(feature = "tls"))]
pub(crate) use no_tls::{PeerCertificate, TlsServer};
pub(crate) use tcp::{accept, listen};
#[cfg(feature = "tls")]
use tls::TlsClient;
#[cfg(feature = "tls")]
pub(crate) use tls::{PeerCertificate, TlsServer};
pub(crate) use tls_settings::TlsSettings;
