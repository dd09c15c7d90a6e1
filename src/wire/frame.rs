//! The fixed header in front of every frame.
//!
//! ```text
//! offset 0  magic   u8   0xB7
//!        1  kind    u8
//!        2  flags   u8
//!        3  zero    u8
//!        4  slot    u16  which of the session's call slots
//!        6  zero    u16
//!        8  length  u32  bytes that follow
//!       12  id      u64  which call; ids are never used twice on a connection
//!       20  …
//! ```
//! All numbers are little-endian.

use super::error::WireError;

pub(crate) const MAGIC: u8 = 0xB7;
pub(crate) const HEADER_LEN: usize = 20;
/// Longest frame of any kind but [`Kind::Data`]; larger messages are streamed.
pub(crate) const MAX_INLINE: usize = 64 * 1024;
/// Longest [`Kind::Data`] frame: control frames can pass between two of them.
pub(crate) const MAX_DATA: usize = 4 * 1024 * 1024;

/// What a frame means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Worker → parent: who I am.
    Hello = 1,
    /// Parent → worker: you are accepted; carries descriptors.
    Welcome = 2,
    /// Worker → parent: initialized, give me work.
    Ready = 3,
    /// Parent → worker: run this.
    Call = 4,
    /// Parent → worker: stop running this async call.
    Cancel = 5,
    /// Worker → parent: the value of a call.
    Value = 6,
    /// Worker → parent: a call failed, but the worker did not.
    Fault = 7,
    /// Worker → parent: results of some items of a chunk.
    Items = 8,
    /// Worker → parent: an async call was dropped at the parent's wish.
    Cancelled = 9,
    /// Worker → parent: done so many of so many.
    Progress = 10,
    /// More bytes of the streamed message.
    Data = 11,
    /// Parent → worker: finish and exit.
    Shutdown = 12,
    /// Worker → parent: exiting as asked.
    Goodbye = 13,
    /// Between the ends of a pipe: a value.
    Message = 14,
    /// Between the ends of a pipe: bytes that are no value.
    Bytes = 15,
    /// Worker → parent: a call that brought handles has begun, and has them.
    Took = 16,
    /// Between a process and the hub: something is said of an object, or by it.
    Note = 17,
    /// Between a process and the hub: who holds an object.
    Manage = 18,
    /// Between a process and a manager: it asks for something.
    Request = 19,
    /// Between a process and a manager: what that has come to.
    Reply = 20,
}

impl Kind {
    fn from_u8(value: u8) -> Result<Self, WireError> {
        const ALL: [Kind; 20] = [
            Kind::Hello,
            Kind::Welcome,
            Kind::Ready,
            Kind::Call,
            Kind::Cancel,
            Kind::Value,
            Kind::Fault,
            Kind::Items,
            Kind::Cancelled,
            Kind::Progress,
            Kind::Data,
            Kind::Shutdown,
            Kind::Goodbye,
            Kind::Message,
            Kind::Bytes,
            Kind::Took,
            Kind::Note,
            Kind::Manage,
            Kind::Request,
            Kind::Reply,
        ];
        const BY_NUMBER: [Option<Kind>; 32] = {
            let mut kinds = [None; 32];
            let mut i = 0;
            while i < ALL.len() {
                kinds[ALL[i] as usize] = Some(ALL[i]);
                i += 1;
            }
            kinds
        };
        BY_NUMBER.get(usize::from(value)).copied().flatten().ok_or(WireError::Kind(value))
    }
}

/// One bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(pub(crate) u8);

impl Flags {
    /// The frame is the preamble of a message whose bytes follow in
    /// [`Kind::Data`] frames.
    pub(crate) const STREAM: Flags = Flags(1);
    /// A [`Kind::Ready`] frame of a worker whose initializer failed.
    pub(crate) const FAILED: Flags = Flags(2);
    /// Something is given along with the message; the frame begins with a list of it.
    pub(crate) const BRINGS: Flags = Flags(4);
    const ALL: u8 = 7;

    pub(crate) fn has(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) flags: Flags,
    pub(crate) slot: u16,
    pub(crate) len: u32,
    pub(crate) id: u64,
}

impl Header {
    pub(crate) fn new(kind: Kind, slot: u16, id: u64, len: usize) -> Self {
        debug_assert!(len <= MAX_DATA);
        Header { kind, flags: Flags::default(), slot, len: len as u32, id }
    }

    #[inline]
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0u8; HEADER_LEN];
        bytes[0] = MAGIC;
        bytes[1] = self.kind as u8;
        bytes[2] = self.flags.0;
        bytes[4..6].copy_from_slice(&self.slot.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.id.to_le_bytes());
        bytes
    }

    #[inline]
    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, WireError> {
        if bytes[0] != MAGIC {
            return Err(WireError::Magic(bytes[0]));
        }
        let kind = Kind::from_u8(bytes[1])?;
        if bytes[2] & !Flags::ALL != 0 || bytes[3] != 0 || bytes[6] != 0 || bytes[7] != 0 {
            return Err(WireError::Flags(bytes[2]));
        }
        let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let len = u32::from_le_bytes(four(8));
        let max = if kind == Kind::Data { MAX_DATA } else { MAX_INLINE };
        if len as usize > max {
            return Err(WireError::FrameTooLong { len: len.into(), max: max as u64 });
        }
        Ok(Header {
            kind,
            flags: Flags(bytes[2]),
            slot: u16::from_le_bytes([bytes[4], bytes[5]]),
            len,
            id: u64::from(u32::from_le_bytes(four(12)))
                | u64::from(u32::from_le_bytes(four(16))) << 32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let header = Header {
            kind: Kind::Call,
            flags: Flags::STREAM,
            slot: 0x0102,
            len: 0x0304,
            id: 0x1122_3344_5566_7788,
        };
        let bytes = [
            0xB7, 4, 1, 0, 0x02, 0x01, 0, 0, 0x04, 0x03, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33,
            0x22, 0x11,
        ];
        assert_eq!(header.encode(), bytes);
        assert_eq!(Header::decode(&bytes), Ok(header));
    }

    #[test]
    fn every_spoiled_byte_before_slot_and_id_is_noticed() {
        let good = Header::new(Kind::Value, 3, 9, 100).encode();
        for (at, value) in
            [(0, 0), (0, 0xff), (1, 0), (1, 31), (1, 255), (2, 8), (3, 1), (6, 1), (7, 1)]
        {
            let mut bad = good;
            bad[at] = value;
            assert!(Header::decode(&bad).is_err(), "byte {at} = {value}");
        }
        let mut long = good;
        long[8..12].copy_from_slice(&(MAX_INLINE as u32 + 1).to_le_bytes());
        assert!(matches!(Header::decode(&long), Err(WireError::FrameTooLong { .. })));
    }
}
