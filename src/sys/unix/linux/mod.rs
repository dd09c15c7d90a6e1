//! What Linux has and other Unix systems have not.

mod advice;
mod bell;
mod clock;
mod doorbell;
mod memory;
mod names;
mod orphan;
mod park;
mod poll;
mod process;
mod socket;

pub(crate) use advice::advise_huge;
pub(crate) use bell::{Bell, Sleeper, bell};
pub(crate) use clock::ticks;
pub(crate) use doorbell::{Doorbell, Ringer};
pub(in crate::sys) use memory::{
    check_lent, keep_to_write, keep_writers_out, opens_as_is, seal, unsealed, unsealed_copy,
};
pub(super) use memory::{check_memory_file, memory_file};
pub(crate) use names::{Name, remove_name, sweep_names};
pub(in crate::sys) use names::{create_named, open_named};
pub(crate) use orphan::{arm_group_death, arm_parent_death};
pub(crate) use park::{CAN_PARK, park, unpark};
pub(crate) use poll::Poller;
pub(super) use process::{collect, cpu_time, own_image, peek, process_handle, send_signal};
pub(crate) use process::{has_ended, own_process_handle, resident_bytes};
pub(crate) use socket::{ADDRESS_FAMILIES, limit_resending, refuse_handles};
pub(super) use socket::{
    RECV_HANDLES, SEND, abstract_address, keep_to_ourselves, no_signal, peer, socket_pair,
    stream_socket,
};
