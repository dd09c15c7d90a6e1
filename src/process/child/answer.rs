//! What comes with a call, and what is answered.

use super::*;

/// A call's arguments, with all that came along.
pub(super) fn received(
    args: &[u8],
    body: Body,
    brought: Option<Box<Brought>>,
    courier: &Courier,
) -> Received {
    let mut received = Received::of(body, args).with_brought(brought);
    received.claim(courier);
    received
}

/// Whether a result of this length may be sent: a longer one would be taken for
/// a breach of the protocol.
pub(super) fn admit(len: usize, max: u64) -> Result<(), Fault> {
    let len = len as u64;
    if len > max { Err(Fault::TooLarge { len, max }) } else { Ok(()) }
}

/// Tells the parent that calls may come, or why the initializer failed.
pub(super) fn send_ready(
    out: &SharedOutgoing,
    courier: &Courier,
    result: Result<Payload, Fault>,
) -> io::Result<()> {
    let mut header = Header::new(Kind::Ready, 0, 0, 0);
    let payload = result.unwrap_or_else(|fault| {
        header.flags = Flags::FAILED;
        encode_fault(fault)
    });
    send(out, courier, header, &[], &payload)?;
    lock(out).flush()?;
    failpoint::hit("ready");
    Ok(())
}

/// Writes the result of one call; `as_item` if it was sent as a chunk of one.
pub(super) fn answer(
    out: &SharedOutgoing,
    courier: &Courier,
    slot: u16,
    id: u64,
    as_item: bool,
    result: Result<Encoded, Fault>,
) -> io::Result<()> {
    let (kind, tag, payload) = match result {
        Ok(Encoded(payload)) => (Kind::Value, 0, payload),
        Err(fault) => (Kind::Fault, 1, encode_fault(fault)),
    };
    if as_item {
        let head = [&[tag], payload.head()].concat().into();
        let (blobs, attached) = (payload.blobs().to_vec(), payload.attached().to_vec());
        let payload = Payload::from_bytes(head, blobs, attached);
        return send_item(out, courier, slot, id, 0, &payload);
    }
    send(out, courier, Header::new(kind, slot, id, 0), &[], &payload)
}

/// Writes one item of a chunk as a message of its own.
pub(super) fn send_item(
    out: &SharedOutgoing,
    courier: &Courier,
    slot: u16,
    id: u64,
    index: u32,
    payload: &Payload,
) -> io::Result<()> {
    let meta = ItemsMeta { first: index, count: 1 }.encode();
    send(out, courier, Header::new(Kind::Items, slot, id, 0), &meta, payload)
}

/// Adds a message with all that goes along with it.
#[inline]
pub(super) fn send(
    out: &SharedOutgoing,
    courier: &Courier,
    header: Header,
    meta: &[u8],
    payload: &Payload,
) -> io::Result<()> {
    match courier.bring(payload) {
        None => lock(out).message(header, meta, payload),
        Some(brought) => {
            // Where there is no room for more handles, the parent must first hear of those that
            // it can take.
            lock(out).flush()?;
            courier.flush_blocking()?;
            let header = Header { flags: header.flags.with(Flags::BRINGS), ..header };
            lock(out).message(header, &brought.encode(meta), payload)
        }
    }
}

pub(super) fn encode_fault(fault: Fault) -> Payload {
    // Bounded texts always have an encoded form.
    let bytes = postcard::to_allocvec(&fault.bounded()).unwrap_or_default();
    Payload::from_parts(bytes, Vec::new())
}
