//! Who may send what now, on both ends of a worker's connection.
//!
//! Pure: messages in, events and frames out. No socket, no clock, no locks;
//! the only deadline of the protocol, that of the hello, is kept with all others
//! in the pool's scheduler.
//!
//! ```text
//! parent                                  worker
//! AwaitHello  <────────── Hello ───────── (starts)
//! AwaitReady  ─────────── Welcome ──────> Initializing
//! Running     <────────── Ready ───────── Running
//!             ─── Call, Cancel ─────────>
//!             <── Value, Fault, Items, Cancelled, Progress ──
//! Draining    ─────────── Shutdown ─────> Leaving
//! Closed      <────────── Goodbye ─────── (exits)
//! ```

mod meta;
#[cfg(test)]
mod pair;
mod parent;
mod violation;
mod worker;

pub(crate) use meta::{CallMeta, ItemsMeta, MAX_SLOTS};
pub(crate) use parent::{ParentEvent, ParentSession};
pub(crate) use violation::Violation;
pub(crate) use worker::{WorkerEvent, WorkerSession};
