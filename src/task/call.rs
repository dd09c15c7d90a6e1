//! A call: a task with its arguments, not yet run.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::task::Context;

use serde::de::DeserializeOwned;

use super::args::{Args, Output, OwnedArgs, decode_output};
use super::args_encoder::ArgsEncoder;
use super::context::{Current, with_current};
use super::entry::{BlockingFn, Body, Entry};
use super::fault::Fault;
use crate::wire::{DecodeLimits, Payload, Received};

/// Marks calls of blocking tasks: one at a time in a worker.
#[derive(Debug, Clone, Copy)]
pub enum Blocking {}

/// Marks calls of async tasks: several at a time in a worker.
#[derive(Debug, Clone, Copy)]
pub enum Async {}

/// [`Blocking`] or [`Async`].
pub trait TaskKind: sealed::Sealed + Send + 'static {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Blocking {}
    impl Sealed for super::Async {}
}
impl TaskKind for Blocking {}
impl TaskKind for Async {}

/// A task and its encoded arguments, waiting to be run somewhere.
///
/// Made by calling a function marked [`#[procpool::task]`](macro@crate::task).
/// Like an `async fn`'s future it does nothing by itself: hand it to
/// [`ProcessPool::run`](crate::ProcessPool::run) or
/// [`ProcessPool::spawn`](crate::ProcessPool::spawn), or run it in this process
/// with `run_here`.
///
/// Arguments are encoded when the call is made, so borrowed ones need not live
/// longer, and `Vec<u8>` or `Bytes` arguments of 16 KiB and more are moved, not
/// copied. An argument that cannot be encoded shows when the call is run.
#[must_use = "a Call does nothing until a pool, a process or `run_here` runs it"]
pub struct Call<R, K = Blocking> {
    pub(crate) entry: &'static Entry,
    pub(crate) payload: Result<Payload, Box<EncodeFailure>>,
    kind: PhantomData<fn() -> (R, K)>,
}

/// An argument without an encoded form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EncodeFailure {
    pub(crate) param: &'static str,
    pub(crate) reason: String,
}

impl<R, K> Call<R, K> {
    /// The name the task is registered under: its module path, unless it was
    /// given another.
    #[must_use]
    pub fn task_name(&self) -> &'static str {
        self.entry.name
    }

    /// Bytes of the encoded arguments.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.payload.as_ref().map_or(0, Payload::len)
    }

    pub(crate) fn from_parts(entry: &'static Entry, payload: Payload) -> Self {
        Call { entry, payload: Ok(payload), kind: PhantomData }
    }

    fn expect_payload(self) -> Payload {
        match self.payload {
            Ok(payload) => payload,
            Err(e) => {
                panic!(
                    "argument `{}` of {} cannot be encoded: {}",
                    e.param, self.entry.name, e.reason
                )
            }
        }
    }
}

fn expect_done<T>(entry: &Entry, result: Result<T, Fault>) -> T {
    match result {
        Ok(value) => value,
        Err(fault) => panic!("{} could not be run here: {fault:?}", entry.name),
    }
}

/// Runs a task's body on this thread, in this process; its result.
///
/// # Panics
/// If the body does.
pub(crate) fn run_body(run: BlockingFn, mut received: Received) -> Result<Payload, Fault> {
    let mut out = Output::new();
    let mut args = Args::of(&mut received, &DecodeLimits::default());
    with_current(Current::local(), || run(&mut args, &mut out))?;
    Ok(out.into_encoded().0)
}

impl<R: DeserializeOwned + 'static> Call<R, Blocking> {
    /// Runs the task's body on this thread, in this process.
    ///
    /// For unit tests and for falling back where no pool is wanted. Arguments and
    /// result pass through their encoded form, as they would in a worker.
    ///
    /// # Panics
    /// If the body panics, or a value cannot be encoded or decoded.
    pub fn run_here(self) -> R {
        let entry = self.entry;
        let received = Received::from(self.expect_payload());
        let Body::Blocking(run) = entry.body else { unreachable!("the kind says blocking") };
        let result = expect_done(entry, run_body(run, received));
        expect_done(entry, decode_output(Received::from(result), &DecodeLimits::default()))
    }
}

impl<R: DeserializeOwned + 'static> Call<R, Async> {
    /// Runs the task's body in this process, as part of the calling future.
    ///
    /// # Panics
    /// If the body panics, or a value cannot be encoded or decoded.
    pub async fn run_here(self) -> R {
        let entry = self.entry;
        let limits = DecodeLimits::default();
        let args = OwnedArgs::new(Received::from(self.expect_payload()), limits);
        let Body::Async(run) = entry.body else { unreachable!("the kind says async") };
        let mut future = run(args);
        let mut polled = |cx: &mut Context<'_>| future.as_mut().poll(cx);
        let done = poll_fn(|cx| with_current(Current::local(), || polled(cx))).await;
        let encoded = expect_done(entry, done);
        expect_done(entry, decode_output(Received::from(encoded.0), &limits))
    }
}

/// A call of which nothing comes back, for another process of this program to run.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct CallParts {
    id: u32,
    head: Vec<u8>,
    blobs: Vec<Vec<u8>>,
}

impl CallParts {
    /// Why it cannot be, in words, if its arguments have no encoded form, or take handles along.
    pub(crate) fn of(call: Call<(), Blocking>) -> Result<Self, String> {
        let name = call.entry.name;
        let payload = call.payload.map_err(|e| {
            format!("argument `{}` of {name} cannot be encoded: {}", e.param, e.reason)
        })?;
        if !payload.attached().is_empty() {
            return Err(format!("{name} is given queues, descriptors or the like"));
        }
        // Tasks have their numbers once that is there.
        super::registry().map_err(|e| e.to_string())?;
        let id = call.entry.id().ok_or_else(|| format!("{name} is not registered"))?;
        let blobs = payload.blobs().iter().map(|blob| blob.to_vec()).collect();
        Ok(CallParts { id, head: payload.head().to_vec(), blobs })
    }

    /// Runs it on this thread.
    pub(crate) fn run(self) -> Result<(), Fault> {
        let unknown = || Fault::ArgDecode {
            what: "a call".to_owned(),
            reason: "this program has no such task".to_owned(),
        };
        let registry = super::registry().map_err(|_| unknown())?;
        let entry = registry.get(self.id).ok_or_else(unknown)?;
        let Body::Blocking(run) = entry.body else { return Err(unknown()) };
        run_body(run, Received::from_parts(self.head, self.blobs)).map(|_| ())
    }
}

impl<R, K> fmt::Debug for Call<R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("task", &self.entry.name)
            .field("encoded_len", &self.encoded_len())
            .finish_non_exhaustive()
    }
}

/// Encodes the arguments of one call, in order.
#[doc(hidden)]
#[derive(Debug)]
pub struct CallEncoder {
    entry: &'static Entry,
    args: ArgsEncoder,
}

impl CallEncoder {
    #[inline]
    #[must_use]
    pub fn new(entry: &'static Entry) -> Self {
        CallEncoder { entry, args: ArgsEncoder::default() }
    }

    #[inline]
    pub fn finish<R, K>(self) -> Call<R, K>
    where
        R: DeserializeOwned + Send + 'static,
        K: TaskKind,
    {
        Call { entry: self.entry, payload: self.args.finish(), kind: PhantomData }
    }
}

impl Deref for CallEncoder {
    type Target = ArgsEncoder;

    #[inline]
    fn deref(&self) -> &ArgsEncoder {
        &self.args
    }
}

impl DerefMut for CallEncoder {
    #[inline]
    fn deref_mut(&mut self) -> &mut ArgsEncoder {
        &mut self.args
    }
}

/// A type that is a task: the value holds the arguments, `run` is the body.
///
/// Implement it under `#[procpool::task]`; the type must be
/// `Serialize + DeserializeOwned`. The value itself is then a call, so
/// `pool.run(job)` runs it in a worker.
pub trait Task: Sized {
    /// What `run` returns.
    type Output;

    /// The task's body.
    fn run(self) -> Self::Output;
}

/// A type that is an async task: as [`Task`], with a body that may wait.
///
/// Implement it under `#[procpool::task]`, with an `async fn run`.
///
/// # Cancel safety
/// A cancelled call's future is dropped in its worker, at the await it is at.
///
/// # Examples
/// ```standalone_crate
/// use procpool::{AsyncTask, Process};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Greeter {
///     name: String,
/// }
///
/// #[procpool::task]
/// impl AsyncTask for Greeter {
///     type Output = String;
///
///     async fn run(self) -> String {
///         tokio::task::yield_now().await;
///         format!("Hello {}!", self.name)
///     }
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), procpool::Error> {
///     let mut greeter = Process::spawn(Greeter { name: "Ann".into() }).await?;
///     assert_eq!(greeter.output().await?, "Hello Ann!");
///     Ok(())
/// }
/// ```
pub trait AsyncTask: Sized {
    /// What `run` gives.
    type Output;

    /// The task's body.
    fn run(self) -> impl Future<Output = Self::Output> + Send;
}

/// What can be run as a call: a [`Call`], or a value of a type that is a
/// [`Task`] or an [`AsyncTask`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a call of a registered task",
    note = "mark the function `#[procpool::task]` and call it (in its own body its name is the plain function: make the call in another), or put `#[procpool::task]` on `impl Task for {Self}`"
)]
pub trait IntoCall {
    /// What the call returns.
    type Output: DeserializeOwned + Send + 'static;
    /// [`Blocking`] or [`Async`].
    type Kind: TaskKind;

    /// The call, its arguments encoded.
    fn into_call(self) -> Call<Self::Output, Self::Kind>;
}

impl<R, K> IntoCall for Call<R, K>
where
    R: DeserializeOwned + Send + 'static,
    K: TaskKind,
{
    type Output = R;
    type Kind = K;

    fn into_call(self) -> Call<R, K> {
        self
    }
}

/// A function that makes calls from arguments `A`: a task with one parameter,
/// or one with several and a tuple of them. `M` tells the two apart and is
/// always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task that takes `{A}`",
    note = "a task is a function marked `#[procpool::task]`; several parameters are given as one tuple"
)]
pub trait TaskFn<A, M> {
    /// What the task returns.
    type Output: DeserializeOwned + Send + 'static;
    /// [`Blocking`] or [`Async`].
    type Kind: TaskKind;

    /// Makes the call.
    fn make(&self, args: A) -> Call<Self::Output, Self::Kind>;
}

#[doc(hidden)]
pub enum One {}

impl<F, A, C> TaskFn<A, One> for F
where
    F: Fn(A) -> C,
    C: IntoCall,
{
    type Output = C::Output;
    type Kind = C::Kind;

    #[inline]
    fn make(&self, args: A) -> Call<C::Output, C::Kind> {
        self(args).into_call()
    }
}

macro_rules! tuples {
    ($($marker:ident($($arg:ident)*);)*) => {$(
        #[doc(hidden)]
        pub enum $marker {}

        impl<F, C, $($arg,)*> TaskFn<($($arg,)*), $marker> for F
        where
            F: Fn($($arg),*) -> C,
            C: IntoCall,
        {
            type Output = C::Output;
            type Kind = C::Kind;

            #[inline]
            #[allow(non_snake_case)]
            fn make(&self, ($($arg,)*): ($($arg,)*)) -> Call<C::Output, C::Kind> {
                self($($arg),*).into_call()
            }
        }
    )*};
}

tuples! {
    Zero();
    Two(A1 A2);
    Three(A1 A2 A3);
    Four(A1 A2 A3 A4);
    Five(A1 A2 A3 A4 A5);
    Six(A1 A2 A3 A4 A5 A6);
    Seven(A1 A2 A3 A4 A5 A6 A7);
    Eight(A1 A2 A3 A4 A5 A6 A7 A8);
}
