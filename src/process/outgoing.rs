//! What a worker has to say, kept where it survives the worker.
//!
//! Finished frames collect in the shared block and leave in one write. Until
//! then they are published by one store each, so that a crash of the next call
//! cannot take them along: the parent reads them out of the block.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::status::{OUT_LEN, StatusBlock, items_head};
use crate::session::ItemsMeta;
use crate::sys::{self, Socket};
use crate::wire::{
    Flags, HEADER_LEN, Header, Kind, MAX_DATA, MAX_INLINE, Payload, stream_preamble,
};

/// Bytes of items one open frame may collect.
pub(super) const OPEN_MAX: usize = OUT_LEN / 4 - HEADER_LEN - ItemsMeta::LEN;

#[derive(Debug)]
pub(super) struct Outgoing {
    socket: Socket,
    block: Arc<StatusBlock>,
    /// Stream offset of the buffer's first byte.
    base: u64,
    /// Bytes of whole frames in the buffer, and how many of them are written.
    len: usize,
    written: usize,
    /// The main thread is filling a frame of items behind `len`: until it is
    /// closed the buffer must stay where it is.
    open: bool,
}

/// A frame of a chunk's results that the main thread fills, item by item, without
/// taking the lock.
#[derive(Debug)]
pub(super) struct OpenItems {
    slot: u16,
    id: u64,
    first: u32,
    count: u32,
    /// Where in the buffer the frame begins; its items follow header and meta.
    at: usize,
    len: usize,
}

impl OpenItems {
    /// Adds one item and publishes it; false if it does not fit any more.
    #[inline]
    pub(super) fn add(&mut self, block: &StatusBlock, item: &[u8]) -> bool {
        let at = self.at + HEADER_LEN + ItemsMeta::LEN + self.len;
        if self.len + item.len() > OPEN_MAX || at + item.len() > OUT_LEN {
            return false;
        }
        block.put(at, item);
        self.len += item.len();
        self.count += 1;
        block.publish_items(self.count, self.len);
        true
    }
}

impl Outgoing {
    /// `sent` bytes of the stream went out before the block existed.
    pub(super) fn new(socket: Socket, block: Arc<StatusBlock>, sent: u64) -> Self {
        block.set_base(sent);
        block.commit(sent);
        Outgoing { socket, block, base: sent, len: 0, written: 0, open: false }
    }

    /// Whether every whole frame is written.
    pub(super) fn is_empty(&self) -> bool {
        self.len == self.written
    }

    /// Whether a frame of items is being filled: then no message can be added.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Adds one message; it is safe from now on, and written by the next
    /// [`Outgoing::flush`] (large ones at once).
    #[inline]
    pub(super) fn message(
        &mut self,
        mut header: Header,
        meta: &[u8],
        payload: &Payload,
    ) -> io::Result<()> {
        let head = payload.head();
        let body = meta.len() + head.len();
        if !payload.blobs().is_empty() || body > MAX_INLINE {
            return self.stream(header, meta, payload);
        }
        debug_assert!(!self.open);
        self.room_for(HEADER_LEN + body)?;
        header.len = body as u32;
        self.block.put(self.len, &header.encode());
        self.block.put(self.len + HEADER_LEN, meta);
        self.block.put(self.len + HEADER_LEN + meta.len(), head);
        self.len += HEADER_LEN + body;
        self.block.commit(self.base + self.len as u64);
        Ok(())
    }

    /// Begins a frame of items; no other message may be added before it is
    /// closed.
    pub(super) fn open_items(&mut self, slot: u16, id: u64, first: u32) -> io::Result<OpenItems> {
        debug_assert!(!self.open);
        // Not worth beginning in the last quarter.
        self.room_for(OUT_LEN / 4)?;
        self.block.open_frame(self.base + self.len as u64, id, slot, first);
        self.open = true;
        Ok(OpenItems { slot, id, first, count: 0, at: self.len, len: 0 })
    }

    /// Makes the items collected so far a whole frame.
    pub(super) fn close_items(&mut self, items: &OpenItems) {
        self.open = false;
        if items.count == 0 {
            return;
        }
        let (header, meta) = items_head(items.slot, items.id, items.first, items.count, items.len);
        self.block.put(self.len, &header);
        self.block.put(self.len + HEADER_LEN, &meta);
        self.len += HEADER_LEN + ItemsMeta::LEN + items.len;
        // From here on the open frame's offset is no longer the end: it is void.
        self.block.commit(self.base + self.len as u64);
    }

    fn room_for(&mut self, len: usize) -> io::Result<()> {
        if self.len + len > OUT_LEN {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes everything, waiting while the parent does not read.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.written < self.len {
            self.written +=
                self.block.write_to(&self.socket, self.written, self.len - self.written)?;
        }
        if !self.open {
            self.base += self.len as u64;
            self.block.set_base(self.base);
            self.len = 0;
            self.written = 0;
        }
        Ok(())
    }

    #[cold]
    fn stream(&mut self, mut header: Header, meta: &[u8], payload: &Payload) -> io::Result<()> {
        self.flush()?;
        let preamble = stream_preamble(payload);
        header.flags = header.flags.with(Flags::STREAM);
        header.len = (preamble.len() + meta.len()) as u32;
        self.write(&[&header.encode(), &preamble, meta])?;
        for part in std::iter::once(payload.head()).chain(payload.blobs().iter().map(|b| &b[..])) {
            for piece in part.chunks(MAX_DATA) {
                let header = Header::new(Kind::Data, header.slot, header.id, piece.len());
                self.write(&[&header.encode(), piece])?;
            }
        }
        self.block.set_base(self.base);
        self.block.commit(self.base);
        Ok(())
    }

    fn write(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|p| IoSlice::new(p)).collect();
        let mut rest = &mut slices[..];
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let n = sys::write_vectored_blocking(&self.socket, rest)?;
            self.base += n as u64;
            IoSlice::advance_slices(&mut rest, n);
        }
        Ok(())
    }
}
