//! Connects to a server over the network.

use std::io;
use std::time::Duration;

use super::tcp::{connect, plain, resolve};
use super::{NetConnection, NetError, TlsClient, TlsSettings};

/// Whom to connect to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<TlsSettings>,
}

/// Has `told` called with the connection, on a thread of its own. That pumps as long as the connection lasts, if it has to
/// be pumped: neither a runtime that ends nor a thread that waits is in its way.
pub(crate) fn dial(
    target: Target,
    limit: Duration,
    told: impl FnOnce(Result<NetConnection, NetError>) + Send + 'static,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        runtime.block_on(async {
            let opened = tokio::time::timeout(limit, open(&target)).await;
            let opened =
                opened.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
            let (opened, pump) = match opened {
                Ok(mut connection) => {
                    let pump = connection.pump.take();
                    (Ok(connection), pump)
                }
                Err(error) => (Err(error), None),
            };
            told(opened);
            if let Some(pump) = pump {
                pump.await;
            }
        });
        // Looking up a name can take longer than anybody waits.
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name("procpool-net".into()).spawn(run)?;
    Ok(())
}

async fn open(target: &Target) -> Result<NetConnection, NetError> {
    let Target { host, port, tls } = target;
    let tls = tls.as_ref().map(|tls| TlsClient::new(tls, host)).transpose()?;
    let addresses = resolve(host, *port, tls.is_some()).await?;
    let stream = connect(&addresses).await?;
    match tls {
        Some(tls) => tls.connect(stream).await,
        None => plain(stream),
    }
}
