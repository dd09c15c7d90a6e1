//! Memory that is filled, lent, and filled again.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use super::loaned::Loaned;
use crate::link::{Lookout, Pace};
use crate::sys::{Handle, SharedBlock, lend};

/// Memory that this process fills again and again, and lends to others to read.
///
/// Where [`SharedBytes`](crate::SharedBytes) take fresh memory each time, which the system must first clear, a loan
/// uses the same again. [`fill`](Self::fill) copies bytes into it and gives a [`Loaned`], which travels as an argument, a
/// result, an item of a queue or a message of a pipe, as a few descriptors, whatever its length. When the last one
/// has been dropped, in whatever process, or its process has died, the loan is [returned](Self::returned)
/// and can be filled again.
///
/// *Who trusts whom.* Readers cannot write the memory. Who lends could, while it is lent (this type does not, but a
/// process under somebody else's control can): so readers copy out of it, and whoever believes a copy believes its lender. A
/// reader that never lets go keeps the loan for as long as it lives: use
/// [`returned_timeout`](Self::returned_timeout), and another loan, if readers are not trusted.
///
/// # Crash behaviour
/// A reader's death gives back what it had. When the lender dies, readers keep what they have.
///
/// # Platform
/// On Windows a loan travels as what [`PassFd`](crate::PassFd) does: not in messages of pipes, and to
/// children, not to children of children; and there a reader that means to can write the memory.
///
/// # Examples
/// ```standalone_crate
/// use procpool::{Loan, Loaned, ProcessPool};
///
/// #[procpool::task]
/// fn sum(frame: Loaned) -> u64 {
///     frame.to_vec(..).iter().map(|byte| u64::from(*byte)).sum()
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let pool = ProcessPool::builder().workers(2).build().await?;
///     let mut loan = Loan::new(1 << 20)?;
///     for round in 1..=3 {
///         let frame = loan.fill(&vec![round; 1 << 20])?;
///         let sums = pool.map(sum, vec![frame; 4]).await?;
///         assert_eq!(sums, [u64::from(round) << 20; 4]);
///         loan.returned().await?;
///     }
///     Ok(())
/// }
/// ```
pub struct Loan {
    block: SharedBlock,
    /// By which others read it.
    handle: Arc<Handle>,
    capacity: usize,
    /// Its token goes with what is lent: when that is closed everywhere, nobody has any.
    out: Option<Lookout>,
}

impl Loan {
    /// Memory for `capacity` bytes. All of it is taken at once.
    ///
    /// # Errors
    /// `InvalidInput` for 0; and if the system has no memory or no descriptor left for it, or it is more
    /// than this process's limit of file sizes (`RLIMIT_FSIZE`).
    pub fn new(capacity: usize) -> io::Result<Self> {
        if capacity == 0 {
            let words = "a loan has at least one byte";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        let (block, handle) = lend("procpool-loan", capacity)?;
        Ok(Loan { block, handle: Arc::new(handle), capacity, out: None })
    }

    /// How many bytes it has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Copies `bytes` into it and lends them.
    ///
    /// # Errors
    /// `WouldBlock` while somebody still has what was lent before (also for a moment after the last one was dropped, if
    /// this process is just starting another: wait until it is [returned](Self::returned)), `InvalidInput` if they are more than its
    /// [`capacity`](Self::capacity); and if there is no descriptor left.
    pub fn fill(&mut self, bytes: &[u8]) -> io::Result<Loaned> {
        let mut filling = self.filling()?;
        filling.check(bytes.len())?;
        filling.append(bytes);
        filling.lend()
    }

    /// The same piece by piece: what is written into the value goes into the memory, from its beginning on.
    ///
    /// # Errors
    /// `WouldBlock` while somebody still has what was lent before.
    ///
    /// # Examples
    /// ```
    /// use std::io::Write;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut loan = procpool::Loan::new(100)?;
    /// let mut filling = loan.filling()?;
    /// write!(filling, "{} apples", 3)?;
    /// assert_eq!(filling.lend()?.to_vec(..), b"3 apples");
    /// # Ok(())
    /// # }
    /// ```
    pub fn filling(&mut self) -> io::Result<LoanFilling<'_>> {
        if !self.try_returned()? {
            let words = "what was lent before has not been given back";
            return Err(io::Error::new(io::ErrorKind::WouldBlock, words));
        }
        Ok(LoanFilling { loan: self, len: 0 })
    }

    /// Waits until nobody has what was lent; at once if nothing is.
    ///
    /// # Errors
    /// If the runtime cannot wait for it (it has no I/O), or has no descriptor left.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn returned(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_returned(&mut Pace::Task(cx))).await
    }

    /// The same for as long as `limit`; whether it was returned.
    ///
    /// # Errors
    /// As [`returned`](Self::returned).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn returned_timeout(&mut self, limit: Duration) -> io::Result<bool> {
        match tokio::time::timeout(limit, self.returned()).await {
            Ok(returned) => returned.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Blocks this thread until nobody has what was lent.
    ///
    /// # Errors
    /// If the system cannot wait for it.
    pub fn blocking_returned(&mut self) -> io::Result<()> {
        self.block(None).map(drop)
    }

    /// The same for as long as `limit`; whether it was returned.
    ///
    /// # Errors
    /// If the system cannot wait for it.
    pub fn blocking_returned_timeout(&mut self, limit: Duration) -> io::Result<bool> {
        self.block(Instant::now().checked_add(limit))
    }

    /// Whether nobody has what was lent now.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn try_returned(&mut self) -> io::Result<bool> {
        self.block(Some(Instant::now()))
    }

    fn block(&mut self, deadline: Option<Instant>) -> io::Result<bool> {
        let Some(out) = &mut self.out else { return Ok(true) };
        let returned = out.wait(deadline)?;
        if returned {
            self.out = None;
        }
        Ok(returned)
    }

    fn poll_returned(&mut self, pace: &mut Pace<'_, '_>) -> Poll<io::Result<()>> {
        if let Some(out) = &mut self.out {
            ready!(out.poll_over(pace))?;
            self.out = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lent = if self.out.is_some() { ", lent" } else { "" };
        write!(f, "Loan({} bytes{lent})", self.capacity)
    }
}

/// A [`Loan`] that is being filled.
///
/// Dropping it lends nothing.
#[derive(Debug)]
pub struct LoanFilling<'a> {
    loan: &'a mut Loan,
    len: usize,
}

impl LoanFilling<'_> {
    /// Lends what was written.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub fn lend(self) -> io::Result<Loaned> {
        let LoanFilling { loan, len } = self;
        let (out, token) = Lookout::new()?;
        let loaned = Loaned::new(&loan.handle, loan.capacity, len, token)?;
        loan.out = Some(out);
        Ok(loaned)
    }

    /// How many bytes were written.
    #[must_use]
    pub fn written(&self) -> usize {
        self.len
    }

    fn check(&self, more: usize) -> io::Result<()> {
        let LoanFilling { len, loan: Loan { capacity, .. } } = self;
        if more <= capacity - len {
            return Ok(());
        }
        let words = format!("{more} bytes after {len} others in a loan of {capacity}");
        Err(io::Error::new(io::ErrorKind::InvalidInput, words))
    }

    fn append(&mut self, bytes: &[u8]) {
        self.loan.block.copy_in(self.len, bytes);
        self.len += bytes.len();
    }
}

/// Takes as many bytes as there is room for; when there is none, 0.
impl io::Write for LoanFilling<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.loan.capacity - self.len);
        self.append(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
