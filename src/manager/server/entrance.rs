//! Where clients come in.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use super::connection::{self, PATIENCE};
use super::gate::{Gate, Place};
use super::store::Store;
use crate::link::net::{self, NetConnection, PeerCertificate, TlsServer};
use crate::link::{Acceptor, End, Pace};

pub(in crate::manager) enum Entrance {
    /// For processes of this user on this machine.
    Local(Acceptor),
    Tcp(TcpListener, Option<Arc<TlsServer>>),
}

/// Somebody who has come in.
pub(super) enum Guest {
    Local(End),
    Tcp(TcpStream, SocketAddr, Option<Arc<TlsServer>>),
}

/// What is known of a connection before anything is said over it.
#[derive(Default)]
pub(super) struct Way {
    /// What is known to its two ends alone.
    pub(super) binding: Vec<u8>,
    pub(super) certificate: Option<PeerCertificate>,
    /// It can be lost without its client's end.
    pub(super) is_network: bool,
}

impl Entrance {
    /// The next one; `None` if it was one that is not let in.
    pub(super) async fn accept(&mut self) -> io::Result<Option<Guest>> {
        match self {
            Entrance::Local(acceptor) => {
                let (end, caller) = poll_fn(|cx| acceptor.accept(&mut Pace::Task(cx))).await?;
                if caller.is_same_user {
                    return Ok(Some(Guest::Local(end)));
                }
                tracing::warn!(
                    target: "procpool",
                    pid = caller.pid,
                    user = caller.user,
                    "a process of another user was refused by a manager"
                );
                Ok(None)
            }
            Entrance::Tcp(listener, tls) => {
                let (stream, from) = listener.accept().await?;
                Ok(Some(Guest::Tcp(stream, from, tls.clone())))
            }
        }
    }
}

impl Guest {
    /// The machine it comes from, if that is known.
    pub(super) fn from(&self) -> Option<IpAddr> {
        match self {
            Guest::Local(_) => None,
            Guest::Tcp(_, from, _) => Some(from.ip().to_canonical()),
        }
    }

    /// Serves it to its end.
    pub(super) async fn serve(self, store: Arc<Store>, gate: Arc<Gate>, mut unknown: Place) {
        let (stream, from, tls) = match self {
            Guest::Local(end) => {
                return connection::run(store, end, Way::default(), gate, unknown).await;
            }
            Guest::Tcp(stream, from, tls) => (stream, from, tls),
        };
        let opened = match unknown.within(net::accept(stream, tls.as_deref())).await {
            Some(Ok(opened)) => opened,
            Some(Err(error)) => {
                return tracing::warn!(
                    target: "procpool",
                    %from,
                    "a client of a manager was refused: {error}"
                );
            }
            None => return,
        };
        let NetConnection { end, pump, binding, certificate, .. } = opened;
        let way = Way { binding, certificate, is_network: true };
        let served = connection::run(store, end, way, gate, unknown);
        let Some(pump) = pump else { return served.await };
        tokio::pin!(served);
        let mut pump = pump;
        // The pump takes out what was said last, and the connection deals with what has come in last.
        tokio::select! {
            () = &mut served => drop(tokio::time::timeout(PATIENCE, pump).await),
            () = &mut pump => served.await,
        }
    }
}
