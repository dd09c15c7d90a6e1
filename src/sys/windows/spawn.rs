//! Starting a child from the running image, and holding on to it.
//!
//! The child is put into a job of its own before its first instruction runs. The job
//! ends when its last handle is closed, and only the parent has one: however the
//! parent ends, the child and all it started go with it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_COMMITMENT_LIMIT, ERROR_INTERNAL_ERROR, ERROR_NO_SYSTEM_RESOURCES,
    ERROR_NOT_ENOUGH_MEMORY, HANDLE, INVALID_HANDLE_VALUE, WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use windows_sys::Win32::Storage::FileSystem::GetFinalPathNameByHandleW;
use windows_sys::Win32::System::Console::{
    GetConsoleCP, GetStdHandle, STD_ERROR_HANDLE, STD_HANDLE, STD_OUTPUT_HANDLE,
};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION,
    JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectExtendedLimitInformation, SetInformationJobObject, TerminateJobObject,
};
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW, CREATE_SUSPENDED, CREATE_UNICODE_ENVIRONMENT,
    CreateProcessW, DeleteProcThreadAttributeList, EXTENDED_STARTUPINFO_PRESENT,
    GetExitCodeProcess, GetProcessTimes, INFINITE, InitializeProcThreadAttributeList,
    LPPROC_THREAD_ATTRIBUTE_LIST, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, PROCESS_INFORMATION,
    PROCESS_SYNCHRONIZE, ResumeThread, STARTF_USESTDHANDLES, STARTUPINFOEXW, TerminateProcess,
    UpdateProcThreadAttribute, WaitForSingleObject,
};

use super::error::{check, wide};
use super::exit::{TERMINATED, duration, meaning};
use super::limits::memory;
use super::output::{OutputPipe, output_pipe};
use super::pipe::{Peer, duplicate, duplicate_for_child, owned, pseudo_self};
use super::{ChildSocket, Handle, HandleRef};
use crate::sys::persist::persist;
use crate::sys::{RawExit, SpawnSpec, Spawned, Stream, Usage};

/// A started child: who it is and what the parent holds of it.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    pid: u32,
    process: OwnedHandle,
    /// The only handle of the child's job: neither inherited nor given away.
    job: OwnedHandle,
    reaped: Mutex<bool>,
}

/// Starts the child, which finds `socket` by a name in its environment, in a job
/// and a console group of its own. It inherits its standard handles and nothing else.
pub(crate) fn spawn(spec: &SpawnSpec, socket: ChildSocket) -> io::Result<Spawned> {
    let program = match &spec.program {
        Some(path) => path.clone(),
        None => own_image()?,
    };
    let null_device = OpenOptions::new().read(true).write(true).open("NUL")?;
    let stdin = duplicate_for_child(null_device.as_handle())?;
    let (stdout, printed) = stream(spec.stdout, STD_OUTPUT_HANDLE, &null_device)?;
    let (stderr, complained) = stream(spec.stderr, STD_ERROR_HANDLE, &null_device)?;
    let job = job()?;
    let inherited = [stdin.as_raw_handle(), stdout.as_raw_handle(), stderr.as_raw_handle()];
    let attributes = AttributeList::of_handles(&inherited)?;
    // SAFETY: a zeroed structure is a valid one.
    let mut startup: STARTUPINFOEXW = unsafe { std::mem::zeroed() };
    startup.StartupInfo.cb = size_of::<STARTUPINFOEXW>() as u32;
    startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    startup.StartupInfo.hStdInput = inherited[0];
    startup.StartupInfo.hStdOutput = inherited[1];
    startup.StartupInfo.hStdError = inherited[2];
    startup.lpAttributeList = attributes.list();
    let directory = spec.directory.as_deref().map(wide);
    let environment = environment(spec, socket.variable());
    let mut command_line = command_line(&program, &spec.args);
    let mut flags = CREATE_SUSPENDED
        | CREATE_NEW_PROCESS_GROUP
        | CREATE_UNICODE_ENVIRONMENT
        | EXTENDED_STARTUPINFO_PRESENT;
    // SAFETY: a plain call.
    if unsafe { GetConsoleCP() } == 0 {
        // Else a child of a program without a console would open a window.
        flags |= CREATE_NO_WINDOW;
    }
    // SAFETY: a zeroed structure is a valid one.
    let mut info: PROCESS_INFORMATION = unsafe { std::mem::zeroed() };
    persist(passes, || {
        // SAFETY: all texts end with a zero, the environment with two; everything lives
        // until the call returns.
        check(unsafe {
            CreateProcessW(
                wide(&program).as_ptr(),
                command_line.as_mut_ptr(),
                null(),
                null(),
                1,
                flags,
                environment.as_ptr().cast(),
                directory.as_ref().map_or(null(), |d| d.as_ptr()),
                &raw const startup.StartupInfo,
                &mut info,
            )
        })
    })?;
    let process = owned(info.hProcess)?;
    let thread = owned(info.hThread)?;
    let child = ChildProcess { pid: info.dwProcessId, process, job, reaped: Mutex::new(false) };
    // SAFETY: both handles are open.
    let assigned = check(unsafe {
        AssignProcessToJobObject(child.job.as_raw_handle(), child.process.as_raw_handle())
    });
    if let Err(e) = assigned {
        // SAFETY: the handle is open; the process has not run yet.
        unsafe { TerminateProcess(child.process.as_raw_handle(), TERMINATED) };
        return Err(e);
    }
    let _ = socket.peer.set(Peer { pid: child.pid, process: child.process.try_clone()? });
    // SAFETY: the handle is open.
    if unsafe { ResumeThread(thread.as_raw_handle()) } == u32::MAX {
        return Err(io::Error::last_os_error());
    }
    Ok(Spawned { child, stdout: printed, stderr: complained })
}

/// Whether a start may succeed a moment later: the system is short of something, or (which Wine says of
/// a process that did not come up in time) had an error of its own.
fn passes(error: &io::Error) -> bool {
    let short = [
        ERROR_NOT_ENOUGH_MEMORY,
        ERROR_NO_SYSTEM_RESOURCES,
        ERROR_COMMITMENT_LIMIT,
        ERROR_INTERNAL_ERROR,
    ];
    error.raw_os_error().is_some_and(|code| short.contains(&(code as u32)))
}

/// A handle that is signalled when this process ends, for a child to hold; it allows
/// nothing else.
pub(crate) fn own_process_handle() -> io::Result<Handle> {
    duplicate(pseudo_self(), Some(PROCESS_SYNCHRONIZE))
}

/// Whether the process has ended of whose end a handle tells, or it is no such handle.
pub(crate) fn has_ended(life: HandleRef<'_>) -> bool {
    // SAFETY: the handle is open.
    unsafe { WaitForSingleObject(life.as_raw_handle(), 0) != WAIT_TIMEOUT }
}

/// The file this process was started from, also after it was renamed: the running
/// image cannot be deleted or written, and an open handle knows its present name.
fn own_image() -> io::Result<PathBuf> {
    static IMAGE: Mutex<Option<File>> = Mutex::new(None);
    let mut image = IMAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let file = match &*image {
        Some(file) => file,
        None => image.insert(File::open(std::env::current_exe()?)?),
    };
    let mut path = vec![0u16; 32 * 1024];
    // SAFETY: the buffer is as long as is said.
    let len = unsafe {
        GetFinalPathNameByHandleW(file.as_raw_handle(), path.as_mut_ptr(), path.len() as u32, 0)
    } as usize;
    if len == 0 || len > path.len() {
        return std::env::current_exe();
    }
    let path = OsString::from_wide(&path[..len]);
    // The plain form where there is one: it is what the child will call itself.
    match path.to_str().and_then(|p| p.strip_prefix(r"\\?\")) {
        Some(plain) if plain.as_bytes().get(1) == Some(&b':') && plain.len() < 250 => {
            Ok(plain.into())
        }
        _ => Ok(path.into()),
    }
}

/// What a child is to have as a standard stream; and our end of it, if that is a pipe.
fn stream(
    stream: Stream,
    which: STD_HANDLE,
    null_device: &File,
) -> io::Result<(OwnedHandle, Option<OutputPipe>)> {
    match stream {
        Stream::Inherit => Ok((standard(which, null_device)?, None)),
        Stream::Null => Ok((duplicate_for_child(null_device.as_handle())?, None)),
        Stream::Pipe => {
            let (output, writer) = output_pipe()?;
            Ok((duplicate_for_child(writer.as_handle())?, Some(output)))
        }
    }
}

/// One of our standard handles for the child to inherit, or the null device where
/// we have none.
fn standard(which: STD_HANDLE, null_device: &File) -> io::Result<OwnedHandle> {
    // SAFETY: a plain call.
    let handle = unsafe { GetStdHandle(which) };
    // -1 is also what this process calls itself: it would be given away with all rights.
    if !handle.is_null() && handle != INVALID_HANDLE_VALUE {
        // SAFETY: open for as long as nobody closes this process's standard handles;
        // if somebody has, the call on it fails.
        let handle = unsafe { BorrowedHandle::borrow_raw(handle) };
        if let Ok(handle) = duplicate_for_child(handle) {
            return Ok(handle);
        }
    }
    duplicate_for_child(null_device.as_handle())
}

/// A job that ends when its last handle is closed, and that nothing can leave.
fn job() -> io::Result<OwnedHandle> {
    // SAFETY: no pointers are given.
    let job = owned(unsafe { CreateJobObjectW(null(), null()) })?;
    // SAFETY: a zeroed structure is a valid one, which limits nothing.
    let mut info: JOBOBJECT_EXTENDED_LIMIT_INFORMATION = unsafe { std::mem::zeroed() };
    info.BasicLimitInformation.LimitFlags =
        JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION;
    // SAFETY: the structure is as long as is said; the handle is open.
    check(unsafe {
        SetInformationJobObject(
            job.as_raw_handle(),
            JobObjectExtendedLimitInformation,
            (&raw const info).cast(),
            size_of_val(&info) as u32,
        )
    })?;
    Ok(job)
}

/// What a process is started with besides its arguments; here the handles it inherits.
struct AttributeList<'a> {
    /// Aligned as the system's own memory is.
    memory: Vec<usize>,
    _handles: &'a [HANDLE],
}

impl<'a> AttributeList<'a> {
    fn of_handles(handles: &'a [HANDLE]) -> io::Result<Self> {
        let mut size = 0;
        // SAFETY: without a list the call only tells the size.
        unsafe { InitializeProcThreadAttributeList(null_mut(), 1, 0, &mut size) };
        let mut memory = vec![0usize; size.div_ceil(size_of::<usize>())];
        // SAFETY: the memory is as long as the call has asked for.
        check(unsafe {
            InitializeProcThreadAttributeList(memory.as_mut_ptr().cast(), 1, 0, &mut size)
        })?;
        let list = AttributeList { memory, _handles: handles };
        // SAFETY: an initialised list; the handles live as long as it does.
        check(unsafe {
            UpdateProcThreadAttribute(
                list.list(),
                0,
                PROC_THREAD_ATTRIBUTE_HANDLE_LIST as usize,
                handles.as_ptr().cast(),
                size_of_val(handles),
                null_mut(),
                null(),
            )
        })?;
        Ok(list)
    }

    fn list(&self) -> LPPROC_THREAD_ATTRIBUTE_LIST {
        self.memory.as_ptr().cast_mut().cast()
    }
}

impl Drop for AttributeList<'_> {
    fn drop(&mut self) {
        // SAFETY: initialised, and deleted once.
        unsafe { DeleteProcThreadAttributeList(self.list()) };
    }
}

/// The child's environment as the system takes it: `KEY=value` texts in the order
/// of their upper-case names, each with a zero at its end, and one more zero.
fn environment(spec: &SpawnSpec, ours: (&str, &str)) -> Vec<u16> {
    let mut variables: BTreeMap<OsString, (OsString, OsString)> = BTreeMap::new();
    let mut set = |key: &OsStr, value: Option<&OsStr>| {
        let name = key.to_ascii_uppercase();
        match value {
            Some(value) => variables.insert(name, (key.to_owned(), value.to_owned())),
            None => variables.remove(&name),
        };
    };
    for (key, value) in std::env::vars_os() {
        // Without the last hardly a program can start.
        if !spec.env_clear || key.eq_ignore_ascii_case("SystemRoot") {
            set(&key, Some(&value));
        }
    }
    for (key, value) in &spec.env {
        set(key, value.as_deref());
    }
    set(ours.0.as_ref(), Some(ours.1.as_ref()));
    let mut block = Vec::new();
    for (key, value) in variables.values() {
        block.extend(key.encode_wide());
        block.push(u16::from(b'='));
        block.extend(value.encode_wide());
        block.push(0);
    }
    block.push(0);
    block
}

/// Program and arguments in one text, quoted so that the C library's rules take them
/// apart again ("Parsing C command-line arguments" in Microsoft's documentation).
fn command_line(program: &Path, args: &[OsString]) -> Vec<u16> {
    const QUOTE: u16 = b'"' as u16;
    const BACKSLASH: u16 = b'\\' as u16;
    let mut line = vec![QUOTE];
    // A file's name contains no quote.
    line.extend(program.as_os_str().encode_wide());
    line.push(QUOTE);
    for arg in args {
        line.extend([u16::from(b' '), QUOTE]);
        let mut backslashes = 0;
        for unit in arg.encode_wide() {
            if unit == QUOTE {
                // Each is doubled before a quote, and one more keeps the quote a text.
                line.extend(std::iter::repeat_n(BACKSLASH, backslashes + 1));
            }
            backslashes = if unit == BACKSLASH { backslashes + 1 } else { 0 };
            line.push(unit);
        }
        line.extend(std::iter::repeat_n(BACKSLASH, backslashes));
        line.push(QUOTE);
    }
    line.push(0);
    line
}

impl ChildProcess {
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Signalled once the child has ended.
    pub(crate) fn handle(&self) -> HandleRef<'_> {
        self.process.as_handle()
    }

    /// Ends the child: there is no way to ask it.
    pub(crate) fn terminate(&self) {
        self.kill();
    }

    /// One process cannot be interrupted: Ctrl-C goes to all that share a console.
    #[allow(clippy::unused_self, reason = "elsewhere it does something")]
    pub(crate) fn interrupt(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// A handle that is signalled once the child has ended.
    pub(crate) fn sentinel(&self) -> io::Result<Handle> {
        self.process.try_clone()
    }

    /// Ends the child, and everything it started, now.
    pub(crate) fn kill(&self) {
        // SAFETY: the handle is open.
        unsafe { TerminateJobObject(self.job.as_raw_handle(), TERMINATED) };
    }

    /// CPU time the child and its threads have used.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        let usage = self.times()?;
        Some(usage.0 + usage.1)
    }

    /// In user mode, and in the kernel.
    fn times(&self) -> Option<(Duration, Duration)> {
        // SAFETY: zeroed structures are valid ones.
        let [mut created, mut exited, mut kernel, mut user] = unsafe { std::mem::zeroed() };
        // SAFETY: the handle is open; the pointers are to locals.
        let known = unsafe {
            GetProcessTimes(
                self.process.as_raw_handle(),
                &mut created,
                &mut exited,
                &mut kernel,
                &mut user,
            )
        };
        (known != 0).then(|| (duration(user), duration(kernel)))
    }

    /// Looks at the ended child and kills what it left behind.
    ///
    /// Does not wait; `None` while the child still runs.
    pub(crate) fn reap(&self) -> Option<(RawExit, Usage)> {
        // SAFETY: the handle is open.
        if unsafe { WaitForSingleObject(self.process.as_raw_handle(), 0) } != WAIT_OBJECT_0 {
            return None;
        }
        self.kill();
        *self.lock() = true;
        let mut code = 0;
        // SAFETY: the handle is open; the pointer is to a local.
        let known = unsafe { GetExitCodeProcess(self.process.as_raw_handle(), &mut code) };
        let exit = if known == 0 { RawExit::Unknown } else { meaning(code) };
        let (user, system) = self.times().unwrap_or_default();
        let peak = memory(self.handle()).map_or(0, |m| m.PeakWorkingSetSize as u64);
        Some((exit, Usage { user, system, peak_resident: peak }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, bool> {
        self.reaped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if *self.lock() {
            return;
        }
        // Nobody watches it: it could not be, or its watcher is gone.
        self.kill();
        // SAFETY: the handle is open.
        unsafe { WaitForSingleObject(self.process.as_raw_handle(), INFINITE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(args: &[&str]) -> String {
        let args: Vec<OsString> = args.iter().map(Into::into).collect();
        let line = command_line(Path::new(r"C:\a b\c.exe"), &args);
        String::from_utf16(&line[..line.len() - 1]).unwrap()
    }

    #[test]
    fn arguments_are_quoted_as_the_c_library_reads_them() {
        assert_eq!(quoted(&["--exact", ""]), r#""C:\a b\c.exe" "--exact" """#);
        assert_eq!(quoted(&[r#"say "hi""#]), r#""C:\a b\c.exe" "say \"hi\"""#);
        assert_eq!(quoted(&[r"dir\", r#"a\"b"#]), r#""C:\a b\c.exe" "dir\\" "a\\\"b""#);
    }

    #[test]
    fn an_environment_has_each_name_once_whatever_its_case() {
        let spec = SpawnSpec {
            program: None,
            args: Vec::new(),
            directory: None,
            env_clear: true,
            env: vec![
                ("Path".into(), Some("one".into())),
                ("PATH".into(), Some("two".into())),
                ("gone".into(), Some("x".into())),
                ("GONE".into(), None),
            ],
            stdout: Stream::Inherit,
            stderr: Stream::Null,
        };
        let block = String::from_utf16(&environment(&spec, ("PIPE", "name"))).unwrap();
        let variables: Vec<&str> = block.split_terminator('\0').filter(|v| !v.is_empty()).collect();
        let ours: Vec<_> = variables
            .iter()
            .filter(|v| !v.to_ascii_uppercase().starts_with("SYSTEMROOT"))
            .collect();
        assert_eq!(ours, [&"PATH=two", &"PIPE=name"]);
        assert!(block.ends_with("\0\0"));
    }
}
