//! What a process may use, and what it does use.

use std::io;
use std::num::NonZeroUsize;
use std::os::windows::io::AsRawHandle;
use std::ptr::null;

use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_PROCESS_MEMORY,
    JOB_OBJECT_LIMIT_PROCESS_TIME, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectExtendedLimitInformation, SetInformationJobObject,
};
use windows_sys::Win32::System::ProcessStatus::{GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    ALL_PROCESSOR_GROUPS, GetActiveProcessorCount, GetCurrentProcess, OpenProcess,
    PROCESS_QUERY_LIMITED_INFORMATION,
};

use super::HandleRef;
use super::error::check;
use super::pipe::owned;
use crate::sys::ResourceLimit;

/// Whether [`apply_limit`] knows this kind of limit: handles cannot be limited here.
pub(crate) fn can_limit(limit: ResourceLimit) -> bool {
    !matches!(limit, ResourceLimit::Files(_))
}

/// Puts the calling process into one more job, which has the limit.
pub(crate) fn apply_limit(limit: ResourceLimit) -> io::Result<()> {
    // SAFETY: a zeroed structure is a valid one, which limits nothing.
    let mut info: JOBOBJECT_EXTENDED_LIMIT_INFORMATION = unsafe { std::mem::zeroed() };
    match limit {
        ResourceLimit::Memory(bytes) => {
            info.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_PROCESS_MEMORY;
            info.ProcessMemoryLimit = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        ResourceLimit::CpuSeconds(seconds) => {
            info.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_PROCESS_TIME;
            info.BasicLimitInformation.PerProcessUserTimeLimit =
                i64::try_from(seconds.saturating_mul(10_000_000)).unwrap_or(i64::MAX);
        }
        ResourceLimit::Files(_) => return Err(io::ErrorKind::Unsupported.into()),
        // Crashes write no dump by themselves.
        ResourceLimit::NoCore => return Ok(()),
    }
    // SAFETY: no pointers are given.
    let job = owned(unsafe { CreateJobObjectW(null(), null()) })?;
    // SAFETY: the structure is as long as is said; the handles are open.
    unsafe {
        check(SetInformationJobObject(
            job.as_raw_handle(),
            JobObjectExtendedLimitInformation,
            (&raw const info).cast(),
            size_of_val(&info) as u32,
        ))?;
        check(AssignProcessToJobObject(job.as_raw_handle(), GetCurrentProcess()))?;
    }
    // The job lives on for as long as a process is in it.
    Ok(())
}

/// Resident bytes of process `pid`, if it can be learnt.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    // SAFETY: a plain call.
    let process = owned(unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) }).ok()?;
    Some(memory(std::os::windows::io::AsHandle::as_handle(&process))?.WorkingSetSize as u64)
}

pub(super) fn memory(process: HandleRef<'_>) -> Option<PROCESS_MEMORY_COUNTERS> {
    // SAFETY: a zeroed structure is a valid one.
    let mut counters: PROCESS_MEMORY_COUNTERS = unsafe { std::mem::zeroed() };
    let size = size_of_val(&counters) as u32;
    // SAFETY: the structure is as long as is said; the handle is open.
    let known = unsafe { GetProcessMemoryInfo(process.as_raw_handle(), &mut counters, size) };
    (known != 0).then_some(counters)
}

/// CPUs this process may really use. `std` looks at its affinity.
pub(crate) fn usable_cpus() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// CPUs that are online on this machine, whoever may use them; never fewer than
/// [`usable_cpus`] says.
pub(crate) fn online_cpus() -> NonZeroUsize {
    // SAFETY: a plain call.
    let online = unsafe { GetActiveProcessorCount(ALL_PROCESSOR_GROUPS) } as usize;
    NonZeroUsize::new(online).unwrap_or(NonZeroUsize::MIN).max(usable_cpus())
}
