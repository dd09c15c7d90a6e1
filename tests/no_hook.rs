//! A program without the worker hook: this file leaves `test_hook!` out on
//! purpose. Pools must fail with a clear error instead of starting copies of the
//! program for ever.

mod common;

use procpool::{ErrorKind, ProcessPool};

/// What a worker finds in its environment.
const MARK: &str = "PROCPOOL_WORKER";

#[test]
fn a_pool_without_the_hook_starts_nothing_and_says_what_is_missing() {
    common::run(|| async {
        for _ in 0..2 {
            let error = ProcessPool::new().await.map(|_| ()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Start { .. }), "{error:?}");
            let text = error.to_string();
            for remedy in ["hook", "procpool::main", "procpool::init()", "test_hook!"] {
                assert!(text.contains(remedy), "{remedy} in {text}");
            }
            assert!(common::os::children().is_empty(), "no child was started");
        }
    });
}

#[test]
fn a_worker_that_passed_the_hook_by_ends_instead_of_starting_more() {
    if std::env::var_os(MARK).is_some() {
        // Started as a worker, and running the program all the same.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let made = runtime.block_on(ProcessPool::builder().workers(1).build()).is_ok();
        println!("still here, pool made: {made}");
        return;
    }
    common::run(|| async {
        let role = "a_worker_that_passed_the_hook_by_ends_instead_of_starting_more";
        let output = common::os::this_program(role).env(MARK, "1").output().unwrap();
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(71), "{out}{err}");
        assert!(!out.contains("still here"), "{out}");
        assert!(err.contains("started as a worker") && err.contains("hook"), "{err}");
    });
}
