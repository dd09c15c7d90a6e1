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
    arm_group_death, arm_parent_death, bind_standard_input, exit_now, kill_own_group, remove_env,
    reset_signals,
};
pub(crate) use exit::{RawExit, Usage, signal_name};
pub(crate) use handles::{
    bytes_waiting, pair, recv_blocking, recv_now, recv_with_handles, send_with_handles,
    set_nonblocking, write_all_blocking, write_vectored_blocking,
};
pub(crate) use limits::{ResourceLimit, apply_limit, online_cpus, resident_bytes, usable_cpus};
pub(crate) use poll::{Poller, Ready};
pub(crate) use shm::SharedBlock;
pub(crate) use spawn::{
    ChildProcess, SpawnSpec, StderrMode, own_process_handle, read_pipe_now, spawn,
};
