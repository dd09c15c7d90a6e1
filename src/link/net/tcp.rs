//! TCP: who may use which address, and how its connections are set up.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};

use super::pump::pumped;
use super::{NetConnection, NetError, TlsServer};
use crate::link::End;
use crate::sys::limit_resending;

/// A connection of which nothing is heard for so long is asked whether it is still there,
const IDLE: Duration = Duration::from_secs(15);
/// so often,
const INTERVAL: Duration = Duration::from_secs(5);
/// and so many times, before it is lost.
const RETRIES: u32 = 3;
/// How long what was sent may stay unacknowledged.
const RESENDING: Duration = Duration::from_secs(30);

/// What a host is called in numbers. All of them must be this machine's own if the connection is not `secure`.
pub(super) async fn resolve(
    host: &str,
    port: u16,
    secure: bool,
) -> Result<Vec<SocketAddr>, NetError> {
    let found: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
    let public = found.iter().find(|address| !address.ip().to_canonical().is_loopback());
    match public {
        Some(public) if !secure => Err(NetError::Insecure(*public)),
        _ => Ok(found),
    }
}

/// Listens there; a port that was in use a moment ago can be used again.
pub(crate) async fn listen(host: &str, port: u16, secure: bool) -> Result<TcpListener, NetError> {
    let addresses = resolve(host, port, secure).await?;
    Ok(TcpListener::bind(addresses.as_slice()).await?)
}

fn prepare(stream: &TcpStream) {
    // None of this can fail but for a connection that is over already.
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(IDLE).with_interval(INTERVAL);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive.with_retries(RETRIES));
    let _ = limit_resending(stream, RESENDING);
}

/// What has connected to a server, as it is used from here on.
pub(crate) async fn accept(
    stream: TcpStream,
    tls: Option<&TlsServer>,
) -> Result<NetConnection, NetError> {
    prepare(&stream);
    match tls {
        Some(tls) => tls.accept(stream).await,
        None => plain(stream),
    }
}

pub(super) async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, NetError> {
    let stream = TcpStream::connect(addresses).await?;
    prepare(&stream);
    Ok(stream)
}

pub(super) fn plain(stream: TcpStream) -> Result<NetConnection, NetError> {
    let refused = Arc::new(OnceLock::new());
    let (end, pump) = match End::of_tcp(stream.into_std()?)? {
        Ok(end) => (end, None),
        Err(stream) => {
            let (end, pump) = pumped(TcpStream::from_std(stream)?, refused.clone())?;
            (end, Some(Box::pin(pump) as super::Pump))
        }
    };
    Ok(NetConnection { end, pump, binding: Vec::new(), certificate: None, refused })
}
