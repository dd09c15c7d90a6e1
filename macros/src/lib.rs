//! The attribute and function macros of `procpool`; use them through that crate, which re-exports
//! them.
//!
//! | file | what lives there |
//! |---|---|
//! | `task.rs` | `#[task]` on a function and on `impl Task for T` |
//! | `closure.rs` | `task_fn!` |
//! | `entry.rs` | `#[main]` and `#[test]` |
//! | `expand.rs` | what the two kinds of function task share: the outer function, the body, the registration |
//! | `shared.rs` | `#[shared]` |
//! | `method.rs` | one method of a shared type |
//! | `params.rs` | which parameter types are possible, and how each travels |
//! | `options.rs` | the arguments of the attributes |
//! | `text.rs` | types as text, and the list of errors a macro reports at once |
//!
//! The macros know only the names in `procpool::__private`; no type is ever looked at beyond its
//! tokens.

mod closure;
mod entry;
mod expand;
mod method;
mod options;
mod params;
mod shared;
mod task;
mod text;

use proc_macro::TokenStream;

/// Makes a function, or a type that implements `Task`, callable in another process.
///
/// # On a function
///
/// A `fn` or an `async fn`, at module level or inside a function body, is registered under its path
/// (`my_crate::images::resize`) and becomes a real function of the same name and parameters that
/// runs nothing: it encodes its arguments and returns a `#[must_use]` `Call<R>` (for a `fn`) or
/// `Call<R, Async>` (for an `async fn`), which a pool or a process runs.
///
/// ```ignore
/// #[procpool::task]
/// fn resize(image: &[u8], width: u32) -> Result<Vec<u8>, String> {
///     todo!()
/// }
///
/// let thumbnail = pool.run(resize(&image, 200)).await??;
/// ```
///
/// Inside its own body the name of the task is the plain function, so recursion stays in the worker
/// and makes no further calls (a function beside it that returns `Call<u64>` can make some):
///
/// ```ignore
/// #[procpool::task]
/// fn fibonacci(n: u64) -> u64 {
///     if n < 2 { n } else { fibonacci(n - 1) + fibonacci(n - 2) }
/// }
/// ```
///
/// ## Parameters
///
/// | parameter | how it travels |
/// |---|---|
/// | `&str`, `&[u8]` | encoded from the borrow, and read in place in the worker, without a copy |
/// | `&[T]`, `&T`, `&Path`, `&OsStr`, `&CStr` | encoded from the borrow; the worker decodes an owned value and lends it |
/// | `Cow<'_, str>`, `Option<&str>`, `Record<'_>` | encoded as it is, decoded borrowing from the received bytes |
/// | any other `T` | `T: Serialize + DeserializeOwned` |
///
/// The encoding is postcard's, which writes no names and no types. So a type that must look at the
/// data to know what it is cannot be read back: `serde_json::Value`, and enums that are
/// `#[serde(untagged)]` or have a `tag`. Nor can one be written that leaves out fields
/// (`skip_serializing_if`) or takes them from a map (`flatten`). All of them compile, and fail with
/// an error that says why; send such a value as a `String` of JSON.
///
/// `mut x: T`, `(a, b): (A, B)` and `_: T` are allowed. A type with a hidden lifetime parameter has
/// to show it: `Record<'_>`, not `Record`. The return type `R` is owned: it is decoded in the
/// process that asked (`R: Serialize + DeserializeOwned + Send`). The future of an `async fn` is
/// `Send`.
///
/// ## Attributes
///
/// Documentation, `#[cfg]`, `#[deprecated]`, `#[must_use]` and lint levels belong to the function
/// that users call (and lint levels hold inside the body too). All others, `#[inline]` and
/// attribute macros such as `#[tracing::instrument]`, belong to the body, which runs in the worker.
///
/// # On `impl Task for T` and `impl AsyncTask for T`
///
/// The value itself is the call: it is sent, and `run` is called on it in the worker; that of an
/// `AsyncTask` is an `async fn`. The registered name is the path of the module and the type.
///
/// ```ignore
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Resize { image: Vec<u8>, width: u32 }
///
/// #[procpool::task]
/// impl procpool::Task for Resize {
///     type Output = Vec<u8>;
///     fn run(self) -> Vec<u8> { todo!() }
/// }
///
/// let thumbnail = pool.run(Resize { image, width: 200 }).await?;
/// ```
///
/// # Options
///
/// * `name = "images.resize"`: the registered name. Default: the path. Two tasks of one name are an
///   error at start, so tasks that are called the same in different function bodies or `impl`
///   blocks of one module need it: the path of a task holds the module only.
/// * `crate = path`: where `procpool` is. Default: `::procpool`.
///
/// # Refused
///
/// Each with a message that says what to do instead: type and const parameters, `impl Trait`
/// parameters, `where` clauses, named lifetimes, `&'static` and `&mut` parameters, raw and function
/// pointers, `self` and `Self`, `const fn`, `unsafe fn`, `extern fn`, variadics, returned
/// references and returned `impl Trait`, generic impls, and items that are neither a function nor
/// `impl Task for T`.
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    task::expand(options.into(), item.into()).into()
}

/// Makes a task of a closure that captures nothing, in place.
///
/// An expression: it registers the closure under the path of its module and its place in the file,
/// and evaluates to a function as `#[procpool::task]` makes them (so it may also be the value of a
/// `const` of type `fn(u64) -> Call<u64>`). Parameters are those of a task, and need their types;
/// the return type may be missing only when the body is a block that returns `()`. `async |…|`
/// makes an async task.
///
/// ```ignore
/// let squares = pool.map(procpool::task_fn!(|x: u64| -> u64 { x * x }), 1..=5).await?;
/// let pages = pool.map(procpool::task_fn!(async |url: String| -> String { fetch(url).await }), urls).await?;
/// ```
///
/// The options of `#[procpool::task]` come before the closure: `task_fn!(name = "square", |x: u64|
/// -> u64 { x * x })`. A `task_fn!` written inside a `macro_rules!` macro has the place of the
/// outermost macro call: two of them in one macro need names of their own.
///
/// # Refused
///
/// `move`, `for<'a>`, parameters without a type, a missing return type before a body that is not a
/// block, and every parameter and return type that `#[procpool::task]` refuses. The closure runs in
/// another process, so it cannot capture: a body that mentions a local variable of the enclosing
/// function gets rustc's E0434 ("can't capture dynamic environment in a fn item"); pass the value
/// as a parameter.
#[proc_macro]
pub fn task_fn(input: TokenStream) -> TokenStream {
    closure::expand(input.into()).into()
}

/// Makes the methods of a type callable in other processes, on objects that a manager has.
///
/// On the one `impl` block of a type that holds what others may call. The block stays as it is; beside the type
/// (`Counter`) comes its proxy (`CounterProxy`): a handle of an object in a manager, which goes to other processes as an
/// argument, result or message, and which `publish` gives a name. The type is `Send + Sync + 'static`.
///
/// ```ignore
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct Counter { n: u64 }
///
/// #[procpool::shared]
/// impl Counter {
///     fn starting_at(n: u64) -> Self { Counter { n } }
///     fn add(&mut self, n: u64) -> u64 { self.n += n; self.n }
///     fn get(&self) -> u64 { self.n }
/// }
///
/// let counter = manager.create(Counter::default()).await?;
/// let other = CounterProxy::starting_at(&manager, 5).await?;
/// assert_eq!(counter.add(2).await?, 2);
/// assert_eq!(other.blocking_get()?, 5);
/// ```
///
/// ## Methods
///
/// Each is in the proxy twice, with the same parameters and the same visibility: as a request, which is a future
/// (`Request<R>`), and as `blocking_…`, for a thread that may wait. The result `R` may be a `Result`; what goes wrong on
/// the way is a `ManagerError` around it.
///
/// * `&self`: runs beside other such methods. One that takes long, or was not run before, has a thread for itself (at most 64
///   in a manager do, with [tasks](macro@task) that change values); one that is quick runs where it is asked for.
/// * `&mut self`: runs alone. Whoever may only look at objects of the manager cannot call it.
/// * `async fn`, with either: a task of the manager's runtime, so it may wait. Its future is dropped, at the await it
///   is at, when whoever called it drops the request or ends. Other methods run to the end in any case, once they have
///   begun.
/// * no receiver, and `Self` as the result: a constructor. It runs in the manager, and in the proxy it
///   takes the manager before its own parameters. A type that is `Serialize + DeserializeOwned` is also made by
///   value, with `ManagerHandle::create`.
/// * `#[shared(skip)]`: is left out, as everything is that is not in this block.
///
/// A panic is the caller's error, and the object lives on as the panic left it.
///
/// Parameters and results are those of a [task](macro@task): `&str`, `&[u8]` and `&T` are possible parameters.
/// Proxies, handles of managers, queues, locks and descriptors cannot be inside either yet.
///
/// # Options
///
/// * `name = "counter"`: by which processes agree on the type. Default: its path. Two types of one name are an
///   error at first use, so types that are called the same in different function bodies of one module need it.
/// * `crate = path`: where `procpool` is. Default: `::procpool`.
///
/// # Refused
///
/// Each with a message that says what to do instead: generic types, impls and methods, impls of traits, `self` by value,
/// other functions without a receiver, `const fn`, `unsafe fn`, `extern fn`, what a task refuses as a parameter or
/// result, and a block with nothing to call.
#[proc_macro_attribute]
pub fn shared(options: TokenStream, item: TokenStream) -> TokenStream {
    shared::expand(options.into(), item.into()).into()
}

/// Marks the function the program starts with: workers are started from here, and never run past
/// it.
///
/// On `async fn main`, `tokio::main` with the hook for workers: the same executable is started
/// again for each worker, and in such a process this function serves its parent and does not
/// return, before anything in the body. Elsewhere the body runs on a new runtime. On a plain `fn
/// main` only the hook is added.
///
/// ```ignore
/// #[procpool::main]
/// async fn main() -> Result<(), procpool::Error> {
///     let pool = procpool::ProcessPool::new().await?;
///     pool.shutdown().await
/// }
/// ```
///
/// # Options
///
/// * `flavor = "multi_thread"` or `"current_thread"`. Default: `"multi_thread"`.
/// * `worker_threads = N`: threads of a `multi_thread` runtime. Default: one a CPU.
/// * `crate = path`: where `procpool` is. Default: `::procpool`.
///
/// # Refused
///
/// Parameters, generics, `const`, `unsafe` and `extern`; runtime options on a plain `fn`.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    entry::main(options.into(), item.into()).into()
}

/// Runs an `async fn` as a test, on a runtime of its own.
///
/// `tokio::test` by another name: `#[ignore]`, `#[should_panic]` and the other attributes of a test
/// stay, and the function may return a `Result`. It does not bring the hook for workers: that is
/// `procpool::test_hook!()`, once in the binary.
///
/// ```ignore
/// procpool::test_hook!(); // once, anywhere in the test binary
///
/// #[procpool::test]
/// async fn squares() -> Result<(), procpool::Error> {
///     let pool = procpool::ProcessPool::new().await?;
///     assert_eq!(pool.run(square(8)).await?, 64);
///     pool.shutdown().await
/// }
/// ```
///
/// # Options
///
/// * `flavor = "current_thread"` or `"multi_thread"`. Default: `"current_thread"`.
/// * `worker_threads = N`: threads of a `multi_thread` runtime. Default: one a CPU.
/// * `crate = path`: where `procpool` is. Default: `::procpool`.
///
/// # Refused
///
/// A plain `fn` (use `#[test]`), a second `#[test]`, parameters, generics, `const`, `unsafe` and
/// `extern`.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    entry::test(options.into(), item.into()).into()
}
