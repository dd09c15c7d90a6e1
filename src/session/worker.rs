//! The worker's end: obeys, and still checks what it is told.

use super::meta::{CallMeta, MAX_SLOTS};
use super::violation::Violation;
use crate::wire::{Body, Brought, Header, Kind, Message, Welcome};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    AwaitWelcome,
    Initializing,
    Running,
    Leaving,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::AwaitWelcome => "waiting for the parent's welcome",
            State::Initializing => "initializing",
            State::Running => "running",
            State::Leaving => "leaving",
        }
    }
}

/// What a message of the parent means to the worker.
#[derive(Debug)]
pub(crate) enum WorkerEvent<'a> {
    Welcome(Box<Welcome>),
    Call {
        slot: u16,
        id: u64,
        meta: CallMeta,
        args: &'a [u8],
        body: Body,
        brought: Option<Box<Brought>>,
    },
    Cancel {
        slot: u16,
        id: u64,
    },
    Shutdown,
}

#[derive(Debug)]
pub(crate) struct WorkerSession {
    state: State,
}

impl WorkerSession {
    pub(crate) fn new() -> Self {
        WorkerSession { state: State::AwaitWelcome }
    }

    /// The initializer is done; calls may come.
    pub(crate) fn ready(&mut self) {
        self.state = State::Running;
    }

    #[inline]
    pub(crate) fn handle<'a>(
        &mut self,
        message: Message<'a>,
    ) -> Result<WorkerEvent<'a>, Violation> {
        let Header { kind, slot, id, .. } = message.header;
        match (kind, self.state) {
            (Kind::Call, State::Running) => {
                if slot >= MAX_SLOTS {
                    return Err(Violation::UnknownCall { kind, slot, id });
                }
                let (meta, args) =
                    CallMeta::split(message.meta).ok_or(Violation::Malformed(kind))?;
                let (body, brought) = (message.body, message.brought);
                Ok(WorkerEvent::Call { slot, id, meta, args, body, brought })
            }
            (Kind::Cancel, State::Running) => Ok(WorkerEvent::Cancel { slot, id }),
            // A parent may give up on a worker that is still initializing.
            (Kind::Shutdown, State::Running | State::Initializing) => {
                self.state = State::Leaving;
                Ok(WorkerEvent::Shutdown)
            }
            (Kind::Welcome, State::AwaitWelcome) => {
                let bytes = match &message.body {
                    Body::Inline => message.meta,
                    Body::Streamed { head, .. } => head,
                };
                let welcome =
                    postcard::from_bytes(bytes).map_err(|_| Violation::Malformed(kind))?;
                self.state = State::Initializing;
                Ok(WorkerEvent::Welcome(Box::new(welcome)))
            }
            _ => Err(Violation::Unexpected { kind, state: self.state.name() }),
        }
    }
}
