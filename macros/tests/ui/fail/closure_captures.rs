//! What rustc says of a closure that captures.

fn main() {
    let offset = std::hint::black_box(1);
    drop(procpool::task_fn!(|x: u64| -> u64 { x + offset }));
    println!("{offset}");
}
