//! Managers: objects that a server has, and that any process uses by proxies.
//!
//! [`Manager::start`] starts a process that has them, [`Manager::local`] has them in this one. Whoever has a
//! [`ManagerHandle`] or a proxy uses them, from whatever process. [`Manager::serve`] has them for other programs, also on
//! other machines, which [`Manager::connect`] to it.

#[macro_use]
mod methods;

mod address;
mod auth;
mod client;
mod core;
mod error;
mod fault;
mod handle;
mod handshake;
mod network;
mod op;
mod options;
mod owner;
mod proxy;
mod reach;
mod request;
mod rights;
mod route;
mod server;
mod shared;
mod tls;
mod types;

pub use address::ManagerAddress;
pub use auth::AuthKey;
pub use error::{CallFailure, ManagerError};
pub use handle::{ManagerHandle, ManagerStats};
pub use options::{ClientLimits, ConnectOptions, ServeOptions};
pub use owner::{Manager, ManagerBuilder};
pub use proxy::{
    ArrayProxy, BarrierProxy, BoundedSemaphoreProxy, ConditionProxy, DictProxy, EventProxy,
    JoinableQueueProxy, ListProxy, LockProxy, LockProxyGuard, NamespaceProxy, PoolProxy, Proxy,
    QueueProxy, RLockProxy, SemaphoreProxy, SemaphoreProxyPermit, SetProxy, ValueProxy,
};
pub use request::Request;
pub use rights::Rights;
pub use shared::Shared;
pub use tls::Tls;
#[cfg(feature = "tls")]
pub use tls::{CertificateAuthority, TlsIdentity};
/// What `#[procpool::shared]` expands to.
pub(crate) mod own {
    pub use super::proxy::{OwnProxy, Wraps, block, from_other, make, to_other};
    pub use super::shared::{ByValue, Maker, Method, NotByValue, Shared, id};
    pub use super::types::SharedType;
}
