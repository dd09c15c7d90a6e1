//! All types of this program's own that managers can have objects of.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::fault::{Fault, quoted};
use super::op::{Kind, OwnInit};
use super::server::{Hold, Served, make_own};
use super::shared::Shared;

/// A type that is registered.
#[doc(hidden)]
#[derive(Debug)]
pub struct SharedType {
    name: &'static str,
    location: &'static str,
    make: Make,
}

type Make = fn(&OwnInit<'_>, Hold) -> Result<Arc<dyn Served>, Fault>;

inventory::collect!(SharedType);

impl SharedType {
    #[must_use]
    pub const fn of<T: Shared>(location: &'static str) -> Self {
        SharedType { name: T::NAME, location, make: make_own::<T> }
    }
}

type Table = HashMap<u64, &'static SharedType>;

/// The table of this program, made at first use; or what is wrong with it.
fn table() -> Result<&'static Table, &'static str> {
    static TABLE: OnceLock<Result<Table, String>> = OnceLock::new();
    let table = TABLE.get_or_init(|| build(inventory::iter::<SharedType>()));
    table.as_ref().map_err(String::as_str)
}

fn build(types: impl IntoIterator<Item = &'static SharedType>) -> Result<Table, String> {
    let mut table = Table::new();
    for one in types {
        if let Some(other) = table.insert(Kind::of_type(one.name).0, one) {
            return Err(format!(
                "two shared types have one name: `{}` at {}, `{}` at {}; rename one, or give it \
                 `#[procpool::shared(name = \"…\")]`",
                other.name, other.location, one.name, one.location
            ));
        }
    }
    Ok(table)
}

/// Whether the types of this program can be told apart.
pub(super) fn check() -> Result<(), Fault> {
    table().map(|_| ()).map_err(|what| Fault::Unsupported(what.to_owned()))
}

/// What messages call objects of a kind.
pub(super) fn name(kind: Kind) -> &'static str {
    let known = table().ok().and_then(|table| table.get(&kind.0));
    known.map_or("object of a type that this program does not know", |known| known.name)
}

/// A new object.
pub(super) fn make(kind: Kind, init: &OwnInit<'_>, hold: Hold) -> Result<Arc<dyn Served>, Fault> {
    check()?;
    let known = table().ok().and_then(|table| table.get(&kind.0));
    match known.filter(|known| known.name == init.name) {
        Some(known) => (known.make)(init, hold),
        None => {
            let name = quoted(init.name);
            let what = format!("the manager's program has no shared type `{name}`");
            Err(Fault::Unsupported(what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &OwnInit<'_>, _: Hold) -> Result<Arc<dyn Served>, Fault> {
        Err(Fault::NoObject)
    }

    static A: SharedType = SharedType { name: "m::A", location: "a.rs:1:1", make: none };
    static A2: SharedType = SharedType { name: "m::A", location: "b.rs:9:9", make: none };
    static B: SharedType = SharedType { name: "m::B", location: "a.rs:2:1", make: none };

    #[test]
    fn one_name_twice_names_both_places() {
        assert_eq!(build([&A, &B]).unwrap().len(), 2);
        let text = build([&A, &B, &A2]).unwrap_err();
        assert!(text.contains("a.rs:1:1") && text.contains("b.rs:9:9"), "{text}");
    }

    #[test]
    fn kinds_of_types_are_none_of_the_others() {
        assert_ne!(Kind::of_type("m::A"), Kind::of_type("m::B"));
        assert!(Kind::of_type("m::A").is_own() && !Kind::BARRIER.is_own());
    }

    /// As another program would ask.
    #[test]
    fn what_is_not_known_is_named() {
        let payload = crate::wire::Payload::empty();
        let args = crate::manager::op::Parts::of(&payload).unwrap();
        let init = OwnInit { name: "m::Stranger", maker: 0, args };
        let Err(Fault::Unsupported(what)) = make(Kind::of_type("m::Stranger"), &init, Hold::none())
        else {
            panic!("there is no such type");
        };
        assert!(what.contains("`m::Stranger`"), "{what}");
        assert!(name(Kind::of_type("m::Stranger")).contains("does not know"));
    }
}
