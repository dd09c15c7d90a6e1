//! Connections with processes that know an address.

use std::ffi::OsStr;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use tokio::task::coop::poll_proceed;

use super::address::Address;
use super::connection::Connection;
use super::line::Line;
use crate::link::{Acceptor, End, Pace, connect};
use crate::sys::{AddressFamily, Caller, handle_access};

/// Waits at an address for processes that [connect](Connection::connect).
///
/// By default only processes of the same user are let in; others are disconnected
/// before they are heard. There is no authentication beyond that.
///
/// Dropping it closes it and removes its file; connections it made live on.
///
/// # Platform
/// A Unix socket (path, on Linux also an abstract name) or a Windows named pipe.
///
/// # Examples
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use procpool::{Connection, Listener};
///
/// let mut listener = Listener::new()?;
/// let address = listener.address().clone(); // to be told to another process
/// let client = tokio::spawn(async move {
///     let mut connection = Connection::<String, u32>::connect(&address).await?;
///     connection.send("how many?".to_owned()).await.map_err(|e| e.into_parts().1)?;
///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(connection.recv().await?)
/// });
/// let mut connection = listener.accept::<u32, String>().await?;
/// assert_eq!(connection.recv().await?, "how many?");
/// connection.send(3).await?;
/// assert_eq!(client.await?.unwrap(), 3);
/// # Ok(()) }
/// ```
#[doc(alias = "multiprocessing.connection.Listener")]
pub struct Listener {
    acceptor: Acceptor,
    address: Address,
    everybody: bool,
    last: Option<Peer>,
}

/// Who has connected to a [`Listener`], as the system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(Caller);

impl Peer {
    /// The process's id, where the system tells.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.0.pid
    }

    /// Its user's number; `None` on Windows.
    #[must_use]
    pub fn user(&self) -> Option<u32> {
        self.0.user
    }

    /// Whether it runs as the same user as this process.
    #[must_use]
    pub fn is_same_user(&self) -> bool {
        self.0.is_same_user
    }
}

impl Listener {
    /// Listens at an address of its own, which nobody else can guess or reach: a socket in
    /// a new directory (in `$XDG_RUNTIME_DIR`, or where temporary files are) that is open
    /// to this user alone, or a named pipe.
    ///
    /// # Errors
    /// The system's.
    #[doc(alias = "arbitrary_address")]
    pub fn new() -> io::Result<Self> {
        let (acceptor, name) = Acceptor::bind_anywhere()
            .map_err(|e| io::Error::new(e.kind(), format!("cannot listen: {e}")))?;
        let address = Address::new(name)?;
        Ok(Listener { acceptor, address, everybody: false, last: None })
    }

    /// Listens at `address`: see [`Address`] for how it is written.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) with an
    /// [`AddressError`](crate::AddressError) if it is no address here;
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if somebody listens there, or if there is a
    /// file of that name; otherwise the system's.
    pub fn bind(address: impl AsRef<OsStr>) -> io::Result<Self> {
        Self::bind_for(address, false)
    }

    /// The same for processes of all users that may open the socket.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    ///
    /// # Platform
    /// On Windows [`Unsupported`](io::ErrorKind::Unsupported).
    pub fn bind_for_everybody(address: impl AsRef<OsStr>) -> io::Result<Self> {
        Self::bind_for(address, true)
    }

    fn bind_for(address: impl AsRef<OsStr>, everybody: bool) -> io::Result<Self> {
        let address = Address::new(address)?;
        let acceptor =
            Acceptor::bind(address.family(), address.name(), everybody).map_err(|e| {
                let hint = match (e.kind(), address.family()) {
                    (io::ErrorKind::AddrInUse, AddressFamily::Path) => {
                        " (if nobody listens there any more, remove the file)"
                    }
                    _ => "",
                };
                io::Error::new(e.kind(), format!("cannot listen at {address}: {e}{hint}"))
            })?;
        Ok(Listener { acceptor, address, everybody, last: None })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Who was accepted last.
    #[must_use]
    pub fn last_accepted(&self) -> Option<Peer> {
        self.last
    }

    /// Waits for the next process that connects.
    ///
    /// One that has connected, sent something and closed its end before is accepted like
    /// any other, and heard.
    ///
    /// # Errors
    /// The system's, for instance when this process has as many descriptors as it may. The
    /// listener stays as it is.
    ///
    /// # Cancel safety
    /// Dropped, it has accepted nobody.
    pub async fn accept<A, B>(&mut self) -> io::Result<Connection<A, B>> {
        poll_fn(|cx| self.poll_accept(&mut Pace::Task(cx))).await
    }

    /// [`accept`](Self::accept) on a plain thread.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn blocking_accept<A, B>(&mut self) -> io::Result<Connection<A, B>> {
        loop {
            if let Poll::Ready(accepted) = self.poll_accept(&mut Pace::Now) {
                return accepted;
            }
            self.acceptor.wait(None)?;
        }
    }

    fn poll_accept<A, B>(&mut self, pace: &mut Pace<'_, '_>) -> Poll<io::Result<Connection<A, B>>> {
        loop {
            // A task that many connect to lets others run, too, whether it lets them in or not.
            let turn = match pace {
                Pace::Task(cx) => Some(ready!(poll_proceed(cx))),
                Pace::Now | Pace::Wait => None,
            };
            let accepted = ready!(self.acceptor.accept(pace));
            if let Some(turn) = turn {
                turn.made_progress();
            }
            let (end, caller) = match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    let words = format!("accepting at {}: {e}", self.address);
                    return Poll::Ready(Err(io::Error::new(e.kind(), words)));
                }
            };
            if caller.is_same_user || self.everybody {
                self.last = Some(Peer(caller));
                return Poll::Ready(Ok(Connection::new(Line::of(end))));
            }
            tracing::warn!(
                target: "procpool",
                address = %self.address,
                pid = caller.pid,
                user = caller.user,
                "a process of another user was refused"
            );
        }
    }
}

handle_access!(Listener, acceptor);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

/// How long is waited before another attempt when a listener has too many in front.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// How long is waited in all.
const PATIENCE: Duration = Duration::from_secs(20);

/// The attempts of one connection.
struct Attempts {
    address: Address,
    until: Instant,
    pause: Duration,
}

impl Attempts {
    fn new(address: impl AsRef<OsStr>) -> io::Result<Self> {
        let address = Address::new(address)?;
        Ok(Attempts { address, until: Instant::now() + PATIENCE, pause: FIRST_PAUSE })
    }

    /// The connection's end, or how long to wait before the next attempt.
    fn next(&mut self) -> io::Result<Result<End, Duration>> {
        let Attempts { address, until, pause } = self;
        let error = match connect(address.family(), address.name()) {
            Ok(end) => return Ok(Ok(end)),
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => e,
            Err(_) if Instant::now() < *until => {
                let now = *pause;
                *pause = LONGEST_PAUSE.min(2 * now);
                return Ok(Err(now));
            }
            Err(_) => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("nobody was accepted there for {} s", PATIENCE.as_secs()),
            ),
        };
        Err(io::Error::new(error.kind(), format!("cannot connect to {address}: {error}")))
    }
}

/// The end of a new connection, as a task.
pub(crate) async fn connect_end(address: impl AsRef<OsStr>) -> io::Result<End> {
    let mut attempts = Attempts::new(address)?;
    loop {
        match attempts.next()? {
            Ok(end) => return Ok(end),
            Err(pause) => tokio::time::sleep(pause).await,
        }
    }
}

/// The same on a plain thread.
pub(crate) fn blocking_connect_end(address: impl AsRef<OsStr>) -> io::Result<End> {
    let mut attempts = Attempts::new(address)?;
    loop {
        match attempts.next()? {
            Ok(end) => return Ok(end),
            Err(pause) => std::thread::sleep(pause),
        }
    }
}

impl<A, B> Connection<A, B> {
    /// Connects to a [`Listener`] at `address`, waiting while too many others are in front,
    /// for 20 s at most.
    ///
    /// The listener need not accept it before messages are sent.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) with an
    /// [`AddressError`](crate::AddressError) if it is no address here;
    /// [`NotFound`](io::ErrorKind::NotFound) or
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if nobody listens there;
    /// [`TimedOut`](io::ErrorKind::TimedOut); otherwise the system's.
    ///
    /// # Platform
    /// On Windows a listener that is gone while its connections live on is not told from
    /// one that is busy: that takes the 20 s.
    ///
    /// # Cancel safety
    /// Dropped, it has not connected.
    #[doc(alias = "multiprocessing.connection.Client")]
    pub async fn connect(address: impl AsRef<OsStr>) -> io::Result<Self> {
        Ok(Connection::new(Line::of(connect_end(address).await?)))
    }

    /// [`connect`](Self::connect) on a plain thread.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn blocking_connect(address: impl AsRef<OsStr>) -> io::Result<Self> {
        Ok(Connection::new(Line::of(blocking_connect_end(address)?)))
    }
}
