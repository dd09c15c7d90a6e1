//! How TLS is to be set up.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Texts alone, so that they can go to another process.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TlsSettings {
    /// Certificates mean nothing: what is said over the connection is bound to it, and proves who both are.
    Keyed,
    /// Both ends have certificates, in PEM.
    Mutual {
        chain: String,
        key: String,
        authorities: String,
        /// Whose certificate the server has, if not its host's.
        server_name: Option<String>,
    },
}

/// Without the key.
impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsSettings::Keyed => "Keyed",
            TlsSettings::Mutual { .. } => "Mutual",
        })
    }
}
