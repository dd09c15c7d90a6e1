//! Linux (and, by fallbacks yet to come, other Unix) in reading order: how a
//! child starts, what it inherits, how it ends.

mod advice;
mod child;
mod exit;
mod handles;
mod limits;
mod poll;
mod shm;
mod spawn;

pub(crate) use advice::advise_huge;
pub(crate) use child::{
    arm_group_death, arm_parent_death, exit_now, kill_own_group, parent_socket, reset_signals,
};
pub(crate) use exit::signal_name;
#[cfg(test)]
pub(crate) use handles::connect_here;
pub(super) use handles::write_raw;
pub(crate) use handles::{
    ChildSocket, Handle, HandleRef, Socket, bytes_waiting, handle_ref, pair, recv_blocking,
    recv_now, recv_with_handles, send_with_handles, set_nonblocking, write_all_blocking,
    write_vectored_blocking,
};
pub(crate) use limits::{apply_limit, can_limit, online_cpus, resident_bytes, usable_cpus};
pub(crate) use poll::Poller;
pub(super) use shm::Mapping;
pub(crate) use spawn::{ChildProcess, OutputPipe, own_process_handle, spawn};
