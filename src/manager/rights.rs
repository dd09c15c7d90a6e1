//! What a client may do.

use std::sync::Arc;

use super::fault::{Fault, quoted};

/// What a client of a manager may do; everything, by default.
///
/// # Examples
/// ```
/// use procpool::manager::Rights;
///
/// let reader = Rights::none().read_only().names(["prices", "rates"]);
/// # let _ = reader;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    create: bool,
    write: bool,
    shutdown: bool,
    /// All, if none are given.
    names: Option<Arc<[String]>>,
    /// All, for this program's own processes.
    tasks: Option<Arc<[String]>>,
}

impl Rights {
    /// Everything, also to end the manager; but to have [tasks](Self::tasks) run.
    #[must_use]
    pub fn all() -> Self {
        let tasks = Some(Arc::default());
        Rights { create: true, write: true, shutdown: true, names: None, tasks }
    }

    /// What processes of this program may do: also to have any task run, and to make pools.
    pub(super) fn own() -> Self {
        Rights { tasks: None, ..Self::all() }
    }

    /// To use objects that it is given or finds by name, and no more.
    #[must_use]
    pub fn none() -> Self {
        Rights { create: false, shutdown: false, ..Self::all() }
    }

    /// It may make objects, give them names, and take those away that it has given.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// It may only look at objects.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.write = false;
        self
    }

    /// It may end the manager.
    #[must_use]
    pub fn shutdown(mut self, shutdown: bool) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// It may find only objects of these names.
    #[must_use]
    pub fn names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.names = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// It may have these tasks run, by their [names](crate::Call::task_name), with whatever arguments it likes: on what is
    /// in a dict ([`DictProxy::compute`](crate::DictProxy::compute)), or in a pool that it is given. Default: none.
    #[must_use]
    pub fn tasks<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.tasks = Some(names.into_iter().map(Into::into).collect());
        self
    }

    pub(super) fn check_task(&self, name: &str) -> Result<(), Fault> {
        let known = self.tasks.as_ref().is_none_or(|tasks| tasks.iter().any(|one| one == name));
        let name = quoted(name);
        self.check(
            known,
            &format!("have the task `{name}` run, which its `Rights::tasks` do not name"),
        )
    }

    pub(super) fn check_pools(&self) -> Result<(), Fault> {
        self.check(self.tasks.is_none(), "make pools")
    }

    pub(super) fn check_create(&self) -> Result<(), Fault> {
        self.check(self.create, "make objects or name them")
    }

    pub(super) fn check_write(&self) -> Result<(), Fault> {
        self.check(self.write, "change objects")
    }

    pub(super) fn check_shutdown(&self) -> Result<(), Fault> {
        self.check(self.shutdown, "end it")
    }

    pub(super) fn check_name(&self, name: &str) -> Result<(), Fault> {
        let known = self.names.as_ref().is_none_or(|names| names.iter().any(|one| one == name));
        self.check(known, "find objects of that name")
    }

    fn check(&self, may: bool, what: &str) -> Result<(), Fault> {
        if may { Ok(()) } else { Err(Fault::Denied(what.to_owned())) }
    }
}

impl Default for Rights {
    fn default() -> Self {
        Rights::all()
    }
}
