//! Windows in reading order: how a child starts, what it is given, how it ends.

mod bell;
mod channel;
mod child;
mod clock;
mod doorbell;
mod error;
mod exit;
mod hearing;
mod limits;
mod names;
mod output;
mod pipe;
mod poll;
mod reactor;
mod security;
mod shm;
mod spawn;
mod stream;

pub(crate) use bell::{Bell, Sleeper, bell};
pub(crate) use channel::HandleChannel;
pub(crate) use child::{
    accept_interrupts, advise_huge, arm_group_death, arm_parent_death, at_exit, exit_now,
    kill_own_group, refuse_interrupts, reset_signals,
};
pub(crate) use clock::ticks;
pub(crate) use doorbell::{Doorbell, Ringer};
pub(crate) use exit::signal_name;
pub(crate) use hearing::Hearing;
pub(crate) use limits::{apply_limit, can_limit, online_cpus, resident_bytes, usable_cpus};
pub(crate) use names::{Name, remove_name, sweep_names};
pub(super) use names::{create_named, open_named};
pub(crate) use output::OutputPipe;
#[cfg(test)]
pub(crate) use pipe::connect_here;
pub(super) use pipe::write_raw;
pub(crate) use pipe::{
    ChildSocket, Handle, HandleRef, PipeServer, Socket, handle_access, handle_ref, pair,
    parent_socket, recv_blocking, recv_with_handles, write_all_blocking, write_vectored_blocking,
};
pub(crate) use poll::Poller;
pub(crate) use reactor::{park_until, read_until};
pub(super) use shm::{
    Mapping, check_lent, keep_to_write, opens_as_is, seal, unsealed, unsealed_copy,
};
pub(crate) use spawn::{ChildProcess, has_ended, own_process_handle, spawn};
pub(crate) use stream::{
    ADDRESS_FAMILIES, STREAMS_CARRY_HANDLES, caller, connect, limit_resending, listen, stream,
    stream_pair, unguessable_name, wait_for, without_first,
};
