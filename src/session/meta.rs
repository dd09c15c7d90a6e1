//! The fixed fields in front of a call's arguments and a chunk's results.

/// Calls that may be at one worker at a time, running or waiting.
pub(crate) const MAX_SLOTS: u16 = 1024;

/// What a worker is told about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallMeta {
    pub(crate) task: u32,
    /// 0: one call. Else a chunk of so many, their arguments in a row.
    pub(crate) items: u32,
    pub(crate) attempt: u32,
    /// Milliseconds left until the caller's deadline; 0 is none.
    pub(crate) remaining_ms: u32,
}

impl CallMeta {
    pub(crate) const LEN: usize = 16;

    #[inline]
    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0..4].copy_from_slice(&self.task.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.items.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.attempt.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.remaining_ms.to_le_bytes());
        bytes
    }

    #[inline]
    pub(crate) fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (meta, rest) = bytes.split_first_chunk::<{ Self::LEN }>()?;
        let word =
            |at: usize| u32::from_le_bytes([meta[at], meta[at + 1], meta[at + 2], meta[at + 3]]);
        Some((
            CallMeta { task: word(0), items: word(4), attempt: word(8), remaining_ms: word(12) },
            rest,
        ))
    }
}

/// Which items of a chunk an [`Items`](crate::wire::Kind::Items) frame holds.
/// Each item is one byte (0: a value follows, 1: a fault follows) and its
/// encoded form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ItemsMeta {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

impl ItemsMeta {
    pub(crate) const LEN: usize = 8;

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0..4].copy_from_slice(&self.first.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.count.to_le_bytes());
        bytes
    }

    pub(crate) fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (meta, rest) = bytes.split_first_chunk::<{ Self::LEN }>()?;
        let word =
            |at: usize| u32::from_le_bytes([meta[at], meta[at + 1], meta[at + 2], meta[at + 3]]);
        Some((ItemsMeta { first: word(0), count: word(4) }, rest))
    }
}
