//! Options and calls that make no sense: refused with the option, its value and
//! what is allowed, with nothing lost.

mod common;
mod kit;

use std::time::Duration;

use kit::{Gate, builder, hold, pool, square};
use procpool::__private::{Args, CallEncoder, Entry, Fault, Output};
use procpool::{
    Async, Blocking, Builder, Call, DecodeLimits, Error, ErrorKind, Limits, ProcessPool, Progress,
    RestartPolicy, Sandbox, StartMethod, TrySubmitError,
};

procpool::test_hook!();

/// The build fails naming all three, and no process was started for it.
async fn refused(builder: Builder, option: &str, value: &str, allowed: &str) {
    let error = builder.build().await.map(|_| ()).unwrap_err();
    let ErrorKind::InvalidOption { option: o, value: v, allowed: a } = error.kind() else {
        panic!("{option}: {error}")
    };
    assert_eq!(*o, option);
    assert!(v.contains(value), "{option}: {v} should show {value}");
    assert!(a.contains(allowed), "{option}: {a} should say {allowed}");
    let text = error.to_string();
    assert!(text.contains(option) && text.contains(value) && text.contains(allowed), "{text}");
    assert!(common::os::children().is_empty());
}

#[test]
fn numbers_out_of_range_are_refused() {
    common::run(|| async {
        let new = ProcessPool::builder;
        refused(new().workers(0), "workers", "0", "1 to 4096").await;
        refused(new().workers(4097), "workers", "4097", "1 to 4096").await;
        refused(new().workers(usize::MAX), "workers", &usize::MAX.to_string(), "4096").await;
        let one = || builder(1);
        refused(one().max_tasks_per_worker(0), "max_tasks_per_worker", "0", "at least 1").await;
        refused(one().max_worker_memory(0), "max_worker_memory", "0", "at least 1").await;
        refused(one().queue_capacity(0), "queue_capacity", "0", "at least 1").await;
        refused(one().async_calls_per_worker(0), "async_calls_per_worker", "0", "1 to").await;
        refused(one().async_calls_per_worker(1025), "async_calls_per_worker", "1025", "1024").await;
        refused(one().max_message_bytes(0), "max_message_bytes", "0", "65536").await;
        refused(one().max_message_bytes(65_535), "max_message_bytes", "65535", "65536").await;
        let too_much = u64::from(u32::MAX) + 1;
        refused(one().max_message_bytes(too_much), "max_message_bytes", "4294967296", "4 GiB")
            .await;
        refused(one().limits(Limits::new().files(1)), "limits.files", "1", "at least 32").await;
        refused(one().limits(Limits::new().memory(0)), "limits.memory", "0", "at least 1").await;
        let depthless = DecodeLimits { depth: 0, ..DecodeLimits::default() };
        refused(one().decode_limits(depthless), "decode_limits", "0", "above zero").await;
    });
}

#[test]
fn times_out_of_range_are_refused() {
    common::run(|| async {
        for time in [Duration::ZERO, Duration::MAX] {
            let value = format!("{time:?}");
            let one = || builder(1);
            let allowed = "above zero and at most a century";
            refused(one().max_worker_age(time), "max_worker_age", &value, allowed).await;
            refused(one().call_timeout(time), "call_timeout", &value, allowed).await;
            refused(one().start_timeout(time), "start_timeout", &value, allowed).await;
            let limits = Limits::new().cpu_time(time);
            refused(one().limits(limits), "limits.cpu_time", &value, allowed).await;
        }
        let brief = Limits::new().cpu_time(Duration::from_millis(999));
        refused(builder(1).limits(brief), "limits.cpu_time", "999ms", "at least 1 s").await;
        refused(builder(1).cancel_grace(Duration::MAX), "cancel_grace", "", "a century").await;
        let policy = RestartPolicy::default;
        let bad = policy().initial_backoff(Duration::ZERO);
        refused(builder(1).restart(bad), "restart", "0ns", "above zero").await;
        let bad = policy().max_backoff(Duration::from_nanos(1));
        refused(builder(1).restart(bad), "restart", "1ns", "not below").await;
        refused(builder(1).restart(policy().max_failed_starts(0)), "restart", "0", "one").await;
        let bad = policy().initial_backoff(Duration::MAX).max_backoff(Duration::MAX);
        refused(builder(1).restart(bad), "restart", "", "century").await;
    });
}

#[test]
fn variables_no_environment_can_hold_are_refused() {
    common::run(|| async {
        for (key, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0y")] {
            refused(builder(1).env(key, value), "env", "", "no NUL").await;
        }
        refused(builder(1).env_remove("A=B"), "env", "A=B", "without `=`").await;
    });
}

#[test]
fn the_largest_values_allowed_work() {
    common::run(|| async {
        let century = Duration::from_secs(100 * 365 * 24 * 3600);
        let pool = builder(1)
            .max_tasks_per_worker(u64::MAX)
            .max_worker_memory(u64::MAX)
            .max_worker_age(century)
            .call_timeout(century)
            .start_timeout(century)
            .cancel_grace(century)
            .queue_capacity(usize::MAX)
            .async_calls_per_worker(1024)
            .max_message_bytes(u32::MAX.into())
            .restart(RestartPolicy::default().initial_backoff(century).max_backoff(century))
            .build()
            .await
            .unwrap();
        assert_eq!(pool.map(square, 0..4).await.unwrap(), [0, 1, 4, 9]);
        assert_eq!(pool.map(kit::double, 0..4).await.unwrap(), [0, 2, 4, 6]);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn what_is_not_built_is_unsupported() {
    common::run(|| async {
        for (builder, what, instead) in [
            (builder(1).start_method(StartMethod::ForkServer), "ForkServer", "Spawn"),
            (builder(1).sandbox(Sandbox::Contain), "Contain", "limits"),
            (builder(1).sandbox(Sandbox::Decoder), "Decoder", "limits"),
            (builder(1).sandbox(Sandbox::Strict), "Strict", "limits"),
            // Windows has no such limit.
            #[cfg(windows)]
            (builder(1).limits(Limits::new().files(100)), "limit `files`", "leave it out"),
        ] {
            let error = builder.build().await.map(|_| ()).unwrap_err();
            assert!(error.is_unsupported(), "{error}");
            let text = error.to_string();
            assert!(text.contains(what) && text.contains(instead), "{text}");
            assert!(common::os::children().is_empty());
        }
    });
}

fn nothing(_: &mut Args<'_>, _: &mut Output) -> Result<(), Fault> {
    Ok(())
}

/// A task that was never put into the registry, as of a crate that is not linked.
static STRANGER: Entry = Entry::blocking("far::away", "far.rs:1:1", "fn(u64) -> u64", nothing);

fn stranger(x: u64) -> Call<u64> {
    let mut call = CallEncoder::new(&STRANGER);
    call.owned("x", x);
    call.finish::<u64, Blocking>()
}

#[test]
fn a_task_nobody_registered_is_named() {
    common::run(|| async {
        let pool = pool(1).await;
        for error in [
            pool.run(stranger(1)).await.unwrap_err(),
            pool.spawn(stranger(1)).await.unwrap_err(),
            pool.map(stranger, 0..3).await.unwrap_err(),
            pool.imap(stranger, 0..3).next().await.unwrap().unwrap_err(),
        ] {
            let ErrorKind::NotRegistered { task } = error.kind() else { panic!("{error}") };
            assert_eq!(task, "far::away");
            assert_eq!(error.progress(), Progress::NotBegun);
            assert!(error.to_string().contains("linked"), "it says what to look for: {error}");
        }
        assert!(matches!(pool.try_spawn(stranger(1)), Err(TrySubmitError::Refused(_))));
        let as_initializer = builder(1).initializer(task_stranger, 1_u64);
        let error = as_initializer.build().await.map(|_| ()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotRegistered { .. }), "{error}");
        assert_eq!(pool.run(square(3)).await.unwrap(), 9);
        assert_eq!(pool.stats().submitted, 1);
        pool.shutdown().await.unwrap();
    });
}

static UNIT_STRANGER: Entry = Entry::blocking("far::init", "far.rs:2:1", "fn(u64)", nothing);

fn task_stranger(x: u64) -> Call<()> {
    let mut call = CallEncoder::new(&UNIT_STRANGER);
    call.owned("x", x);
    call.finish::<(), Blocking>()
}

#[procpool::task]
fn len(bytes: Vec<u8>) -> usize {
    bytes.len()
}

#[test]
fn refused_calls_leave_the_others_alone() {
    common::run(|| async {
        let pool = builder(1).max_message_bytes(65_536).build().await.unwrap();
        let gate = Gate::new("bad-neighbours");
        let running = pool.spawn(hold(gate.path(), 1));
        gate.arrived(1).await;
        let waiting: Vec<_> = (0..10).map(|x| pool.spawn(square(x))).collect();
        let bad = [
            pool.run(len(vec![0; 70_000])).await.map(|_| ()).unwrap_err(),
            pool.run(stranger(1)).await.map(|_| ()).unwrap_err(),
            pool.run(square(1)).timeout(Duration::ZERO).await.map(|_| ()).unwrap_err(),
            pool.map(square, 0..3).chunk_size(0).await.map(|_| ()).unwrap_err(),
            pool.imap(square, 0..3).window(0).next().await.unwrap().map(|_| ()).unwrap_err(),
            pool.resize(0).unwrap_err(),
            pool.join().await.unwrap_err(),
        ];
        assert!(matches!(bad[0].kind(), ErrorKind::TooLarge { max: 65_536, .. }), "{}", bad[0]);
        assert!(bad.iter().all(Error::is_safe_to_retry));
        gate.open();
        assert_eq!(running.await.unwrap(), 1);
        for (x, call) in waiting.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), (x * x) as u64);
        }
        assert_eq!(pool.run(len(vec![0; 60_000])).await.unwrap(), 60_000);
        assert_eq!(pool.stats().restarts.total(), 0);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn kinds_of_calls_are_types() {
    // A pool cannot be sent to another process, nor a call be taken for another.
    fn kind<R, K>(_: &Call<R, K>) -> &'static str {
        std::any::type_name::<K>()
    }
    assert_eq!(kind(&square(1)), std::any::type_name::<Blocking>());
    assert_eq!(kind(&kit::double(1)), std::any::type_name::<Async>());
    assert_eq!(square(1).task_name(), "pool_bad_input::kit::square");
}
