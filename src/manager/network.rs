//! Managers that other programs use.

use std::sync::Arc;

use super::address::ManagerAddress;
use super::client;
use super::error::ManagerError;
use super::handle::ManagerHandle;
use super::options::{ConnectOptions, ServeOptions, check_key};
use super::owner::{Manager, local_owner};
use super::route::Route;
use super::server::{Entrance, Gate};
use crate::link::Acceptor;
use crate::link::net::{self, TlsServer};

/// An address, however it is given.
fn address<A>(address: A) -> Result<ManagerAddress, ManagerError>
where
    A: TryInto<ManagerAddress>,
    ManagerError: From<A::Error>,
{
    Ok(address.try_into()?)
}

/// Listens there; where that is.
async fn listen(
    at: ManagerAddress,
    options: &ServeOptions,
) -> Result<(Entrance, ManagerAddress), ManagerError> {
    let io = |e: std::io::Error| ManagerError::io("listening", &e);
    match at {
        ManagerAddress::Local(address) => {
            if options.tls.is_some() {
                let what = "TLS at an address of this machine alone".to_owned();
                return Err(ManagerError::Unsupported { what });
            }
            let acceptor = Acceptor::bind(address.family(), address.name(), false).map_err(io)?;
            Ok((Entrance::Local(acceptor), ManagerAddress::Local(address)))
        }
        ManagerAddress::Tcp { host, port } => {
            let tls = options.tls.as_ref().map(|tls| TlsServer::new(&tls.0)).transpose()?;
            let listener = net::listen(&host, port, tls.is_some()).await?;
            let port = listener.local_addr().map_err(io)?.port();
            let tls = tls.map(Arc::new);
            Ok((Entrance::Tcp(listener, tls), ManagerAddress::Tcp { host, port }))
        }
    }
}

impl Manager {
    /// Has objects in this process, served by tasks of this runtime to whoever may connect to `address`.
    ///
    /// This process itself, and processes that it hands proxies to, use a private socket, as with [`local`](Self::local), and
    /// have all rights. Others [`connect`](Self::connect). Nothing is listened to on the network but the address, and one
    /// that other machines can reach only by [TLS](ServeOptions::tls). At an address that is a path, only processes of this
    /// user are let in.
    ///
    /// The port can be had again at once after [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    /// [`Insecure`](ManagerError::Insecure) if other machines can reach the address, and there is no TLS;
    /// [`Authentication`](ManagerError::Authentication) if a key is empty, or with TLS and no certificates shorter than 16 bytes;
    /// [`Start`](ManagerError::Start) if no client is named, or two alike; [`Tls`](ManagerError::Tls) if certificates are of
    /// no use; [`Unsupported`](ManagerError::Unsupported) for TLS without the feature `tls`;
    /// [`BadAddress`](ManagerError::BadAddress); the system's, if it cannot listen.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropped, it does not listen.
    ///
    /// # Crash behaviour
    /// What a client had of objects is kept for 30 s when its connection is lost; what it held of locks and semaphores is
    /// free at once, since nobody could tell a connection that is interrupted from a client that has died.
    ///
    /// # Examples
    /// ```
    /// use procpool::manager::{AuthKey, Manager};
    /// use procpool::DictProxy;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), procpool::ManagerError> {
    /// let key = AuthKey::random();
    /// let manager = Manager::serve("127.0.0.1:0", key.clone()).await?;
    /// let scores = manager.dict([("Adam".to_owned(), 9)]).await?;
    /// manager.publish("scores", &scores).await?;
    ///
    /// // In another program:
    /// let there = Manager::connect(manager.address(), key).await?;
    /// let found: DictProxy<String, i32> = there.find("scores").await?;
    /// assert_eq!(found.get("Adam").await?, Some(9));
    /// manager.shutdown().await?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "serve_forever")]
    pub async fn serve<A>(at: A, options: impl Into<ServeOptions>) -> Result<Self, ManagerError>
    where
        A: TryInto<ManagerAddress>,
        ManagerError: From<A::Error>,
    {
        let options = options.into();
        options.check()?;
        let (entrance, address) = listen(address(at)?, &options).await?;
        let gate = Gate::of(&options);
        local_owner(Some((entrance, gate, address))).await
    }

    /// Connects to a manager that another program [serves](Self::serve).
    ///
    /// A connection that is lost is made again by the next request; what was under way fails with
    /// [`Died`](ManagerError::Died). Once another manager answers at the address, all that was had of the old one fails with
    /// [`Restarted`](ManagerError::Restarted).
    ///
    /// # Errors
    /// [`Authentication`](ManagerError::Authentication) if the manager does not know this client, or is not the one it
    /// should be; [`Died`](ManagerError::Died) if nobody answers; [`Limit`](ManagerError::Limit) if this client has as many
    /// connections as it may; [`Insecure`](ManagerError::Insecure) if the address is on another machine, and there is no TLS;
    /// the others as of [`serve`](Self::serve).
    ///
    /// # Cancel safety
    /// Dropped, it has not connected.
    #[doc(alias = "get_server")]
    pub async fn connect<A>(
        at: A,
        options: impl Into<ConnectOptions>,
    ) -> Result<ManagerHandle, ManagerError>
    where
        A: TryInto<ManagerAddress>,
        ManagerError: From<A::Error>,
    {
        let route = route(address(at)?, options.into())?;
        let client = client::connect(&route).await?;
        Ok(ManagerHandle::new(route, client))
    }

    /// [`connect`](Self::connect) on a thread that may wait.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn blocking_connect<A>(
        at: A,
        options: impl Into<ConnectOptions>,
    ) -> Result<ManagerHandle, ManagerError>
    where
        A: TryInto<ManagerAddress>,
        ManagerError: From<A::Error>,
    {
        let route = route(address(at)?, options.into())?;
        let client = client::blocking_connect(&route)?;
        Ok(ManagerHandle::new(route, client))
    }
}

fn route(address: ManagerAddress, options: ConnectOptions) -> Result<Route, ManagerError> {
    let ConnectOptions { name, key, tls } = options;
    check_key(&name, &key, tls.as_ref())?;
    Ok(Route { address, client: name, key, tls: tls.map(|tls| tls.0) })
}
