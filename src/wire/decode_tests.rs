//! What may be decoded, and what it costs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;

use serde::de::{self, DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};

use super::budget::{Budget, BudgetExceeded, DecodeLimits};
use super::decode::{DecodeError, decode_from};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Node(Box<Tree>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct List {
    next: Option<Box<List>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nest(Vec<Nest>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Json {
    Null,
    Number(f64),
    Text(String),
    Pair(Box<Json>, Box<Json>),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
    Tagged { tag: u8, inner: Option<Box<Json>> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Meters(f32);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Shapes {
    signed: (i8, i16, i32, i64, i128, isize),
    unsigned: (u8, u16, u32, u64, u128, usize),
    other: (bool, char, f64, Meters, Unit, ()),
    text: String,
    options: (Option<u8>, Option<Option<Option<u16>>>),
    array: [[u16; 3]; 2],
    rows: Vec<(u32, Vec<String>)>,
    map: BTreeMap<(u8, i16), Option<String>>,
    set: BTreeSet<char>,
    enums: Vec<Json>,
    boxed: Box<[u8]>,
    list: List,
    nest: Nest,
}

fn shapes() -> Shapes {
    let pair = Json::Pair(Box::new(Json::Null), Box::new(Json::Number(-1.5)));
    let tagged = Json::Tagged { tag: 9, inner: Some(Box::new(Json::Text("déjà".into()))) };
    let object = [("a".into(), Json::Array(vec![Json::Null, pair]))];
    Shapes {
        signed: (-128, i16::MIN, -1, i64::MAX, i128::MIN, -70_000),
        unsigned: (255, 128, u32::MAX, 1 << 40, u128::MAX - 1, 300),
        other: (true, '\u{1f980}', 0.1, Meters(2.5), Unit, ()),
        text: "some text".repeat(20),
        options: (None, Some(Some(None))),
        array: [[1, 2, 3], [400, 500, 60_000]],
        rows: vec![(1, vec![]), (200, vec!["x".into(), String::new()])],
        map: BTreeMap::from([((1, -1), None), ((2, 300), Some("v".into()))]),
        set: BTreeSet::from(['a', 'é']),
        enums: vec![Json::Object(object.into()), tagged],
        boxed: Box::new([1, 2, 3]),
        list: List { next: Some(Box::new(List { next: None })) },
        nest: Nest(vec![Nest(vec![]), Nest(vec![Nest(vec![])])]),
    }
}

fn limits(depth: u32, elements: u64, memory: u64) -> DecodeLimits {
    DecodeLimits { depth, elements, memory }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).unwrap()
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut budget = Budget::new(&DecodeLimits::default(), bytes.len());
    decode_from(&mut { bytes }, &mut budget)
}

fn within<T: DeserializeOwned>(bytes: &[u8], limits: DecodeLimits) -> Result<T, DecodeError> {
    decode_from(&mut { bytes }, &mut Budget::new(&limits, 0))
}

#[track_caller]
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    let mut bytes = encode(&value);
    let len = bytes.len();
    bytes.extend([0xab; 3]);
    let mut input = &bytes[..];
    let mut budget = Budget::new(&DecodeLimits::default(), len);
    assert_eq!(decode_from::<T>(&mut input, &mut budget).unwrap(), value);
    assert_eq!(input, [0xab; 3]);
}

#[track_caller]
fn budget_error<T: Debug>(result: Result<T, DecodeError>) -> BudgetExceeded {
    match result {
        Err(DecodeError::Budget(exceeded)) => exceeded,
        other => panic!("not a budget error: {other:?}"),
    }
}

/// `value` costs just these amounts: they suffice, and none of them can be one less.
#[track_caller]
fn costs<T: Serialize + DeserializeOwned + PartialEq + Debug>(
    value: T,
    (depth, elements, memory): (u32, u64, u64),
) {
    let bytes = encode(&value);
    let enough = within::<T>(&bytes, limits(depth, elements, memory));
    assert_eq!(enough.as_ref(), Ok(&value));
    if depth > 0 {
        let short = within::<T>(&bytes, limits(depth - 1, elements, memory));
        assert_eq!(budget_error(short), BudgetExceeded::Depth { limit: depth - 1 });
    }
    if elements > 0 {
        let error = budget_error(within::<T>(&bytes, limits(depth, elements - 1, memory)));
        assert!(matches!(error, BudgetExceeded::Elements { needed, left, limit }
            if needed == left + 1 && limit == elements - 1));
    }
    if memory > 0 {
        let error = budget_error(within::<T>(&bytes, limits(depth, elements, memory - 1)));
        assert!(matches!(error, BudgetExceeded::Memory { needed, left, limit }
            if needed == left + 1 && limit == memory - 1));
    }
}

#[test]
fn values_survive_the_round_trip() {
    round_trip(shapes());
    round_trip(());
    round_trip(u64::MAX);
    round_trip(u128::MAX);
    round_trip(i128::MIN);
    round_trip('\0');
    round_trip(Some(Some(())));
    round_trip(vec![(); 1000]);
    round_trip([Some(1u8), None]);
    round_trip((1u8, (2i64, "three".to_string()), [4.0f32; 5]));
    round_trip(vec![vec![vec![u16::MAX; 3]; 2]; 300]);
    round_trip(HashMap::from([(1u8, "a".to_string()), (2, "b".to_string())]));
    round_trip((0..100_000u64).collect::<Vec<_>>());
    round_trip(std::time::Duration::new(5, 6));
    round_trip(Ok::<u8, String>(7));
    round_trip(std::num::NonZeroU32::MIN);
    round_trip(Tree::Node(Box::new(Tree::Node(Box::new(Tree::Leaf)))));
}

#[test]
fn one_budget_covers_several_values() {
    let bytes = [encode(&vec![1u8, 2]), encode(&vec![3u8, 4])].concat();
    let mut budget = Budget::new(&limits(1, 3, 100), bytes.len());
    let mut input = &bytes[..];
    assert_eq!(decode_from(&mut input, &mut budget), Ok(vec![1u8, 2]));
    let rest = input;
    assert_eq!(
        budget_error(decode_from::<Vec<u8>>(&mut input, &mut budget)),
        BudgetExceeded::Elements { needed: 2, left: 1, limit: 3 }
    );
    assert_eq!(input, rest, "an error leaves the input where it was");
}

#[test]
fn borrowed_values_point_into_the_input() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Borrowed<'a> {
        text: &'a str,
        #[serde(borrow)]
        list: Vec<Option<&'a str>>,
        bytes: &'a [u8],
    }
    let value = Borrowed { text: "one", list: vec![None, Some("two")], bytes: &[7, 8, 9] };
    let bytes = encode(&value);
    let mut budget = Budget::new(&DecodeLimits::default(), bytes.len());
    let decoded: Borrowed = decode_from(&mut &bytes[..], &mut budget).unwrap();
    assert_eq!(decoded, value);
    let offset = |p: *const u8| p as usize - bytes.as_ptr() as usize;
    assert_eq!(offset(decoded.text.as_ptr()), 1);
    assert_eq!(offset(decoded.list[1].unwrap().as_ptr()), 8);
    assert_eq!(offset(decoded.bytes.as_ptr()), 12);
}

#[test]
fn a_budget_just_met_passes_and_one_less_fails() {
    let text = size_of::<String>() as u64;
    costs(7u64, (0, 0, 0));
    costs((1u8, 2u64), (1, 0, 0));
    costs("abcd".to_string(), (0, 0, 4));
    costs((0..10).collect::<Vec<u64>>(), (1, 10, 80));
    costs(vec![(); 5], (1, 5, 0));
    costs(vec![[1u16; 3]; 4], (2, 4, 24));
    costs(vec![Some(1u32), None], (2, 2, 16));
    costs(vec!["abc".to_string(), "de".into()], (1, 2, 2 * text + 5));
    costs(vec![vec![1u8; 3], vec![2; 4]], (2, 9, 2 * text + 7));
    costs(BTreeMap::from([(1u8, 2u32), (3, 4), (5, 6)]), (1, 3, 15));
    costs(Box::new([1u64; 4]), (1, 0, 32));
    costs(vec![Box::new([1u64; 4]); 3], (2, 3, 3 * (8 + 32)));
    costs(Meters(1.0), (1, 0, 0));
    costs(Json::Number(1.0), (1, 0, 0));
    costs(List { next: None }, (2, 0, 0));
    let json = size_of::<Json>() as u64;
    let pair = Json::Pair(Box::new(Json::Null), Box::new(Json::Text("ab".into())));
    costs(pair, (2, 0, 2 * json + 2));
    costs(Json::Array(vec![Json::Null; 3]), (3, 3, 3 * json));
}

#[test]
fn memory_grows_with_the_message() {
    let bytes = encode(&vec![7u8; 1000]);
    let mut budget = Budget::new(&limits(1, 1000, 10), bytes.len());
    assert!(decode_from::<Vec<u8>>(&mut &bytes[..], &mut budget).is_ok());
    assert_eq!(Budget::new(&limits(1, 1, 10), 3).limits.memory, 12);
    assert_eq!(Budget::new(&limits(1, 1, 0), usize::MAX).limits.memory, u64::MAX);
}

/// A sequence of `len` elements that are one zero byte each.
fn zeros(len: usize) -> Vec<u8> {
    let mut bytes = encode(&len);
    bytes.resize(bytes.len() + len, 0);
    bytes
}

#[test]
fn inflating_elements_are_refused() {
    type Big = Option<[u64; 16]>;
    let bytes = zeros(8 << 20);
    let needed = (8 << 20) * size_of::<Big>() as u64;
    let memory = BudgetExceeded::Memory { needed, left: 256 << 20, limit: 256 << 20 };
    assert_eq!(budget_error(decode::<Vec<Big>>(&bytes)), memory);
    assert_eq!(
        memory.to_string(),
        "memory budget exceeded: 1140850688 more bytes needed with 268435456 left of the \
         268435456 allowed"
    );
    // The size does not hide behind a pointer, nor in the keys and values of a map.
    let error = budget_error(decode::<Vec<Box<Big>>>(&bytes));
    assert!(matches!(error, BudgetExceeded::Memory { needed: 136, .. }));
    let error = budget_error(decode::<HashMap<u8, Big>>(&bytes));
    assert!(matches!(error, BudgetExceeded::Memory { .. }));
    let error = budget_error(decode::<BTreeMap<Big, ()>>(&bytes));
    assert!(matches!(error, BudgetExceeded::Memory { .. }));
    // Elements that take no byte on the wire, of a length whose size overflows.
    #[derive(Debug, Deserialize)]
    struct Skipped {
        #[serde(skip)]
        _free: [u64; 16],
    }
    let most = limits(128, u64::MAX, 256 << 20);
    let error = budget_error(within::<Vec<Skipped>>(&encode(&u64::MAX), most));
    assert!(matches!(error, BudgetExceeded::Memory { .. }));
}

#[test]
fn recursion_is_refused_before_the_stack_ends() {
    fn refused<T: DeserializeOwned + Debug>(byte: u8) {
        let bytes = vec![byte; 100_000];
        let error = budget_error(decode::<T>(&bytes));
        assert_eq!(error, BudgetExceeded::Depth { limit: 128 });
    }
    let run = || {
        refused::<Tree>(1);
        refused::<List>(1);
        refused::<Nest>(1);
        refused::<Json>(3);
        refused::<Json>(4);
        // A map of one entry whose key is one byte long.
        let bytes = [5u8, 1, 1, b'k'].repeat(25_000);
        let error = budget_error(decode::<Json>(&bytes));
        assert_eq!(error, BudgetExceeded::Depth { limit: 128 });
        // `Tagged` with a tag of 1 and some inner value.
        let bytes = [6u8, 1, 1].repeat(33_334);
        let error = budget_error(decode::<Json>(&bytes));
        assert_eq!(
            error.to_string(),
            "depth budget exceeded: nested deeper than the 128 levels allowed"
        );
        // As deep as allowed: 127 nodes and the leaf.
        let mut bytes = vec![1; 127];
        bytes.push(0);
        assert!(decode::<Tree>(&bytes).is_ok());
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    thread.spawn(run).unwrap().join().unwrap();
}

#[test]
fn endless_units_are_refused() {
    let bytes = encode(&(1u64 << 32));
    assert_eq!(bytes.len(), 5);
    let exceeded = BudgetExceeded::Elements { needed: 1 << 32, left: 1 << 26, limit: 1 << 26 };
    assert_eq!(budget_error(decode::<Vec<()>>(&bytes)), exceeded);
    assert_eq!(budget_error(decode::<BTreeMap<(), ()>>(&bytes)), exceeded);
    assert_eq!(
        exceeded.to_string(),
        "element budget exceeded: 4294967296 more elements claimed with 67108864 left of the \
         67108864 allowed"
    );
    // Each of the inner lengths is within the budget, but not their sum.
    let inner = encode(&(1u64 << 16));
    let bytes = [encode(&2000u64), inner.repeat(2000)].concat();
    let few = limits(128, 100_000, 1 << 20);
    let error = budget_error(within::<Vec<Vec<()>>>(&bytes, few));
    assert!(matches!(error, BudgetExceeded::Elements { .. }));
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = encode(&shapes());
    assert!(decode::<Shapes>(&bytes).is_ok());
    for end in 0..bytes.len() {
        assert_eq!(
            decode::<Shapes>(&bytes[..end]),
            Err(DecodeError::Malformed(postcard::Error::DeserializeUnexpectedEnd)),
            "at {end}"
        );
    }
}

#[test]
fn errors_say_what_is_wrong() {
    fn says<T: DeserializeOwned + Debug>(bytes: &[u8], text: &str) {
        assert_eq!(decode::<T>(bytes).unwrap_err().to_string(), text);
    }
    says::<u8>(&[], "malformed message: the input ends before the value does");
    says::<bool>(&[2], "malformed message: a bool is neither 0 nor 1");
    says::<String>(&[1, 0xff], "malformed message: a string is not utf-8");
    says::<Option<u8>>(&[2], "malformed message: the tag of an option is neither 0 nor 1");
    says::<Tree>(
        &[2],
        "message refused by its type: invalid value: integer `2`, expected variant index 0 <= i < 2",
    );
    says::<serde::de::IgnoredAny>(
        &[2],
        "malformed message: the type needs a self-describing encoding",
    );
    #[derive(Debug)]
    struct Picky;
    impl<'de> Deserialize<'de> for Picky {
        fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
            assert!(!input.is_human_readable());
            let text = String::deserialize(input)?;
            Err(de::Error::custom(format_args!("no {text}")))
        }
    }
    // The reason quotes the peer, but not at any length.
    match decode::<Picky>(&encode(&"é".repeat(1000))).unwrap_err() {
        DecodeError::Invalid(reason) => {
            assert!(reason.starts_with("no éé") && reason.ends_with("é…"));
            assert!((190..=203).contains(&reason.len()));
        }
        other => panic!("{other}"),
    }
    fn is_an_error<E: std::error::Error + Send + Sync + Clone + PartialEq + 'static>() {}
    is_an_error::<DecodeError>();
    is_an_error::<BudgetExceeded>();
}

/// Garbage never panics, and decodes as with postcard alone, unless it costs too much.
#[test]
fn garbage_is_judged_as_postcard_does() {
    fn judge<T: DeserializeOwned + Debug>(bytes: &[u8]) -> bool {
        let mut input = bytes;
        let mut budget = Budget::new(&limits(128, 1 << 16, 1 << 16), 0);
        let ours = decode_from::<T>(&mut input, &mut budget);
        if matches!(ours, Err(DecodeError::Budget(_))) {
            return false;
        }
        match (ours, postcard::take_from_bytes::<T>(bytes)) {
            (Ok(ours), Ok((theirs, rest))) => {
                assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
                assert_eq!(input, rest);
                return true;
            }
            (Err(DecodeError::Malformed(ours)), Err(theirs)) => assert_eq!(ours, theirs),
            (Err(DecodeError::Invalid(reason)), Err(theirs)) => {
                assert_eq!(theirs, postcard::Error::SerdeDeCustom);
                assert_ne!(reason, "");
            }
            (ours, theirs) => panic!("{ours:?} is not {theirs:?} of {bytes:?}"),
        }
        false
    }
    let mut state = 1u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    let mut good = [0; 8];
    for round in 0..20_000 {
        let len = next() % 64;
        // Small bytes make for more values that are well formed.
        let most = [256, 8, 3][round % 3];
        let bytes: Vec<u8> = (0..len).map(|_| (next() % most) as u8).collect();
        good[0] += judge::<Shapes>(&bytes) as u32;
        good[1] += judge::<Json>(&bytes) as u32;
        good[2] += judge::<Nest>(&bytes) as u32;
        good[3] += judge::<List>(&bytes) as u32;
        good[4] += judge::<(u16, i64, u128, char, bool, f32)>(&bytes) as u32;
        good[5] += judge::<Vec<(Option<i32>, String)>>(&bytes) as u32;
        good[6] += judge::<BTreeMap<String, Result<u8, [char; 2]>>>(&bytes) as u32;
        good[7] += judge::<(usize, Box<[i16]>, std::time::Duration)>(&bytes) as u32;
    }
    assert!(good[1..].iter().all(|&n| n > 50), "{good:?}");
    // Single bytes of a good message changed.
    let good = encode(&shapes());
    for at in 0..good.len() {
        for _ in 0..20 {
            let mut bytes = good.clone();
            bytes[at] = next() as u8;
            judge::<Shapes>(&bytes);
        }
    }
}
