//! What a worker is given by its parent: a socket, and with the welcome the
//! shared block and a hold on the parent's life.

use std::io;
use std::ops::Deref;
use std::sync::Arc;

use tracing::Dispatch;

use super::at_exit;
use super::status::StatusBlock;
use crate::link::{Link, Local};
use crate::log::{HeldSpan, Inbox, LoggedCall};
use crate::sys::{self, ChildSocket, Handle, Socket, handle_ref};
use crate::wire::{HEADER_LEN, Header, Kind, MAX_INLINE, Welcome};

/// The worker's end of the connection, not yet given to it.
pub(crate) type WorkerSocket = ChildSocket;

/// Both ends: ours, and the worker's.
pub(crate) fn worker_socket() -> io::Result<(Socket, WorkerSocket)> {
    sys::pair()
}

/// What of a child's is in memory that both see.
pub(crate) struct Memory {
    pub(crate) block: Arc<StatusBlock>,
    pub(crate) log: ChildLog,
}

/// A child's log, ended when this is dropped.
pub(crate) struct ChildLog(Arc<Inbox>);

impl Deref for ChildLog {
    type Target = Inbox;

    fn deref(&self) -> &Inbox {
        &self.0
    }
}

impl ChildLog {
    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.0
    }

    /// What the call logs belongs into `span`, until the value is dropped.
    pub(crate) fn call_begins(&self, call: u64, span: HeldSpan) -> LoggedCall {
        LoggedCall::begins(&self.0, call, span)
    }
}

impl Drop for ChildLog {
    fn drop(&mut self) {
        self.0.ended();
    }
}

impl Memory {
    /// For a child of this name, whose log goes to `listener`; and the handles by which it
    /// gets at it.
    pub(crate) fn create(
        name: String,
        listener: Option<Dispatch>,
    ) -> io::Result<(Self, MemoryHandles)> {
        // What is logged last is passed on before this program ends.
        at_exit::arm();
        let (block, handle) = StatusBlock::create()?;
        let block = Arc::new(block);
        let log = Inbox::open(name, listener, block.clone())?;
        let handles = MemoryHandles { block: handle, log: log.clone() };
        Ok((Memory { block, log: ChildLog(log) }, handles))
    }
}

/// Handles of a child's memory, not yet given to it.
pub(crate) struct MemoryHandles {
    block: Handle,
    log: Arc<Inbox>,
}

impl MemoryHandles {
    /// Sends the welcome with them and the parent's process handle.
    pub(crate) fn send(self, link: &Link<Local>, welcome: &Welcome) -> io::Result<()> {
        let body = postcard::to_allocvec(welcome).map_err(io::Error::other)?;
        // Must go out in one piece with its handles.
        if body.len() > MAX_INLINE / 4 {
            return Err(io::Error::other(format!(
                "the initializer's arguments take {} bytes; at most about 16,000 can be given",
                body.len()
            )));
        }
        let mut message = Vec::with_capacity(HEADER_LEN + body.len());
        message.extend_from_slice(&Header::new(Kind::Welcome, 0, 0, body.len()).encode());
        message.extend_from_slice(&body);
        // Where there are no process handles the end of the socket must do.
        let parent = sys::own_process_handle().ok();
        let sent = self.log.with_ringer(|ringer| {
            let mut handles = vec![handle_ref(&self.block), ringer];
            handles.extend(parent.as_ref().map(handle_ref));
            link.send_handles(&message, &handles)
        });
        sent.unwrap_or_else(|| Err(io::Error::other("it has ended")))
    }
}
