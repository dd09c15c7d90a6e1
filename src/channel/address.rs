//! Where a listener is found.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::str::FromStr;

use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::sys::{self, AddressFamily};

/// The address of a [`Listener`](crate::Listener), of a kind this system has.
///
/// | written | |
/// |---|---|
/// | `/run/user/1000/x`, `./x`, any other path | a Unix socket in the file system |
/// | `@name` (or a zero byte, then the name) | a Unix socket with a name of its own; Linux only |
/// | `\\.\pipe\name` | a Windows named pipe |
///
/// It can be sent to another process as it is, if it is Unicode.
///
/// # Examples
/// ```
/// use procpool::{Address, AddressError};
///
/// let address = Address::new(r"\\.\pipe\here");
/// # #[cfg(not(windows))]
/// assert!(matches!(address, Err(AddressError::WrongFamily { .. })));
/// assert!(matches!("".parse::<Address>(), Err(AddressError::Empty)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
#[doc(alias = "address_type")]
pub struct Address {
    text: OsString,
    family: AddressFamily,
}

/// Why a text is no address here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is empty, or nothing is left of it without what says its kind.
    #[error("an address with no name; {}", what_there_is())]
    Empty,
    /// It contains a zero byte.
    #[error("the address {address:?} contains a zero byte")]
    Nul {
        /// The address.
        address: String,
    },
    /// This system has no such addresses.
    #[error("the address {address:?} is {}, which this system does not have; {}", name(.family), what_there_is())]
    WrongFamily {
        /// The address.
        address: String,
        /// Its kind.
        family: AddressFamily,
    },
}

const PIPES: &str = r"\\.\pipe\";

fn name(family: &AddressFamily) -> &'static str {
    match family {
        AddressFamily::Path => "the path of a Unix socket",
        AddressFamily::Abstract => "the abstract name of a Unix socket (`@name`)",
        AddressFamily::NamedPipe => r"the name of a Windows pipe (`\\.\pipe\name`)",
    }
}

fn what_there_is() -> String {
    let names: Vec<_> = sys::ADDRESS_FAMILIES.iter().map(name).collect();
    format!("here it has to be {}", names.join(" or "))
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// As [`AddressError`] says. Whether anybody listens there is another question.
    pub fn new(text: impl AsRef<OsStr>) -> Result<Self, AddressError> {
        let text = text.as_ref();
        let (family, bytes) = match text.as_encoded_bytes() {
            [b'@' | 0, name @ ..] => (AddressFamily::Abstract, name),
            bytes => match bytes.strip_prefix(PIPES.as_bytes()) {
                Some(name) => (AddressFamily::NamedPipe, name),
                None => (AddressFamily::Path, bytes),
            },
        };
        let address = || text.to_string_lossy().into_owned();
        if bytes.is_empty() {
            return Err(AddressError::Empty);
        }
        if !sys::ADDRESS_FAMILIES.contains(&family) {
            return Err(AddressError::WrongFamily { address: address(), family });
        }
        if bytes.contains(&0) {
            return Err(AddressError::Nul { address: address() });
        }
        Ok(Address { text: text.to_owned(), family })
    }

    /// Its kind.
    #[must_use]
    pub fn family(&self) -> AddressFamily {
        self.family
    }

    /// The kinds of addresses that this system has, the usual one first.
    #[must_use]
    pub fn families() -> &'static [AddressFamily] {
        sys::ADDRESS_FAMILIES
    }

    /// What the system is to be given: an abstract name without what marks it as one.
    pub(crate) fn name(&self) -> &OsStr {
        match self.family {
            AddressFamily::Abstract => sys::without_first(&self.text),
            _ => &self.text,
        }
    }
}

impl AsRef<OsStr> for Address {
    fn as_ref(&self) -> &OsStr {
        &self.text
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text.to_string_lossy();
        match text.strip_prefix('\0') {
            Some(name) => write!(f, "@{name}"),
            None => f.write_str(&text),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Address::new(text)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.text.to_str() {
            Some(text) => serializer.serialize_str(text),
            // What stands in for a byte that is no text would make it another address.
            None => Err(S::Error::custom(format!("the address {:?} is not Unicode", self.text))),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        Address::new(text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.to_string()
    }
}

impl From<AddressError> for io::Error {
    fn from(error: AddressError) -> Self {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_known_by_its_beginning() {
        for (text, family) in [
            ("/tmp/x", AddressFamily::Path),
            ("./@x", AddressFamily::Path),
            ("x", AddressFamily::Path),
            ("@x", AddressFamily::Abstract),
            ("\0x", AddressFamily::Abstract),
            (r"\\.\pipe\x", AddressFamily::NamedPipe),
        ] {
            match Address::new(text) {
                Ok(address) => assert_eq!(address.family(), family, "{text}"),
                Err(AddressError::WrongFamily { family: found, address }) => {
                    assert_eq!((found, address.as_str()), (family, text));
                    assert!(!Address::families().contains(&family));
                }
                Err(error) => panic!("{text:?}: {error}"),
            }
        }
        for text in ["", "@", "\0", r"\\.\pipe\"] {
            let error = Address::new(text).unwrap_err();
            assert_eq!(error, AddressError::Empty, "{text:?}");
            assert!(error.to_string().contains("here it has to be"), "{error}");
        }
    }

    #[test]
    fn what_is_sent_is_the_same_address() {
        for text in ["/tmp/x", "@x"] {
            let Ok(address) = Address::new(text) else { continue };
            let sent = serde_json::to_string(&address).unwrap();
            assert_eq!(serde_json::from_str::<Address>(&sent).unwrap(), address);
        }
    }

    #[test]
    fn zero_bytes_are_refused() {
        for family in Address::families() {
            let text = match family {
                AddressFamily::Path => "/tmp/a\0b",
                AddressFamily::Abstract => "@a\0b",
                AddressFamily::NamedPipe => "\\\\.\\pipe\\a\0b",
            };
            let error = Address::new(text).unwrap_err();
            assert!(matches!(error, AddressError::Nul { .. }), "{error}");
        }
    }
}
