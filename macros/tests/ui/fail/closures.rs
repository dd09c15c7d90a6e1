//! Closures that can't be tasks.

use procpool::task_fn;

fn main() {}

pub fn moves() {
    task_fn!(move |x: u64| -> u64 { x });
}

pub fn moves_async() {
    task_fn!(async move |x: u64| -> u64 { x });
}

pub fn untyped_parameters() {
    task_fn!(|x, mut y, z: u64| -> u64 { x + y + z });
}

pub fn untyped_result() {
    task_fn!(|x: u64| x + 1);
}

pub fn no_braces() {
    task_fn!(|x: u64| -> u64 x + 1);
}

pub fn nothing_after_the_type() {
    task_fn!(|x: u64| -> u64);
}

pub fn no_body() {
    task_fn!(|x: u64|);
}

pub fn more_after_the_body() {
    task_fn!(|x: u64| -> u64 { x } + 1);
}

pub fn named_lifetime() {
    task_fn!(for<'a> |x: &'a str| -> usize { x.len() });
}

pub fn references() {
    task_fn!(|x: &'static str| -> &str { x });
}

pub fn not_a_closure() {
    task_fn!(std::mem::drop);
}

pub fn nothing() {
    task_fn!();
}

pub fn unknown_option() {
    task_fn!(naem = "typo", |x: u64| -> u64 { x });
}

pub fn no_comma() {
    task_fn!(name = "no comma" |x: u64| -> u64 { x });
}
