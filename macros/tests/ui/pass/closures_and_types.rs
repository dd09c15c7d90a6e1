//! Closures and types as tasks.

#![forbid(unsafe_code)]
#![deny(warnings, unused_results)]

use procpool::{Async, AsyncTask, Blocking, Call, IntoCall, Task};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Resize {
    width: u32,
}

#[procpool::task]
impl Task for Resize {
    type Output = Vec<u8>;

    fn run(self) -> Vec<u8> {
        vec![0; self.width as usize]
    }
}

#[derive(Serialize, Deserialize)]
struct Fetch {
    url: String,
}

#[procpool::task]
impl AsyncTask for Fetch {
    type Output = usize;

    async fn run(self) -> usize {
        self.url.len()
    }
}

mod other {
    #[derive(serde::Serialize, serde::Deserialize)]
    pub(crate) struct Wrapper<T>(pub(crate) T);
}

#[procpool::task]
impl Task for other::Wrapper<u32> {
    type Output = ();

    fn run(self) {}
}

#[procpool::task(name = "wrapper of u64", crate = procpool)]
#[cfg(all())]
impl Task for other::Wrapper<u64> {
    type Output = Self;

    fn run(self) -> Self {
        self
    }
}

#[procpool::task]
#[cfg(any())]
impl Task for Absent {}

fn call<C: IntoCall<Kind = Blocking>>(task: C) -> Call<C::Output> {
    task.into_call()
}

const SQUARE: fn(u64) -> Call<u64> = procpool::task_fn!(|x: u64| -> u64 { x * x });

fn map<A, R>(_: impl Fn(A) -> Call<R>) {}

fn generic<T>(_: T) -> Call<u64> {
    procpool::task_fn!(|x: u64| -> u64 { x })(1)
}

macro_rules! two {
    () => {
        (
            procpool::task_fn!(name = "first of two", |x: u64| -> u64 { x }),
            procpool::task_fn!(name = "second of two", crate = procpool, |x: u64| -> u64 { x + 1 }),
        )
    };
}

#[procpool::main(flavor = "current_thread")]
async fn main() {
    assert_eq!(call(Resize { width: 3 }).run_here(), [0; 3]);
    assert_eq!(call(Resize { width: 3 }).task_name(), concat!(module_path!(), "::Resize"));
    call(other::Wrapper(1_u32)).run_here();
    let _fetch: Call<usize, Async> = Fetch { url: "here".to_owned() }.into_call();
    assert_eq!(call(other::Wrapper(1_u32)).task_name(), concat!(module_path!(), "::other::Wrapper<u32>"));
    assert_eq!(call(other::Wrapper(1_u64)).run_here().0, 1);
    assert_eq!(call(other::Wrapper(1_u64)).task_name(), "wrapper of u64");

    map(procpool::task_fn!(|x: u64| -> u64 { x + 1 }));
    assert_eq!(SQUARE(3).run_here(), 9);
    assert_eq!(generic("any type").run_here(), 1);
    let add = procpool::task_fn!(|(a, b): (u32, u32), mut c: u32, _: &str| -> Result<u32, String> {
        c += 1;
        let sum = a.checked_add(b).ok_or("overflow")?;
        if c == 0 {
            return Err("zero".into());
        }
        Ok(sum)
    });
    assert_eq!(add((1, 2), 3, "4").run_here(), Ok(3));
    let length = procpool::task_fn!(async |text: &str,| -> usize { std::future::ready(text.len()).await },);
    let call: Call<usize, Async> = length("abc");
    assert_eq!(call.run_here().await, 3);
    procpool::task_fn!(|| {})().run_here();
    procpool::task_fn!(async |_: u8| { std::future::ready(()).await })(1).run_here().await;
    let (first, second) = two!();
    assert_eq!(first(1).run_here() + second(2).run_here(), 4);
    assert_eq!(second(1).task_name(), "second of two");
    let call = procpool::task_fn!(|x: u8| -> u8 { double(x) })(1);
    assert!(call.task_name().starts_with(concat!(module_path!(), "::{task at ")));
    assert_eq!(call.run_here(), 2);
}

fn double(x: u8) -> u8 {
    2 * x
}
