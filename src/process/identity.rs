//! Who this process is, and whose child.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::error::Error;
use crate::sys::{Handle, Poller, handle_ref};
use crate::task;

/// Processes may start pools and processes of their own this deep.
const MAX_DEPTH: u32 = 4;

static IDENTITY: OnceLock<Identity> = OnceLock::new();

/// How many processes this one has started.
static STARTED: AtomicU32 = AtomicU32::new(0);

#[derive(Debug)]
pub(super) struct Identity {
    pub(super) name: String,
    /// Which child of which child of the main program.
    pub(super) ordinals: Vec<u32>,
    pub(super) daemon: bool,
    pub(super) parent: Option<Parent>,
}

#[derive(Debug)]
pub(super) struct Parent {
    pub(super) name: String,
    pub(super) pid: u32,
    /// Tells of its end.
    pub(super) life: Option<Handle>,
}

fn identity() -> &'static Identity {
    IDENTITY.get_or_init(|| Identity {
        name: "MainProcess".to_owned(),
        ordinals: Vec::new(),
        daemon: false,
        parent: None,
    })
}

/// Makes this process what its parent says.
pub(super) fn assume(identity: Identity) {
    let _ = IDENTITY.set(identity);
}

/// The place of a new child among the children, and its name by default.
pub(super) fn next_child() -> (Vec<u32>, String) {
    let mut ordinals = identity().ordinals.clone();
    ordinals.push(STARTED.fetch_add(1, Ordering::Relaxed) + 1);
    let path: Vec<_> = ordinals.iter().map(u32::to_string).collect();
    let name = format!("Process-{}", path.join(":"));
    (ordinals, name)
}

/// How deep a child of this process is below the main program.
pub(crate) fn next_depth() -> Result<u32, Error> {
    let depth = task::depth() + 1;
    if depth > MAX_DEPTH {
        return Err(Error::unsupported(format!(
            "a child of a child of a child, {MAX_DEPTH} deep; start it higher up"
        )));
    }
    Ok(depth)
}

/// The process this code runs in.
///
/// The main program is called `"MainProcess"`, a [`Process`](crate::Process) by the name
/// it was given, or `"Process-1"` and so on (`"Process-1:2"` is the second child of the
/// first), a pool's worker by its pool's name and a number.
///
/// # Examples
/// ```
/// assert_eq!(procpool::current_process().name(), "MainProcess");
/// assert_eq!(procpool::current_process().pid(), std::process::id());
/// ```
#[must_use]
#[doc(alias = "multiprocessing.current_process")]
pub fn current_process() -> CurrentProcess {
    CurrentProcess(identity())
}

/// This process; see [`current_process`].
#[derive(Clone, Copy)]
pub struct CurrentProcess(&'static Identity);

impl CurrentProcess {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        &self.0.name
    }

    /// Its process id.
    #[must_use]
    #[doc(alias = "ident")]
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Whether it is ended with its parent instead of being waited for; see
    /// [`ProcessBuilder::daemon`](crate::ProcessBuilder::daemon).
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.0.daemon
    }
}

impl fmt::Debug for CurrentProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentProcess")
            .field("name", &self.name())
            .field("pid", &self.pid())
            .field("parent", &self.0.parent.as_ref().map(|p| p.pid))
            .field("daemon", &self.is_daemon())
            .finish()
    }
}

/// The process that started this one; `None` in the main program.
///
/// # Examples
/// ```
/// assert!(procpool::parent_process().is_none());
/// ```
#[must_use]
#[doc(alias = "multiprocessing.parent_process")]
pub fn parent_process() -> Option<ParentProcess> {
    identity().parent.as_ref().map(ParentProcess)
}

/// The process that started this one; see [`parent_process`].
#[derive(Clone, Copy)]
pub struct ParentProcess(&'static Parent);

impl ParentProcess {
    /// Its name, as [`current_process`] there says.
    #[must_use]
    pub fn name(&self) -> &'static str {
        &self.0.name
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Whether it still runs. (Nearly always: with it this process ends, too.)
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.wait(Some(Duration::ZERO)).is_none_or(|ended| !ended)
    }

    /// Waits for its end: as this process ends with it, there is nothing to do
    /// afterwards.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn join(&self) {
        // One thread for all who wait, and none of a runtime's: its end waits for those.
        static ENDED: OnceLock<watch::Sender<bool>> = OnceLock::new();
        let parent = *self;
        let ended = ENDED.get_or_init(|| {
            let ended = watch::Sender::new(false);
            let tell = ended.clone();
            // Without a thread, or where it cannot be watched, nobody ever hears: this
            // process ends with its parent, so little is lost.
            let _ = std::thread::Builder::new().name("procpool-parent".into()).spawn(move || {
                while parent.wait(None) == Some(false) {}
                if !parent.is_alive() {
                    tell.send_replace(true);
                }
            });
            ended
        });
        let _ = ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Whether it ended within `limit`; `None` where that cannot be known.
    fn wait(&self, limit: Option<Duration>) -> Option<bool> {
        let life = self.0.life.as_ref()?;
        let poller = Poller::new().ok()?;
        poller.add(handle_ref(life), 0).ok()?;
        let mut found = Vec::new();
        let waited = poller.wait(limit, &mut found);
        poller.remove(handle_ref(life));
        waited.ok()?;
        Some(!found.is_empty())
    }
}

impl fmt::Debug for ParentProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParentProcess")
            .field("name", &self.name())
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}
