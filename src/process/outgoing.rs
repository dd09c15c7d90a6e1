//! What a worker has to say, kept where it survives the worker.
//!
//! Finished frames collect in the shared block and leave in one write. Until
//! then they are published by one store each, so that a crash of the next call
//! cannot take them along: the parent reads them out of the block.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;

use super::status::{OUT_LEN, StatusBlock, items_head};
use crate::session::ItemsMeta;
use crate::sys;
use crate::wire::{
    Flags, HEADER_LEN, Header, Kind, MAX_DATA, MAX_INLINE, Payload, stream_preamble,
};

/// Bytes of items one open frame may collect.
const OPEN_MAX: usize = MAX_INLINE - ItemsMeta::LEN;

#[derive(Debug)]
pub(super) struct Outgoing {
    socket: OwnedFd,
    block: Arc<StatusBlock>,
    /// Stream offset of the buffer's first byte.
    base: u64,
    /// Bytes of whole frames in the buffer, and how many of them are written.
    len: usize,
    written: usize,
    open: Option<OpenItems>,
}

#[derive(Debug)]
struct OpenItems {
    slot: u16,
    id: u64,
    first: u32,
    count: u32,
    len: usize,
}

impl Outgoing {
    /// `sent` bytes of the stream went out before the block existed.
    pub(super) fn new(socket: OwnedFd, block: Arc<StatusBlock>, sent: u64) -> Self {
        block.set_base(sent);
        block.commit(sent);
        Outgoing { socket, block, base: sent, len: 0, written: 0, open: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == self.written && self.open.is_none()
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
        self.close_items();
        self.room_for(HEADER_LEN + body)?;
        header.len = body as u32;
        self.block.put(self.len, &header.encode());
        self.block.put(self.len + HEADER_LEN, meta);
        self.block.put(self.len + HEADER_LEN + meta.len(), head);
        self.len += HEADER_LEN + body;
        self.block.commit(self.base + self.len as u64);
        Ok(())
    }

    /// Adds the result of item `index` of a chunk.
    #[inline]
    pub(super) fn item(
        &mut self,
        slot: u16,
        id: u64,
        index: u32,
        head: &[u8],
        blobs: &mut Vec<Bytes>,
    ) -> io::Result<()> {
        if !blobs.is_empty() || head.len() > OPEN_MAX {
            let payload = Payload::from_parts(head.to_vec(), std::mem::take(blobs));
            let meta = ItemsMeta { first: index, count: 1 }.encode();
            return self.stream(Header::new(Kind::Items, slot, id, 0), &meta, &payload);
        }
        let fits = matches!(&self.open, Some(open)
            if open.id == id && open.slot == slot && open.len + head.len() <= OPEN_MAX
                && self.len + HEADER_LEN + ItemsMeta::LEN + open.len + head.len() <= OUT_LEN);
        if !fits {
            self.close_items();
            self.room_for(HEADER_LEN + ItemsMeta::LEN + head.len())?;
            self.block.open_frame(self.base + self.len as u64, id, slot, index);
            self.open = Some(OpenItems { slot, id, first: index, count: 0, len: 0 });
        }
        if let Some(open) = &mut self.open {
            self.block.put(self.len + HEADER_LEN + ItemsMeta::LEN + open.len, head);
            open.len += head.len();
            open.count += 1;
            self.block.publish_items(open.count, open.len);
        }
        Ok(())
    }

    /// Makes the items collected so far a frame of their own.
    pub(super) fn close_items(&mut self) {
        let Some(open) = self.open.take() else { return };
        let (header, meta) = items_head(open.slot, open.id, open.first, open.count, open.len);
        self.block.put(self.len, &header);
        self.block.put(self.len + HEADER_LEN, &meta);
        self.len += HEADER_LEN + ItemsMeta::LEN + open.len;
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
        self.close_items();
        while self.written < self.len {
            self.written +=
                self.block.write_to(self.socket.as_fd(), self.written, self.len - self.written)?;
        }
        self.base += self.len as u64;
        self.block.set_base(self.base);
        self.len = 0;
        self.written = 0;
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
            let n = sys::write_vectored_blocking(self.socket.as_fd(), rest)?;
            self.base += n as u64;
            IoSlice::advance_slices(&mut rest, n);
        }
        Ok(())
    }
}
