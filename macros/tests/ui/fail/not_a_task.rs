//! What is said of a function that isn't a task.

fn plain(x: u64) -> u64 {
    x
}

fn map<A, M, F: procpool::TaskFn<A, M>>(_: F, _: A) {}

fn main() {
    map(plain, 1_u64);
}
