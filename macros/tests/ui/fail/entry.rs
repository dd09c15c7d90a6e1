//! Functions that can't be where a program starts, or a test.

#[procpool::main]
async fn main(_args: Vec<String>) {}

#[procpool::main]
pub async fn generic<T>() {}

#[procpool::main]
pub async unsafe extern "C" fn qualified()
where
    u32: Copy,
{
}

#[procpool::main]
pub const fn is_const() {}

#[procpool::main(flavor = "current_thread")]
pub fn plain_with_options() {}

#[procpool::main(flavor = "threads")]
pub async fn unknown_flavor() {}

#[procpool::main(flavor = "current_thread", worker_threads = 2)]
pub async fn threads_of_one_thread() {}

#[procpool::main(worker_threads = 0)]
pub async fn no_threads() {}

#[procpool::main(start_paused = true)]
pub async fn unknown_option() {}

#[procpool::main]
pub struct NotAFunction;

#[procpool::test]
fn plain_test() {}

#[procpool::test]
async fn test_with_parameters(_x: u32) {}

#[procpool::test]
#[test]
async fn test_twice() {}

#[procpool::test(worker_threads = 2)]
async fn test_threads_of_one_thread() {}
