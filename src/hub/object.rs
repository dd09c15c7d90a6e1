//! What kinds of objects there are.

use std::io;

use super::server::Object;
use crate::sys::HandleRef;

/// A kind of objects that processes can ask to be made: by number, what it is to be like, and with
/// handles.
pub(crate) struct ObjectKind {
    pub(crate) number: u64,
    pub(crate) make: Make,
}

/// `InvalidInput` is what nothing could be like; other errors are this process's own, for want of memory or the like.
type Make = fn(&[u8], &[HandleRef<'_>]) -> io::Result<Box<dyn Object>>;

inventory::collect!(ObjectKind);

/// A new object; `InvalidInput` if there is no such kind, or none that could be like that.
pub(super) fn make(
    number: u64,
    config: &[u8],
    handles: &[HandleRef<'_>],
) -> io::Result<Box<dyn Object>> {
    let kind = inventory::iter::<ObjectKind>().find(|kind| kind.number == number);
    let kind = kind.ok_or(io::ErrorKind::InvalidInput)?;
    (kind.make)(config, handles)
}
