//! What the macros accept and refuse, and what they say.
//!
//! On Linux only: it tests the macros and the compiler's words, which are the same
//! everywhere, and needs cargo beside it.
//!
//! `TRYBUILD=overwrite cargo test --test macros_ui` writes the `.stderr` files anew.
#![cfg(target_os = "linux")]

#[test]
fn macros() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
