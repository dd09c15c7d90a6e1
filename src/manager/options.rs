//! How a manager is served to others, and how they connect to it.

use std::time::Duration;

use super::auth::AuthKey;
use super::error::ManagerError;
use super::handshake::MAX_NAME;
use super::rights::Rights;
use super::tls::Tls;

/// How much one client may have, on all its connections together.
///
/// # Examples
/// ```
/// use procpool::manager::ClientLimits;
///
/// let limits = ClientLimits::new().bytes(64 << 20).connections(4);
/// # let _ = limits;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    pub(super) bytes: u64,
    pub(super) objects: u64,
    pub(super) connections: u64,
    pub(super) message_bytes: u64,
}

impl ClientLimits {
    /// The defaults of all of them.
    #[must_use]
    pub fn new() -> Self {
        ClientLimits { bytes: 1 << 30, objects: 1 << 16, connections: 256, message_bytes: 64 << 20 }
    }

    /// Bytes of values that it has put there, with 64 for each, and of what was said to it that it has not read. Default: 1 GiB.
    #[must_use]
    pub fn bytes(mut self, n: u64) -> Self {
        self.bytes = n;
        self
    }

    /// Objects that it has made, and names that it has given. Default: 65,536.
    #[must_use]
    pub fn objects(mut self, n: u64) -> Self {
        self.objects = n;
        self
    }

    /// Connections. Default: 256.
    #[must_use]
    pub fn connections(mut self, n: u64) -> Self {
        self.connections = n;
        self
    }

    /// Bytes of one request, and of one answer: a longer request ends its connection, and what asks for a longer answer is an
    /// error. Default: 64 MiB.
    #[must_use]
    pub fn message_bytes(mut self, n: u64) -> Self {
        self.message_bytes = n;
        self
    }
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug, Clone)]
pub(super) struct ServedClient {
    pub(super) name: String,
    pub(super) key: AuthKey,
    pub(super) rights: Rights,
    pub(super) limits: ClientLimits,
}

/// Who may use a manager that is [served](super::Manager::serve), and how.
///
/// A key alone is one client, with an empty name and [`Rights::all`], which has no tasks run.
///
/// # Examples
/// ```
/// use procpool::manager::{AuthKey, Rights, ServeOptions};
///
/// let options = ServeOptions::new()
///     .client("writer", AuthKey::random(), Rights::all().shutdown(false))
///     .client("reader", AuthKey::random(), Rights::none().read_only());
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
pub struct ServeOptions {
    pub(super) clients: Vec<ServedClient>,
    pub(super) limits: ClientLimits,
    pub(super) patience: Duration,
    pub(super) tls: Option<Tls>,
}

impl ServeOptions {
    /// For nobody yet.
    #[must_use]
    pub fn new() -> Self {
        ServeOptions {
            clients: Vec::new(),
            limits: ClientLimits::new(),
            patience: Duration::from_secs(5),
            tls: None,
        }
    }

    /// Lets in whoever knows that name and that key. A name has at most 128 bytes.
    #[must_use]
    pub fn client(mut self, name: impl Into<String>, key: AuthKey, rights: Rights) -> Self {
        let limits = self.limits;
        self.clients.push(ServedClient { name: name.into(), key, rights, limits });
        self
    }

    /// How much each client may have that is named after this.
    #[must_use]
    pub fn limits(mut self, limits: ClientLimits) -> Self {
        self.limits = limits;
        self
    }

    /// How long somebody may take to say who it is. Default: 5 s.
    #[must_use]
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// By TLS, which an address that other machines can reach must be.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Whether it can be kept to.
    pub(super) fn check(&self) -> Result<(), ManagerError> {
        let wrong = |reason: String| Err(ManagerError::Start(reason));
        if self.clients.is_empty() {
            return wrong("nobody would be let in: name a client".to_owned());
        }
        for (i, client) in self.clients.iter().enumerate() {
            let name = &client.name;
            if name.len() > MAX_NAME {
                return wrong(format!("the name of a client has more than {MAX_NAME} bytes"));
            }
            if self.clients[..i].iter().any(|other| other.name == *name) {
                return wrong(format!("there are two clients of the name {name:?}"));
            }
            check_key(name, &client.key, self.tls.as_ref())?;
            // Any certificate is one for an empty name.
            if client.key.as_bytes().is_empty() && name.is_empty() && self.clients.len() > 1 {
                return wrong("of several clients, one without a key needs a name".to_owned());
            }
        }
        Ok(())
    }
}

/// Whether the key is one that nobody else can have.
pub(super) fn check_key(name: &str, key: &AuthKey, tls: Option<&Tls>) -> Result<(), ManagerError> {
    /// Fewer can be tried out.
    const ENOUGH: usize = 16;
    let reason = match (tls, key.as_bytes().len()) {
        (Some(tls), _) if tls.is_mutual() => return Ok(()),
        (Some(_), n) if n < ENOUGH => {
            format!("its key needs {ENOUGH} bytes, where there are no certificates")
        }
        (None, 0) => "its key is empty".to_owned(),
        _ => return Ok(()),
    };
    Err(ManagerError::Authentication { reason: format!("client {name:?}: {reason}") })
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl From<AuthKey> for ServeOptions {
    fn from(key: AuthKey) -> Self {
        ServeOptions::new().client("", key, Rights::all())
    }
}

/// Who this process is to a manager that it [connects](super::Manager::connect) to.
///
/// A key alone is a client with an empty name.
///
/// # Examples
/// ```
/// use procpool::manager::{AuthKey, ConnectOptions, Tls};
///
/// let options = ConnectOptions::new("reader", AuthKey::random()).tls(Tls::keyed());
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    pub(super) name: String,
    pub(super) key: AuthKey,
    pub(super) tls: Option<Tls>,
}

impl ConnectOptions {
    /// With that name and that key.
    #[must_use]
    pub fn new(name: impl Into<String>, key: AuthKey) -> Self {
        ConnectOptions { name: name.into(), key, tls: None }
    }

    /// By TLS, which an address on another machine must be.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }
}

impl From<AuthKey> for ConnectOptions {
    fn from(key: AuthKey) -> Self {
        ConnectOptions::new("", key)
    }
}
