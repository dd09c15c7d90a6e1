//! Windows: snapshots of the processes, handles, and exception codes.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::io::Write;
use std::mem::{size_of, zeroed};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::OnceLock;

use procpool::{Error, ExitReason};
use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_INTERNAL_ERROR, ERROR_MORE_DATA, FILETIME, GetHandleInformation,
    GetLastError, HANDLE, INVALID_HANDLE_VALUE, WAIT_TIMEOUT,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_NAME_NORMALIZED, FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_TYPE_CHAR,
    FILE_TYPE_DISK, FILE_TYPE_PIPE, GetFileType, GetFinalPathNameByHandleW,
    LOCKFILE_EXCLUSIVE_LOCK, LockFileEx,
};
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent};
use windows_sys::Win32::System::Diagnostics::Debug::{
    EXCEPTION_POINTERS, SetUnhandledExceptionFilter,
};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
    TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_BASIC_PROCESS_ID_LIST, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectBasicProcessIdList, JobObjectExtendedLimitInformation, QueryInformationJobObject,
    SetInformationJobObject,
};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, CREATE_SUSPENDED, GetCurrentProcess, GetProcessHandleCount,
    GetProcessTimes, OpenProcess, OpenThread, PROCESS_QUERY_LIMITED_INFORMATION,
    PROCESS_SUSPEND_RESUME, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE, ResumeThread, SuspendThread,
    THREAD_SUSPEND_RESUME, TerminateProcess, WaitForSingleObject,
};

use super::Death;

/// No page can lose its file here (a mapped file cannot be made shorter), and there
/// is nothing polite to ask a process to end by.
pub const DEATHS: &[Death] =
    &[Death::Segv, Death::Fpe, Death::Ill, Death::Trap, Death::Kill, Death::Abort];

/// The exit code of who is killed from outside, as by the Task Manager's 1.
const KILLED: u32 = 9;

impl Death {
    /// Its exception code; none for a kill from outside, which leaves nothing but the
    /// exit code that the killer has chosen.
    pub fn exception(self) -> Option<u32> {
        Some(match self {
            Death::Segv => 0xC000_0005,
            Death::Fpe => 0xC000_0094,
            Death::Ill => 0xC000_001D,
            Death::Trap => 0x8000_0003,
            Death::Abort => 0xC000_0409,
            Death::Kill => return None,
            Death::Bus | Death::Term => unreachable!("not on this system"),
        })
    }

    /// What the error's text calls it.
    pub fn name(self) -> &'static str {
        match self {
            Death::Segv => "killed by an access violation (0xC0000005)",
            Death::Fpe => "0xC0000094",
            Death::Ill => "0xC000001D",
            Death::Trap => "0x80000003",
            Death::Abort => "aborted (0xC0000409)",
            Death::Kill => "exited with code 9",
            Death::Bus | Death::Term => unreachable!("not on this system"),
        }
    }

    /// `ExitReason::code` of it.
    pub fn code(self) -> i32 {
        self.exception().unwrap_or(KILLED) as i32
    }
}

pub(super) fn reads_as(death: Death, reason: ExitReason) -> bool {
    match death.exception() {
        Some(code) => reason == ExitReason::Exception { code },
        None => reason == ExitReason::Exited(KILLED as i32),
    }
}

/// Whether a worker ended by using up its stack.
pub fn is_overflow(error: &Error) -> bool {
    error.exit_reason() == Some(ExitReason::Exception { code: 0xC000_00FD })
}

pub(super) fn strike(death: Death) {
    match death {
        // SAFETY: it is not: nothing is mapped there, which is the point.
        Death::Segv => unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) },
        Death::Fpe => super::divide_by_zero(),
        Death::Ill => super::undefined_instruction(),
        // SAFETY: ends this process, as it should.
        Death::Trap => unsafe { std::arch::asm!("int3") },
        Death::Abort => std::process::abort(),
        Death::Kill => exit_at_once(KILLED as i32),
        Death::Bus | Death::Term => unreachable!("not on this system"),
    }
}

#[link(name = "ntdll")]
unsafe extern "system" {
    fn NtSuspendProcess(process: HANDLE) -> i32;
    fn NtResumeProcess(process: HANDLE) -> i32;
    fn NtQueryObject(
        object: HANDLE,
        class: u32,
        information: *mut c_void,
        len: u32,
        returned: *mut u32,
    ) -> i32;
}

// Processes.

fn owned(handle: HANDLE) -> Option<OwnedHandle> {
    // SAFETY: just made, and nobody else's.
    (!handle.is_null() && handle != INVALID_HANDLE_VALUE)
        .then(|| unsafe { OwnedHandle::from_raw_handle(handle) })
}

fn open(pid: u32, access: u32) -> Option<OwnedHandle> {
    // SAFETY: a plain call.
    owned(unsafe { OpenProcess(access, 0, pid) })
}

/// Every process with its parent's id and the name of its file.
fn processes() -> Vec<(u32, u32, String)> {
    let mut found = Vec::new();
    // SAFETY: a plain call.
    let snapshot = owned(unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) });
    let snapshot = snapshot.expect("a snapshot of the processes");
    // SAFETY: zeroes are a value of it.
    let mut entry: PROCESSENTRY32W = unsafe { zeroed() };
    entry.dwSize = size_of::<PROCESSENTRY32W>() as u32;
    // SAFETY: the entry says its own size.
    let mut more = unsafe { Process32FirstW(snapshot.as_raw_handle(), &mut entry) };
    while more != 0 {
        let len = entry.szExeFile.iter().position(|c| *c == 0).unwrap_or(entry.szExeFile.len());
        let name = String::from_utf16_lossy(&entry.szExeFile[..len]);
        found.push((entry.th32ProcessID, entry.th32ParentProcessID, name));
        // SAFETY: as above.
        more = unsafe { Process32NextW(snapshot.as_raw_handle(), &mut entry) };
    }
    found
}

fn started(process: HANDLE) -> Option<u64> {
    // SAFETY: zeroes are a value of it.
    let [mut created, mut exited, mut kernel, mut user]: [FILETIME; 4] = unsafe { zeroed() };
    // SAFETY: plain out-parameters.
    let ok = unsafe { GetProcessTimes(process, &mut created, &mut exited, &mut kernel, &mut user) };
    (ok != 0).then(|| u64::from(created.dwHighDateTime) << 32 | u64::from(created.dwLowDateTime))
}

/// Live children of this process, direct ones and, after [`adopt_orphans`], all
/// that programs of [`spawn`] left behind; with a letter for uniformity's sake.
/// (An ended process is nothing but a handle to it, which the audit counts.)
pub fn children() -> Vec<(u32, char)> {
    let me = std::process::id();
    // SAFETY: the handle needs no closing.
    let my_start = started(unsafe { GetCurrentProcess() });
    let mut found: Vec<u32> = processes()
        .into_iter()
        // The system's, which gives a console to whoever has none.
        .filter(|(_, parent, name)| *parent == me && name != "conhost.exe")
        // The parent's id stays when the parent is long gone, and ours may have been
        // somebody else's before: a child is not older than its parent.
        .filter(|(pid, _, _)| {
            open(*pid, PROCESS_QUERY_LIMITED_INFORMATION)
                .and_then(|p| started(p.as_raw_handle()))
                .is_some_and(|start| Some(start) >= my_start)
        })
        .map(|(pid, _, _)| pid)
        .collect();
    found.extend(ORPHANS.get().map(in_job).unwrap_or_default());
    found.retain(|pid| is_alive(*pid));
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|pid| (pid, 'R')).collect()
}

pub fn parent(pid: u32) -> Option<u32> {
    processes().into_iter().find(|(p, _, _)| *p == pid).map(|(_, parent, _)| parent)
}

/// Whether a process exists and has not ended.
pub fn is_alive(pid: u32) -> bool {
    let Some(process) = open(pid, PROCESS_SYNCHRONIZE) else { return false };
    // SAFETY: the handle is open.
    unsafe { WaitForSingleObject(process.as_raw_handle(), 0) == WAIT_TIMEOUT }
}

/// Whether all threads of a process are suspended.
pub fn is_stopped(pid: u32) -> bool {
    let threads = threads(pid);
    !threads.is_empty() && threads.into_iter().all(is_suspended)
}

fn threads(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    // SAFETY: a plain call.
    let snapshot = owned(unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) });
    let snapshot = snapshot.expect("a snapshot of the threads");
    // SAFETY: zeroes are a value of it.
    let mut entry: THREADENTRY32 = unsafe { zeroed() };
    entry.dwSize = size_of::<THREADENTRY32>() as u32;
    // SAFETY: the entry says its own size.
    let mut more = unsafe { Thread32First(snapshot.as_raw_handle(), &mut entry) };
    while more != 0 {
        if entry.th32OwnerProcessID == pid {
            found.push(entry.th32ThreadID);
        }
        // SAFETY: as above.
        more = unsafe { Thread32Next(snapshot.as_raw_handle(), &mut entry) };
    }
    found
}

/// The count is only told by whoever changes it.
fn is_suspended(thread: u32) -> bool {
    // SAFETY: plain calls; what is suspended is resumed.
    unsafe {
        let Some(thread) = owned(OpenThread(THREAD_SUSPEND_RESUME, 0, thread)) else {
            return false;
        };
        let before = SuspendThread(thread.as_raw_handle());
        if before == u32::MAX {
            return false;
        }
        ResumeThread(thread.as_raw_handle());
        before > 0
    }
}

/// For messages: what the system says of a process.
pub fn describe(pid: u32) -> String {
    let entry = processes().into_iter().find(|(p, _, _)| *p == pid);
    format!("{pid}: {entry:?}, stopped: {}", is_stopped(pid))
}

/// Ends a process by force: [`Death::Kill`].
pub fn kill(pid: u32) {
    let process = open(pid, PROCESS_TERMINATE).unwrap_or_else(|| panic!("no process {pid}"));
    // SAFETY: the handle is open. It may have ended meanwhile.
    unsafe { TerminateProcess(process.as_raw_handle(), KILLED) };
}

/// There is no asking here.
pub fn ask_to_end(pid: u32) {
    kill(pid);
}

/// How a worker ends that was asked to.
pub const ASKED: Death = Death::Kill;

/// Has no thread of a process run any more.
pub fn stop(pid: u32) {
    let process = open(pid, PROCESS_SUSPEND_RESUME).unwrap_or_else(|| panic!("no process {pid}"));
    // SAFETY: the handle is open.
    assert_eq!(unsafe { NtSuspendProcess(process.as_raw_handle()) }, 0);
}

/// Stops this process, maybe a moment later.
pub fn stop_myself() {
    // SAFETY: the handle needs no closing.
    unsafe { NtSuspendProcess(GetCurrentProcess()) };
}

/// What a program is asked to end in order by. (Ctrl-C cannot be sent to one program.)
#[derive(Debug, Clone, Copy)]
pub struct Request;

pub const REQUESTS: &[Request] = &[Request];

impl Request {
    /// Ctrl-Break, to a program of [`spawn`]; whether it could be sent. Without a
    /// console, as under Wine without a terminal, it cannot.
    pub fn send(self, program: &Child) -> bool {
        // SAFETY: a plain call.
        unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, program.id()) != 0 }
    }
}

/// Nothing can be asked of a process here, so there is nothing to be deaf to.
pub fn ignore_requests_to_end() {}

/// Closes whatever this process may watch another one by.
pub fn be_blind() {
    for (handle, kind) in handles() {
        if kind == "Process" || kind == "Job" {
            // SAFETY: a plain call; what breaks by it is the point.
            unsafe { CloseHandle(handle as HANDLE) };
        }
    }
}

/// Ends this process with nothing run on the way.
pub fn exit_at_once(code: i32) -> ! {
    // SAFETY: the handle needs no closing.
    unsafe { TerminateProcess(GetCurrentProcess(), code as u32) };
    unreachable!("it cannot be refused")
}

/// The job of all programs that [`spawn`] starts; closing it ends them.
static ORPHANS: OnceLock<OwnedHandle> = OnceLock::new();

/// Has [`children`] see, later on, also what programs of [`spawn`] left behind.
pub fn adopt_orphans() {
    ORPHANS.get_or_init(|| {
        // SAFETY: no attributes and no name; the information is of its class.
        unsafe {
            let job = owned(CreateJobObjectW(std::ptr::null(), std::ptr::null()));
            let job = job.expect("a job");
            let mut limits: JOBOBJECT_EXTENDED_LIMIT_INFORMATION = zeroed();
            limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
            let set = SetInformationJobObject(
                job.as_raw_handle(),
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                size_of::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>() as u32,
            );
            assert_ne!(set, 0);
            job
        }
    });
}

fn in_job(job: &OwnedHandle) -> Vec<u32> {
    #[repr(C)]
    struct List {
        head: JOBOBJECT_BASIC_PROCESS_ID_LIST,
        rest: [usize; 1000],
    }
    // SAFETY: zeroes are a value of it, and its size is told.
    unsafe {
        let mut list: List = zeroed();
        let got = QueryInformationJobObject(
            job.as_raw_handle(),
            JobObjectBasicProcessIdList,
            (&raw mut list).cast(),
            size_of::<List>() as u32,
            std::ptr::null_mut(),
        );
        assert!(got != 0 || GetLastError() == ERROR_MORE_DATA, "the processes of a job");
        let first = (&raw const list.head.ProcessIdList).cast::<usize>();
        let n = list.head.NumberOfProcessIdsInList as usize;
        (0..n.min(1000)).map(|i| first.add(i).read() as u32).collect()
    }
}

/// Starts a program, in a console process group of its own. After
/// [`adopt_orphans`] it is in the job before it runs.
pub fn spawn(command: &mut Command) -> std::io::Result<Child> {
    command.creation_flags(CREATE_NEW_PROCESS_GROUP | CREATE_SUSPENDED);
    let mut spawned = command.spawn();
    // Now and then a process of Wine's does not come up.
    for _ in 0..10 {
        match &spawned {
            Err(e) if is_imitated() && e.raw_os_error() == Some(ERROR_INTERNAL_ERROR as i32) => {
                spawned = command.spawn();
            }
            _ => break,
        }
    }
    let child = spawned?;
    let process = child.as_raw_handle();
    // SAFETY: both handles are open.
    unsafe {
        if let Some(job) = ORPHANS.get() {
            assert_ne!(AssignProcessToJobObject(job.as_raw_handle(), process), 0);
        }
        assert_eq!(NtResumeProcess(process), 0);
    }
    Ok(child)
}

/// Keeps a crash of this process from being reported to anybody: it ends it at once.
pub fn crash_quietly() {
    unsafe extern "system" fn end(info: *const EXCEPTION_POINTERS) -> i32 {
        // SAFETY: the system's own record.
        exit_at_once(unsafe { (*(*info).ExceptionRecord).ExceptionCode })
    }
    // SAFETY: the function is there as long as the process.
    unsafe { SetUnhandledExceptionFilter(Some(end)) };
}

/// Whether the system is only imitated (by Wine), in which case some of its promises
/// are not kept.
pub fn is_imitated() -> bool {
    // SAFETY: the library is always there.
    unsafe {
        let ntdll = GetModuleHandleA(c"ntdll.dll".as_ptr().cast());
        GetProcAddress(ntdll, c"wine_get_version".as_ptr().cast()).is_some()
    }
}

// What a process holds.

/// Open handles with the names of their types.
pub fn handles() -> Vec<(u64, String)> {
    let mut count = 0;
    // SAFETY: a plain out-parameter.
    assert_ne!(unsafe { GetProcessHandleCount(GetCurrentProcess(), &mut count) }, 0);
    let mut found = Vec::new();
    // They are numbered in fours, from low to high. Wine says that there are none; but
    // it gives out the lowest free number, so that no wide gaps are left.
    let (mut value, mut last) = (4, 0);
    while if count > 0 { found.len() < count as usize } else { value < last + 4 * 500 } {
        let mut flags = 0;
        // SAFETY: a number that is no handle is refused.
        if unsafe { GetHandleInformation(value as HANDLE, &mut flags) } != 0 {
            found.push((value, type_of(value as HANDLE)));
            last = value;
        }
        value += 4;
        assert!(value < 1 << 24, "{count} handles, and only {} to be found", found.len());
    }
    found
}

fn type_of(handle: HANDLE) -> String {
    const TYPE: u32 = 2;
    #[repr(C)]
    struct Information {
        len: u16,
        capacity: u16,
        text: *const u16,
        rest: [u64; 128],
    }
    // SAFETY: the text, if any, lies inside the buffer, whose size is told.
    unsafe {
        let mut information: Information = zeroed();
        let status = NtQueryObject(
            handle,
            TYPE,
            (&raw mut information).cast(),
            size_of::<Information>() as u32,
            std::ptr::null_mut(),
        );
        if status < 0 || information.text.is_null() {
            return format!("status {status:#x}");
        }
        let text = std::slice::from_raw_parts(information.text, usize::from(information.len / 2));
        String::from_utf16_lossy(text)
    }
}

/// Open files, pipes and devices with what they lead to. Not while a thread reads
/// from one that is not overlapped: asking for its kind would wait for that.
pub fn open_files() -> Vec<(u64, String)> {
    let files = handles().into_iter().filter(|(_, kind)| kind == "File");
    files.map(|(handle, _)| (handle, leads_to(handle as HANDLE))).collect()
}

fn leads_to(handle: HANDLE) -> String {
    // SAFETY: the handle is open; the buffer's size is told.
    unsafe {
        match GetFileType(handle) {
            FILE_TYPE_PIPE => "pipe".to_owned(),
            FILE_TYPE_CHAR => "device".to_owned(),
            FILE_TYPE_DISK => {
                let mut path = [0_u16; 1024];
                let len = GetFinalPathNameByHandleW(
                    handle,
                    path.as_mut_ptr(),
                    path.len() as u32,
                    FILE_NAME_NORMALIZED,
                );
                String::from_utf16_lossy(&path[..(len as usize).min(path.len())])
            }
            other => format!("kind {other}"),
        }
    }
}

/// What there is at a moment: how many handles of each type. (The numbers are given
/// out again at once, so they say nothing.)
pub struct Holdings(BTreeMap<String, usize>);

impl Holdings {
    pub fn now() -> Self {
        let mut counts = BTreeMap::new();
        for (_, kind) in handles() {
            // The test harness has one for each of its threads, which come and go
            // while a test waits for its turn. A thread of a pool that stayed would
            // still have its events.
            if kind != "Thread" {
                *counts.entry(kind).or_default() += 1;
            }
        }
        Holdings(counts)
    }

    /// What came since then and is still there.
    pub fn since(&self) -> Vec<String> {
        Holdings::now()
            .0
            .into_iter()
            .filter_map(|(kind, n)| {
                let before = self.0.get(&kind).copied().unwrap_or(0);
                (n > before).then(|| format!("{n} handles of type {kind}, {before} before"))
            })
            .collect()
    }
}

/// Adds text to the end of a file that several processes write to, in one call: it
/// is there whole or not at all, whoever dies, and does not mix with others'.
///
/// Wine finds the end of the file first and writes there afterwards; so they take
/// turns, by a lock on bytes that do not exist. It goes with who held it.
pub fn append(path: impl AsRef<Path>, text: &str) {
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
        .open(path)
        .unwrap();
    // SAFETY: zeroes are a value of it; the call waits, so it is not used later.
    let locked = unsafe {
        let mut place: OVERLAPPED = zeroed();
        place.Anonymous.Anonymous.OffsetHigh = 0x4000_0000;
        LockFileEx(file.as_raw_handle(), LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, &mut place)
    };
    assert_ne!(locked, 0, "{}", std::io::Error::last_os_error());
    file.write_all(text.as_bytes()).unwrap();
}

/// Whether a handle becomes ready within `limit`.
pub fn is_ready(handle: &impl std::os::windows::io::AsHandle, limit: std::time::Duration) -> bool {
    // SAFETY: the handle is open.
    unsafe {
        WaitForSingleObject(handle.as_handle().as_raw_handle(), limit.as_millis() as u32)
            != WAIT_TIMEOUT
    }
}
