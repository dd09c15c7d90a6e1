//! What a process may use, and what it does use.

use std::io;
use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit};

use crate::sys::ResourceLimit;

/// Whether [`apply_limit`] knows this kind of limit.
pub(crate) fn can_limit(_limit: ResourceLimit) -> bool {
    true
}

pub(crate) fn apply_limit(limit: ResourceLimit) -> io::Result<()> {
    let (resource, value) = match limit {
        ResourceLimit::Memory(n) => (Resource::As, n),
        ResourceLimit::CpuSeconds(n) => (Resource::Cpu, n),
        ResourceLimit::Files(n) => (Resource::Nofile, n),
        ResourceLimit::NoCore => (Resource::Core, 0),
    };
    let ceiling = rustix::process::getrlimit(resource).maximum;
    let value = ceiling.map_or(value, |c| c.min(value));
    let new = Rlimit { current: Some(value), maximum: Some(value) };
    Ok(rustix::process::setrlimit(resource, new)?)
}

/// CPUs this process may really use: affinity and, where a cgroup sets one,
/// its quota. `std` looks at both on Linux.
pub(crate) fn usable_cpus() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// CPUs that are online on this machine, whoever may use them; never fewer than
/// [`usable_cpus`] says.
pub(crate) fn online_cpus() -> NonZeroUsize {
    // SAFETY: a plain call; names the C library does not know give -1.
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    let online = usize::try_from(online).ok().and_then(NonZeroUsize::new);
    online.unwrap_or(NonZeroUsize::MIN).max(usable_cpus())
}
