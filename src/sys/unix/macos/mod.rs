//! What stands in for Linux's means on macOS. Compiled in CI, never run by us.

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
pub(crate) use orphan::{arm_group_death, arm_parent_death, own_process_handle};
pub(crate) use poll::Poller;
pub(crate) use process::resident_bytes;
pub(super) use process::{collect, cpu_time, own_image, peek, process_handle, send_signal};
pub(super) use socket::{RECV_HANDLES, SEND, keep_to_ourselves, socket_pair};
