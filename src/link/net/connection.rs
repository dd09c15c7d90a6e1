//! A connection over the network, as whoever uses it sees it.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use super::PeerCertificate;
use crate::link::End;

/// What copies between an end and the network, until one of them is over. It needs a runtime with I/O and time.
pub(crate) type Pump = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) struct NetConnection {
    pub(crate) end: End,
    /// Without one the end is the connection itself.
    pub(crate) pump: Option<Pump>,
    /// What is known to the two ends of this connection of TLS alone; empty if it is none.
    pub(crate) binding: Vec<u8>,
    /// Of whoever has connected to a server that wants to see one.
    pub(crate) certificate: Option<PeerCertificate>,
    /// Why the other end has refused this one, once the pump knows.
    pub(crate) refused: Arc<OnceLock<String>>,
}
