//! A connection to a manager before anything is said over it.

use std::sync::{Arc, OnceLock};

use super::address::ManagerAddress;
use super::client::PATIENCE;
use super::error::ManagerError;
use super::route::Route;
use crate::link::End;
use crate::link::net::{self, NetConnection, NetError, Target};

pub(super) struct Reached {
    pub(super) end: End,
    /// What is known to the two ends of the connection alone.
    pub(super) binding: Vec<u8>,
    /// Why the manager's end does not want it, once that is known.
    pub(super) refused: Arc<OnceLock<String>>,
}

impl From<End> for Reached {
    fn from(end: End) -> Self {
        Reached { end, binding: Vec::new(), refused: Arc::default() }
    }
}

impl From<NetConnection> for Reached {
    fn from(net: NetConnection) -> Self {
        let NetConnection { end, binding, refused, .. } = net;
        Reached { end, binding, refused }
    }
}

impl Route {
    fn failed(&self, error: NetError) -> ManagerError {
        match error {
            NetError::Io(e) => self.unreachable(&e),
            #[cfg(feature = "tls")]
            NetError::Tls(reason) => {
                ManagerError::Authentication { reason: format!("TLS: {reason}") }
            }
            other => other.into(),
        }
    }

    fn target(&self, host: &str, port: u16) -> Target {
        Target { host: host.to_owned(), port, tls: self.tls.clone() }
    }

    pub(super) async fn reach(&self) -> Result<Reached, ManagerError> {
        match &self.address {
            ManagerAddress::Local(address) => {
                let end = crate::channel::connect_end(address).await;
                Ok(end.map_err(|e| self.unreachable(&e))?.into())
            }
            ManagerAddress::Tcp { host, port } => {
                let (tell, told) = tokio::sync::oneshot::channel();
                net::dial(self.target(host, *port), PATIENCE, |opened| drop(tell.send(opened)))
                    .map_err(|e| self.unreachable(&e))?;
                let opened = told.await.unwrap_or_else(|_| Err(gone()));
                Ok(opened.map_err(|e| self.failed(e))?.into())
            }
        }
    }

    /// The same on a thread that may wait.
    pub(super) fn blocking_reach(&self) -> Result<Reached, ManagerError> {
        match &self.address {
            ManagerAddress::Local(address) => {
                let end = crate::channel::blocking_connect_end(address);
                Ok(end.map_err(|e| self.unreachable(&e))?.into())
            }
            ManagerAddress::Tcp { host, port } => {
                let (tell, told) = std::sync::mpsc::channel();
                net::dial(self.target(host, *port), PATIENCE, move |opened| {
                    drop(tell.send(opened))
                })
                .map_err(|e| self.unreachable(&e))?;
                let opened = told.recv().unwrap_or_else(|_| Err(gone()));
                Ok(opened.map_err(|e| self.failed(e))?.into())
            }
        }
    }
}

fn gone() -> NetError {
    NetError::Io(std::io::Error::other("the thread that was to connect has ended"))
}
