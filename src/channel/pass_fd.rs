//! An open file, socket or the like on its way to another process.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use crate::sys::{Handle, handle_access};
use crate::wire::{Arrived, Attached, arrived, attach};

/// An open file, socket or any other handle of the system, to be passed to another process.
///
/// As an argument or a result of a call, alone or anywhere inside a value: the other process
/// gets a descriptor of its own for the same open file (position and flags are shared). It is
/// whatever turns into an `OwnedFd` and back: a `File`, a `TcpStream`, a `UnixListener`; `T` says
/// what it becomes again. At most 128 go with one call.
///
/// The sender's descriptor is closed once the other process has its own. To keep one, pass
/// a `try_clone()`.
///
/// # Errors
/// Serializing one elsewhere than in a call (with serde_json, say) is an error that says so.
/// A process without a free descriptor gets an error in place of the call's arguments.
///
/// # Crash behaviour
/// If the worker dies before the call has begun, it goes to another worker with the same
/// descriptor; after that, the descriptor is gone with the worker, so a call that brings one is
/// run again only if it has [`retries`](crate::Run::retries), for whose sake this process then
/// keeps its descriptor until the call has ended.
///
/// In an item of a queue it lies in the main program until it is taken. When that has hardly any
/// descriptors left (a sixteenth), further items that bring some wait where they are put: for five
/// seconds, then they are taken. When half of that is left, none is taken of what workers send, in
/// items or results: it is missed where its value is decoded, which is an error there.
///
/// # Platform
/// On Windows handles are passed, not sockets: `T` is a `File` or an `OwnedHandle`.
///
/// # Examples
/// ```standalone_crate
/// use std::fs::File;
/// use std::io::Read;
///
/// use procpool::{PassFd, ProcessPool};
///
/// #[procpool::task]
/// fn read(file: PassFd<File>) -> String {
///     let mut text = String::new();
///     file.into_inner().unwrap().read_to_string(&mut text).unwrap();
///     text
/// }
///
/// #[procpool::main]
/// async fn main() -> Result<(), procpool::Error> {
///     let pool = ProcessPool::builder().workers(1).build().await?;
///     let file = File::open("Cargo.toml").unwrap();
///     assert!(pool.apply(read, PassFd::new(file)).await?.contains("[package]"));
///     Ok(())
/// }
/// ```
#[doc(alias = "DupFd")]
#[doc(alias = "send_handle")]
pub struct PassFd<T = Handle> {
    handle: Arc<Handle>,
    becomes: PhantomData<fn() -> T>,
}

impl<T> PassFd<T> {
    /// Takes it over.
    pub fn new(open: T) -> Self
    where
        T: Into<Handle>,
    {
        PassFd { handle: Arc::new(open.into()), becomes: PhantomData }
    }

    /// What was passed.
    ///
    /// # Errors
    /// If a clone of this value, or a call that is not yet sent, holds the descriptor too, it must
    /// be duplicated, which fails where there is no free one.
    pub fn into_inner(self) -> io::Result<T>
    where
        T: From<Handle>,
    {
        let handle = match Arc::try_unwrap(self.handle) {
            Ok(handle) => handle,
            Err(shared) => shared.try_clone()?,
        };
        Ok(T::from(handle))
    }
}

handle_access!(PassFd<T>, handle, T);

impl<T> Clone for PassFd<T> {
    fn clone(&self) -> Self {
        PassFd { handle: self.handle.clone(), becomes: PhantomData }
    }
}

impl<T: Into<Handle>> From<T> for PassFd<T> {
    fn from(open: T) -> Self {
        PassFd::new(open)
    }
}

impl<T> fmt::Debug for PassFd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PassFd").field(&*self.handle).finish()
    }
}

impl<T> Serialize for PassFd<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        attach(Attached::Handle(self.handle.clone()), serializer)
    }
}

impl<'de, T> Deserialize<'de> for PassFd<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match arrived(deserializer)? {
            Arrived::Handle(handle) => {
                Ok(PassFd { handle: Arc::new(handle), becomes: PhantomData })
            }
            Arrived::Object(_) => Err(D::Error::custom("it is no handle of the system")),
        }
    }
}
