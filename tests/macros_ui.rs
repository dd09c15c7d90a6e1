//! What the macros accept and refuse, and what they say.
//!
//! `TRYBUILD=overwrite cargo test --test macros_ui` writes the `.stderr` files anew.

#[test]
fn macros() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
