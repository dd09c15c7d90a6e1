//! Unix in reading order: how a child starts, what it inherits, how it ends. What only
//! one system has is in its folder, with the same functions in each.

mod child;
mod exit;
mod handles;
mod limits;
#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod platform;
#[cfg(not(target_os = "linux"))]
#[path = "macos/mod.rs"]
mod platform;
mod shm;
mod spawn;
mod wait;

pub(crate) use child::{
    accept_interrupts, at_exit, exit_now, kill_own_group, parent_socket, reset_signals,
};
pub(crate) use exit::signal_name;
#[cfg(test)]
pub(crate) use handles::connect_here;
pub(super) use handles::write_raw;
pub(crate) use handles::{
    ChildSocket, Handle, HandleRef, Socket, bytes_waiting, handle_access, handle_ref, pair,
    recv_blocking, recv_now, recv_with_handles, send_now, send_with_handles, set_nonblocking,
    write_all_blocking, write_vectored_blocking,
};
pub(crate) use limits::{apply_limit, can_limit, online_cpus, usable_cpus};
pub(crate) use platform::{
    Doorbell, Poller, Ringer, advise_huge, arm_group_death, arm_parent_death, own_process_handle,
    resident_bytes,
};
pub(super) use shm::Mapping;
pub(crate) use spawn::{ChildProcess, OutputPipe, spawn};
