//! What the macros accept and refuse, and what they say.
//!
//! It is here and not beside the crate's other tests since it builds all that those need once more.
//! On Linux only: it tests the macros and the compiler's words, which are the same
//! everywhere, and needs cargo beside it.
//!
//! `TRYBUILD=overwrite cargo test -p procpool-macros --test ui` writes the `.stderr` files anew.
#![cfg(target_os = "linux")]

#[test]
fn macros() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
