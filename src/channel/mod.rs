//! What processes pass to one another beside calls: items of queues, messages, handles of the
//! operating system.
//!
//! Pipes: two ends, each in whatever process has it, and nobody in between.
//!
//! A [`Line`](line::Line) is an end with what it has received and not handed out and
//! what it has taken and not sent; the public types are typed views of one. Knows no
//! pool.

mod address;
mod connection;
mod error;
mod inlet;
mod line;
mod listener;
mod one_way;
mod outlet;
mod pass_fd;
mod passing;
mod queue;
mod receiving;
mod select;
mod sending;
mod streams;

pub use address::{Address, AddressError};
pub use connection::{Connection, pipe};
pub use error::{MessageKind, RecvError, SendError, SendErrorKind};
pub use listener::{Listener, Peer};
pub(crate) use listener::{blocking_connect_end, connect_end};
pub use one_way::{PipeReceiver, PipeSender, one_way};
pub use pass_fd::PassFd;
pub use queue::{
    Delivery, GetError, JoinableQueue, PriorityQueue, PutError, PutErrorKind, Queue, SimpleQueue,
    TaskDoneError,
};
pub use select::{Select, Source, select, select_all};
