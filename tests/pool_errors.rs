//! Failures in every place a call can fail: arguments, bodies, results, workers.

mod common;
mod kit;

use std::marker::PhantomData;

use common::os::{self, Death};
use kit::{Gate, boom, builder, die_by, exit, hold, hold_async, pids, pool, square};
use procpool::{Error, ErrorKind, ExitReason, ProcessPool, Progress, Stderr, try_context};
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::ser::{Error as _, SerializeSeq, SerializeTuple, Serializer};
use serde::{Deserialize, Serialize};

procpool::test_hook!();

/// What a value does when it is encoded or decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Fine,
    Refuse,
    Panic,
    Exit,
    Crash,
}
use Mood::{Crash, Exit, Fine, Panic, Refuse};

impl Mood {
    fn act<E>(self, what: &'static str, refuse: impl FnOnce(&'static str) -> E) -> Result<(), E> {
        match self {
            Fine => Ok(()),
            Refuse => Err(refuse(what)),
            Panic => panic!("{what} panics"),
            Exit => std::process::exit(9),
            Crash => Death::Segv.strike(),
        }
    }

    fn of(byte: u8) -> Mood {
        [Fine, Refuse, Panic, Exit, Crash][usize::from(byte)]
    }
}

/// Misbehaves on its way out, on its way in, or on its way into the process that
/// asked (where no task is running).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moody {
    out: Mood,
    inwards: Mood,
    home: Mood,
    ballast: Vec<u64>,
}

impl Moody {
    fn fine() -> Self {
        Moody { out: Fine, inwards: Fine, home: Fine, ballast: Vec::new() }
    }
}

impl Serialize for Moody {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.out.act("encoding", S::Error::custom)?;
        (self.inwards as u8, self.home as u8, &self.ballast).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Moody {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let (inwards, home, ballast) = <(u8, u8, Vec<u64>)>::deserialize(d)?;
        let (inwards, home) = (Mood::of(inwards), Mood::of(home));
        if try_context().is_some() {
            inwards.act("decoding", D::Error::custom)?;
        } else {
            home.act("decoding at home", D::Error::custom)?;
        }
        Ok(Moody { out: Fine, inwards, home, ballast })
    }
}

#[procpool::task]
fn take(value: Moody) -> usize {
    value.ballast.len()
}

#[procpool::task]
fn give(out: u8, home: u8) -> Moody {
    Moody { out: Mood::of(out), home: Mood::of(home), ..Moody::fine() }
}

#[procpool::task]
fn give_some(x: u64) -> Moody {
    Moody { out: if x % 3 == 1 { Refuse } else { Fine }, ..Moody::fine() }
}

/// A pool of one worker, whose errors are kept to themselves.
async fn quiet() -> ProcessPool {
    builder(1).stderr(Stderr::Capture).build().await.unwrap()
}

/// The worker is the one it was, and works.
async fn unharmed(pool: &ProcessPool, before: &[u32]) {
    assert_eq!(pool.run(square(5)).await.unwrap(), 25);
    assert_eq!(pids(pool), before);
}

#[test]
fn an_argument_that_refuses_is_that_calls_error() {
    common::run(|| async {
        let pool = quiet().await;
        let before = pids(&pool);
        let bad = || Moody { out: Refuse, ..Moody::fine() };
        for error in [
            pool.run(take(bad())).await.unwrap_err(),
            pool.spawn(take(bad())).await.unwrap_err(),
            pool.map(take, [Moody::fine(), bad()]).await.unwrap_err(),
            pool.imap(take, [bad()]).next().await.unwrap().unwrap_err(),
        ] {
            let ErrorKind::ArgEncode { param, reason } = error.kind() else { panic!("{error}") };
            assert_eq!((*param, reason.contains("Serialize")), ("value", true), "{error}");
            assert_eq!(error.progress(), Progress::NotBegun);
            assert_eq!(error.task_name(), Some("pool_errors::take"));
        }
        let results = pool.try_map(take, [Moody::fine(), bad(), Moody::fine()]).await.unwrap();
        let ok: Vec<bool> = results.iter().map(Result::is_ok).collect();
        assert_eq!(ok, [true, false, true]);
        unharmed(&pool, &before).await;
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn an_argument_that_panics_does_so_in_the_caller() {
    common::run(|| async {
        let pool = quiet().await;
        let before = pids(&pool);
        let bad = || Moody { out: Panic, ..Moody::fine() };
        assert!(std::panic::catch_unwind(|| take(bad())).is_err());
        let mine = pool.clone();
        let mapped = tokio::spawn(async move { mine.map(take, [Moody::fine(), bad()]).await });
        assert!(mapped.await.unwrap_err().is_panic());
        unharmed(&pool, &before).await;
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn an_argument_the_worker_cannot_decode_costs_no_worker() {
    common::run(|| async {
        let pool = quiet().await;
        let before = pids(&pool);
        for (mood, text) in [(Refuse, "decoding"), (Panic, "decoding panics")] {
            let bad = Moody { inwards: mood, ..Moody::fine() };
            let error = pool.run(take(bad.clone())).await.unwrap_err();
            let ErrorKind::ArgDecode { param, reason } = error.kind() else { panic!("{error}") };
            assert!(param.contains("value") && param.contains("Moody"), "{param}");
            assert!(reason.contains(text), "{reason}");
            assert!(error.is_safe_to_retry(), "its body was not entered");
            // In a chunk it is that element alone.
            let inputs = [Moody::fine(), bad, Moody::fine(), Moody::fine()];
            let results = pool.try_map(take, inputs).chunk_size(4).await.unwrap();
            let ok: Vec<bool> = results.iter().map(Result::is_ok).collect();
            assert_eq!(ok, [true, false, true, true]);
        }
        unharmed(&pool, &before).await;
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_worker_that_ends_while_decoding_fails_that_call_only() {
    common::run(|| async {
        let pool = quiet().await;
        for (mood, reason) in [(Exit, 9), (Crash, Death::Segv.code())] {
            for ballast in [vec![], vec![u64::MAX; 200_000]] {
                let bad = Moody { inwards: mood, ballast, ..Moody::fine() };
                let error = pool.run(take(bad)).await.unwrap_err();
                assert_eq!(error.exit_reason().and_then(|r| r.code()), Some(reason), "{error}");
                assert_eq!(pool.run(square(5)).await.unwrap(), 25);
            }
        }
        assert_eq!(pool.stats().restarts.crashed, 4);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_result_that_cannot_be_encoded_costs_no_worker() {
    common::run(|| async {
        let pool = quiet().await;
        let before = pids(&pool);
        for (mood, text) in [(Refuse, "Serialize"), (Panic, "encoding panics")] {
            let error = pool.run(give(mood as u8, 0)).await.unwrap_err();
            let ErrorKind::ResultEncode { type_name, reason } = error.kind() else {
                panic!("{error}")
            };
            assert!(type_name.contains("Moody") && reason.contains(text), "{error}");
            assert_eq!(error.progress(), Progress::Finished);
        }
        // Many in a row, one by one and in chunks.
        for n in [1, 30] {
            let results = pool.try_map(give_some, 0..30).chunk_size(n).await.unwrap();
            for (x, result) in results.into_iter().enumerate() {
                match result {
                    Ok(value) => assert!(x % 3 != 1 && value == Moody::fine()),
                    Err(e) => {
                        assert_eq!(x % 3, 1);
                        assert!(matches!(e.kind(), ErrorKind::ResultEncode { .. }), "{e}");
                    }
                }
            }
        }
        unharmed(&pool, &before).await;
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_worker_that_ends_while_encoding_fails_that_call_only() {
    common::run(|| async {
        let pool = quiet().await;
        for (mood, code) in [(Exit, 9), (Crash, Death::Segv.code())] {
            let error = pool.run(give(mood as u8, 0)).await.unwrap_err();
            assert_eq!(error.exit_reason().and_then(|r| r.code()), Some(code), "{error}");
            assert_eq!(error.progress(), Progress::MayHaveBegun);
            assert_eq!(pool.run(square(5)).await.unwrap(), 25);
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_result_that_cannot_be_decoded_at_home_is_that_calls_error() {
    common::run(|| async {
        let pool = quiet().await;
        let before = pids(&pool);
        for (mood, text) in [(Refuse, "at home"), (Panic, "at home panics")] {
            let home = mood as u8;
            for error in [
                pool.run(give(0, home)).await.unwrap_err(),
                pool.spawn(give(0, home)).await.unwrap_err(),
                pool.map(give, [(0, home)]).await.unwrap_err(),
                pool.imap_unordered(give, [(0, home)]).next().await.unwrap().unwrap_err(),
            ] {
                let ErrorKind::ResultDecode { reason } = error.kind() else { panic!("{error}") };
                assert!(reason.contains(text), "{reason}");
                assert_eq!(
                    error.progress(),
                    Progress::Finished,
                    "it must not be run again blindly"
                );
            }
            let results = pool.try_map(give, [(0, 0), (0, home), (0, 0)]).chunk_size(1).await;
            let ok: Vec<bool> = results.unwrap().iter().map(Result::is_ok).collect();
            assert_eq!(ok, [true, false, true]);
        }
        unharmed(&pool, &before).await;
        pool.shutdown().await.unwrap();
    });
}

// Small messages that ask for much memory, many elements or a deep stack.

/// 8 MiB that decode to more than a gigabyte.
struct Fat;
impl Serialize for Fat {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let n = 8 << 20;
        let mut seq = s.serialize_seq(Some(n))?;
        for _ in 0..n {
            seq.serialize_element(&None::<u8>)?;
        }
        seq.end()
    }
}
type FatTarget = Vec<Option<[u64; 16]>>;

/// A million options in one another.
struct Deep;
impl Serialize for Deep {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut tuple = s.serialize_tuple(1_000_001)?;
        for _ in 0..1_000_000 {
            tuple.serialize_element(&1_u8)?;
        }
        tuple.serialize_element(&0_u8)?;
        tuple.end()
    }
}
#[derive(Debug, Serialize, Deserialize)]
struct DeepTarget(Option<Box<DeepTarget>>);

/// Four thousand million times nothing, in five bytes.
struct Long;
impl Serialize for Long {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        (1_u64 << 32).serialize(s)
    }
}
type LongTarget = Vec<()>;

/// Encoded as `A`, decoded as `B`.
#[derive(Debug)]
enum Bomb<A, B> {
    Armed(A),
    Gone(PhantomData<B>),
}
impl<A: Serialize, B> Serialize for Bomb<A, B> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Bomb::Armed(a) => a.serialize(s),
            Bomb::Gone(_) => unreachable!("it went off"),
        }
    }
}
impl<'de, A, B: DeserializeOwned> Deserialize<'de> for Bomb<A, B> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        B::deserialize(d).map(|_| Bomb::Gone(PhantomData))
    }
}

macro_rules! bombs {
    ($($take:ident $give:ident $bomb:ident $target:ident;)*) => {$(
        #[procpool::task]
        fn $take(_bomb: Bomb<$bomb, $target>) -> u64 {
            1
        }
        #[procpool::task]
        fn $give() -> Bomb<$bomb, $target> {
            Bomb::Armed($bomb)
        }
    )*};
}
bombs! {
    take_fat give_fat Fat FatTarget;
    take_deep give_deep Deep DeepTarget;
    take_long give_long Long LongTarget;
}

fn refused_by_worker(error: &Error) {
    assert!(matches!(error.kind(), ErrorKind::ArgDecode { .. }), "{error}");
}

fn refused_at_home<T>(result: Result<T, Error>) {
    let error = result.err().expect("it should not fit");
    assert!(matches!(error.kind(), ErrorKind::ResultDecode { .. }), "{error}");
    assert_eq!(error.progress(), Progress::Finished);
}

#[test]
fn arguments_that_would_explode_are_refused_by_the_worker() {
    common::run(|| async {
        let pool = quiet().await;
        let before = pids(&pool);
        refused_by_worker(&pool.run(take_fat(Bomb::Armed(Fat))).await.unwrap_err());
        refused_by_worker(&pool.run(take_deep(Bomb::Armed(Deep))).await.unwrap_err());
        refused_by_worker(&pool.run(take_long(Bomb::Armed(Long))).await.unwrap_err());
        refused_by_worker(&pool.map(take_long, [Bomb::Armed(Long)]).await.unwrap_err());
        unharmed(&pool, &before).await;
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn results_that_would_explode_are_refused_at_home() {
    common::run(|| async {
        let pool = quiet().await;
        let before = pids(&pool);
        refused_at_home(pool.run(give_fat()).await);
        refused_at_home(pool.run(give_deep()).await);
        refused_at_home(pool.run(give_long()).await);
        refused_at_home(pool.map(give_deep, [()]).await);
        refused_at_home(pool.spawn(give_long()).await);
        unharmed(&pool, &before).await;
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn len(bytes: Vec<u8>) -> usize {
    bytes.len()
}

#[procpool::task]
fn zeros(n: usize) -> Vec<u8> {
    vec![0; n]
}

#[test]
fn messages_over_the_limit_are_refused() {
    common::run(|| async {
        let limit = 1 << 20;
        let pool =
            builder(1).max_message_bytes(limit).stderr(Stderr::Capture).build().await.unwrap();
        let too_large = |error: Error| {
            let ErrorKind::TooLarge { len, max } = error.kind() else { panic!("{error}") };
            assert!(*len > limit && *max == limit, "{error}");
            assert!(error.to_string().contains("max_message_bytes"), "{error}");
        };
        let big = || vec![1; 2 << 20];
        too_large(pool.run(len(big())).await.unwrap_err());
        too_large(pool.map(len, [vec![], big()]).await.unwrap_err());
        let results = pool.try_map(len, [vec![1], big(), vec![2, 3]]).await.unwrap();
        assert_eq!(
            results.into_iter().map(Result::ok).collect::<Vec<_>>(),
            [Some(1), None, Some(2)]
        );
        // Many that fit, of which not two fit together.
        let several = pool.map(len, vec![vec![1; 900_000]; 5]).chunk_size(5).await.unwrap();
        assert_eq!(several, [900_000; 5]);
        assert_eq!(pool.run(square(5)).await.unwrap(), 25);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_result_over_the_limit_is_that_calls_error() {
    common::run(|| async {
        let pool =
            builder(1).max_message_bytes(1 << 20).stderr(Stderr::Capture).build().await.unwrap();
        let before = pids(&pool);
        let error = pool.run(zeros(2 << 20)).await.unwrap_err();
        let ErrorKind::TooLarge { len, max } = error.kind() else { panic!("{error}") };
        assert!(*len > 2 << 20 && *max == 1 << 20, "{error}");
        assert_eq!(error.progress(), Progress::Finished);
        let results = pool.try_map(zeros, [1, 2 << 20, 2]).chunk_size(3).await.unwrap();
        let sizes: Vec<_> = results.into_iter().map(|r| r.ok().map(|v| v.len())).collect();
        assert_eq!(sizes, [Some(1), None, Some(2)]);
        unharmed(&pool, &before).await;
        pool.shutdown().await.unwrap();
    });
}

// Bodies.

#[test]
fn a_panic_brings_message_place_and_backtrace_along() {
    common::run(|| async {
        let pool = quiet().await;
        let before = pids(&pool);
        let error = pool.run(boom("it broke".into())).await.unwrap_err();
        let ErrorKind::Panicked { message, location, backtrace } = error.kind() else {
            panic!("{error}")
        };
        assert_eq!(message, "it broke");
        assert!(location.as_deref().unwrap().contains("kit/mod.rs:"), "{location:?}");
        assert!(backtrace.as_deref().unwrap().contains("boom"), "{backtrace:?}");
        let text = error.to_string();
        assert!(text.contains("pool_errors::kit::boom") && text.contains("it broke"), "{text}");
        assert_eq!(error.progress(), Progress::MayHaveBegun);
        assert!(error.obituary().is_none() && error.signal().is_none());
        let mapped = pool.map(boom, ["in a map".to_owned()]).await.unwrap_err();
        assert_eq!(mapped.panic_message(), Some("in a map"));
        assert!(mapped.to_string().contains("pool_errors::kit::boom"), "{mapped}");
        unharmed(&pool, &before).await;
        pool.shutdown().await.unwrap();
    });
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Trouble {
    TooSmall { by: u64 },
    Odd(String),
}

#[procpool::task]
fn half(x: u64) -> Result<u64, Trouble> {
    match x {
        0..=9 => Err(Trouble::TooSmall { by: 10 - x }),
        x if x % 2 == 1 => Err(Trouble::Odd(x.to_string())),
        x => Ok(x / 2),
    }
}

#[test]
fn a_tasks_own_errors_keep_their_type() {
    common::run(|| async {
        let pool = pool(1).await;
        assert_eq!(pool.run(half(12)).await.unwrap(), Ok(6));
        assert_eq!(pool.run(half(7)).await.unwrap(), Err(Trouble::TooSmall { by: 3 }));
        let all = pool.map(half, [10, 11]).await.unwrap();
        assert_eq!(all, [Ok(5), Err(Trouble::Odd("11".into()))]);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_callback_gets_the_original_error() {
    common::run(|| async {
        let pool = quiet().await;
        let (sender, heard) = tokio::sync::oneshot::channel();
        pool.apply_async(boom, "for the callback".to_owned())
            .on_done(move |result| drop(sender.send(result)));
        let error = heard.await.unwrap().unwrap_err();
        assert_eq!(error.panic_message(), Some("for the callback"));
        assert_eq!(error.task_name(), Some("pool_errors::kit::boom"));
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn overflow() -> u64 {
    os::use_up_the_stack()
}

#[procpool::task]
fn last_words(text: String) -> u64 {
    eprintln!("{text}");
    std::process::exit(4)
}

#[test]
fn a_dead_worker_is_told_with_its_cause() {
    common::run(|| async {
        let pool = quiet().await;
        let pid = pids(&pool)[0];
        let error = pool.run(exit(3)).await.unwrap_err();
        assert!(error.is_worker_died() && !error.is_killed());
        assert_eq!(error.exit_reason(), Some(ExitReason::Exited(3)));
        assert_eq!(error.obituary().unwrap().pid, pid);
        let text = error.to_string();
        assert!(text.contains("exited with code 3") && text.contains("kit::exit"), "{text}");

        for death in os::DEATHS {
            let error = pool.run(die_by(*death)).await.unwrap_err();
            assert!(error.is_worker_died() && death.is_cause_of(&error), "{death:?}: {error:?}");
            assert!(error.to_string().contains(death.name()), "{death:?}: {error}");
            assert_eq!(error.progress(), Progress::MayHaveBegun);
            // A kill from outside may look like an exit.
            let code = matches!(error.exit_reason(), Some(ExitReason::Exited(_)));
            assert_eq!(error.is_killed(), !code, "{death:?}: {error}");
        }
        let error = pool.run(overflow()).await.unwrap_err();
        assert!(error.obituary().unwrap().is_stack_overflow());
        assert!(os::is_overflow(&error), "{error:?}");
        assert!(error.to_string().contains("stack overflow"), "{error}");

        let error = pool.run(last_words("so long".into())).await.unwrap_err();
        assert!(error.stderr_tail().unwrap().contains("so long"));
        assert_eq!(pool.run(square(5)).await.unwrap(), 25);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn every_call_of_a_dead_worker_has_an_error_of_its_own() {
    common::run(|| async {
        let pool = quiet().await;
        let gate = Gate::new("own-errors");
        let calls: Vec<_> = (0..4)
            .map(|x| pool.run(hold_async(gate.path(), x)).label(format!("call {x}")).spawn())
            .collect();
        gate.arrived(4).await;
        os::kill(pids(&pool)[0]);
        for (x, call) in calls.into_iter().enumerate() {
            let error = call.await.unwrap_err();
            assert!(Death::Kill.is_cause_of(&error), "{error}");
            assert_eq!(error.label(), Some(&*format!("call {x}")));
        }
        assert_eq!(pool.run(square(5)).await.unwrap(), 25);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_dead_worker_takes_nobody_elses_call_along() {
    common::run(|| async {
        let pool = builder(2).stderr(Stderr::Capture).build().await.unwrap();
        let gate = Gate::new("others");
        let kept = pool.spawn(hold(gate.path(), 1));
        gate.arrived(1).await;
        let queued: Vec<_> = (0..50).map(|x| pool.spawn(square(x))).collect();
        let dead = pool.spawn(exit(1));
        let later: Vec<_> = (0..50).map(|x| pool.spawn(square(x))).collect();
        assert!(dead.await.unwrap_err().is_worker_died());
        for (x, call) in queued.into_iter().chain(later).enumerate() {
            assert_eq!(call.await.unwrap(), (x as u64 % 50).pow(2));
        }
        gate.open();
        assert_eq!(kept.await.unwrap(), 1);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_worker_that_dies_while_a_big_argument_is_on_its_way_deadlocks_nothing() {
    common::run(|| async {
        let pool = quiet().await;
        let pid = pids(&pool)[0];
        // It does not read any more, so the argument fills every buffer.
        os::stop(pid);
        let call = pool.spawn(len(vec![7; 32 << 20]));
        common::eventually("it is sent", || pool.stats().running == 1).await;
        os::kill(pid);
        // It had not begun, so it is nobody's fault: another worker runs it.
        assert_eq!(call.await.unwrap(), 32 << 20);
        assert_ne!(pids(&pool), [pid]);
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn a_worker_that_crashes_after_close_hangs_nobody() {
    common::run(|| async {
        let pool = quiet().await;
        let gate = Gate::new("crash-closed");
        let running = pool.spawn(hold(gate.path(), 0));
        gate.arrived(1).await;
        let queued = pool.spawn(square(3));
        pool.close();
        os::kill(pids(&pool)[0]);
        assert!(Death::Kill.is_cause_of(&running.await.unwrap_err()));
        assert_eq!(queued.await.unwrap(), 9, "what was accepted is finished");
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn shutdown_right_after_a_crash_returns() {
    common::run(|| async {
        // The replacement is still starting when the pool closes.
        for workers in [1, 2] {
            let pool = builder(workers).stderr(Stderr::Capture).build().await.unwrap();
            assert!(pool.run(exit(1)).await.unwrap_err().is_worker_died());
            pool.shutdown().await.unwrap();
        }
    });
}

#[test]
fn bad_values_around_close_hang_nobody() {
    common::run(|| async {
        let pool = quiet().await;
        let gate = Gate::new("bad-closed");
        let running = pool.spawn(hold(gate.path(), 0));
        gate.arrived(1).await;
        let bad = pool.spawn(take(Moody { inwards: Refuse, ..Moody::fine() }));
        let worse = pool.spawn(give(Panic as u8, 0));
        let never = pool.spawn(take(Moody { out: Refuse, ..Moody::fine() }));
        pool.close();
        gate.open();
        assert_eq!(running.await.unwrap(), 0);
        assert!(matches!(bad.await.unwrap_err().kind(), ErrorKind::ArgDecode { .. }));
        assert!(matches!(worse.await.unwrap_err().kind(), ErrorKind::ResultEncode { .. }));
        assert!(matches!(never.await.unwrap_err().kind(), ErrorKind::ArgEncode { .. }));
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn thousands_of_submissions_at_once_block_nothing() {
    common::run_current_thread(|| async {
        let pool = pool(2).await;
        // Nothing else runs on this thread meanwhile: nobody reads results.
        let calls: Vec<_> = (0..20_000).map(|x| pool.spawn(square(x))).collect();
        for (x, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), (x as u64).pow(2));
        }
        pool.shutdown().await.unwrap();
    });
}
