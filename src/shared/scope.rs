//! Named memory that goes when its maker's scope ends.

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::list::SharedList;
use super::list_item::ListItem;
use super::memory::SharedMemory;

/// Makes named blocks and lists, and takes all their names away at its end.
///
/// It keeps each of them until it is [shut down](Self::shutdown) or dropped, also by a panic: as long can every process
/// of this user open them by their names. Whoever has one then keeps it. It works in the main
/// program and in workers, and is used from any number of threads.
///
/// # Crash behaviour
/// If its process dies, what nobody else has is gone with its name; a block that another process has
/// keeps its name until that one lets go of it, too.
///
/// # Platform
/// As that of [`SharedMemory`] with a name; on macOS names of a process that was killed stay until the machine is started anew.
///
/// # Examples
/// ```
/// use procpool::{SharedMemory, SharedScope};
///
/// # fn main() -> std::io::Result<()> {
/// let scope = SharedScope::new();
/// let memory = scope.memory(1024)?;
/// let list = scope.list(["one", "two"])?;
/// let name = memory.name().unwrap().to_owned(); // to be told to any process of this user
/// assert!(SharedMemory::open(&name).is_ok());
/// drop(scope);
/// assert!(SharedMemory::open(&name).is_err());
/// assert_eq!(list.get(1), Some("two".into()));
/// # Ok(())
/// # }
/// ```
#[doc(alias = "SharedMemoryManager")]
#[derive(Default)]
pub struct SharedScope(Mutex<Vec<SharedMemory>>);

impl SharedScope {
    /// One that has made nothing yet.
    #[must_use]
    pub fn new() -> Self {
        SharedScope::default()
    }

    /// A block of `len` zeroes, with a name that is made up.
    ///
    /// # Errors
    /// As [`SharedMemory::create_unique`].
    pub fn memory(&self, len: usize) -> io::Result<SharedMemory> {
        let memory = SharedMemory::create_unique(len)?;
        self.lock().push(memory.clone());
        Ok(memory)
    }

    /// A list of these values, with a name that is made up.
    ///
    /// # Errors
    /// As [`SharedList::create_unique`].
    pub fn list<I: Into<ListItem>>(
        &self,
        items: impl IntoIterator<Item = I>,
    ) -> io::Result<SharedList> {
        let list = SharedList::create_unique(items)?;
        self.lock().push(list.memory().clone());
        Ok(list)
    }

    /// Takes away the names of all it has made so far. It can go on making others.
    pub fn shutdown(&self) {
        for memory in std::mem::take(&mut *self.lock()) {
            // Somebody may have done it before.
            let _ = memory.unlink();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SharedMemory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SharedScope {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl fmt::Debug for SharedScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedScope").field(&*self.lock()).finish()
    }
}
