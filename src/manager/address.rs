//! Where a manager is found.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::ManagerError;
use crate::channel::Address;

/// The address of a manager: one on the network, or one that only this machine's processes can reach.
///
/// | written | |
/// |---|---|
/// | `127.0.0.1:7000`, `[::1]:7000`, `localhost:7000` | TCP; port 0 is any that is free |
/// | whatever has a slash or a backslash, or begins with `@` | an [`Address`] of the local kind |
/// | anything else without a port | the same |
///
/// # Examples
/// ```
/// use procpool::manager::ManagerAddress;
///
/// let address: ManagerAddress = "[::1]:7000".parse()?;
/// assert_eq!(address.port(), Some(7000));
/// assert_eq!(address.to_string(), "[::1]:7000");
/// assert!("::1:7000".parse::<ManagerAddress>().is_err());
/// # Ok::<(), procpool::ManagerError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ManagerAddress {
    /// On the network.
    Tcp {
        /// A name or a number, that of IPv6 without brackets.
        host: String,
        /// Its port.
        port: u16,
    },
    /// On this machine.
    Local(Address),
}

impl ManagerAddress {
    /// Its port, if it is on the network.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            ManagerAddress::Tcp { port, .. } => Some(*port),
            ManagerAddress::Local(_) => None,
        }
    }

    /// Its file, if it is one.
    pub(super) fn path(&self) -> Option<PathBuf> {
        match self {
            ManagerAddress::Tcp { .. } => None,
            ManagerAddress::Local(address) => {
                Some(PathBuf::from(AsRef::<std::ffi::OsStr>::as_ref(address)))
            }
        }
    }
}

/// The host and the port of a text, if it looks like that.
fn host_and_port(text: &str) -> Option<(&str, &str)> {
    let local = text.contains(['/', '\\', '\0']) || text.starts_with('@');
    let (host, port) = text.rsplit_once(':')?;
    (!local && port.bytes().all(|byte| byte.is_ascii_digit())).then_some((host, port))
}

impl FromStr for ManagerAddress {
    type Err = ManagerError;

    fn from_str(text: &str) -> Result<Self, ManagerError> {
        let wrong = |reason: &str| ManagerError::BadAddress {
            address: text.to_owned(),
            reason: reason.to_owned(),
        };
        let Some((host, port)) = host_and_port(text) else {
            let address = Address::new(text).map_err(|e| wrong(&e.to_string()))?;
            return Ok(ManagerAddress::Local(address));
        };
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if inside.is_none() && host.contains([':', '[', ']']) {
            return Err(wrong("an address of IPv6 is put in brackets"));
        }
        let host = inside.unwrap_or(host);
        if host.is_empty() {
            return Err(wrong("it says no host"));
        }
        let port = port.parse().map_err(|_| wrong("it says no port"))?;
        Ok(ManagerAddress::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for ManagerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManagerAddress::Tcp { host, port } if host.contains(':') => {
                write!(f, "[{host}]:{port}")
            }
            ManagerAddress::Tcp { host, port } => write!(f, "{host}:{port}"),
            ManagerAddress::Local(address) => address.fmt(f),
        }
    }
}

impl TryFrom<&str> for ManagerAddress {
    type Error = ManagerError;

    fn try_from(text: &str) -> Result<Self, ManagerError> {
        text.parse()
    }
}

impl From<&ManagerAddress> for ManagerAddress {
    fn from(address: &ManagerAddress) -> Self {
        address.clone()
    }
}

impl From<SocketAddr> for ManagerAddress {
    fn from(address: SocketAddr) -> Self {
        ManagerAddress::Tcp { host: address.ip().to_string(), port: address.port() }
    }
}

impl From<Address> for ManagerAddress {
    fn from(address: Address) -> Self {
        ManagerAddress::Local(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_makes_it_one_of_the_network() {
        for (text, host) in [
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:80", "::1"),
            ("[fe80::1%eth0]:80", "fe80::1%eth0"),
            ("some.where:80", "some.where"),
        ] {
            let address: ManagerAddress = text.parse().unwrap();
            assert_eq!(address, ManagerAddress::Tcp { host: host.to_owned(), port: 80 });
            assert_eq!(address.to_string(), text);
        }
        let local = Address::families()[0];
        for text in ["./a:80", "/a/b:80", "@a:80", r"\\.\pipe\a:80", "a:b", "a"] {
            match text.parse() {
                Ok(ManagerAddress::Local(address)) => assert_eq!(address.to_string(), text),
                // Of a kind that this system has not.
                other => {
                    assert!(matches!(other, Err(ManagerError::BadAddress { .. })), "{local:?}")
                }
            }
        }
        for text in ["", ":80", "::1:80", "[::1:80", "a:65536", "a:"] {
            let error = text.parse::<ManagerAddress>().unwrap_err();
            assert!(matches!(error, ManagerError::BadAddress { .. }), "{text}: {error}");
        }
    }
}
