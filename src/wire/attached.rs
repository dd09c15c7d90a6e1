//! What values take along that is not bytes: handles of the operating system, and
//! holds on objects of the hub.
//!
//! A type that wraps one serializes through [`attach`] and deserializes through
//! [`arrived`]. Both work only with this crate's own serializer and deserializer, in front of
//! postcard's: they know the name below, any other takes the value for a newtype around one
//! that refuses.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

use serde::de::{self, Deserializer, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};

use crate::sys::Handle;

/// The newtype by which the two know each other.
pub(super) const NAME: &str = "procpool::attached";
/// Handles that one message may carry.
pub(crate) const MAX_HANDLES: usize = 128;
/// Objects that one message may name.
pub(super) const MAX_OBJECTS: usize = 1024;

pub(super) const HANDLE: u8 = 0;
pub(super) const OBJECT: u8 = 1;

const ELSEWHERE: &str = "handles of procpool (queues, pipe ends, PassFd …) can only travel in what procpool itself carries: arguments and results of calls and items of queues (descriptors also in messages of pipes)";

/// Something that goes along with a value.
#[derive(Debug, Clone)]
pub(crate) enum Attached {
    Handle(Arc<Handle>),
    Object(ObjectName, Arc<dyn Hold>),
}

/// How processes call an object of the hub. Who has not been given the key cannot guess it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct ObjectName {
    pub(crate) id: u64,
    pub(crate) key: u128,
}

/// Keeps an object alive, wherever it is.
pub(crate) trait Hold: fmt::Debug + Send + Sync {
    /// A process (by the number of its seat) is being sent the object.
    fn given_to(&self, seat: u64);
}

/// Something that came along with a value.
#[derive(Debug)]
pub(crate) enum Arrived {
    Handle(Handle),
    Object(ObjectName),
}

/// Keeps an object that came with a message alive until the message is dropped.
pub(crate) type Guard = Box<dyn Send>;

/// Handles that came with a message, in order; or why one of them did not.
pub(crate) type Handles = Option<Box<VecDeque<Result<Handle, String>>>>;

/// What came along with a message, for whoever decodes it.
#[derive(Debug, Default)]
pub(crate) struct Along {
    pub(crate) handles: Handles,
    /// The objects that were given with it. Others may be named in its bytes, by whoever forged those.
    pub(crate) objects: Vec<u64>,
}

impl Along {
    pub(super) const NONE: Self = Along { handles: None, objects: Vec::new() };

    #[inline]
    fn is_empty(&self) -> bool {
        self.handles.is_none() && self.objects.is_empty()
    }
}

thread_local! {
    static OFFERED: Cell<Option<Attached>> = const { Cell::new(None) };
    static ALONG: RefCell<Along> = const { RefCell::new(Along::NONE) };
    static TAKEN: Cell<Option<Arrived>> = const { Cell::new(None) };
}

/// Serializes a value that takes `attached` along.
pub(crate) fn attach<S: Serializer>(attached: Attached, serializer: S) -> Result<S::Ok, S::Error> {
    OFFERED.set(Some(attached));
    let done = serializer.serialize_newtype_struct(NAME, &Elsewhere);
    OFFERED.set(None);
    done
}

/// What [`attach`] was given, for the serializer that knows it.
pub(super) fn offered() -> Option<Attached> {
    OFFERED.take()
}

/// What a serializer that does not know us finds.
struct Elsewhere;

impl Serialize for Elsewhere {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom(ELSEWHERE))
    }
}

/// Deserializes what [`attach`] has sent.
pub(crate) fn arrived<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arrived, D::Error> {
    struct Taker;
    impl<'de> Visitor<'de> for Taker {
        type Value = Arrived;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a handle of procpool")
        }

        fn visit_u8<E: de::Error>(self, _: u8) -> Result<Arrived, E> {
            TAKEN.take().ok_or_else(|| E::custom(ELSEWHERE))
        }

        fn visit_newtype_struct<D: Deserializer<'de>>(self, _: D) -> Result<Arrived, D::Error> {
            Err(de::Error::custom(ELSEWHERE))
        }
    }
    deserializer.deserialize_newtype_struct(NAME, Taker)
}

/// Lets `arrived` have what came along while `f` decodes; handles that are left over stay.
#[inline]
pub(crate) fn with_along<R>(along: &mut Along, f: impl FnOnce() -> R) -> R {
    if along.is_empty() {
        return f();
    }
    struct Swap<'a>(&'a mut Along);
    impl Swap<'_> {
        fn swap(&mut self) {
            ALONG.with_borrow_mut(|here| std::mem::swap(here, self.0));
        }
    }
    impl Drop for Swap<'_> {
        fn drop(&mut self) {
            self.swap();
        }
    }
    let mut swap = Swap(along);
    swap.swap();
    f()
}

/// Has the visitor of [`arrived`] find the next handle.
pub(super) fn stage_handle() -> Result<(), String> {
    let next = ALONG.with_borrow_mut(|along| along.handles.as_mut()?.pop_front());
    let handle = next.unwrap_or_else(|| Err("its handle did not come along with it: its sender has ended, or a process on its way had no descriptor left".to_owned()))?;
    TAKEN.set(Some(Arrived::Handle(handle)));
    Ok(())
}

/// Has the visitor of [`arrived`] find this object, which must have been given with the message: to speak of
/// another would be to break the rules.
pub(super) fn stage_object(name: ObjectName) -> Result<(), &'static str> {
    if !ALONG.with_borrow(|along| along.objects.contains(&name.id)) {
        return Err("what it names was not given along with it");
    }
    TAKEN.set(Some(Arrived::Object(name)));
    Ok(())
}

/// What is given along with a message, as its frame says: a token for each handle, the number
/// of each object.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Brought {
    pub(crate) handles: Vec<u64>,
    pub(crate) objects: Vec<u64>,
}

impl Brought {
    /// Gives away what goes along: handles by `give`, for their tokens, objects by `hand_over`,
    /// which says whether it could. What cannot be given is missed where it is decoded.
    pub(crate) fn give(
        all: &[Attached],
        mut give: impl FnMut(&Handle) -> io::Result<u64>,
        mut hand_over: impl FnMut(ObjectName, &dyn Hold) -> bool,
    ) -> Self {
        let mut brought = Brought::default();
        let mut failed = false;
        for attached in all {
            match attached {
                // The next ones must not take its place.
                Attached::Handle(_) if failed => {}
                Attached::Handle(handle) => match give(handle) {
                    Ok(token) => brought.handles.push(token),
                    Err(_) => failed = true,
                },
                Attached::Object(name, hold) if hand_over(*name, &**hold) => {
                    brought.objects.push(name.id);
                }
                Attached::Object(..) => {}
            }
        }
        brought
    }

    /// The beginning of the message's frame, and `meta` after it.
    pub(crate) fn encode(&self, meta: &[u8]) -> Vec<u8> {
        let (handles, objects) = (self.handles.len() as u16, self.objects.len() as u16);
        let numbers = self.handles.iter().chain(&self.objects).flat_map(|n| n.to_le_bytes());
        let counts = handles.to_le_bytes().into_iter().chain(objects.to_le_bytes());
        counts.chain(numbers).chain(meta.iter().copied()).collect()
    }

    /// Takes it off the beginning of a frame.
    pub(super) fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (counts, rest) = bytes.split_first_chunk::<4>()?;
        let handles = usize::from(u16::from_le_bytes([counts[0], counts[1]]));
        let objects = usize::from(u16::from_le_bytes([counts[2], counts[3]]));
        if handles > MAX_HANDLES || objects > MAX_OBJECTS || rest.len() < 8 * (handles + objects) {
            return None;
        }
        let (numbers, rest) = rest.split_at(8 * (handles + objects));
        let (numbers, _) = numbers.as_chunks::<8>();
        let mut numbers = numbers.iter().map(|n| u64::from_le_bytes(*n));
        let handles = numbers.by_ref().take(handles).collect();
        Some((Brought { handles, objects: numbers.collect() }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;
    use crate::wire::{Budget, DecodeLimits, PayloadBuilder, Received, decode_from};

    #[derive(Debug)]
    struct Nobody;
    impl Hold for Nobody {
        fn given_to(&self, _: u64) {}
    }

    /// An end of a pair, and an object.
    struct Both(Arc<Handle>, ObjectName);

    impl Serialize for Both {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            struct One<'a>(&'a Both, bool);
            impl Serialize for One<'_> {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    let Both(handle, name) = self.0;
                    let attached = match self.1 {
                        true => Attached::Handle(handle.clone()),
                        false => Attached::Object(*name, Arc::new(Nobody)),
                    };
                    attach(attached, serializer)
                }
            }
            (7u8, One(self, true), One(self, false), "end").serialize(serializer)
        }
    }

    struct Got(Arrived);

    impl<'de> de::Deserialize<'de> for Got {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            arrived(deserializer).map(Got)
        }
    }

    fn value() -> Both {
        let (end, _) = sys::SharedBlock::create("test", 4096).map(|(_, h)| (h, ())).unwrap();
        Both(Arc::new(end), ObjectName { id: 5, key: u128::MAX })
    }

    #[test]
    fn both_kinds_arrive_in_order_and_only_once() {
        let mut builder = PayloadBuilder::default();
        builder.value(&value()).unwrap();
        assert_eq!(builder.attached.len(), 2);
        let mut received = Received::from(builder.finish());
        let mut along = received.take_along();
        let (mut head, _) = received.parts();
        let mut budget = Budget::new(&DecodeLimits::default(), head.len());
        let (seven, handle, object, end): (u8, Got, Got, String) =
            with_along(&mut along, || decode_from(&mut head, &mut budget)).unwrap();
        assert_eq!((seven, end.as_str()), (7, "end"));
        assert!(matches!(handle.0, Arrived::Handle(_)));
        assert!(matches!(object.0, Arrived::Object(ObjectName { id: 5, key: u128::MAX })));
        assert!(along.handles.unwrap().is_empty());
        let (mut head, _) = received.parts();
        let again = decode_from::<(u8, Got)>(&mut head, &mut budget);
        let error = again.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("did not come along"), "{error}");
    }

    #[test]
    fn an_object_that_was_not_given_is_refused() {
        let forged = postcard::to_allocvec(&(OBJECT, ObjectName { id: 6, key: 1 })).unwrap();
        let decode = |along: &mut Along| {
            let mut budget = Budget::new(&DecodeLimits::default(), forged.len());
            with_along(along, || decode_from::<Got>(&mut &forged[..], &mut budget))
        };
        for objects in [vec![], vec![5]] {
            let error = decode(&mut Along { handles: None, objects }).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains("was not given along"), "{error}");
        }
        let given = decode(&mut Along { handles: None, objects: vec![5, 6] }).unwrap();
        assert!(matches!(given.0, Arrived::Object(ObjectName { id: 6, key: 1 })));
        assert!(
            decode(&mut Along::default()).is_err(),
            "what was given with another is not given with it"
        );
    }

    #[test]
    fn other_serializers_are_told_what_is_wrong() {
        let error = postcard::to_allocvec(&value()).unwrap_err();
        assert!(matches!(error, postcard::Error::SerdeSerCustom), "{error}");
        let error = postcard::from_bytes::<Got>(&[0]).map(|_| ()).unwrap_err();
        assert!(matches!(error, postcard::Error::SerdeDeCustom), "{error}");
        // What was offered in vain is not found by the next.
        let mut builder = PayloadBuilder::default();
        #[derive(serde::Serialize)]
        #[serde(rename = "procpool::attached")]
        struct Forged(u8);
        assert!(builder.value(&Forged(1)).is_err());
    }

    #[test]
    fn a_value_that_fails_leaves_nothing_behind() {
        struct Fails;
        impl Serialize for Fails {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(S::Error::custom("no"))
            }
        }
        let mut builder = PayloadBuilder::default();
        assert!(builder.value(&(value(), Fails)).is_err());
        assert!(builder.attached.is_empty() && builder.head.len() == 0);
    }

    #[test]
    fn lists_of_what_comes_along_survive_and_nonsense_does_not() {
        let brought = Brought { handles: vec![1, u64::MAX], objects: vec![9] };
        let bytes = brought.encode(b"meta");
        assert_eq!(Brought::split(&bytes), Some((brought, &b"meta"[..])));
        for cut in 0..bytes.len() - 4 {
            assert_eq!(Brought::split(&bytes[..cut]), None, "cut {cut}");
        }
        assert_eq!(Brought::split(&[255; 4096]), None);
    }
}
