//! Ways in which bytes can fail to be a conversation.

/// A violation of the frame format: the connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a frame starts with {0:#04x} instead of {expected:#04x}", expected = super::frame::MAGIC)]
    Magic(u8),
    #[error("frame kind {0} is unknown")]
    Kind(u8),
    #[error("frame flags {0:#04x} are unknown")]
    Flags(u8),
    #[error("a frame of {len} bytes, where at most {max} are allowed")]
    FrameTooLong { len: u64, max: u64 },
    #[error("a message of {len} bytes, where at most {max} are allowed")]
    MessageTooLong { len: u64, max: u64 },
    #[error("a message in {parts} parts, where at most {max} are allowed")]
    TooManyParts { parts: u32, max: u32 },
    #[error("a streamed message has a malformed preamble")]
    Preamble,
    #[error("data that belongs to no streamed message")]
    UnexpectedData,
    #[error("a second streamed message began inside the first")]
    NestedStream,
    #[error("the list of what is given along with a message is malformed")]
    Brought,
}
