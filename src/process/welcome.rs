//! What a worker is given by its parent: a socket, and with the welcome the
//! shared block and a hold on the parent's life.

use std::io;

use crate::link::{Link, Local};
use crate::sys::{self, ChildSocket, Handle, Socket, handle_ref};
use crate::wire::{HEADER_LEN, Header, Kind, MAX_INLINE, Welcome};

/// The worker's end of the connection, not yet given to it.
pub(crate) type WorkerSocket = ChildSocket;

/// Both ends: ours, and the worker's.
pub(crate) fn worker_socket() -> io::Result<(Socket, WorkerSocket)> {
    sys::pair()
}

/// The handle by which the worker maps its block.
#[derive(Debug)]
pub(crate) struct BlockHandle(pub(super) Handle);

impl BlockHandle {
    /// Sends the welcome with the block and the parent's process handle.
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
        match &parent {
            Some(parent) => link.send_handles(&message, &[handle_ref(&self.0), handle_ref(parent)]),
            None => link.send_handles(&message, &[handle_ref(&self.0)]),
        }
    }
}
