//! The queue's object, told nonsense.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use super::object::{QueueObject, Shape, hear, say};
use crate::hub::{Note, Object, Out, SeatId};
use crate::sys::SharedBlock;
use crate::wire::{Attached, Hold, ObjectName, Payload};

const SHAPES: [Shape; 4] = [
    Shape { max_items: u64::MAX, max_bytes: u64::MAX, ordered: false, joinable: false },
    Shape { max_items: 3, max_bytes: u64::MAX, ordered: false, joinable: true },
    Shape { max_items: 3, max_bytes: 40, ordered: false, joinable: false },
    Shape { max_items: 5, max_bytes: u64::MAX - 1, ordered: true, joinable: false },
];

fn value(len: usize) -> Payload {
    Payload::from_slice(&vec![1; len])
}

/// Whatever processes say, nothing overflows and nothing panics; when they have gone, the queue is
/// as if they had never waited for anything.
#[test]
fn nonsense_costs_its_speaker_and_nothing_else() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    let mut spoken_of = 0;
    for round in 0..4000 {
        let shape = SHAPES[round % 4];
        let mut object = QueueObject::new(shape);
        // By which items were spoken of to each, and may be by any.
        let mut tokens = vec![7];
        let mut number = |small: u64| match next(8) {
            0 => u64::MAX - next(3),
            1 => u64::MAX / 2,
            2 => 0,
            _ => next(small),
        };
        for _ in 0..60 {
            let by: SeatId = 1 + number(3) % 3;
            let code = (number(14) % 15) as u16;
            let mut numbers = [number(6), number(6), number(6)];
            let mut token = || tokens[tokens.len() - 1 - number(6) as usize % tokens.len()];
            if matches!(code, say::TOOK | say::DONE) {
                numbers[0] = token();
                numbers[1] = if numbers[1] == 0 { 0 } else { token().wrapping_add(1) };
            }
            let returned: Vec<u64> = (0..numbers[2] % 4).map(|_| token()).collect();
            let value = match code {
                say::PUT => value((number(30) % 64) as usize),
                say::RETURN => Payload::from_slice(&postcard::to_allocvec(&returned).unwrap()),
                _ => Payload::empty(),
            };
            let mut out = Out::default();
            if object.note(by, Note::new(code, numbers), value, &mut out).is_err() {
                object.left(by, &mut out);
            } else {
                spoken_of += u32::from(matches!(code, say::TOOK | say::DONE | say::RETURN));
            }
            let items = out.said().filter(|(_, note)| note.code == hear::ITEM);
            tokens.extend(items.map(|(_, note)| note.numbers[0]));
        }
        for by in 1..4 {
            object.left(by, &mut Out::default());
        }
        object.assert_is_at_rest();
    }
    assert!(spoken_of > 10_000, "{spoken_of}");
}

fn said(object: &mut QueueObject, code: u16, numbers: [u64; 3], bytes: usize) -> bool {
    object.note(1, Note::new(code, numbers), value(bytes), &mut Out::default()).is_ok()
}

#[test]
fn what_is_put_fits_the_place_it_has() {
    let mut object = QueueObject::new(SHAPES[2]);
    assert!(said(&mut object, say::RESERVE, [1, 10, 0], 0));
    assert!(said(&mut object, say::PUT, [1, 0, 0], 11), "its encoding adds a little");
    assert!(said(&mut object, say::RESERVE, [2, 10, 0], 0));
    assert!(!said(&mut object, say::PUT, [2, 0, 0], 1000));
    // One that is waited for is no place.
    assert!(said(&mut object, say::RESERVE, [3, 40, 0], 0));
    assert!(!said(&mut object, say::PUT, [3, 0, 0], 1));
    object.left(1, &mut Out::default());
    object.assert_is_at_rest();
}

#[test]
fn requests_are_bounded() {
    let mut object = QueueObject::new(SHAPES[1]);
    assert!(said(&mut object, say::RESERVE, [1, 0, 0], 0));
    assert!(said(&mut object, say::PUT, [1, 0, 0], 1));
    assert!((0..1 << 20).all(|n| said(&mut object, say::JOIN, [n, 0, 0], 0)));
    assert!(!said(&mut object, say::JOIN, [0; 3], 0));
    object.left(1, &mut Out::default());
    object.assert_is_at_rest();
}

/// However often somebody asks whether all is done, and does not wait for it.
#[test]
fn who_does_not_wait_for_the_end_any_more_is_not_kept() {
    let mut object = QueueObject::new(SHAPES[1]);
    assert!(said(&mut object, say::RESERVE, [1, 0, 0], 0));
    assert!(said(&mut object, say::PUT, [1, 0, 0], 1));
    for n in 0..(1 << 20) + 1 {
        assert!(said(&mut object, say::JOIN, [n, 0, 0], 0), "{n}");
        if n != 5 {
            assert!(said(&mut object, say::UNJOIN, [n, 0, 0], 0));
        }
    }
    let mut out = Out::default();
    object.note(1, Note::new(say::GET, [1, 0, 0]), value(0), &mut out).unwrap();
    let (_, item) = out.said().next().unwrap();
    let mut out = Out::default();
    object.note(1, Note::new(say::DONE, [item.numbers[0], 0, 0]), value(0), &mut out).unwrap();
    let finished: Vec<_> = out.said().map(|(_, note)| (note.code, note.numbers[0])).collect();
    assert_eq!(finished, [(hear::FINISHED, 5)]);
    object.left(1, &mut Out::default());
    object.assert_is_at_rest();
}

/// An item that was not read cannot be spoken of: it would leave the queue, and lie about unread.
#[test]
fn an_item_that_was_not_read_stays_in_the_queue() {
    let mut object = QueueObject::new(SHAPES[1]);
    assert!(said(&mut object, say::RESERVE, [1, 0, 0], 0));
    assert!(said(&mut object, say::PUT, [1, 0, 0], 1));
    assert!(said(&mut object, say::GET, [1, 0, 0], 0));
    for number in 0..100 {
        for number in [number, number << 24, 1 << 24 | number] {
            assert!(!said(&mut object, say::TOOK, [number, 0, 0], 0));
            assert!(!said(&mut object, say::DONE, [number, 0, 0], 0));
        }
    }
    object.left(1, &mut Out::default());
    object.assert_is_at_rest();
    let mut out = Out::default();
    object.note(2, Note::new(say::ASK, [9, 0, 0]), value(0), &mut out).unwrap();
    let answer = out.said().next().map(|(_, note)| note.numbers[..2].to_vec());
    assert_eq!(answer, Some(vec![9, 1]), "it is still there");
}

/// Who gives up waiting in the midst of others costs nobody anything.
#[test]
fn places_that_are_given_up_leave_the_line() {
    let mut object = QueueObject::new(SHAPES[1]);
    for request in 0..3 {
        assert!(said(&mut object, say::RESERVE, [request, 0, 0], 0));
    }
    for request in 3..100_000 {
        assert!(said(&mut object, say::RESERVE, [request, 0, 0], 0));
        if request != 50 && request != 40_000 {
            assert!(said(&mut object, say::UNRESERVE, [request, 0, 0], 0));
        }
    }
    let mut granted = Vec::new();
    for request in 0..3 {
        let mut out = Out::default();
        object.note(1, Note::new(say::UNRESERVE, [request, 0, 0]), value(0), &mut out).unwrap();
        granted.extend(out.said().map(|(_, note)| (note.code, note.numbers[0])));
    }
    assert_eq!(granted, [(hear::GRANTED, 50), (hear::GRANTED, 40_000)]);
    object.left(1, &mut Out::default());
    object.assert_is_at_rest();
}

/// Whoever can drain a closed queue as often as it likes does not fill the rings of others.
#[test]
fn each_process_is_told_once_that_a_queue_is_drained() {
    let mut object = QueueObject::new(SHAPES[0]);
    let mut told = Vec::new();
    let mut tell = |by: SeatId, code, numbers, bytes| {
        let mut out = Out::default();
        object.note(by, Note::new(code, numbers), value(bytes), &mut out).unwrap();
        let drained = out.said().filter(|(_, note)| note.code == hear::DRAINED);
        told.extend(drained.map(|(seat, _)| seat));
        out.said().find(|(_, note)| note.code == hear::ITEM).map(|(_, note)| note.numbers[0])
    };
    (1..=2).for_each(|by| assert_eq!(tell(by, say::HELLO, [0; 3], 0), None));
    tell(1, say::CLOSE, [0; 3], 0);
    for round in 0..5 {
        tell(1, say::PUT, [0; 3], 1);
        if round == 2 {
            // It comes when there is something again.
            tell(3, say::HELLO, [0; 3], 0);
        }
        let item = tell(1, say::GET, [1, 0, 0], 0).unwrap();
        tell(1, say::DONE, [item, 0, 0], 0);
    }
    tell(4, say::HELLO, [0; 3], 0);
    // One that has new handles has heard nothing yet.
    tell(2, say::HELLO, [0; 3], 0);
    told.sort_unstable();
    assert_eq!(told, [1, 2, 2, 3, 4]);
}

/// In whatever order items are given back, they leave in their own; and none has to make way for another, which took
/// long for many, while the hub served nobody else.
#[test]
fn items_given_back_in_any_order_are_in_theirs_again() {
    const N: u64 = 100_000;
    let mut object = QueueObject::new(SHAPES[0]);
    // Their priority means nothing here, and tells one from the other.
    assert!((0..N).all(|n| said(&mut object, say::PUT, [0, n, 0], 1)));
    let get = |object: &mut QueueObject, n: u64| -> Vec<[u64; 3]> {
        let mut out = Out::default();
        object.note(1, Note::new(say::GET, [n, 0, 0]), value(0), &mut out).unwrap();
        out.said().map(|(_, note)| note.numbers).collect()
    };
    let taken = get(&mut object, N - 10);
    for from in [1, 0] {
        for [token, ..] in taken.iter().skip(from).step_by(2).rev() {
            let returned = Payload::from_slice(&postcard::to_allocvec(&vec![*token]).unwrap());
            let note = Note::new(say::RETURN, [0; 3]);
            object.note(1, note, returned, &mut Out::default()).unwrap();
        }
    }
    let again = get(&mut object, N);
    assert!(again.iter().map(|[.., n]| *n).eq(0..N), "they are not in order");
    object.left(1, &mut Out::default());
    object.assert_is_at_rest();
}

/// However often it waits anew under the same number.
#[test]
fn who_waits_for_a_place_is_in_line_once() {
    let mut object = QueueObject::new(SHAPES[1]);
    assert!((0..103).all(|n| said(&mut object, say::RESERVE, [n, 0, 0], 0)));
    for round in 0..1000 {
        let request = 200 + round % 2;
        assert!(said(&mut object, say::RESERVE, [request, 0, 0], 0));
        assert_eq!(object.waiting(), 101);
        assert!(said(&mut object, say::UNRESERVE, [request, 0, 0], 0));
    }
    // Who leaves costs the others nothing.
    for by in 2..4 {
        let note = Note::new(say::RESERVE, [1, 0, 0]);
        object.note(by, note, value(0), &mut Out::default()).unwrap();
    }
    object.left(2, &mut Out::default());
    assert_eq!(object.waiting(), 101);
    object.left(1, &mut Out::default());
    assert_eq!(object.waiting(), 0, "it has its place");
    object.left(3, &mut Out::default());
    object.assert_is_at_rest();
}

/// Says which thread drops it.
#[derive(Debug)]
struct Tells(Sender<Option<String>>);

impl Hold for Tells {
    fn given_to(&self, _: u64) {}
}

impl Drop for Tells {
    fn drop(&mut self) {
        let _ = self.0.send(std::thread::current().name().map(str::to_owned));
    }
}

/// Closing a handle that some process gave can take as long as that likes.
#[test]
fn handles_in_a_queue_that_goes_are_closed_elsewhere() {
    let mut object = QueueObject::new(SHAPES[0]);
    let (tell, told) = channel();
    for _ in 0..2 {
        let (_, handle) = SharedBlock::create("test", 4096).unwrap();
        let name = ObjectName { id: 1, key: 1 };
        let hold = Attached::Object(name, Arc::new(Tells(tell.clone())));
        let attached = vec![Attached::Handle(Arc::new(handle)), hold];
        let item = Payload::from_bytes(vec![1].into(), Vec::new(), attached);
        object.note(1, Note::new(say::PUT, [0; 3]), item, &mut Out::default()).unwrap();
    }
    // One is still with somebody.
    assert!(said(&mut object, say::GET, [1, 0, 0], 0));
    let mut out = Out::default();
    object.over(&mut out);
    drop(object);
    out.run();
    for _ in 0..2 {
        let thread = told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(thread.as_deref(), Some("procpool-close"));
    }
}
