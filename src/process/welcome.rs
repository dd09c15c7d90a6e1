//! What a worker is given by its parent: a socket, and with the welcome the
//! shared block and a hold on the parent's life.

use std::io;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use tracing::{Dispatch, warn};

use super::at_exit;
use super::courier::Courier;
use super::status::StatusBlock;
use super::supervisor::Child;
use crate::hub::{Seat, SeatHandles, SeatId};
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

/// What connects a child and its parent, besides the socket.
pub(crate) struct Memory {
    pub(crate) block: Arc<StatusBlock>,
    pub(crate) log: ChildLog,
    pub(crate) courier: Courier,
    pub(crate) seat: Option<Seat>,
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
    /// gets at it. The hub kills a child that breaks its rules, once there is one.
    pub(crate) fn create(
        name: String,
        listener: Option<Dispatch>,
        socket: &WorkerSocket,
        max_message: u64,
        child: &Arc<OnceLock<Child>>,
    ) -> io::Result<(Self, MemoryHandles)> {
        // What is logged last is passed on before this program ends.
        at_exit::arm();
        let (block, handle) = StatusBlock::create()?;
        let block = Arc::new(block);
        let (process, hears) = (name.clone(), listener.clone());
        let log = Inbox::open(name, listener, block.clone())?;
        let child = Arc::downgrade(child);
        let end = Arc::new(move |how: &'static str| {
            let child = child.upgrade();
            let Some(child) = child.as_deref().and_then(OnceLock::get) else { return };
            child.kill();
            let (process, pid) = (process.clone(), child.pid());
            crate::log::tell(hears.clone(), move || {
                warn!(parent: None,
                    process.name = process,
                    process.pid = pid,
                    violation = how,
                    "process broke the protocol and is killed"
                );
            });
        });
        let mut seat = None;
        let (courier, channel) = Courier::to_child(socket, |channel| {
            seat = Seat::new(block.clone(), &handle, channel, max_message, end)?;
            Ok(seat.as_ref().map(|(seat, _)| seat.id()))
        })?;
        let (seat, hub) = seat.unzip();
        let hub = hub.zip(seat.as_ref().map(Seat::id));
        let handles = MemoryHandles { block: handle, log: log.clone(), channel, hub };
        Ok((Memory { block, log: ChildLog(log), courier, seat }, handles))
    }
}

/// Handles of a child's memory, not yet given to it.
pub(crate) struct MemoryHandles {
    block: Handle,
    log: Arc<Inbox>,
    channel: Option<Handle>,
    hub: Option<(SeatHandles, SeatId)>,
}

impl MemoryHandles {
    /// Sends the welcome with them and the parent's process handle.
    pub(crate) fn send(self, link: &Link<Local>, welcome: &Welcome) -> io::Result<()> {
        let ticket = self.hub.as_ref().map(|(handles, seat)| handles.ticket(*seat));
        let ticket = ticket.map(|ticket| postcard::to_allocvec(&ticket)).transpose();
        let ticket = ticket.map_err(io::Error::other)?.unwrap_or_default();
        let welcome = Welcome { ticket, ..welcome.clone() };
        let body = postcard::to_allocvec(&welcome).map_err(io::Error::other)?;
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
            handles.extend(self.channel.as_ref().map(handle_ref));
            handles.extend(self.hub.iter().flat_map(|(handles, _)| handles.all()));
            handles.extend(parent.as_ref().map(handle_ref));
            link.send_handles(&message, &handles)
        });
        sent.unwrap_or_else(|| Err(io::Error::other("it has ended")))
    }
}
