//! Handles on their way to another process, inside values.

use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use super::closer::drop_elsewhere;
use crate::sys::Handle;
use crate::wire::{Arrived, Attached, arrived, attach};

/// What is sent along: memory, for instance.
pub(crate) struct Given<'a>(pub(crate) &'a Arc<Handle>);

impl Serialize for Given<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        attach(Attached::Handle(self.0.clone()), serializer)
    }
}

/// The same where it arrives. What is not taken is closed elsewhere: whoever gave it may have seen to it that this waits.
pub(crate) struct Got(Option<Handle>);

impl Got {
    pub(crate) fn handle(&self) -> &Handle {
        self.0.as_ref().unwrap_or_else(|| unreachable!("whoever takes it has it no more"))
    }

    pub(crate) fn take(mut self) -> Handle {
        self.0.take().unwrap_or_else(|| unreachable!("it is taken once"))
    }
}

impl Drop for Got {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            drop_elsewhere(handle);
        }
    }
}

impl<'de> Deserialize<'de> for Got {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match arrived(deserializer)? {
            Arrived::Handle(handle) => Ok(Got(Some(handle))),
            Arrived::Object(_) => {
                Err(D::Error::custom("an object came where a handle was to come"))
            }
        }
    }
}
