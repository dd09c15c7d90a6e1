//! How a process reaches a manager.

use std::io;

use serde::{Deserialize, Serialize};

use super::address::ManagerAddress;
use super::auth::AuthKey;
use super::error::ManagerError;
use crate::link::net::TlsSettings;

/// Where a manager is, and who this process is to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Route {
    pub(super) address: ManagerAddress,
    pub(super) client: String,
    #[serde(with = "secret")]
    pub(super) key: AuthKey,
    pub(super) tls: Option<TlsSettings>,
}

/// A key goes to the processes that a proxy is handed to, and nowhere else.
mod secret {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::AuthKey;

    pub(super) fn serialize<S: Serializer>(key: &AuthKey, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(key.as_bytes())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<AuthKey, D::Error> {
        <Vec<u8>>::deserialize(from).map(AuthKey::new)
    }
}

impl Route {
    pub(super) fn unreachable(&self, error: &io::Error) -> ManagerError {
        ManagerError::died(format!("nobody answers at {}: {error}", self.address))
    }
}
