//! Every shape of parameter and of function that can be a task, with the lints of a careful user.

#![forbid(unsafe_code)]
#![deny(warnings, unused_qualifications, missing_docs)]
#![deny(unused_results, unreachable_pub, single_use_lifetimes, elided_lifetimes_in_paths)]

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::CStr;
use std::path::Path;

use procpool::{Async, Call};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Image {
    pixels: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    count: u32,
}

/// A type that isn't `Clone`, lent: it is encoded from the borrow.
#[derive(Serialize, Deserialize)]
struct Unique(u64);

#[procpool::task]
fn nothing() {}

#[procpool::task]
fn owned(img: Vec<u8>, mut w: u32, name: String) -> Result<Vec<u8>, String> {
    w += 1;
    if img.len() as u32 > w { Err(name) } else { Ok(img) }
}

#[procpool::task]
fn in_place(text: &str, bytes: &[u8]) -> usize {
    text.len() + bytes.len()
}

#[procpool::task]
fn lent(image: &Image, numbers: &[u32], array: &[u8; 2], unique: &Unique, string: &String) -> u64 {
    image.pixels.len() as u64 + numbers.len() as u64 + u64::from(array[0]) + unique.0 + string.len() as u64
}

type Octet = u8;

/// Byte strings, which travel in a form of their own when they are `Vec<u8>` or `&[u8]` themselves.
#[procpool::task]
fn lent_bytes(vec: &Vec<u8>, slice: &[Octet], bytes: &[u8]) -> usize {
    vec.len() + slice.len() + usize::from(bytes[0])
}

#[procpool::task]
fn lent_from_owned(path: &Path, os: &std::ffi::OsStr, c: &CStr) -> usize {
    path.as_os_str().len() + os.len() + c.count_bytes()
}

#[procpool::task]
fn views(cow: Cow<'_, str>, option: Option<&str>, tuple: (&str, u32), record: Record<'_>, list: Vec<&[u8]>) -> usize {
    let record = record.key.len() + record.count as usize;
    cow.len() + option.map_or(0, str::len) + tuple.0.len() + tuple.1 as usize + record + list.len()
}

#[procpool::task]
fn lent_views(twice: &&str, list: &[&str], option: &Option<&str>, record: &Record<'_>, slices: &[&[u8]]) -> usize {
    twice.len() + list.len() + option.map_or(0, str::len) + record.key.len() + slices.len()
}

#[procpool::task]
fn patterns((a, b): (u32, u32), _: u8, Unique(c): Unique, [d, ..]: [u64; 3], whole @ (_, _): (u8, u8)) -> u64 {
    u64::from(a + b) + c + d + u64::from(whole.0)
}

#[procpool::task]
fn named_like_patterns((a, _): (u32, u32), arg0: u32, r#type: u32) -> u32 {
    a + arg0 + r#type
}

/// Names that the expansion might use itself.
#[procpool::task]
fn hygiene(hygiene: u32, __call: u32, __args: u32, __out: u32, __a0: u32, __owned: u32) -> u32 {
    hygiene + __call + __args + __out + __a0 + __owned
}

#[procpool::task]
async fn hygiene_async(hygiene_async: u32, __call: &str, __args: u32, __out: u32, __a0: u32, __owned: u32) -> u32 {
    hygiene_async + __call.len() as u32 + __args + __out + __a0 + __owned
}

/// Names that a program may give to its own items.
#[allow(non_snake_case, non_camel_case_types)]
mod shadowed {
    #[allow(dead_code)]
    type Result = ();
    #[allow(dead_code)]
    struct Vec;
    #[allow(dead_code)]
    enum Option {
        Some,
        None,
    }
    #[allow(dead_code)]
    fn Ok() {}
    #[allow(dead_code)]
    mod std {}
    #[allow(dead_code)]
    mod core {}
    #[allow(dead_code)]
    mod procpool {}
    #[allow(dead_code)]
    static __ENTRY: u32 = 1;
    #[allow(dead_code)]
    fn __run() -> u32 {
        1
    }

    #[::procpool::task]
    pub(crate) fn blocking(a: u32, list: &[u32]) -> u32 {
        a + list.len() as u32 + __ENTRY + __run()
    }

    #[::procpool::task]
    pub(crate) async fn asynchronous(a: u32, list: &[u32]) -> u32 {
        a + list.len() as u32 + __ENTRY + __run()
    }

    #[::procpool::test]
    async fn test() {}
}

#[procpool::task]
async fn asynchronous(text: &str, mut list: Vec<u32>, record: &Record<'_>) -> Result<usize, String> {
    tokio_like_yield().await;
    list.push(1);
    Ok(text.len() + list.len() + record.key.len())
}

#[procpool::task]
async fn asynchronous_nothing() {
    tokio_like_yield().await;
}

async fn tokio_like_yield() {
    std::future::ready(()).await;
}

#[procpool::task]
fn fibonacci(n: u64) -> u64 {
    if n < 2 { n } else { fibonacci(n - 1) + fibonacci(n - 2) }
}

#[procpool::task(name = "explicit.name")]
#[must_use = "a message of one's own"]
#[cfg(all())]
#[doc(hidden)]
#[expect(unused_variables)]
#[cfg_attr(all(), inline)]
pub fn attributes(#[allow(unused_mut)] mut x: u32) {
    #![allow(clippy::all)]
    let y = 1;
}

#[procpool::task(crate = procpool)]
#[cfg(any())]
fn absent(x: DoesNotExist) {}

#[procpool::task(crate = ::procpool, name = "with the crate")]
#[deprecated]
fn with_the_crate(map: HashMap<String, [f64; 2]>) -> usize {
    map.len()
}

struct Group;

impl Group {
    #[procpool::task]
    fn associated(x: u32) -> u32 {
        x + 1
    }
}

macro_rules! tasks {
    ($($name:ident($arg:ident: $ty:ty) -> $out:ty $body:block)*) => {
        $(#[procpool::task] fn $name($arg: $ty) -> $out $body)*
    };
}

tasks! {
    by_macro(text: &str) -> usize { text.len() }
    by_macro_slice(list: &[u32]) -> Vec<u32> { list.to_vec() }
    by_macro_view(list: Option<&str>) -> usize { list.map_or(0, str::len) }
}

fn takes<A, R>(_: impl Fn(A) -> Call<R>) {}
fn takes_async<A, R>(_: impl Fn(A) -> Call<R, Async>) {}

#[procpool::main]
#[allow(deprecated)]
async fn main() {
    #[procpool::task]
    fn inside(x: &str) -> String {
        x.to_owned()
    }

    let image = Image { pixels: vec![1] };
    let record = Record { key: Cow::Borrowed("k"), count: 1 };
    let local = String::from("local");
    let _: Call<()> = nothing();
    nothing().run_here();
    let call: Call<Result<Vec<u8>, String>> = owned(vec![1], 2, local.clone());
    assert_eq!(call.run_here(), Ok(vec![1]));
    assert_eq!(owned(vec![1; 100_000], 2, local.clone()).run_here(), Err(local.clone()));
    assert_eq!(in_place(&local, local.as_bytes()).run_here(), 10);
    assert_eq!(lent(&image, &[1, 2], &[1, 2], &Unique(1), &local).run_here(), 1 + 2 + 1 + 1 + 5);
    assert_eq!(lent_bytes(&vec![1; 100_000], &[2, 3], &vec![4]).run_here(), 100_000 + 2 + 4);
    assert_eq!(lent_from_owned(Path::new("a"), "bc".as_ref(), c"def").run_here(), 6);
    let view = Record { key: Cow::Borrowed(&local), count: 1 };
    let call = views(Cow::Borrowed(&local), Some(&local), (&local, 1), view, vec![local.as_bytes()]);
    assert_eq!(call.run_here(), 5 + 5 + 5 + 1 + 5 + 1 + 1);
    let call = lent_views(&&*local, &[&local], &Some(&local), &record, &[local.as_bytes()]);
    assert_eq!(call.run_here(), 5 + 1 + 5 + 1 + 1);
    assert_eq!(patterns((1, 2), 3, Unique(4), [5, 6, 7], (8, 9)).run_here(), 1 + 2 + 4 + 5 + 8);
    assert_eq!(named_like_patterns((1, 2), 3, 4).run_here(), 1 + 3 + 4);
    assert_eq!(hygiene(1, 2, 3, 4, 5, 6).run_here(), 21);
    assert_eq!(hygiene_async(1, "2", 3, 4, 5, 6).run_here().await, 20);
    assert_eq!(shadowed::blocking(1, &[2]).run_here(), 4);
    let call: Call<u32, Async> = shadowed::asynchronous(1, &[2]);
    assert_eq!(call.run_here().await, 4);
    assert_eq!(asynchronous(&local, vec![1], &record).run_here().await, Ok(5 + 2 + 1));
    asynchronous_nothing().run_here().await;
    assert_eq!(fibonacci(10).run_here(), 55);
    assert_eq!(attributes(1).task_name(), "explicit.name");
    assert_eq!(with_the_crate(HashMap::new()).run_here(), 0);
    assert_eq!(Group::associated(1).run_here(), 2);
    assert_eq!(by_macro("abc").run_here(), 3);
    assert_eq!(by_macro_slice(&[1]).run_here(), [1]);
    assert_eq!(by_macro_view(None).run_here(), 0);
    assert_eq!(fibonacci(1).task_name(), concat!(module_path!(), "::fibonacci"));
    assert_eq!(shadowed::blocking(1, &[]).task_name(), concat!(module_path!(), "::shadowed::blocking"));
    takes(fibonacci);
    takes(inside);
    takes_async(|text: &str| asynchronous(text, vec![], &Record { key: "k".into(), count: 1 }));

    let inside = inside("shadows as any function does").run_here();
    assert_eq!(inside, "shadows as any function does");
}
