//! What Linux has and other Unix systems have not.

mod advice;
mod doorbell;
mod memory;
mod orphan;
mod poll;
mod process;
mod socket;

pub(crate) use advice::advise_huge;
pub(crate) use doorbell::{Doorbell, Ringer};
pub(super) use memory::{check_memory_file, memory_file};
pub(crate) use orphan::{arm_group_death, arm_parent_death};
pub(crate) use poll::Poller;
pub(super) use process::{collect, cpu_time, own_image, peek, process_handle, send_signal};
pub(crate) use process::{own_process_handle, resident_bytes};
pub(super) use socket::{RECV_HANDLES, SEND, keep_to_ourselves, socket_pair};
