//! The runtime that `#[procpool::main]` and `#[procpool::test]` start.

use std::future::Future;

/// The attributes' options.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct RuntimeOptions {
    pub current_thread: bool,
    pub worker_threads: Option<usize>,
}

/// Runs the body of `main` or of a test.
#[doc(hidden)]
pub fn block_on<F: Future>(options: RuntimeOptions, body: F) -> F::Output {
    let mut builder = if options.current_thread {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    if let Some(n) = options.worker_threads {
        builder.worker_threads(n);
    }
    match builder.enable_all().build() {
        Ok(runtime) => runtime.block_on(body),
        Err(e) => panic!("no tokio runtime: {e}"),
    }
}
