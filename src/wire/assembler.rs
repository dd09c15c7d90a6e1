//! From bytes in arbitrary pieces to whole messages.
//!
//! Ordinary frames are collected in one reused buffer and lent out as slices of
//! it. The parts of a streamed message are received straight into memory of
//! their own, so that a large byte string is never copied after the kernel
//! handed it over.

use super::attached::Brought;
use super::error::WireError;
use super::frame::{Flags, HEADER_LEN, Header, Kind, MAX_INLINE};

/// Parts a streamed message may have.
pub(crate) const MAX_PARTS: u32 = 4096;
/// A part's memory is reserved at once up to this size; beyond it grows as
/// bytes really arrive, so that an announcement alone costs nothing.
const RESERVE_MAX: usize = 64 * 1024 * 1024;
const READ_CHUNK: usize = MAX_INLINE + HEADER_LEN;

/// A whole message, lent until the next one is asked for.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) header: Header,
    /// The bytes of the frame that began the message, without its preamble.
    pub(crate) meta: &'a [u8],
    pub(crate) body: Body,
    /// What was given along with it.
    pub(crate) brought: Option<Box<Brought>>,
}

impl<'a> Message<'a> {
    #[inline]
    fn new(header: Header, meta: &'a [u8], body: Body) -> Result<Self, WireError> {
        if header.flags.has(Flags::BRINGS) {
            let (brought, meta) = Brought::split(meta).ok_or(WireError::Brought)?;
            return Ok(Message { header, meta, body, brought: Some(Box::new(brought)) });
        }
        Ok(Message { header, meta, body, brought: None })
    }
}

/// The streamed rest of a message.
#[derive(Debug)]
pub(crate) enum Body {
    /// Nothing was streamed; everything is in `meta`.
    Inline,
    Streamed {
        head: Vec<u8>,
        blobs: Vec<Vec<u8>>,
    },
}

#[derive(Debug)]
struct Stream {
    header: Header,
    meta: Vec<u8>,
    lens: Vec<u64>,
    parts: Vec<Vec<u8>>,
    /// Bytes still to come in the current data frame.
    in_frame: usize,
}

#[derive(Debug)]
pub(crate) struct Assembler {
    buf: Vec<u8>,
    start: usize,
    stream: Option<Stream>,
    /// The bytes last asked for go into a part of the stream.
    direct: bool,
    /// The meta of the message last lent out.
    lent: Vec<u8>,
    max_message: u64,
    /// Called with every large part before it is filled.
    advise: fn(&mut Vec<u8>),
}

impl Assembler {
    pub(crate) fn new(max_message: u64, advise: fn(&mut Vec<u8>)) -> Self {
        Assembler {
            buf: Vec::new(),
            start: 0,
            stream: None,
            direct: false,
            lent: Vec::new(),
            max_message,
            advise,
        }
    }

    /// Whether the last byte received ended a message that was handed out.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.start == self.buf.len() && self.stream.is_none()
    }

    /// The bytes of what was begun and not handed out; `None` if some of it was streamed
    /// and is in a place of its own.
    pub(crate) fn unfinished(&self) -> Option<&[u8]> {
        self.stream.is_none().then(|| &self.buf[self.start..])
    }

    /// The next message's header, if that message is one frame and all there.
    pub(crate) fn whole_frame(&self) -> Option<Header> {
        if self.stream.is_some() {
            return None;
        }
        let rest = &self.buf[self.start..];
        let header = Header::decode(rest.first_chunk::<HEADER_LEN>()?).ok()?;
        let one = header.kind != Kind::Data && !header.flags.has(Flags::STREAM);
        (one && rest.len() - HEADER_LEN >= header.len as usize).then_some(header)
    }

    /// Messages longer than this are refused from now on.
    pub(crate) fn set_max_message(&mut self, max: u64) {
        self.max_message = max;
    }

    /// Where the next bytes go, and how many at most.
    pub(crate) fn target(&mut self) -> (&mut Vec<u8>, usize) {
        if self.start == self.buf.len() {
            if let Some(stream) = &mut self.stream
                && stream.in_frame > 0
            {
                let in_frame = stream.in_frame;
                let (part, len) = stream.current();
                let left = len as usize - part.len();
                let max = in_frame.min(left);
                self.direct = true;
                if part.capacity() - part.len() < max {
                    let more = (part.len().max(max)).min(len as usize - part.len());
                    part.reserve_exact(more);
                }
                return (part, max);
            }
            self.buf.clear();
            self.start = 0;
        }
        self.direct = false;
        if self.buf.capacity() == 0 {
            self.buf.reserve_exact(READ_CHUNK);
        }
        if self.buf.len() == self.buf.capacity() {
            self.buf.drain(..self.start);
            self.start = 0;
            if self.buf.len() == self.buf.capacity() {
                self.buf.reserve(READ_CHUNK);
            }
        }
        let max = self.buf.capacity() - self.buf.len();
        (&mut self.buf, max)
    }

    /// To be told after `n` bytes were appended to what [`Assembler::target`] gave.
    pub(crate) fn received(&mut self, n: usize) {
        if self.direct
            && let Some(stream) = &mut self.stream
        {
            stream.in_frame -= n;
        }
    }

    /// Appends bytes that were received elsewhere: all to the common buffer, since only
    /// [`Assembler::next`] goes on from one part of a stream to the next.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.buf.drain(..self.start);
        self.start = 0;
        self.direct = false;
        self.buf.extend_from_slice(bytes);
    }

    /// The next whole message, if its bytes are all there.
    pub(crate) fn next(&mut self) -> Result<Option<Message<'_>>, WireError> {
        loop {
            if let Some(stream) = &mut self.stream {
                let taken = stream.take(&self.buf[self.start..]);
                self.start += taken;
                if stream.complete(self.advise) {
                    if stream.in_frame != 0 {
                        return Err(WireError::UnexpectedData);
                    }
                    let Some(stream) = self.stream.take() else { unreachable!() };
                    self.lent = stream.meta;
                    let mut parts = stream.parts.into_iter();
                    let head = parts.next().unwrap_or_default();
                    let body = Body::Streamed { head, blobs: parts.collect() };
                    return Message::new(stream.header, &self.lent, body).map(Some);
                }
                if stream.in_frame > 0 {
                    if self.start < self.buf.len() {
                        // Of the next part: what is there may not pile up.
                        continue;
                    }
                    return Ok(None);
                }
            }
            let Some(bytes) = self.buf[self.start..].first_chunk::<HEADER_LEN>() else {
                return Ok(None);
            };
            let header = Header::decode(bytes)?;
            if header.kind == Kind::Data {
                let Some(stream) = &mut self.stream else {
                    return Err(WireError::UnexpectedData);
                };
                if header.id != stream.header.id || header.slot != stream.header.slot {
                    return Err(WireError::UnexpectedData);
                }
                stream.in_frame = header.len as usize;
                self.start += HEADER_LEN;
                continue;
            }
            let from = self.start + HEADER_LEN;
            let to = from + header.len as usize;
            if self.buf.len() < to {
                return Ok(None);
            }
            self.start = to;
            if header.flags.has(Flags::STREAM) {
                if self.stream.is_some() {
                    return Err(WireError::NestedStream);
                }
                let mut stream = Stream::begin(header, &self.buf[from..to], self.max_message)?;
                stream.prepare(self.advise);
                self.stream = Some(stream);
                continue;
            }
            return Message::new(header, &self.buf[from..to], Body::Inline).map(Some);
        }
    }
}

impl Stream {
    /// Preamble: number of parts u32, each part's length u64; part 0 is the
    /// head. What follows in the frame is the message's meta.
    fn begin(header: Header, bytes: &[u8], max_message: u64) -> Result<Self, WireError> {
        let (count, mut rest) = bytes.split_first_chunk::<4>().ok_or(WireError::Preamble)?;
        let count = u32::from_le_bytes(*count);
        if count == 0 {
            return Err(WireError::Preamble);
        }
        if count > MAX_PARTS {
            return Err(WireError::TooManyParts { parts: count, max: MAX_PARTS });
        }
        let mut lens = Vec::with_capacity(count.min(8192) as usize);
        let mut total = 0u64;
        for _ in 0..count {
            let (len, after) = rest.split_first_chunk::<8>().ok_or(WireError::Preamble)?;
            let len = u64::from_le_bytes(*len);
            total = total.saturating_add(len);
            lens.push(len);
            rest = after;
        }
        if total > max_message {
            return Err(WireError::MessageTooLong { len: total, max: max_message });
        }
        Ok(Stream { header, meta: rest.to_vec(), lens, parts: Vec::new(), in_frame: 0 })
    }

    fn prepare(&mut self, advise: fn(&mut Vec<u8>)) {
        let len = self.lens[self.parts.len()] as usize;
        let mut part = Vec::with_capacity(len.min(RESERVE_MAX));
        advise(&mut part);
        self.parts.push(part);
    }

    fn current(&mut self) -> (&mut Vec<u8>, u64) {
        let len = self.lens[self.parts.len() - 1];
        let Some(part) = self.parts.last_mut() else { unreachable!("a stream has a first part") };
        (part, len)
    }

    /// Moves bytes of the current frame that were received into the common
    /// buffer to where they belong.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let in_frame = self.in_frame;
        let (part, len) = self.current();
        let n = bytes.len().min(in_frame).min(len as usize - part.len());
        part.extend_from_slice(&bytes[..n]);
        self.in_frame -= n;
        n
    }

    /// Goes on to the next part when one is full; true when all are.
    fn complete(&mut self, advise: fn(&mut Vec<u8>)) -> bool {
        loop {
            let (part, len) = self.current();
            if (part.len() as u64) < len {
                return false;
            }
            if self.parts.len() == self.lens.len() {
                return true;
            }
            self.prepare(advise);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Outbox, Payload};
    use bytes::Bytes;

    fn sent(messages: &[(Kind, u64, &[u8], Payload)]) -> Vec<u8> {
        let mut out = Outbox::default();
        for (kind, id, meta, payload) in messages {
            out.message(Header::new(*kind, 1, *id, 0), meta, payload);
        }
        let mut bytes = Vec::new();
        while !out.is_empty() {
            let n = {
                let slices = out.slices();
                for s in slices.iter() {
                    bytes.extend_from_slice(s);
                }
                slices.iter().map(|s| s.len()).sum()
            };
            out.advance(n);
        }
        bytes
    }

    /// Id, meta, head, blobs.
    type Got = (u64, Vec<u8>, Vec<u8>, Vec<Vec<u8>>);

    fn received(bytes: &[u8], step: usize, max: u64) -> Result<Vec<Got>, WireError> {
        let mut assembler = Assembler::new(max, |_| ());
        let mut got = Vec::new();
        for piece in bytes.chunks(step) {
            let mut piece = piece;
            while !piece.is_empty() {
                let (buf, room) = assembler.target();
                let n = room.min(piece.len());
                buf.extend_from_slice(&piece[..n]);
                assembler.received(n);
                piece = &piece[n..];
                while let Some(m) = assembler.next()? {
                    let (head, blobs) = match m.body {
                        Body::Inline => (Vec::new(), Vec::new()),
                        Body::Streamed { head, blobs } => (head, blobs),
                    };
                    got.push((m.header.id, m.meta.to_vec(), head, blobs));
                }
            }
        }
        Ok(got)
    }

    fn samples() -> Vec<(Kind, u64, &'static [u8], Payload)> {
        let blob = |n: usize| Bytes::from((0..n).map(|i| i as u8).collect::<Vec<_>>());
        vec![
            (Kind::Call, 1, b"meta", Payload::from_slice(b"tiny")),
            (Kind::Call, 2, b"m", Payload::from_parts(vec![5; 70_000], Vec::new())),
            (
                Kind::Call,
                3,
                b"xy",
                Payload::from_parts(vec![1, 2], vec![blob(20_000), blob(0), blob(33)]),
            ),
            (Kind::Value, 4, b"", Payload::empty()),
            (Kind::Call, 5, b"", Payload::from_parts(Vec::new(), vec![blob(100_000)])),
        ]
    }

    #[test]
    fn messages_survive_any_split() {
        let samples = samples();
        let bytes = sent(&samples);
        for step in [1, 2, 3, 7, 19, 20, 21, 100, 4096, 65_536, bytes.len()] {
            let got = received(&bytes, step, 1 << 30).unwrap();
            assert_eq!(got.len(), samples.len(), "step {step}");
            for (sample, got) in samples.iter().zip(&got) {
                assert_eq!(sample.1, got.0);
                let mut whole = got.1.clone();
                whole.extend_from_slice(&got.2);
                let mut expected = sample.2.to_vec();
                expected.extend_from_slice(sample.3.head());
                assert_eq!(whole, expected, "step {step}, message {}", got.0);
                assert_eq!(got.3, sample.3.blobs(), "step {step}, message {}", got.0);
            }
        }
    }

    /// A message of so many parts of one length, all in one data frame.
    fn in_one_frame(parts: usize, len: usize) -> Vec<u8> {
        let mut preamble = (parts as u32).to_le_bytes().to_vec();
        preamble.extend(std::iter::repeat_n((len as u64).to_le_bytes(), parts).flatten());
        let mut header = Header::new(Kind::Value, 0, 1, preamble.len());
        header.flags = Flags::STREAM;
        let data = Header::new(Kind::Data, 0, 1, parts * len);
        [&header.encode()[..], &preamble, &data.encode(), &vec![7; parts * len]].concat()
    }

    #[test]
    fn a_data_frame_may_hold_several_parts() {
        let bytes = in_one_frame(300, 1);
        for step in [1, 7, bytes.len()] {
            let got = received(&bytes, step, 300).unwrap();
            assert_eq!(got.len(), 1, "step {step}");
            assert_eq!((&got[0].2[..], got[0].3.len()), (&[7][..], 299));
        }
    }

    /// As when a worker dies: some was read from its socket, the rest lies in its block.
    #[test]
    fn what_was_received_elsewhere_follows_at_any_byte() {
        let bytes = in_one_frame(3, 100);
        for cut in 0..=bytes.len() {
            let (mut first, rest) = bytes.split_at(cut);
            let mut assembler = Assembler::new(300, |_| ());
            while !first.is_empty() {
                let (buf, room) = assembler.target();
                let n = room.min(first.len());
                buf.extend_from_slice(&first[..n]);
                assembler.received(n);
                first = &first[n..];
                if !first.is_empty() {
                    assert!(assembler.next().unwrap().is_none(), "cut {cut}");
                }
            }
            // Whether or not it was looked at in between.
            if cut % 2 == 0 && !rest.is_empty() {
                assert!(assembler.next().unwrap().is_none(), "cut {cut}");
            }
            assembler.extend(rest);
            let message = assembler.next().unwrap().expect("all of it is there");
            let Body::Streamed { head, blobs } = message.body else { panic!("cut {cut}") };
            assert_eq!((head, blobs), (vec![7; 100], vec![vec![7; 100]; 2]), "cut {cut}");
            assert!(assembler.is_between_messages(), "cut {cut}");
        }
    }

    #[test]
    fn truncation_at_every_byte_gives_no_half_message() {
        let samples = &samples()[..1];
        let bytes = sent(samples);
        for cut in 0..bytes.len() {
            assert!(received(&bytes[..cut], 5, 1 << 30).unwrap().is_empty(), "cut {cut}");
        }
    }

    #[test]
    fn announcements_over_the_limit_are_refused_before_memory_is_taken() {
        let bytes = sent(&samples()[4..]);
        assert!(matches!(
            received(&bytes, 64, 99_999),
            Err(WireError::MessageTooLong { len: 100_000, max: 99_999 })
        ));
        let mut preamble = 2u32.to_le_bytes().to_vec();
        preamble.extend_from_slice(&u64::MAX.to_le_bytes());
        preamble.extend_from_slice(&u64::MAX.to_le_bytes());
        let mut header = Header::new(Kind::Value, 0, 1, preamble.len());
        header.flags = Flags::STREAM;
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(&preamble);
        assert!(matches!(received(&bytes, 8, u64::MAX - 1), Err(WireError::MessageTooLong { .. })));
    }

    #[test]
    fn stray_data_and_nested_streams_are_violations() {
        let stray = Header::new(Kind::Data, 1, 9, 3).encode();
        assert_eq!(received(&stray, 20, 99).unwrap_err(), WireError::UnexpectedData);
        let mut begin = Header::new(Kind::Value, 1, 9, 12);
        begin.flags = Flags::STREAM;
        let mut one = begin.encode().to_vec();
        one.extend_from_slice(&1u32.to_le_bytes());
        one.extend_from_slice(&50u64.to_le_bytes());
        let twice = [one.clone(), one].concat();
        assert_eq!(received(&twice, 64, 99).unwrap_err(), WireError::NestedStream);
    }
}
