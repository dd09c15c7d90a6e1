//! All tasks of this program, numbered alike in every process that runs it.

use std::sync::OnceLock;

use super::entry::{Entry, Registration};
use super::fnv::Fnv;

/// The numbered table.
#[derive(Debug)]
pub(crate) struct Registry {
    entries: Vec<&'static Entry>,
    /// Hash of all names and signatures.
    pub(crate) table: u64,
    /// Hash of where the tasks' code lies, relative to each other: equal in two
    /// processes of one image wherever it is loaded, different in another build.
    pub(crate) build: u64,
}

/// Why there is no usable table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error(
        "two tasks are named `{name}`: one at {first}, one at {second}; rename one, or give it `#[procpool::task(name = \"…\")]`"
    )]
    Duplicate { name: &'static str, first: &'static str, second: &'static str },
}

impl Registry {
    pub(crate) fn get(&self, id: u32) -> Option<&'static Entry> {
        self.entries.get(id as usize).copied()
    }

    /// By name, if its signature has that hash: what another program calls so may be another task.
    pub(crate) fn find(&self, name: &str, signature: u64) -> Option<&'static Entry> {
        let at = self.entries.binary_search_by_key(&name, |entry| entry.name).ok()?;
        self.get(at as u32).filter(|entry| Fnv::of(entry.signature) == signature)
    }

    pub(crate) fn len(&self) -> u32 {
        self.entries.len() as u32
    }

    fn build(mut entries: Vec<&'static Entry>) -> Result<Self, RegistryError> {
        entries.sort_by_key(|e| e.name);
        for pair in entries.windows(2) {
            if pair[0].name == pair[1].name {
                return Err(RegistryError::Duplicate {
                    name: pair[0].name,
                    first: pair[0].location,
                    second: pair[1].location,
                });
            }
        }
        let mut table = Fnv::new();
        let mut build = Fnv::new();
        build.write(env!("CARGO_PKG_VERSION").as_bytes());
        let anchor = Registry::build as fn(_) -> _ as usize;
        for (id, entry) in entries.iter().enumerate() {
            entry.set_id(id as u32);
            table.write(entry.name.as_bytes());
            table.write(entry.signature.as_bytes());
            build.write(&entry.body.address().wrapping_sub(anchor).to_le_bytes());
        }
        Ok(Registry { entries, table: table.0, build: build.0 })
    }
}

/// The table of this program, made at first use.
pub(crate) fn registry() -> Result<&'static Registry, RegistryError> {
    static REGISTRY: OnceLock<Result<Registry, RegistryError>> = OnceLock::new();
    REGISTRY
        .get_or_init(|| Registry::build(inventory::iter::<Registration>().map(|r| r.0).collect()))
        .as_ref()
        .map_err(Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Args, Fault, Output};

    fn nothing(_: &mut Args<'_>, _: &mut Output) -> Result<(), Fault> {
        Ok(())
    }

    static A: Entry = Entry::blocking("m::a", "a.rs:1:1", "fn()", nothing);
    static A2: Entry = Entry::blocking("m::a", "b.rs:9:9", "fn()", nothing);
    static B: Entry = Entry::blocking("m::b", "a.rs:2:1", "fn()", nothing);
    static B2: Entry = Entry::blocking("m::b", "a.rs:2:1", "fn(u8)", nothing);

    #[test]
    fn one_name_twice_names_both_places() {
        let text = Registry::build(vec![&A, &B, &A2]).unwrap_err().to_string();
        assert!(text.contains("a.rs:1:1") && text.contains("b.rs:9:9"), "{text}");
    }

    #[test]
    fn a_task_is_found_by_name_and_signature() {
        let registry = Registry::build(vec![&B, &A]).unwrap();
        assert_eq!(registry.find("m::b", Fnv::of("fn()")).unwrap().name, "m::b");
        assert!(registry.find("m::b", Fnv::of("fn(u8)")).is_none());
        assert!(registry.find("m::c", Fnv::of("fn()")).is_none());
    }

    #[test]
    fn the_table_depends_on_names_and_signatures_only() {
        let one = Registry::build(vec![&A, &B]).unwrap();
        let two = Registry::build(vec![&B, &A]).unwrap();
        assert_eq!((one.table, one.build), (two.table, two.build));
        assert_ne!(one.table, Registry::build(vec![&A, &B2]).unwrap().table);
        assert_ne!(one.table, Registry::build(vec![&A]).unwrap().table);
    }
}
