//! Windows in reading order: how a child starts, what it is given, how it ends.

mod child;
mod doorbell;
mod error;
mod exit;
mod limits;
mod output;
mod pipe;
mod poll;
mod reactor;
mod security;
mod shm;
mod spawn;

pub(crate) use child::{
    accept_interrupts, advise_huge, arm_group_death, arm_parent_death, at_exit, exit_now,
    kill_own_group, reset_signals,
};
pub(crate) use doorbell::{Doorbell, Ringer};
pub(crate) use exit::signal_name;
pub(crate) use limits::{apply_limit, can_limit, online_cpus, resident_bytes, usable_cpus};
pub(crate) use output::OutputPipe;
#[cfg(test)]
pub(crate) use pipe::connect_here;
pub(super) use pipe::write_raw;
pub(crate) use pipe::{
    ChildSocket, Handle, HandleRef, PipeServer, Socket, handle_access, handle_ref, pair,
    parent_socket, recv_blocking, recv_with_handles, write_all_blocking, write_vectored_blocking,
};
pub(crate) use poll::Poller;
pub(crate) use reactor::read_until;
pub(super) use shm::Mapping;
pub(crate) use spawn::{ChildProcess, own_process_handle, spawn};
