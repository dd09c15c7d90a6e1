//! Frames on their way out, with control frames overtaking bulk data.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use super::frame::{Flags, HEADER_LEN, Header, Kind, MAX_DATA, MAX_INLINE};
use super::payload::Payload;

/// Slices offered to one vectored write.
const MAX_SLICES: usize = 32;

/// Whole frames waiting to be written.
///
/// Small frames collect in one buffer (a thousand calls make one write); large
/// parts are only referred to. Frames leave in order, except that control
/// frames go before everything that has not begun to leave.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    control: Vec<u8>,
    segments: VecDeque<Segment>,
    /// Bytes of the front (control if it was taken up, else segment) written.
    written: usize,
    control_begun: bool,
    spare: Vec<u8>,
    /// Bytes not written yet.
    left: usize,
}

#[derive(Debug)]
enum Segment {
    Frames(Vec<u8>),
    Data { header: [u8; HEADER_LEN], bytes: Bytes },
}

impl Segment {
    fn len(&self) -> usize {
        match self {
            Segment::Frames(bytes) => bytes.len(),
            Segment::Data { bytes, .. } => HEADER_LEN + bytes.len(),
        }
    }
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.control.is_empty()
    }

    /// Bytes that wait to be written.
    pub(crate) fn len(&self) -> usize {
        self.left
    }

    /// Queues one message; `header`'s length and stream flag are set here.
    #[inline]
    pub(crate) fn message(&mut self, mut header: Header, meta: &[u8], payload: &Payload) {
        let head = payload.head();
        if payload.blobs().is_empty() && meta.len() + head.len() <= MAX_INLINE {
            header.len = (meta.len() + head.len()) as u32;
            self.left += HEADER_LEN + meta.len() + head.len();
            let buf = self.frames();
            buf.extend_from_slice(&header.encode());
            buf.extend_from_slice(meta);
            buf.extend_from_slice(head);
        } else {
            self.stream(header, meta, payload);
        }
    }

    /// Queues a message that is one frame: at most [`MAX_INLINE`] bytes.
    #[inline]
    pub(crate) fn frame(&mut self, mut header: Header, body: &[u8]) {
        debug_assert!(body.len() <= MAX_INLINE);
        header.len = body.len() as u32;
        self.left += HEADER_LEN + body.len();
        let buf = self.frames();
        buf.extend_from_slice(&header.encode());
        buf.extend_from_slice(body);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Outbox { spare: std::mem::take(&mut self.spare), ..Outbox::default() };
    }

    #[cold]
    fn stream(&mut self, mut header: Header, meta: &[u8], payload: &Payload) {
        let preamble = stream_preamble(payload);
        header.flags = header.flags.with(Flags::STREAM);
        header.len = (preamble.len() + meta.len()) as u32;
        self.left += HEADER_LEN + preamble.len() + meta.len();
        let buf = self.frames();
        buf.extend_from_slice(&header.encode());
        buf.extend_from_slice(&preamble);
        buf.extend_from_slice(meta);
        for part in std::iter::once(&payload.head_bytes()).chain(payload.blobs()) {
            let mut rest = part.clone();
            while !rest.is_empty() {
                let bytes = rest.split_to(rest.len().min(MAX_DATA));
                let header = Header::new(Kind::Data, header.slot, header.id, bytes.len()).encode();
                self.left += HEADER_LEN + bytes.len();
                self.segments.push_back(Segment::Data { header, bytes });
            }
        }
    }

    /// Queues a frame that overtakes everything not yet begun.
    pub(crate) fn control(&mut self, header: Header) {
        self.left += HEADER_LEN;
        self.control.extend_from_slice(&header.encode());
    }

    fn frames(&mut self) -> &mut Vec<u8> {
        if !matches!(self.segments.back(), Some(Segment::Frames(_))) {
            self.segments.push_back(Segment::Frames(std::mem::take(&mut self.spare)));
        }
        match self.segments.back_mut() {
            Some(Segment::Frames(buf)) => buf,
            _ => unreachable!("just pushed"),
        }
    }

    /// What to write next, in order.
    pub(crate) fn slices(&mut self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(self.segments.len().min(MAX_SLICES) * 2 + 1);
        if self.written == 0 && !self.control.is_empty() {
            self.control_begun = true;
        }
        let mut skip = self.written;
        if self.control_begun {
            slices.push(IoSlice::new(&self.control[skip..]));
            skip = 0;
        }
        for segment in self.segments.iter().take(MAX_SLICES) {
            match segment {
                Segment::Frames(bytes) => slices.push(IoSlice::new(&bytes[skip..])),
                Segment::Data { header, bytes } => {
                    if skip < HEADER_LEN {
                        slices.push(IoSlice::new(&header[skip..]));
                        slices.push(IoSlice::new(bytes));
                    } else {
                        slices.push(IoSlice::new(&bytes[skip - HEADER_LEN..]));
                    }
                }
            }
            skip = 0;
        }
        slices
    }

    /// The bytes to write next when they are all in one piece.
    pub(crate) fn single(&self) -> Option<&[u8]> {
        match self.segments.front() {
            Some(Segment::Frames(bytes)) if self.segments.len() == 1 && self.control.is_empty() => {
                Some(&bytes[self.written..])
            }
            _ => None,
        }
    }

    /// `n` bytes of what [`Outbox::slices`] gave were written.
    pub(crate) fn advance(&mut self, n: usize) {
        self.written += n;
        self.left -= n;
        if self.control_begun {
            if self.written < self.control.len() {
                return;
            }
            self.written -= self.control.len();
            self.control.clear();
            self.control_begun = false;
        }
        while let Some(front) = self.segments.front() {
            let len = front.len();
            if self.written < len {
                return;
            }
            self.written -= len;
            if let Some(Segment::Frames(mut buf)) = self.segments.pop_front()
                && buf.capacity() <= 4 * MAX_INLINE
                && buf.capacity() > self.spare.capacity()
            {
                buf.clear();
                self.spare = buf;
            }
        }
        debug_assert_eq!(self.written, 0);
    }
}

/// The announcement of a streamed message's parts.
pub(crate) fn stream_preamble(payload: &Payload) -> Vec<u8> {
    let blobs = payload.blobs();
    let mut preamble = Vec::with_capacity(12 + 8 * blobs.len());
    preamble.extend_from_slice(&(blobs.len() as u32 + 1).to_le_bytes());
    preamble.extend_from_slice(&(payload.head().len() as u64).to_le_bytes());
    for blob in blobs {
        preamble.extend_from_slice(&(blob.len() as u64).to_le_bytes());
    }
    preamble
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_overtakes_what_has_not_begun_but_never_splits_a_frame() {
        let mut out = Outbox::default();
        let big = Payload::from_parts(Vec::new(), vec![Bytes::from(vec![9u8; 100])]);
        out.message(Header::new(Kind::Call, 0, 1, 0), b"", &big);
        let first = out.slices().iter().map(|s| s.len()).sum::<usize>();
        // The preamble frame and one byte of the data frame's header are out.
        let preamble = HEADER_LEN + 4 + 16;
        out.advance(preamble + 1);
        out.control(Header::new(Kind::Cancel, 0, 7, 0));
        let rest = out.slices().iter().flat_map(|s| s.to_vec()).collect::<Vec<u8>>();
        assert_eq!(rest.len(), first - preamble - 1, "the begun frame goes on first");
        out.advance(rest.len());
        let control = out.slices().iter().flat_map(|s| s.to_vec()).collect::<Vec<u8>>();
        assert_eq!(control[1], Kind::Cancel as u8);
        out.advance(control.len());
        assert!(out.is_empty());
    }
}
