//! Queues that every process can put into and take from.
//!
//! The items are in the hub (`object.rs`). A process has of each queue a shelf (`shelf.rs`) on
//! which items arrive; handles take from it (`inner.rs`). The kinds of queues differ in little.

mod common;
mod error;
mod fifo;
mod inner;
mod joinable;
mod object;
#[cfg(test)]
mod object_tests;
mod priority;
mod shelf;
mod simple;
mod streams;

pub use error::{GetError, PutError, PutErrorKind, TaskDoneError};
pub use fifo::Queue;
pub use inner::Delivery;
pub use joinable::JoinableQueue;
pub use priority::PriorityQueue;
pub use simple::SimpleQueue;
