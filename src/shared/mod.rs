//! Memory that several processes see.

mod array;
mod bytes;
mod bytes_mut;
mod integer;
mod list;
mod list_item;
mod loan;
mod loaned;
mod locked;
mod memory;
mod name;
mod raw_array;
mod raw_value;
mod scope;
mod value;

pub use array::{ArrayGuard, SharedArray};
pub use bytes::SharedBytes;
pub use bytes_mut::SharedBytesMut;
pub use integer::Integer;
pub use list::{ItemTooLong, SharedList};
pub use list_item::ListItem;
pub use loan::{Loan, LoanFilling};
pub use loaned::Loaned;
pub use memory::SharedMemory;
pub use raw_array::RawArray;
pub use raw_value::RawValue;
pub use scope::SharedScope;
pub use value::{SharedValue, ValueGuard};
