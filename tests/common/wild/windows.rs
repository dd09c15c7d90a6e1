//! Windows: a named pipe and a file mapping.

use std::mem::zeroed;
use std::sync::atomic::{AtomicU64, Ordering};

use windows_sys::Win32::Foundation::{CloseHandle, ERROR_IO_PENDING, GetLastError, HANDLE};
use windows_sys::Win32::Storage::FileSystem::{FILE_TYPE_PIPE, GetFileType, ReadFile, WriteFile};
use windows_sys::Win32::System::Console::{
    GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Memory::{
    MEM_COMMIT, MEM_MAPPED, MEMORY_BASIC_INFORMATION, PAGE_READWRITE, VirtualQuery,
};
use windows_sys::Win32::System::Pipes::{GetNamedPipeInfo, PIPE_SERVER_END};
use windows_sys::Win32::System::Threading::CreateEventW;

use crate::common::os;

/// Open files but for the standard three.
fn files() -> Vec<HANDLE> {
    let standard = [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE];
    // SAFETY: plain calls.
    let standard = standard.map(|which| unsafe { GetStdHandle(which) });
    let files = os::handles().into_iter().filter(|(_, kind)| kind == "File");
    files.map(|(handle, _)| handle as HANDLE).filter(|h| !standard.contains(h)).collect()
}

/// The handles of the pool's pipe: the only one of which a worker has the client's end.
fn pipes() -> Vec<HANDLE> {
    let is_it = |handle: &HANDLE| {
        let mut flags = 0;
        let none = std::ptr::null_mut();
        // SAFETY: the handle is open; a plain out-parameter.
        unsafe {
            GetFileType(*handle) == FILE_TYPE_PIPE
                && GetNamedPipeInfo(*handle, &mut flags, none, none, none) != 0
                && flags & PIPE_SERVER_END == 0
        }
    };
    files().into_iter().filter(is_it).collect()
}

fn pipe() -> HANDLE {
    *pipes().first().expect("a worker has a pipe")
}

/// Starts an operation and waits for its end; gives how many bytes it moved.
fn wait_for(
    pipe: HANDLE,
    start: impl FnOnce(*mut OVERLAPPED) -> windows_sys::core::BOOL,
) -> std::io::Result<usize> {
    // SAFETY: the structure lives until the operation has ended.
    unsafe {
        let event = CreateEventW(std::ptr::null(), 1, 0, std::ptr::null());
        let mut overlapped: OVERLAPPED = zeroed();
        // The lowest bit keeps the end of it from the port, if the worker has one.
        overlapped.hEvent = event.map_addr(|a| a | 1);
        let mut moved = 0;
        let started = start(&mut overlapped) != 0 || GetLastError() == ERROR_IO_PENDING;
        let done = started && GetOverlappedResult(pipe, &overlapped, &mut moved, 1) != 0;
        let result = if done { Ok(moved as usize) } else { Err(std::io::Error::last_os_error()) };
        CloseHandle(event);
        result
    }
}

/// Writes to the connection, past everything. Less than all if nobody listens.
pub fn send(bytes: &[u8]) {
    let pipe = pipe();
    let mut sent = 0;
    while sent < bytes.len() {
        let rest = &bytes[sent..];
        // SAFETY: the pointer and the length are of one slice, which outlives it.
        let write = |overlapped| unsafe {
            WriteFile(pipe, rest.as_ptr(), rest.len() as u32, std::ptr::null_mut(), overlapped)
        };
        match wait_for(pipe, write) {
            Ok(n) => sent += n,
            // The parent has closed its end.
            Err(_) => return,
        }
    }
}

/// Leaves to nobody else what will come: a read may be under way already.
pub fn take_over() {
    // SAFETY: a plain call; none is under way is an answer too.
    unsafe { CancelIoEx(pipe(), std::ptr::null()) };
}

/// Takes the next `n` bytes from the connection, waiting for them.
pub fn swallow(n: usize) {
    let pipe = pipe();
    let mut bytes = vec![0_u8; n];
    let mut got = 0;
    while got < n {
        let rest = &mut bytes[got..];
        // SAFETY: the pointer and the length are of one slice, which outlives it.
        let read = |overlapped| unsafe {
            ReadFile(pipe, rest.as_mut_ptr(), rest.len() as u32, std::ptr::null_mut(), overlapped)
        };
        got += wait_for(pipe, read).unwrap();
    }
}

/// Closes all but the standard three: files, pipes and devices, that is. (Without
/// its events and semaphores a runtime does not even get to notice.)
pub fn close_everything() {
    for handle in files() {
        // SAFETY: a plain call; what breaks by it is the point.
        unsafe { CloseHandle(handle) };
    }
}

/// Ends the connection. A client cannot do that without closing it.
pub fn hang_up() {
    for handle in pipes() {
        // SAFETY: as above.
        unsafe { CloseHandle(handle) };
    }
}

/// Start and length of the status block: the shared memory in which the running
/// call's id is where the slots are.
pub(super) fn find_block() -> (usize, usize) {
    const SLOTS: std::ops::Range<usize> = 64..64 + 1024;
    let id = procpool::context().call_id();
    let mut at = 0_usize;
    loop {
        // SAFETY: zeroes are a value of it, and its size is told; the words that are
        // read are committed, readable and in the region.
        unsafe {
            let mut region: MEMORY_BASIC_INFORMATION = zeroed();
            if VirtualQuery(at as *const _, &mut region, size_of_val(&region)) == 0 {
                panic!("no status block here");
            }
            let (start, len) = (region.BaseAddress as usize, region.RegionSize);
            at = start + len;
            if region.State == MEM_COMMIT
                && region.Type == MEM_MAPPED
                && region.Protect == PAGE_READWRITE
                && len >= SLOTS.end * 8
            {
                let words = start as *const AtomicU64;
                let mut slots = SLOTS;
                if slots.any(|i| (*words.add(i)).load(Ordering::Acquire) >> 2 == id) {
                    return (start, len);
                }
            }
        }
    }
}
