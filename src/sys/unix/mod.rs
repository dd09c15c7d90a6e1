//! Unix in reading order: how a child starts, what it inherits, how it ends. What only
//! one system has is in its folder, with the same functions in each.

mod channel;
mod child;
mod clock;
mod exit;
mod handles;
mod hearing;
mod limits;
mod listen;
#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod platform;
#[cfg(not(target_os = "linux"))]
#[path = "macos/mod.rs"]
mod platform;
mod shm;
mod spawn;
mod stream;
mod token;
mod wait;

pub(crate) use channel::HandleChannel;
pub(crate) use child::{
    accept_interrupts, at_exit, exit_now, kill_own_group, parent_socket, refuse_interrupts,
    reset_signals,
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
pub(crate) use hearing::Hearing;
pub(crate) use limits::{apply_limit, can_limit, online_cpus, usable_cpus};
pub(crate) use listen::{
    FileIdentity, PrivateDirectory, accept, adopt, caller, connect, file_identity, listen,
    private_directory, without_first,
};
#[cfg(target_os = "linux")]
pub(super) use platform::keep_writers_out;
pub(crate) use platform::{
    ADDRESS_FAMILIES, Bell, Doorbell, Poller, Ringer, Sleeper, advise_huge, arm_group_death,
    arm_parent_death, bell, has_ended, limit_resending, own_process_handle, refuse_handles,
    resident_bytes, ticks,
};
#[cfg(target_os = "linux")]
pub(crate) use platform::{CAN_PARK, park, unpark};
pub(crate) use platform::{Name, remove_name, sweep_names};
pub(super) use platform::{
    check_lent, create_named, keep_to_write, open_named, opens_as_is, seal, unsealed, unsealed_copy,
};
pub(super) use shm::Mapping;
pub(crate) use spawn::{ChildProcess, OutputPipe, spawn};
pub(crate) use stream::{
    STREAMS_CARRY_HANDLES, read_stream, shut, stream_pair, wait_for, write_stream,
};
pub(crate) use token::{is_token, token_pair, wait_for_token};
