//! What decoding a message may cost.

/// What one message of a peer may cost to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DecodeLimits {
    /// How many containers, options, newtypes and enums may be nested in one another.
    /// Default: 128.
    pub depth: u32,
    /// How many elements all sequences and maps may hold together. Default: 67,108,864 (64 Mi).
    pub elements: u64,
    /// How many bytes the decoded values may take in memory. A message larger than a quarter of
    /// this gets four times its own length instead. Default: 268,435,456 (256 MiB).
    pub memory: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        DecodeLimits { depth: 128, elements: 1 << 26, memory: 256 << 20 }
    }
}

/// What is left to spend on one message; several values may be decoded from it in turn.
#[derive(Debug, Clone)]
pub struct Budget {
    pub(super) limits: DecodeLimits,
    pub(super) elements: u64,
    pub(super) memory: u64,
}

impl Budget {
    /// The full budget for a message of `encoded_len` bytes.
    ///
    /// The memory is `limits.memory` or four times `encoded_len`, whichever is more, so that a
    /// large message that was let in at all is not refused for its size alone.
    #[inline]
    pub fn new(limits: &DecodeLimits, encoded_len: usize) -> Budget {
        let memory = limits.memory.max((encoded_len as u64).saturating_mul(4));
        Budget { limits: DecodeLimits { memory, ..*limits }, elements: limits.elements, memory }
    }
}

/// Which budget a message would have overdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BudgetExceeded {
    /// Values are nested in one another more deeply than allowed.
    #[error("depth budget exceeded: nested deeper than the {limit} levels allowed")]
    Depth {
        /// The number of levels allowed.
        limit: u32,
    },
    /// A sequence or map claims more elements than are left.
    #[error(
        "element budget exceeded: {needed} more elements claimed with {left} left of the {limit} allowed"
    )]
    Elements {
        /// The number of elements claimed.
        needed: u64,
        /// How many were left to claim.
        left: u64,
        /// How many were allowed for the whole message.
        limit: u64,
    },
    /// A part of the message takes more memory than is left.
    #[error(
        "memory budget exceeded: {needed} more bytes needed with {left} left of the {limit} allowed"
    )]
    Memory {
        /// The number of bytes needed.
        needed: u64,
        /// How many were left.
        left: u64,
        /// How many were allowed for the whole message.
        limit: u64,
    },
}
