//! Types of a program's own that managers have objects of.

use std::marker::PhantomData;
use std::pin::Pin;

use serde::de::DeserializeOwned;

use super::proxy::Wraps;
use crate::task::{Encoded, Fault, Fnv, OwnedArgs};

/// A type of the program's own, of which a [`Manager`](crate::Manager) has objects.
///
/// [`#[procpool::shared]`](macro@crate::shared) on its `impl` block makes it one; there is no other way. An object is then made
/// with [`ManagerHandle::create`](crate::ManagerHandle::create), or with a constructor of its proxy.
///
/// Methods come in the order in which they were asked for: those with `&self` run side by side, one with `&mut self` alone.
///
/// # Crash behaviour
/// As for a [`ListProxy`](crate::ListProxy). A method that panics fails for its caller, and the object lives on as the panic
/// left it. An async method of a process that ends is dropped at the await it is at.
///
/// # Examples
/// ```standalone_crate
/// use procpool::{Manager, Process};
///
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct Counter {
///     n: u64,
/// }
///
/// #[procpool::shared]
/// impl Counter {
///     fn starting_at(n: u64) -> Self {
///         Counter { n }
///     }
///
///     fn add(&mut self, n: u64) -> u64 {
///         self.n += n;
///         self.n
///     }
///
///     fn get(&self) -> u64 {
///         self.n
///     }
/// }
///
/// #[procpool::task]
/// fn count(counter: CounterProxy) -> u64 {
///     counter.blocking_add(2).unwrap()
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let manager = Manager::start().await?;
///     let counter = manager.create(Counter::default()).await?;
///     assert_eq!(Process::spawn(count(counter.clone())).await?.output().await?, 2);
///     assert_eq!(counter.get().await?, 2);
///     let other = CounterProxy::starting_at(&manager, 5).await?;
///     assert_eq!(other.add(1).await?, 6);
///     Ok(())
/// }
/// ```
#[doc(alias = "BaseManager.register")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no type that a manager has objects of",
    note = "put `#[procpool::shared]` on its `impl` block"
)]
pub trait Shared: Sized + Send + Sync + 'static {
    /// What stands for an object of the type.
    type Proxy: Wraps;

    #[doc(hidden)]
    const NAME: &'static str;
    #[doc(hidden)]
    const METHODS: &'static [Method<Self>];
    #[doc(hidden)]
    const MAKERS: &'static [Maker<Self>];

    /// The value that the arguments are, if the type has an encoded form.
    #[doc(hidden)]
    fn by_value(args: OwnedArgs) -> Option<Result<Self, Fault>>;
}

/// By what a method or a constructor is called, from its signature.
#[doc(hidden)]
#[must_use]
pub const fn id(signature: &str) -> u64 {
    Fnv::of(signature)
}

/// The result of a method, as it is sent.
pub(super) type Done = Result<Encoded, Fault>;
pub(super) type Running<'a> = Pin<Box<dyn Future<Output = Done> + Send + 'a>>;

/// A method that other processes call.
#[doc(hidden)]
pub struct Method<T: 'static> {
    pub(super) id: u64,
    pub(super) body: Body<T>,
}

/// Decodes the arguments, runs, and encodes the result.
pub(super) enum Body<T: 'static> {
    Reads(fn(&T, OwnedArgs) -> Done),
    Writes(fn(&mut T, OwnedArgs) -> Done),
    ReadsAsync(for<'a> fn(&'a T, OwnedArgs) -> Running<'a>),
    WritesAsync(for<'a> fn(&'a mut T, OwnedArgs) -> Running<'a>),
}

impl<T> Method<T> {
    pub const fn reads(signature: &str, body: fn(&T, OwnedArgs) -> Done) -> Self {
        Method { id: id(signature), body: Body::Reads(body) }
    }

    pub const fn writes(signature: &str, body: fn(&mut T, OwnedArgs) -> Done) -> Self {
        Method { id: id(signature), body: Body::Writes(body) }
    }

    pub const fn reads_async(
        signature: &str,
        body: for<'a> fn(&'a T, OwnedArgs) -> Running<'a>,
    ) -> Self {
        Method { id: id(signature), body: Body::ReadsAsync(body) }
    }

    pub const fn writes_async(
        signature: &str,
        body: for<'a> fn(&'a mut T, OwnedArgs) -> Running<'a>,
    ) -> Self {
        Method { id: id(signature), body: Body::WritesAsync(body) }
    }
}

/// A constructor, which runs in the manager.
#[doc(hidden)]
pub struct Maker<T> {
    pub(super) id: u64,
    pub(super) body: fn(OwnedArgs) -> Result<T, Fault>,
}

impl<T> Maker<T> {
    pub const fn new(signature: &str, body: fn(OwnedArgs) -> Result<T, Fault>) -> Self {
        Maker { id: id(signature), body }
    }
}

/// Decodes a value of a type that can be; its own function is preferred to that of [`NotByValue`].
#[doc(hidden)]
pub struct ByValue<T>(PhantomData<T>);

impl<T: DeserializeOwned + 'static> ByValue<T> {
    pub fn decode(mut args: OwnedArgs) -> Option<Result<T, Fault>> {
        Some(args.args().owned("value"))
    }
}

/// The same for all other types.
#[doc(hidden)]
pub trait NotByValue<T> {
    fn decode(_: OwnedArgs) -> Option<Result<T, Fault>> {
        None
    }
}

impl<T> NotByValue<T> for ByValue<T> {}
